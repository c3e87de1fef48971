//! TCP against other people's code: the Go peer as the one that dials, as the agent, and as the server of our agent.

#[path = "../interop/peer.rs"]
mod peer;

use peer::{Peer, SHA_5_MIB, SHA_100_KB, pattern};
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const ENDPOINT: &str = "peer";

/// Answers with whatever comes.
fn echo() -> Service {
    Service::scripted(|mut stream| {
        let mut buf = [0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    })
}

/// Where the server's TCP port is.
fn port_of(server: &Server) -> SocketAddr {
    let (_, record) = server.process.wait_record(0, PATIENCE, "starting tcp port").expect("a port");
    record["addr"].as_str().and_then(|addr| addr.parse().ok()).expect("an address")
}

#[test]
fn go_dials_what_our_agent_serves() {
    let service = echo();
    let far = Server::start(&[]);
    let seed = far.gossip().to_string();
    let near = Server::start(&["--cluster.join", &seed, "--proxy.tcp.ports", "127.0.0.1:0=peer"]);
    let _agent = Agent::tcp(&far.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    wait_until_reached(&near);
    for server in [&far, &near] {
        let url = format!("http://{}", server.proxy);
        let args = ["-requests", "40", "-concurrency", "20", "-size", "100000"];
        let Some(outcomes) = Peer::dial(&url, ENDPOINT, &args) else { return };
        assert_eq!(outcomes.len(), 40);
        for outcome in outcomes {
            assert_eq!((outcome.status, outcome.bytes), (101, 100_000), "{}", outcome.error);
            assert_eq!(outcome.sha256, SHA_100_KB);
        }
        let outcomes = Peer::dial(&url, ENDPOINT, &["-size", "5242880"]).expect("Go is there");
        assert_eq!(outcomes[0].sha256, SHA_5_MIB, "{}", outcomes[0].error);
    }
}

/// A connection that is not reset: gossip has brought the endpoint. Nothing else tells when it has.
fn wait_until_reached(node: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while !echoes(port_of(node)) {
        assert!(Instant::now() < deadline, "the endpoint does not come to the other node");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn echoes(port: SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(port) else { return false };
    client.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    client.write_all(b"x").is_ok() && matches!(client.read(&mut [0; 1]), Ok(1))
}

/// On the node of the agent and through another one.
#[test]
fn a_go_agent_serves_what_comes_in_at_a_tcp_port() {
    let port = ["--proxy.tcp.ports", "127.0.0.1:0=peer"];
    let far = Server::start(&port);
    let seed = far.gossip().to_string();
    let near = Server::start(&[&port[..], &["--cluster.join", &seed]].concat());
    let Some(_peer) = Peer::listen(&far.connect_url(), ENDPOINT, &["-raw"]) else { return };
    wait_until_reached(&near);
    for server in [&far, &near] {
        a_go_agent_serves(server);
    }
}

fn a_go_agent_serves(server: &Server) {
    let sent = pattern(1 << 20);
    let mut client = TcpStream::connect(port_of(server)).expect("the port");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let mut writer = client.try_clone().expect("a second handle");
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("it is taken");
            // The peer sends back until it hears the end.
            writer.shutdown(Shutdown::Write).expect("a half close");
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("all of it, and its end");
        back
    });
    assert!(back == sent, "{} bytes came back", back.len());
    let url = format!("http://{}", server.proxy);
    let outcomes = Peer::dial(&url, ENDPOINT, &["-size", "100000"]).expect("Go is there");
    assert_eq!((outcomes[0].bytes, outcomes[0].sha256.as_str()), (100_000, SHA_100_KB));
}

/// Go's server does not say who the client is, so that the agent says that it does not know.
#[test]
fn a_go_server_names_no_clients() {
    for (version, header) in
        [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00")]
    {
        let (tell, told) = channel();
        let service = Service::scripted(move |mut stream| {
            let mut found = vec![0; header.len()];
            let read = stream.read_exact(&mut found).map(|()| found);
            let _ = tell.send(read);
            let mut buf = [0; 16 * 1024];
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                if stream.write_all(&buf[..n]).is_err() {
                    return;
                }
            }
        });
        let Some((peer, url)) = Peer::serve(&["-raw", "-size", "100000"]) else { return };
        let _agent = Agent::tcp(&url, ENDPOINT, &service.addr().to_string(), &["--proxy-protocol", version]);
        let outcomes = peer.outcomes();
        assert_eq!((outcomes[0].bytes, outcomes[0].sha256.as_str()), (100_000, SHA_100_KB));
        assert_eq!(told.recv_timeout(PATIENCE).expect("it tells").expect("a header"), header, "{version}");
    }
}
