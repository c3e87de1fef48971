//! To the admin port of another node.

use crate::cluster::ADMIN_ADDR;
use crate::seldom::Seldom;
use piko_core::gossip::NodeStatus;
use piko_core::id::NodeId;
use piko_core::proxy::{Failure, cause};
use piko_core::time::Instant;
use piko_driver::tls::Connector;
use piko_driver::{Addr, Connected, Gossip, MaybeTls, Runtime, timeout_at};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// The admin address of a node, as it advertises it.
#[derive(Debug)]
pub(crate) struct Target(String);

impl Target {
    /// The name or address without its port and brackets.
    fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The node of that name, if it proved that it is where it says: nobody is to make this node connect anywhere by
/// telling of nodes that do not exist.
pub(super) fn find(gossip: &Gossip, id: &[u8]) -> Option<Target> {
    let id = NodeId::new(std::str::from_utf8(id).ok()?);
    gossip.look(|node| {
        let peer = node.peer(&id).filter(|peer| peer.status() != NodeStatus::Unproven)?;
        let entry = peer.entries().find(|entry| entry.key == ADMIN_ADDR.as_bytes() && !entry.deleted)?;
        Some(Target(String::from_utf8(entry.value.to_vec()).ok()?))
    })
}

/// A new connection: operators ask rarely.
pub(super) async fn connect<R: Runtime>(
    rt: &R,
    tls: Option<&Connector>,
    tls_failures: &Seldom,
    target: &Target,
    until: Option<Instant>,
) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
    let addrs = match target.0.parse::<SocketAddr>() {
        Ok(addr) => vec![addr],
        Err(_) => {
            let (host, port) = target.0.rsplit_once(':').ok_or(Failure::Connect(cause::RESOLVE_FAILED))?;
            let port = port.parse().map_err(|_| Failure::Connect(cause::RESOLVE_FAILED))?;
            let found = timeout_at(rt, until, rt.resolve(host, port)).await;
            found.ok().and_then(Result::ok).ok_or(Failure::Connect(cause::RESOLVE_FAILED))?
        }
    };
    let mut last = cause::RESOLVE_FAILED;
    for (n, addr) in addrs.iter().copied().enumerate() {
        // One that swallows packets leaves the others their chance.
        let until = until.map(|until| {
            let now = rt.now();
            now + until.since(now) / u32::try_from(addrs.len() - n).unwrap_or(u32::MAX)
        });
        last = match timeout_at(rt, until, dial(rt, tls, addr, target.host())).await {
            Ok(Ok(io)) => return Ok(Connected { io, pooled: false }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => cause::CONNECT_REFUSED,
            Ok(Err(error)) if tls.is_some() && error.kind() == io::ErrorKind::InvalidData => {
                if tls_failures.is_due(addr, rt.now()) {
                    tracing::warn!(target: "admin", %addr, %error, "no TLS with node");
                }
                cause::TLS_FAILED
            }
            Ok(Err(error)) => {
                tracing::debug!(target: "admin", %addr, %error, "no connection to the node");
                cause::CONNECT_FAILED
            }
            Err(_) => cause::CONNECT_TIMEOUT,
        };
        tracing::debug!(target: "admin", %addr, cause = last, "failed to dial node");
    }
    Err(Failure::Connect(last))
}

/// The node refused our certificate, which in TLS 1.3 comes in place of its answer (RFC 8446 4.4.2.4).
pub(super) fn refused<R: Runtime>(
    rt: &R,
    tls_failures: &Seldom,
    target: &Target,
    error: &io::Error,
) -> Failure {
    // Nodes that advertise names share one turn to be complained about.
    let addr = target.0.parse().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    if tls_failures.is_due(addr, rt.now()) {
        tracing::warn!(target: "admin", { addr = target.0, %error }, "no TLS with node");
    }
    Failure::Connect(cause::TLS_FAILED)
}

async fn dial<R: Runtime>(
    rt: &R,
    tls: Option<&Connector>,
    addr: SocketAddr,
    host: &str,
) -> io::Result<MaybeTls<R::Tcp>> {
    let io = rt.connect(&Addr::Ip(addr)).await?;
    match tls {
        None => Ok(MaybeTls::Plain(io)),
        Some(tls) => Box::pin(tls.connect(io, host)).await,
    }
}
