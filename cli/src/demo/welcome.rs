//! What the demo says once it is up.

use super::ports::Given;
use piko_server::Bound;
use std::fmt;
use std::net::SocketAddr;

/// The text to start from. Every line with `curl` is a whole command that works in a shell.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) endpoint: &'static str,
    pub(super) front: SocketAddr,
    pub(super) bound: Bound,
    pub(super) service: SocketAddr,
    pub(super) given: Given,
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, front, bound: Bound { upstream, admin, .. }, service, given } = self;
        for port in given.taken() {
            writeln!(f, "Port {port} is taken; another one stands in for it.")?;
        }
        writeln!(f, "Piko is up: a server, an agent and a small service, in one process.\n")?;
        writeln!(f, "  you ─► front {front} ─► server ◄═ tunnel ═ agent ─► service {service}\n")?;
        writeln!(f, "Try it from another terminal:\n")?;
        let curl = format!("curl -H 'x-piko-endpoint: {endpoint}'");
        writeln!(f, "  {curl} http://{front}/")?;
        writeln!(f, "  {curl} http://{front}/echo -d 'hello through the tunnel'")?;
        writeln!(f, "  {curl} -N http://{front}/sse")?;
        writeln!(f, "  curl http://{admin}/status/upstream/endpoints\n")?;
        writeln!(f, "  In a browser         http://{endpoint}.localhost:{}/", front.port())?;
        writeln!(f, "  Metrics              http://{admin}/metrics")?;
        writeln!(
            f,
            "  For your own agents  piko agent http my-endpoint 4000 --connect.url http://{upstream}\n"
        )?;
        writeln!(f, "Ctrl-C ends it.")
    }
}
