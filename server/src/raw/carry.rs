//! One connection of a raw port, from its first byte to its last.

use super::reach::{Reached, reach};
use crate::front::{Front, Fronted, Wanted, source};
use crate::live::Live;
use crate::node::Node;
use crate::nodes::Nodes;
use piko_core::id::EndpointId;
use piko_core::preface::write_header;
use piko_core::proxy::cause;
use piko_core::time::Instant;
use piko_driver::{Ends, Io, IoInfo, Relayed, Runtime, Shutdown, relay_early};
use piko_observe::metrics::TcpMetrics;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often TCP asks a silent client whether it is still there, as of clients of the TCP path.
const CLIENT_PROBES: Duration = Duration::from_secs(30);

/// Connections that may wait at once for their header or hello, in all raw ports together: 16 MiB of them at most.
const PENDING_MAX: usize = 1024;
/// Scanners of the internet are told of in the log this often; all of them are counted.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// How many connections are still before their first own byte.
#[derive(Debug, Default)]
pub(crate) struct Pending(AtomicUsize);

/// One of them.
pub(super) struct Waiting<'p>(&'p Pending);

impl Pending {
    /// Counts one more in, if there is room.
    fn begin(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < PENDING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When the next complaint may be written, and how many were not.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    next: Option<Instant>,
    silent: u64,
}

/// What the connections of all raw ports share.
pub(crate) struct Raw<R: Runtime> {
    pub(crate) rt: R,
    pub(crate) node: Arc<Node>,
    pub(crate) nodes: Arc<Nodes<R>>,
    pub(crate) live: Arc<Live>,
    /// Where load balancers may say whose a connection is.
    pub(crate) front: Option<Front>,
    /// What a header or hello may take.
    pub(crate) patience: Duration,
    pub(crate) pending: Pending,
    /// Cuts what is still open when the grace period is over: the end of the process alone would look like a clean end.
    pub(super) cut: Shutdown,
    pub(super) complaints: Mutex<Complaints>,
}

impl<R: Runtime> Raw<R> {
    pub(crate) fn new(
        rt: R,
        node: Arc<Node>,
        nodes: Arc<Nodes<R>>,
        live: Arc<Live>,
        front: Option<Front>,
        patience: Duration,
        cut: Shutdown,
    ) -> Self {
        let (pending, complaints) = (Pending::default(), Mutex::default());
        Self { rt, node, nodes, live, front, patience, pending, cut, complaints }
    }

    /// Lets a connection wait for its beginning, until the returned time. One too many is reset and counted.
    pub(super) fn wait<C: Io>(&self, io: &mut C, metrics: &TcpMetrics) -> Option<(Waiting<'_>, Instant)> {
        let waiting = self.pending.begin();
        if waiting.is_none() {
            metrics.failed("too-many-pending");
            io.abort();
        }
        waiting.map(|waiting| (waiting, self.rt.now() + self.patience))
    }

    /// The connection as its client made it; `None` when it is over.
    pub(super) async fn enter<C: Io>(&self, io: C, until: Instant) -> Option<Fronted<C>> {
        match &self.front {
            None => Some(Fronted::Plain(io)),
            Some(front) => front.enter(&self.rt, io, Wanted::Always, until).await,
        }
    }

    /// Serves one connection of a port of one endpoint.
    pub(super) async fn serve_port<C: Io>(&self, mut io: C, endpoint: &EndpointId) {
        let metrics = &self.node.port_tcp;
        let client = if self.front.is_some() {
            let Some((waiting, until)) = self.wait(&mut io, metrics) else { return };
            let Some(client) = self.enter(io, until).await else { return };
            drop(waiting);
            client
        } else {
            Fronted::Plain(io)
        };
        if let Err(mut client) = self.carry(client, &[], endpoint, metrics).await {
            client.abort();
        }
    }

    /// Tells of a connection that was refused before it led anywhere.
    pub(super) fn complain(&self, info: &IoInfo, cause: &str, name: &str) {
        let now = self.rt.now();
        let silent = {
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            if complaints.next.is_some_and(|next| now < next) {
                complaints.silent += 1;
                return;
            }
            complaints.next = Some(now + COMPLAINT_EVERY);
            std::mem::take(&mut complaints.silent)
        };
        let client_ip = info.peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
        tracing::warn!(
            target: "proxy.tcp",
            { cause, "server-name" = name, "client-ip" = client_ip, silent }, "refused TLS connection");
    }

    /// Carries a client's connection, of which `early` has been read, to the endpoint and counts it in `metrics`. Gives
    /// it back when the endpoint cannot be reached, which is in the log.
    pub(super) async fn carry<C: Io>(
        &self,
        mut client: C,
        early: &[u8],
        endpoint: &EndpointId,
        metrics: &TcpMetrics,
    ) -> Result<(), C> {
        client.keep_alive(Some(CLIENT_PROBES));
        let peer = client.info().peer;
        let limit = self.live.with_exchange(|config| config.response_timeout);
        let until = limit.map(|limit| self.rt.now() + limit);
        let reached = Box::pin(reach(self, endpoint, peer.map(|peer| peer.ip()), until)).await;
        let client_ip = peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
        let mut target = match reached {
            Ok(target) => target,
            Err(cause) => {
                metrics.failed(cause);
                tracing::warn!(
                    target: "proxy.tcp",
                    { "endpoint-id" = %endpoint, cause, "client-ip" = client_ip }, "failed to reach endpoint");
                return Err(client);
            }
        };
        tracing::debug!(target: "proxy.tcp", { "endpoint-id" = %endpoint, "client-ip" = client_ip }, "connection opened");
        metrics.opened();
        let (relayed, has_failed) = match &mut target {
            Reached::Here { stream, half_close, header, .. } => {
                let mut first = Vec::new();
                if let Some(version) = header {
                    write_header(*version, source(client.info()), &mut first);
                }
                first.extend_from_slice(early);
                // It ends at this node, as those of the TCP path do.
                self.node.tcp.opened();
                let ends = Ends { b_is_whole: !*half_close };
                let relayed = relay_early(&self.rt, &mut client, &first, stream, ends, &self.cut).await;
                self.node.tcp.closed(relayed.from_a, relayed.from_b);
                (relayed, stream.has_failed())
            }
            Reached::There { stream, .. } => {
                let ends = Ends::default();
                let relayed = relay_early(&self.rt, &mut client, early, &mut **stream, ends, &self.cut).await;
                (relayed, stream.has_failed())
            }
        };
        let Relayed { from_a, from_b, result } = relayed;
        metrics.closed(from_a, from_b);
        if has_failed {
            metrics.failed(cause::STREAM_RESET);
        }
        let cut = result.as_ref().err().map(tracing::field::display);
        tracing::debug!(
            target: "proxy.tcp",
            { "endpoint-id" = %endpoint, "client-ip" = client_ip, "bytes-in" = from_a, "bytes-out" = from_b, cut },
            "connection closed");
        Ok(())
    }
}
