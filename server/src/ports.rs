//! The ports of a node: opening them, and serving what comes in.

use crate::front::{Front, Fronted, Wanted};
use crate::link::{self, Owner};
use crate::local::LocalService;
use crate::node::Node;
use crate::proxy::ProxyService;
use crate::seldom::Burst;
use crate::server::StartError;
use crate::upstream;
use piko_config::{BindAddr, BindHost};
use piko_core::http1::RequestHead;
use piko_core::time::Instant;
use piko_driver::tls::Acceptor;
use piko_driver::{
    Addr, Io, IoInfo, ListenOptions, Listener, MaybeTls, Port, Runtime, Served, Service, Shutdown, TaskGuard,
    Tasks, accept, serve,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A handshake takes at most this, also where heads may take for ever.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A port that is free for TCP may be taken for UDP: then another one is tried.
const PORT_TRIES: usize = 16;

/// Accepts on one port until `stop`, and serves each connection.
#[expect(clippy::too_many_arguments, reason = "one port's parts, named once")]
pub(crate) fn start<R: Runtime, S: Service>(
    rt: &R,
    name: &'static str,
    addr: SocketAddr,
    listener: R::Listener,
    tls: Option<Arc<Acceptor>>,
    stop: &Shutdown,
    tasks: &Tasks,
    port: Port,
    service: S,
) {
    announce(name, addr);
    let shared = Arc::new((service, port, Door::new(name, tls)));
    let serving = rt.clone();
    rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks.clone(), move |io, guard: TaskGuard| {
        let (shared, rt) = (shared.clone(), serving.clone());
        async move {
            if let Some(io) = shared.2.enter(&rt, io, &shared.1).await {
                let _ = serve(&rt, io, &shared.0, &shared.1).await;
            }
            drop(guard);
        }
    }));
}

/// What stands between an accepted connection and its first request.
struct Door {
    name: &'static str,
    tls: Option<Arc<Acceptor>>,
    failures: Burst,
}

impl Door {
    fn new(name: &'static str, tls: Option<Arc<Acceptor>>) -> Self {
        Self { name, tls, failures: Burst::default() }
    }

    /// The connection as requests come over it; `None` when it is over already. A handshake may take as long as the
    /// head of a request, as in Go.
    async fn enter<R: Runtime, I: Io>(&self, rt: &R, io: I, port: &Port) -> Option<MaybeTls<I>> {
        let Some(tls) = &self.tls else { return Some(MaybeTls::Plain(io)) };
        let peer = io.info().peer;
        let until = rt.now() + head_max(port.http.get().head_timeout);
        // Boxed: its state is gone while the connection lives.
        match Box::pin(tls.accept(rt, io, Some(until))).await {
            Ok(io) => Some(io),
            Err(error) => {
                let silent = self.failures.next(rt.now())?;
                let silent = Some(silent).filter(|silent| *silent > 0);
                let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
                // The subsystem is part of a record's static description, hence one call site for each.
                match self.name {
                    "admin" => {
                        tracing::warn!(target: "admin", { peer, %error, silent }, "TLS handshake error");
                    }
                    "upstream" => {
                        tracing::warn!(target: "upstream", { peer, %error, silent }, "TLS handshake error");
                    }
                    _ => tracing::warn!(target: "proxy", { peer, %error, silent }, "TLS handshake error"),
                }
                None
            }
        }
    }
}

fn announce(name: &'static str, addr: SocketAddr) {
    // The subsystem is part of a record's static description, hence one call site for each.
    match name {
        "admin" => tracing::info!(target: "admin", %addr, "starting admin server"),
        "upstream" => tracing::info!(target: "upstream", %addr, "starting upstream server"),
        _ => tracing::info!(target: "proxy", %addr, "starting proxy server"),
    }
}

/// What a beginning (a handshake, a PROXY header) may take where a head may take so long.
pub(crate) fn head_max(timeout: Option<Duration>) -> Duration {
    timeout.unwrap_or(HANDSHAKE_MAX).min(HANDSHAKE_MAX)
}

/// What serves the proxy port.
pub(crate) struct Entrance<R: Runtime> {
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// Where load balancers may say whose a connection is.
    pub(crate) front: Option<Front>,
    pub(crate) service: ProxyService<R>,
    pub(crate) owner: Owner<R>,
}

/// As [`start`], for the port at which other nodes ask for links, and load balancers name their clients.
pub(crate) fn start_proxy<R: Runtime>(
    rt: &R,
    addr: SocketAddr,
    listener: R::Listener,
    stop: &Shutdown,
    entrance: Entrance<R>,
) {
    announce("proxy", addr);
    let Entrance { tls, front, service, owner } = entrance;
    let owner = Arc::new(owner);
    let shared = Arc::new((service, owner, Door::new("proxy", tls), front));
    let (serving, tasks) = (rt.clone(), shared.1.tasks.clone());
    rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks, move |io, guard: TaskGuard| {
        let (shared, rt) = (shared.clone(), serving.clone());
        async move {
            let (service, owner, door, front) = &*shared;
            let io = match front {
                None => Fronted::Plain(io),
                Some(front) => {
                    let until = rt.now() + head_max(owner.port.http.get().head_timeout);
                    let Some(io) = front.enter(&rt, io, Wanted::Maybe, until).await else { return };
                    io
                }
            };
            let Some(io) = door.enter(&rt, io, &owner.port).await else { return };
            let served = serve(&rt, io, service, &owner.port).await;
            if let Served::Switched(io, early, accepted) = served {
                // A task of its own: not every connection has the room for it.
                rt.spawn(link::carry(rt.clone(), io, early, owner.clone(), accepted, guard));
            }
        }
    }));
}

#[expect(clippy::too_many_arguments, reason = "one port's parts, named once")]
pub(crate) fn start_upstream<R: Runtime>(
    rt: &R,
    node: &Arc<Node>,
    addr: SocketAddr,
    listener: R::Listener,
    tls: Option<Arc<Acceptor>>,
    stop: &Shutdown,
    tasks: &Tasks,
    port: Port,
) {
    announce("upstream", addr);
    let limits = upstream::limits();
    let node = node.clone();
    let service = LocalService::new(move |now: Instant, info: &IoInfo, head: &RequestHead<'_>| {
        upstream::judge(&node, &limits, now, info, head)
    });
    let shared = Arc::new((service, port, Door::new("upstream", tls)));
    let serving = rt.clone();
    rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks.clone(), move |io, guard: TaskGuard| {
        let (shared, rt) = (shared.clone(), serving.clone());
        // Boxed twice: the state of the handshake is gone while the tunnel lives, and each box is of a size that the
        // allocator keeps for the next connection. A larger one leaves a hole between the tunnels.
        Box::pin(async move {
            let served = if shared.2.tls.is_none() {
                Box::pin(serve(&rt, MaybeTls::Plain(io), &shared.0, &shared.1)).await
            } else {
                let entered = Box::pin(shared.2.enter(&rt, io, &shared.1)).await;
                let Some(io) = entered else { return };
                Box::pin(serve(&rt, io, &shared.0, &shared.1)).await
            };
            if let Served::Switched(io, early, registration) = served {
                rt.spawn(upstream::carry(rt.clone(), io, early, registration, guard));
            }
        })
    }));
}

pub(crate) async fn listen<R: Runtime>(
    rt: &R,
    port: &str,
    bind: &BindAddr,
) -> Result<(R::Listener, SocketAddr), StartError> {
    let fail = |error| StartError::new(port, bind.to_string(), error);
    let addrs = match (bind.socket_addrs(), &bind.host) {
        (None, BindHost::Name(name)) => rt.resolve(name, bind.port).await.map_err(fail)?,
        (addrs, _) => addrs.unwrap_or_default(),
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for addr in addrs {
        match rt.listen(&Addr::Ip(addr), ListenOptions::default()).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(addr);
                return Ok((listener, bound));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(fail(error)),
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

/// The gossip port: a listener and a datagram socket at the same address (behaviour, server 1).
pub(crate) async fn listen_gossip<R: Runtime>(
    rt: &R,
    bind: &BindAddr,
) -> Result<(R::Listener, R::Udp, SocketAddr), StartError> {
    let mut tries = 0;
    loop {
        let (listener, addr) = listen(rt, "gossip", bind).await?;
        tries += 1;
        match rt.bind_udp(addr).await {
            Ok(udp) => return Ok((listener, udp, addr)),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && bind.port == 0 && tries < PORT_TRIES => {}
            Err(error) => return Err(StartError::new("gossip", bind.to_string(), error)),
        }
    }
}

/// The address that other nodes are told: what was asked for, or what was bound, with the machine's own address in
/// place of a wildcard (behaviour, server 1), which would lead whoever dials it to itself.
pub(crate) fn advertised(asked: Option<&BindAddr>, bound: SocketAddr) -> String {
    let port = |asked: &BindAddr| if asked.port == 0 { bound.port() } else { asked.port };
    match asked {
        Some(addr) => match &addr.host {
            BindHost::Ip(ip) => SocketAddr::new(own_ip(ip.to_canonical()), port(addr)).to_string(),
            BindHost::Name(name) => format!("{name}:{}", port(addr)),
            BindHost::Any => SocketAddr::new(own_ip(bound.ip()), port(addr)).to_string(),
        },
        None => SocketAddr::new(own_ip(bound.ip()), bound.port()).to_string(),
    }
}

/// `ip`, or the machine's address where that is a wildcard.
pub(crate) fn own_ip(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    // Addresses for documentation (RFC 5737, RFC 3849): connecting a datagram socket sends nothing, and shows
    // which address the default route would use.
    let v4 = || source(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let v6 = || {
        let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        source(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(to))
    };
    let found = if ip.is_ipv4() { v4() } else { v4().or_else(v6) };
    found.unwrap_or_else(|| {
        tracing::warn!(target: "server", "this machine has no route to others; advertising the loopback address");
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    })
}

fn source(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_a_wildcard() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 7));
        for asked in ["0.0.0.0:8000", "[::]:8000", "[::ffff:0.0.0.0]:8000", ":8000"] {
            let told = advertised(BindAddr::parse(asked).as_ref(), bound);
            let told: SocketAddr = told.parse().expect("an address");
            assert!(!told.ip().is_unspecified() && told.port() == 8000, "{asked}: {told}");
        }
        assert_eq!(advertised(BindAddr::parse("192.0.2.7:0").as_ref(), bound), "192.0.2.7:7");
        assert_eq!(advertised(None, bound), "127.0.0.1:7");
    }
}
