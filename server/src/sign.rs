//! The sign that an upstream is there, which TCP waits for: an open tunnel is none, since its agent may have been stopped
//! a second ago, and the bytes of a client can be given to one upstream only.

use piko_core::id::EndpointId;
use piko_core::mux::OpenError;
use piko_core::proxy::cause;
use piko_core::time::Instant;
use piko_driver::{Runtime, Stream, TunnelHandle, timeout_at};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

/// How long an agent may be silent while there is another upstream. Many round trips, and little to wait for a client.
pub(crate) const AGENT_PATIENCE: Duration = Duration::from_secs(1);
/// The same of a node, which may have to pass over agents itself.
pub(crate) const NODE_PATIENCE: Duration = Duration::from_secs(3);

/// Does `work` to its end, or gives up (`None`) once it has taken `patience` and `has_other` upstream to ask. Of what is
/// left until `until` the first wait takes half at most, so that the other one has its chance. The caller sees to the end
/// at `until`.
pub(crate) async fn patiently<R: Runtime, T>(
    rt: &R,
    patience: Duration,
    until: Option<Instant>,
    has_other: impl Fn() -> bool,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut wait = until.map_or(patience, |until| patience.min(until.since(rt.now()) / 2));
    loop {
        if let Ok(done) = timeout_at(rt, Some(rt.now() + wait), work.as_mut()).await {
            return Some(done);
        }
        if has_other() {
            return None;
        }
        // Another one may come.
        wait = patience;
    }
}

/// Opens a stream and waits until its agent has taken it, with [patience](patiently).
///
/// # Errors
/// The cause.
pub(crate) async fn open<R: Runtime>(
    rt: &R,
    tunnel: &TunnelHandle,
    endpoint: &EndpointId,
    until: Option<Instant>,
    has_other: impl Fn() -> bool,
) -> Result<Stream, &'static str> {
    let open = async {
        let mut stream = poll_fn(|cx| tunnel.poll_open(cx)).await.map_err(|error| match error {
            OpenError::GoingAway => cause::UPSTREAM_GOING_AWAY,
            _ => cause::STREAM_RESET,
        })?;
        let taken = poll_fn(|cx| stream.poll_acknowledged(cx)).await;
        taken.map(|()| stream).map_err(|_| cause::STREAM_RESET)
    };
    patiently(rt, AGENT_PATIENCE, until, has_other, open).await.unwrap_or_else(|| {
        let agent = tunnel.info().peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
        tracing::warn!(target: "proxy.tcp", { "endpoint-id" = %endpoint, agent }, "agent does not answer; trying another");
        Err(cause::CONNECT_TIMEOUT)
    })
}
