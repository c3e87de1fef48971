//! The way to an endpoint: a stream of a tunnel here, or a WebSocket to the node that has the agent.

use super::Raw;
use crate::date;
use crate::node::Via;
use crate::sign;
use crate::watched::Watched;
use piko_core::http1::NODE_FIELD;
use piko_core::id::EndpointId;
use piko_core::preface::HeaderVersion;
use piko_core::proxy::{Failure, cause};
use piko_core::route::{Fault as Blame, Hop, Pick, Route};
use piko_core::time::Instant;
use piko_core::tunnel::Caps;
use piko_core::ws::Role;
use piko_driver::{
    Attempt, Connected, MaybeTls, Runtime, Stream, UpgradeError, Upgraded, WsStream, timeout_at, upgrade,
};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// An endpoint that was reached. The pick counts the connection for as long as it exists.
pub(super) enum Reached<R: Runtime> {
    /// Through a tunnel of this node; `half_close`: its agent knows half closes; `header`: it wants to know the client.
    Here { stream: Watched<Stream>, half_close: bool, header: Option<HeaderVersion>, _pick: Pick },
    /// Through another node.
    There { stream: Box<Watched<WsStream<MaybeTls<R::Tcp>>>>, _pick: Pick },
}

/// Reaches the endpoint by `until`, passing over upstreams and nodes that cannot be reached while there are others.
///
/// # Errors
/// The cause of the last failure.
pub(super) async fn reach<R: Runtime>(
    raw: &Raw<R>,
    endpoint: &EndpointId,
    client: Option<IpAddr>,
    until: Option<Instant>,
) -> Result<Reached<R>, &'static str> {
    let mut tried = Vec::new();
    let mut why = cause::NO_UPSTREAM;
    while let Some((mut pick, via)) = raw.node.select(raw.rt.now(), endpoint, Hop::First, &tried) {
        let has_other = || raw.node.has_other(endpoint, &tried, pick.route());
        let (failed, blame) = match via {
            Via::Tunnel(tunnel, header) => {
                raw.node.upstream_requests.inc();
                let open = sign::open(&raw.rt, &tunnel, endpoint, until, has_other);
                match timeout_at(&raw.rt, until, open).await.unwrap_or(Err(cause::CONNECT_TIMEOUT)) {
                    Ok(stream) => {
                        let stream = Watched::begin(stream, &raw.node, endpoint, &mut pick);
                        let half_close = tunnel.has_half_close();
                        return Ok(Reached::Here { stream, half_close, header, _pick: pick });
                    }
                    Err(cause) => (cause, Blame::Broken),
                }
            }
            _ => {
                let mut is_connected = false;
                let through = Box::pin(through_node(raw, &pick, endpoint, client, until, &mut is_connected));
                let through = sign::patiently(&raw.rt, sign::NODE_PATIENCE, until, has_other, through);
                match timeout_at(&raw.rt, until, through).await {
                    Ok(Some(Ok(stream))) => {
                        let stream = Watched::begin(stream, &raw.node, endpoint, &mut pick);
                        return Ok(Reached::There { stream: Box::new(stream), _pick: pick });
                    }
                    Ok(Some(Err(failed))) => failed,
                    // A node that takes connections may wait for an agent, which is not held against its other endpoints.
                    _ if is_connected => (cause::CONNECT_TIMEOUT, Blame::Slow),
                    _ => (cause::CONNECT_TIMEOUT, Blame::Broken),
                }
            }
        };
        pick.fail(raw.rt.now(), blame);
        why = failed;
        tried.push(pick.route().clone());
        if until.is_some_and(|until| raw.rt.now() >= until) {
            break;
        }
    }
    Err(why)
}

/// Asks another node for the endpoint, as an entry node does for a WebSocket client of its own. Tells what went wrong, and
/// what is to be held against the node; and in `is_connected`, also when this is not waited for, that it took the connection.
async fn through_node<R: Runtime>(
    raw: &Raw<R>,
    pick: &Pick,
    endpoint: &EndpointId,
    client: Option<IpAddr>,
    until: Option<Instant>,
    is_connected: &mut bool,
) -> Result<WsStream<MaybeTls<R::Tcp>>, (&'static str, Blame)> {
    let Route::Remote { node, proxy } = pick.route() else { return Err((cause::NO_UPSTREAM, Blame::Down)) };
    raw.node.remote_requests.with(node.as_str()).inc();
    let attempt = Attempt { idempotent: false, fresh: true, until };
    let io = match raw.nodes.connect(node, *proxy, attempt).await {
        Ok(Connected { io, .. }) => io,
        Err(Failure::Connect(cause)) => return Err((cause, Blame::Broken)),
        Err(_) => return Err((cause::CONNECT_FAILED, Blame::Broken)),
    };
    *is_connected = true;
    ask(raw, io, *proxy, endpoint, client).await.map_err(|error| {
        tracing::debug!(target: "proxy.tcp", { "node-id" = %node, %proxy, %error }, "node opens no connection");
        match error {
            UpgradeError::Io(error) if raw.nodes.is_no_tls(node, *proxy, &error) => {
                (cause::TLS_FAILED, Blame::Broken)
            }
            UpgradeError::Io(_) => (cause::STREAM_RESET, Blame::Broken),
            // Its upstream left, and the news has not come yet, or does not answer; it has said so in its own log.
            UpgradeError::Refused(502, _) => (cause::NO_UPSTREAM, Blame::Down),
            UpgradeError::Refused(504, _) => (cause::CONNECT_TIMEOUT, Blame::Slow),
            _ => (cause::BAD_UPGRADE, Blame::Broken),
        }
    })
}

async fn ask<R: Runtime>(
    raw: &Raw<R>,
    io: MaybeTls<R::Tcp>,
    proxy: SocketAddr,
    endpoint: &EndpointId,
    client: Option<IpAddr>,
) -> Result<WsStream<MaybeTls<R::Tcp>>, UpgradeError> {
    let ours = Caps { half_close: true, ..Caps::default() };
    let stated = ours.to_value();
    let proof = raw.nodes.members.as_ref().map(|members| members.proof(date::unix_secs()));
    let address = client.map(|ip| ip.to_canonical().to_string());
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("User-Agent", concat!("piko-rust/", env!("CARGO_PKG_VERSION")).as_bytes()),
        ("X-Piko-Forward", b"true"),
        ("X-Piko-Caps", stated.as_bytes()),
    ];
    fields.extend(proof.as_ref().map(|proof| (NODE_FIELD, &proof[..])));
    fields.extend(address.as_ref().map(|address| ("X-Forwarded-For", address.as_bytes())));
    let mut theirs = Caps::default();
    let (host, path) = (proxy.to_string(), path(endpoint));
    let Upgraded { io, early } = upgrade(io, host.as_bytes(), path.as_bytes(), &fields, &mut |fields| {
        theirs = fields.first("x-piko-caps").map(Caps::parse).unwrap_or_default();
    })
    .await?;
    Ok(WsStream::new(io, Role::Client, early, ours.both(&theirs).half_close))
}

/// The path of an endpoint's TCP connections (wire protocol 5): one segment (RFC 3986 3.3).
fn path(endpoint: &EndpointId) -> String {
    let mut path = String::from("/_piko/v1/tcp/");
    for &b in endpoint.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            path.push(char::from(b));
        } else {
            // Writing to a string does not fail.
            let _ = write!(path, "%{b:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_one_segment_of_a_path() {
        let path = |id: &[u8]| path(&EndpointId::new(id).expect("an id"));
        assert_eq!(path(b"my-db"), "/_piko/v1/tcp/my-db");
        assert_eq!(path("a b%é".as_bytes()), "/_piko/v1/tcp/a%20b%25%C3%A9");
    }
}
