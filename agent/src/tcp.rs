//! The TCP listener: each stream of the tunnel is one connection to the service.

use crate::dial::{Dial, Failed};
use piko_core::preface::{HeaderVersion, Source, write_header};
use piko_core::proxy::cause;
use piko_driver::{Ends, Io, Relayed, Runtime, Stream, relay, timeout_at};
use piko_observe::access::AccessLog;
use piko_observe::metrics::TcpMetrics;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One service of bytes behind one endpoint.
pub(crate) struct TcpService<R> {
    pub(crate) dial: Dial<R>,
    /// How long connecting may take; `None` is for ever. An open connection may last as long as it likes.
    pub(crate) timeout: Option<Duration>,
    /// Only whether it is disabled counts: there are no requests.
    pub(crate) access: Arc<AccessLog>,
    /// What the service wants to find in front of each connection.
    pub(crate) proxy_header: Option<HeaderVersion>,
    pub(crate) metrics: Arc<TcpMetrics>,
}

impl<R: Runtime> TcpService<R> {
    /// Connects the stream with the service until both have ended.
    pub(crate) async fn serve(&self, mut stream: Stream) {
        let rt = &self.dial.rt;
        let endpoint = &self.dial.endpoint;
        let until = self.timeout.map(|timeout| rt.now() + timeout);
        let mut head = Vec::new();
        // The server that was asked for it has written it into the stream. Others do not know that it is wanted.
        let wanted = if cfg!(feature = "proxy-protocol") { self.proxy_header } else { None };
        if let Some(version) = wanted.filter(|_| stream.proxy_header().is_none()) {
            write_header(version, Source::Unknown, &mut head);
        }
        let dialled = timeout_at(rt, until, Box::pin(self.dial.dial(until, &head))).await;
        let late = |_| Err(self.dial.failed(cause::CONNECT_TIMEOUT, io::ErrorKind::TimedOut.into()));
        let mut io = match dialled.unwrap_or_else(late) {
            Ok(io) => io,
            Err(Failed { cause, addr, error }) => {
                self.metrics.failed(cause);
                tracing::warn!(
                    target: "proxy.tcp",
                    { "endpoint-id" = endpoint, addr, cause, %error }, "failed to dial upstream");
                // The server has accepted the connection on our behalf: a reset is how its client learns that there is
                // none.
                return stream.abort();
            }
        };
        self.metrics.opened();
        if !self.access.is_disabled() {
            tracing::info!(target: "proxy.tcp.access", { "endpoint-id" = endpoint }, "connection opened");
        }
        // A Go server ends a stream when its client has ended one direction, or both: it resets what is still open five
        // minutes later (wire protocol 4.5), so that half is what is right for both.
        let relayed = relay(rt, &mut stream, &mut io, Ends::default()).await;
        let Relayed { from_a, from_b, result } = relayed;
        self.metrics.closed(from_a, from_b);
        let cut = result.err().map(tracing::field::display);
        if !self.access.is_disabled() {
            tracing::info!(
                target: "proxy.tcp.access",
                { "endpoint-id" = endpoint, "bytes-in" = from_a, "bytes-out" = from_b, cut }, "connection closed");
        } else {
            tracing::debug!(
                target: "proxy.tcp.access",
                { "endpoint-id" = endpoint, "bytes-in" = from_a, "bytes-out" = from_b, cut }, "connection closed");
        }
    }
}
