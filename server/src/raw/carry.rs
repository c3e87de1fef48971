//! One connection of a raw port, from its first byte to its last.

use super::reach::{Reached, reach};
use crate::live::Live;
use crate::node::Node;
use crate::nodes::Nodes;
use piko_core::id::EndpointId;
use piko_driver::{Ends, Io, Relayed, Runtime, relay_early};
use piko_observe::metrics::TcpMetrics;
use std::sync::Arc;
use std::time::Duration;

/// How often TCP asks a silent client whether it is still there, as of clients of the TCP path.
const CLIENT_PROBES: Duration = Duration::from_secs(30);

/// What the connections of all raw ports share.
pub(crate) struct Raw<R: Runtime> {
    pub(crate) rt: R,
    pub(crate) node: Arc<Node>,
    pub(crate) nodes: Arc<Nodes<R>>,
    pub(crate) live: Arc<Live>,
}

impl<R: Runtime> Raw<R> {
    /// Carries a client's connection, of which `early` has been read, to the endpoint and counts it in `metrics`. One
    /// that cannot be reached is told by a reset.
    pub(super) async fn carry<C: Io>(
        &self,
        mut client: C,
        early: &[u8],
        endpoint: &EndpointId,
        metrics: &TcpMetrics,
    ) {
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
                client.abort();
                return;
            }
        };
        tracing::debug!(target: "proxy.tcp", { "endpoint-id" = %endpoint, "client-ip" = client_ip }, "connection opened");
        metrics.opened();
        let Relayed { from_a, from_b, result } = match &mut target {
            Reached::Here { stream, half_close, .. } => {
                // It ends at this node, as those of the TCP path do.
                self.node.tcp.opened();
                let ends = Ends { b_is_whole: !*half_close };
                let relayed = relay_early(&self.rt, &mut client, early, stream, ends).await;
                self.node.tcp.closed(relayed.from_a, relayed.from_b);
                relayed
            }
            Reached::There { stream, .. } => {
                relay_early(&self.rt, &mut client, early, &mut **stream, Ends::default()).await
            }
        };
        metrics.closed(from_a, from_b);
        let cut = result.as_ref().err().map(tracing::field::display);
        tracing::debug!(
            target: "proxy.tcp",
            { "endpoint-id" = %endpoint, "client-ip" = client_ip, "bytes-in" = from_a, "bytes-out" = from_b, cut },
            "connection closed");
    }
}
