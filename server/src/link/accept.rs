//! The owner's end of a link: streams of another node, each a request.

use super::{PATH, label};
use crate::date;
use crate::node::Node;
use crate::proxy::ProxyService;
use piko_core::http1::RequestHead;
use piko_core::mux;
use piko_core::proxy::{Answer, NODE_FIELD, Place, cause};
use piko_core::tunnel::Tunnel;
use piko_core::ws::{Role, handshake};
use piko_driver::{
    Io, Members, Port, Proof, Runtime, ShutdownListener, Stream, TaskGuard, Tasks, TunnelHandle, TunnelLoop,
    WsTransport, serve,
};
use std::future::poll_fn;
use std::sync::Arc;

/// Links that other nodes have opened to this one, at most: as many as a node knows other nodes.
const LINKS_MAX: isize = 1024;
/// Requests under way over all of them: 64 nodes with all that a link carries. Each costs some KiB, and without a
/// secret anybody can ask.
const STREAMS_MAX: isize = 64 * super::STREAMS_MAX as isize;

/// A link that was accepted; counted for as long as this exists.
#[derive(Debug)]
pub(crate) struct Accepted(Arc<Node>);

impl Accepted {
    fn new(node: &Arc<Node>) -> Self {
        node.links.inc();
        Self(node.clone())
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.links.dec();
    }
}

/// A request that came over a link; counted for as long as this exists.
struct Counted(Arc<Node>);

impl Counted {
    fn new(node: &Arc<Node>) -> Self {
        node.link_streams.inc();
        Self(node.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.link_streams.dec();
    }
}

/// What serves the streams of all links.
pub(crate) struct Owner<R: Runtime> {
    pub(crate) service: ProxyService<R>,
    pub(crate) port: Port,
    pub(crate) limits: Arc<mux::Config>,
    pub(crate) tasks: Tasks,
}

/// The request asks for a link. Its path is nobody else's; a request for it that asks for something else is proxied
/// like any other.
pub(crate) fn is_asked(head: &RequestHead<'_>) -> bool {
    head.target == PATH && head.upgrade && head.method == b"GET"
}

/// Judges a request for a link. Where the cluster has a secret, only its members may open one.
pub(crate) fn judge(
    node: &Arc<Node>,
    members: Option<&Members>,
    head: &RequestHead<'_>,
) -> Result<(Answer, Accepted), Answer> {
    let refuse = |status, error, why| {
        node.links_refused.inc();
        let mut answer = Answer::request_error(Place::Server, status, error, why);
        answer.close = true;
        Err(answer)
    };
    if let Some(members) = members {
        let proof = head.fields.first(NODE_FIELD);
        match proof.map_or(Proof::Bad, |proof| members.judge(proof, date::unix_secs())) {
            Proof::Good => {}
            Proof::Old { minutes } => {
                node.complain_of_clock(minutes, "a link was refused");
                return refuse(403, "the clocks of these nodes differ", cause::NOT_A_MEMBER);
            }
            Proof::Bad => return refuse(403, "not a node of this cluster", cause::NOT_A_MEMBER),
        }
    }
    if node.is_draining() {
        return refuse(503, "node is draining", cause::DRAINING);
    }
    if node.links.value() >= LINKS_MAX {
        return refuse(503, "too many links", cause::TOO_MANY_LINKS);
    }
    let Ok(accept) = handshake::judge_request(head) else {
        return refuse(400, "not a websocket upgrade", cause::BAD_UPGRADE);
    };
    let mut answer = crate::answers::empty(101);
    answer.fields = b"Upgrade: websocket\r\nSec-WebSocket-Accept: ".to_vec();
    answer.fields.extend_from_slice(&accept);
    answer.fields.extend_from_slice(b"\r\n");
    Ok((answer, Accepted::new(node)))
}

/// Carries a link until it ends, and serves its streams. Both count as tasks of the port.
pub(crate) async fn carry<R: Runtime, C: Io>(
    rt: R,
    io: C,
    early: Vec<u8>,
    owner: Arc<Owner<R>>,
    accepted: Accepted,
    guard: TaskGuard,
) {
    let info = *io.info();
    let tunnel = Tunnel::dialled(label(), owner.limits.clone(), rt.now());
    let transport = WsTransport::new(io, Role::Server, early);
    let (handle, work) = TunnelLoop::new(rt.clone(), transport, tunnel, info);
    rt.spawn(async move {
        let reason = work.await;
        tracing::debug!(target: "proxy.http", %reason, "link of node ended");
        drop((accepted, guard));
    });
    let mut stopped = owner.port.shutdown.listener();
    while let Some(stream) = next(&owner, &handle, &mut stopped).await {
        if owner.service.node.link_streams.value() >= STREAMS_MAX {
            // Dropped, which resets it.
            continue;
        }
        let (owner, serving, guard) = (owner.clone(), rt.clone(), owner.tasks.enter());
        let counted = Counted::new(&owner.service.node);
        rt.spawn(async move {
            let _ = serve::<R, Stream, _>(&serving, stream, &owner.service, &owner.port).await;
            drop((counted, guard));
        });
    }
}

/// The next stream; `None` when the link is over. Once the port closes it takes no new ones, and ends with the last.
async fn next<R: Runtime>(
    owner: &Owner<R>,
    handle: &TunnelHandle,
    stopped: &mut ShutdownListener,
) -> Option<Stream> {
    poll_fn(|cx| {
        if !handle.is_draining() && stopped.poll(cx).is_ready() {
            handle.drain(owner.service.live.grace_period());
        }
        handle.poll_accept(cx)
    })
    .await
}
