//! A connection may be silent for days, and its peer may vanish without a word: TCP asks, on every hop.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use crate::raw::port_of;
use piko_tests::process::{TcpTimer, tcp_connections};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// No hop asks more rarely.
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// One side of a hop.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// That which took the connection at this address.
    Accepted(SocketAddr),
    /// That which dialled it.
    Dialled(SocketAddr),
}

impl Side {
    /// Is there a connection of this side that TCP probes, and often enough?
    fn is_probed(self) -> bool {
        let all = tcp_connections().expect("the sockets");
        let mut timers = all.iter().filter(|connection| match self {
            Self::Accepted(at) => connection.local_port == at.port(),
            Self::Dialled(at) => connection.remote_port == at.port(),
        });
        timers.any(|connection| matches!(connection.timer, TcpTimer::KeepAlive(due) if due <= INTERVAL_MAX))
    }
}

/// Opens a connection at `entry`, and looks at both sides of its way.
fn check(entry: SocketAddr, service: SocketAddr, sides: &[(&str, Side)]) {
    let mut client = connect(entry);
    client.write_all(b"ping").expect("sent");
    client.read_exact(&mut [0; 4]).expect("an echo");
    let ends = [("the client's", Side::Accepted(entry)), ("the service's", Side::Dialled(service))];
    let deadline = Instant::now() + PATIENCE;
    for (name, side) in sides.iter().chain(&ends) {
        // Until all is acknowledged another timer runs, and nothing tells when it has.
        while !side.is_probed() {
            assert!(Instant::now() < deadline, "{name}: {:?}", tcp_connections());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn every_hop_of_a_forwarded_connection_is_probed() {
    let service = echo();
    let way = Way::across_nodes(service.addr());
    let (near, far) = (way.servers[0].proxy, way.servers[1].proxy);
    let forward = way.forward();
    let sides = [
        ("the forwarder to its server", Side::Dialled(near)),
        ("a server to its forwarder", Side::Accepted(near)),
        ("a node to another one", Side::Dialled(far)),
        ("a node of another one", Side::Accepted(far)),
    ];
    check(forward.addr, service.addr(), &sides);
}

#[test]
fn every_hop_of_a_tcp_port_is_probed() {
    let service = echo();
    let way = Way::across_nodes_with(service.addr(), &["--proxy.tcp.ports", "127.0.0.1:0=db"]);
    let far = way.servers[1].proxy;
    let sides =
        [("a node to another one", Side::Dialled(far)), ("a node of another one", Side::Accepted(far))];
    check(port_of(&way.servers[0], ENDPOINT), service.addr(), &sides);
}
