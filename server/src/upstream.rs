//! The upstream port: agents in. A WebSocket each, a tunnel inside.

use crate::local::Local;
use crate::node::{Node, Registration};
use crate::{answers, path};
use piko_core::http1::RequestHead;
use piko_core::id::{BadEndpointId, EndpointId};
use piko_core::mux;
use piko_core::proxy::{Answer, Place, cause};
use piko_core::time::Instant;
use piko_core::tunnel::{Caps, Grant, Tunnel};
use piko_core::ws::{FRONT_ROOM, Role, handshake};
use piko_driver::{Io, IoInfo, Runtime, TaskGuard, TunnelHandle, TunnelLoop, WsTransport};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

const PREFIX: &[u8] = b"/piko/v1/upstream/";
/// Received bytes that wait for their readers, in all tunnels together.
const TUNNEL_BUDGET_BYTES: usize = 32 * 1024 * 1024;
/// What the window of one stream may grow to: 400 Mbit/s at a round trip of 100 ms, measured.
pub(crate) const WINDOW_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Names of agents that are longer, in bytes, are not kept: they are part of what an idle tunnel costs.
const AGENT_BYTES_MAX: usize = 64;

/// The limits of all tunnels, which share them.
pub(crate) fn limits() -> Arc<mux::Config> {
    let mut config = mux::Config::default();
    config.window_max = WINDOW_BYTES_MAX;
    config.budget = Arc::new(mux::Budget::new(TUNNEL_BUDGET_BYTES));
    config.front_room = FRONT_ROOM;
    config.lazy_time = mux::LAZY_TIME_CALM;
    // Agents open no streams (wire protocol 4.1).
    config.incoming_max = 0;
    config.accept_backlog = 0;
    Arc::new(config)
}

/// Judges one request of the upstream port. The tunnel of an accepted one is routable before its 101 leaves.
pub(crate) fn judge(
    node: &Arc<Node>,
    mux: &Arc<mux::Config>,
    now: Instant,
    info: &IoInfo,
    head: &RequestHead<'_>,
) -> Local<Registration> {
    let endpoint = match endpoint(head) {
        Ok(endpoint) => endpoint,
        Err(answer) => return Local::Answer(answer),
    };
    if node.is_draining() {
        // It came while the port was closed. Agents, Go's too, try again elsewhere (wire protocol 3.4).
        let mut answer = Answer::request_error(Place::Server, 503, "node is draining", cause::DRAINING);
        answer.close = true;
        return Local::Answer(answer);
    }
    let accept = match handshake::judge_request(head) {
        Ok(accept) => accept,
        Err(refusal) => return Local::Answer(answers::no_upgrade(refusal)),
    };
    let mut tunnel = Tunnel::accepted(endpoint.clone(), Grant::default(), mux.clone(), now);
    // Go peers never state capabilities and get an answer without.
    let stated = head.fields.first("x-piko-caps").map(|theirs| Caps::answer_to(&Caps::parse(theirs)));
    if let Some(caps) = &stated {
        tunnel.set_caps(caps.clone());
    }
    let fields = answers::switch_fields(&accept, stated.as_ref());
    let agent =
        head.fields.first("user-agent").filter(|name| !name.is_empty() && name.len() <= AGENT_BYTES_MAX);
    let agent = agent.map(|name| String::from_utf8_lossy(name).into());
    if stated.as_ref().is_some_and(|caps| caps.proxy_header.is_some()) {
        node.name_clients();
    }
    let handle = TunnelHandle::detached(node.clock(), tunnel, *info);
    let registration = node.attach(&endpoint, handle, agent, stated);
    if node.is_draining() {
        // The others were asked to go elsewhere before this one was in the table.
        registration.tunnel.hint();
    }
    let mut answer = answers::empty(101);
    answer.fields = fields;
    Local::Switch(answer, registration)
}

/// The endpoint in the path (wire protocol 3.1).
fn endpoint(head: &RequestHead<'_>) -> Result<EndpointId, Answer> {
    let path = path::of(head.target);
    let segment = path.strip_prefix(PREFIX).filter(|rest| !rest.is_empty()).ok_or_else(answers::not_found)?;
    if head.method != b"GET" {
        return Err(answers::not_found());
    }
    if let Some(segment) = segment.strip_suffix(b"/")
        && !segment.contains(&b'/')
    {
        return Err(answers::moved(&path[..path.len() - 1]));
    }
    let id = path::decode(segment).ok_or_else(answers::not_found)?;
    EndpointId::new(&id).map_err(|bad| match bad {
        // A 400 or 404 is not tried again by Go clients (wire protocol 3.4).
        BadEndpointId::TooLong => Answer::request_error(
            Place::Server,
            400,
            &BadEndpointId::TooLong.to_string(),
            cause::BAD_ENDPOINT_ID,
        ),
        _ => answers::not_found(),
    })
}

/// Carries the tunnel until it ends, and keeps `guard` for as long. Takes it out of the routes as soon as the
/// agent says that it leaves.
///
/// Not an `async fn`, whose future would hold the arguments beside what was made of them: this future is most
/// of what an idle tunnel costs.
pub(crate) fn carry<R: Runtime, C: Io>(
    rt: R,
    io: C,
    early: Vec<u8>,
    registration: Registration,
    guard: TaskGuard,
) -> impl Future<Output = ()> + Send {
    let peer = registration.peer();
    let endpoint = registration.tunnel.endpoint();
    tracing::info!(target: "upstream", { "endpoint-id" = %endpoint, "client-ip" = peer }, "upstream connected");
    let transport = WsTransport::new(io, Role::Server, early);
    let mut work = TunnelLoop::with_handle(rt, transport, registration.tunnel.clone());
    let mut routed = true;
    async move {
        let reason = poll_fn(|cx| {
            let done = Pin::new(&mut work).poll(cx);
            if routed && registration.tunnel.poll_going_away(cx).is_ready() {
                routed = false;
                registration.detach();
            }
            done
        })
        .await;
        let peer = registration.peer();
        let endpoint = registration.tunnel.endpoint();
        tracing::info!(
            target: "upstream", { "endpoint-id" = %endpoint, "client-ip" = peer, reason = %reason }, "upstream disconnected");
        drop(guard);
    }
}
