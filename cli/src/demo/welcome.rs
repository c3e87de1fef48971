//! What the demo says once it is up.

use super::ports::Given;
use piko_server::Bound;
use std::fmt;
use std::net::SocketAddr;

/// The text to start from. Every line with `curl` is a whole command that works in a shell.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) endpoint: &'static str,
    /// For clients.
    pub(super) front: SocketAddr,
    /// For agents.
    pub(super) upstream: SocketAddr,
    pub(super) nodes: Vec<Bound>,
    pub(super) service: SocketAddr,
    pub(super) given: Given,
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, front, upstream, nodes, service, given } = self;
        // There is always a first node.
        let Some(admin) = nodes.first().map(|node| node.admin) else { return Err(fmt::Error) };
        for port in given.taken() {
            writeln!(f, "Port {port} is taken; another one stands in for it.")?;
        }
        writeln!(f, "Piko is up: three servers, an agent and a small service, in one process.\n")?;
        writeln!(f, "  you ─► front {front} ─► servers 1, 2, 3 ◄═ tunnels ═ agent ─► service {service}\n")?;
        writeln!(f, "Try it from another terminal:\n")?;
        let curl = format!("curl -H 'x-piko-endpoint: {endpoint}'");
        writeln!(f, "  {curl} http://{front}/")?;
        writeln!(f, "  {curl} http://{front}/echo -d 'hello through the tunnel'")?;
        writeln!(f, "  {curl} -N http://{front}/sse")?;
        writeln!(f, "  curl http://{admin}/status/upstream/endpoints")?;
        writeln!(f, "  curl http://{admin}/status/cluster/nodes\n")?;
        writeln!(f, "Kill a server without a word, as when its machine dies, and ask again:\n")?;
        writeln!(f, "  curl -X POST http://{service}/kill/2\n")?;
        writeln!(f, "  In a browser         http://{endpoint}.localhost:{}/", front.port())?;
        writeln!(f, "  Metrics              http://{admin}/metrics")?;
        writeln!(
            f,
            "  For your own agents  piko agent http my-endpoint 4000 --connect.url http://{upstream}\n"
        )?;
        writeln!(f, "Ctrl-C ends it.")
    }
}
