//! PROXY protocol headers: believed from trusted networks, written for services that ask for them.

use crate::common::{ENDPOINT, PATIENCE, Way, connect};
use crate::raw::port_of;
use piko_tests::certs::Folder;
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Process, Server, need};
use piko_tests::service::Service;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const TRUSTED: [&str; 2] = ["--proxy.proxy-protocol.trusted", "127.0.0.0/8"];
const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 5555 80\r\n";
/// The same with a TLV behind the addresses.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xcb\x00\x71\x09\xc0\x00\x02\x01\x15\xb3\x00\x50\x04\x00\x01\x00";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: db.example.com\r\nConnection: close\r\n\r\n";

/// Answers an HTTP request with all that came before the end of its head.
fn mirror() -> Service {
    Service::scripted(|mut stream| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") || head == b"\r\n\r\n" {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.len());
        let _ = stream.write_all(&[answer.as_bytes(), &head].concat());
    })
}

/// All that comes back for these bytes.
fn ask(addr: SocketAddr, sent: &[&[u8]]) -> String {
    let mut client = connect(addr);
    client.write_all(&sent.concat()).expect("it is taken");
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("an answer and an end");
    String::from_utf8_lossy(&said).into_owned()
}

fn forwarded_for(answer: &str) -> &str {
    answer.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: ")).unwrap_or(answer)
}

#[test]
fn the_client_of_a_trusted_header_is_the_one_that_counts() {
    let service = mirror();
    let server = Server::start(&TRUSTED);
    let agent = Agent::http(&server.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    for header in [V1, V2] {
        let mark = server.process.mark();
        assert_eq!(forwarded_for(&ask(server.proxy, &[header, REQUEST])), "203.0.113.9");
        let (_, record) = server.process.wait_record(mark, PATIENCE, "request").expect("an access record");
        assert_eq!(record["request"]["client_ip"], "203.0.113.9", "{record}");
    }
    // Byte by byte.
    let mut client = connect(server.proxy);
    client.set_nodelay(true).expect("a socket option");
    for byte in [V2, REQUEST].concat() {
        client.write_all(&[byte]).expect("it is taken");
    }
    let mut said = String::new();
    client.read_to_string(&mut said).expect("an answer");
    assert_eq!(forwarded_for(&said), "203.0.113.9");
    // A header without a client, and none at all: other nodes come from such networks too.
    for header in [LOCAL, b"PROXY UNKNOWN\r\n", b""] {
        assert_eq!(forwarded_for(&ask(server.proxy, &[header, REQUEST])), "127.0.0.1");
    }
    drop(agent);
}

#[test]
fn headers_that_are_none_end_their_connection_and_are_counted() {
    let server = Server::start(&TRUSTED);
    for bad in [&b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x31"] {
        let mut client = connect(server.proxy);
        client.write_all(bad).expect("it is taken");
        assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "nothing is said to it");
    }
    let line =
        |cause: &str, count: u32| format!("piko_proxy_headers_refused_total{{cause=\"{cause}\"}} {count}");
    let counted = |server: &Server| crate::upgrade::metric(server.admin, "piko_proxy_headers_refused_total");
    assert_eq!(counted(&server), [line("malformed", 2)]);
    // One that waits so briefly that a slow client's would not have come whole.
    let server = Server::start(&[&TRUSTED[..], &["--proxy.http.read-header-timeout", "500ms"]].concat());
    let start = Instant::now();
    let mut client = connect(server.proxy);
    client.write_all(b"PROXY TCP4 ").expect("it is taken");
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "nothing is said to it");
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(counted(&server), [line("timeout", 1)]);
}

#[test]
fn nobody_else_is_believed() {
    for trusted in [&[][..], &["--proxy.proxy-protocol.trusted", "192.0.2.0/24,2001:db8::/32"]] {
        let server = Server::start(trusted);
        for header in [V1, V2] {
            let said = ask(server.proxy, &[header, REQUEST]);
            assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        }
    }
}

/// What a service hears first, up to a line end.
fn first_line(service_said: &std::sync::mpsc::Receiver<String>) -> String {
    service_said.recv_timeout(PATIENCE).expect("the service tells")
}

/// A service that tells its first line, and ends.
fn reads_a_line() -> (Service, std::sync::mpsc::Receiver<String>) {
    let (tell, told) = std::sync::mpsc::channel();
    let service = Service::scripted(move |mut stream| {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") && matches!(stream.read(&mut byte), Ok(1)) {
            line.push(byte[0]);
        }
        let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
    });
    (service, told)
}

#[test]
fn a_tcp_port_wants_the_header_from_trusted_networks() {
    let (service, told) = reads_a_line();
    let way = Way::local_with(service.addr(), &[PORT, TRUSTED].concat());
    let port = port_of(&way.servers[0], ENDPOINT);
    let mut client = connect(port);
    client.write_all(&[V1, b"hello\n"].concat()).expect("it is taken");
    assert_eq!(first_line(&told), "hello\n");
    let mut client = connect(port);
    client.write_all(b"hello\n").expect("it is taken");
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it is closed");
    let line = |cause: &str| format!("piko_proxy_headers_refused_total{{cause=\"{cause}\"}} 1");
    let counted = |server: &Server| crate::upgrade::metric(server.admin, "piko_proxy_headers_refused_total");
    assert_eq!(counted(&way.servers[0]), [line("missing")]);
    // One that waits so briefly that a slow client's would not have come whole.
    let brief = ["--proxy.http.read-header-timeout", "500ms"];
    let server = Server::start(&[PORT, TRUSTED, brief].concat());
    let mut client = connect(port_of(&server, ENDPOINT));
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it is closed");
    assert_eq!(counted(&server), [line("timeout")]);
}

/// HAProxy in front of `target`, which it sends headers of that kind.
fn haproxy(
    program: &std::path::Path,
    folder: &Folder,
    target: SocketAddr,
    kind: &str,
) -> (Process, SocketAddr) {
    let addr = unused_addr();
    let text = format!(
        "global\n  maxconn 64\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n\
         listen way\n  bind {addr}\n  server piko {target} {kind}\n"
    );
    let path = folder.put(&format!("{kind}.cfg"), &text);
    let process =
        Process::spawn("haproxy", Command::new(program).args(["-db", "-f", &path])).expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    // It tells nobody when it is up.
    while std::net::TcpStream::connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    {
        assert!(Instant::now() < deadline, "haproxy does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (process, addr)
}

#[test]
fn haproxy_tells_whose_its_connections_are() {
    let (Some(program), Some(curl)) = (need("haproxy"), need("curl")) else { return };
    let folder = Folder::new("haproxy");
    let service = mirror();
    let server = Server::start(&TRUSTED);
    let _agent = Agent::http(&server.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    for kind in ["send-proxy", "send-proxy-v2"] {
        let (_haproxy, addr) = haproxy(&program, &folder, server.proxy, kind);
        let mut client = Command::new(&curl);
        // Another address of this machine than the one that HAProxy itself comes from.
        client.args([
            "--silent",
            "--interface",
            "127.0.0.77",
            "--max-time",
            "60",
            "-H",
            "Host: db.example.com",
        ]);
        let output = client.arg(format!("http://{addr}/")).output().expect("curl starts");
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert_eq!(forwarded_for(&said), "127.0.0.77", "{kind}: {output:?}");
    }
}

/// `proxy.tcp.ports` of these tests.
const PORT: [&str; 2] = ["--proxy.tcp.ports", "127.0.0.1:0=db"];

/// An agent in front of a service that wants headers of that version.
fn agent_with_headers(server: &Server, kind: &str, service: SocketAddr, version: &str) -> Agent {
    let args = ["--proxy-protocol", version];
    match kind {
        "tcp" => Agent::tcp(&server.connect_url(), ENDPOINT, &service.to_string(), &args),
        _ => Agent::http(&server.connect_url(), ENDPOINT, &service.to_string(), &args),
    }
}

#[test]
fn a_tcp_service_hears_whose_each_connection_is() {
    let (service, told) = reads_a_line();
    let server = Server::start(&PORT);
    let _agent = agent_with_headers(&server, "tcp", service.addr(), "v1");
    let port = port_of(&server, ENDPOINT);
    let client = connect(port);
    let own = client.local_addr().expect("an address").port();
    assert_eq!(first_line(&told), format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {}\r\n", port.port()));
    // Through the WebSocket of the TCP path.
    let forward = piko_tests::process::Forward::tcp(server.proxy, ENDPOINT, &[]);
    let _client = connect(forward.addr);
    let line = first_line(&told);
    let ending = format!(" {}\r\n", server.proxy.port());
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with(&ending), "{line}");
    // A request over HTTP is a stream like any other.
    let mut client = connect(server.proxy);
    client.write_all(REQUEST).expect("it is taken");
    let line = first_line(&told);
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && line.ends_with(&ending), "{line}");
}

/// Neither header nor field names another client than the one that the server sees.
#[test]
fn a_client_that_claims_to_be_a_node_is_told_as_it_is() {
    const CLAIM: &[u8] =
        b"GET / HTTP/1.1\r\nHost: db.example.com\r\nConnection: close\r\nx-piko-forward: true\r\n\
        X-Forwarded-For: 203.0.113.9\r\n\r\n";
    let (service, told) = reads_a_line();
    let server = Server::start(&[]);
    for kind in ["tcp", "http"] {
        let agent = agent_with_headers(&server, kind, service.addr(), "v1");
        let mut client = connect(server.proxy);
        client.write_all(CLAIM).expect("it is taken");
        let line = first_line(&told);
        assert!(line.starts_with("PROXY TCP4 127.0.0.1 "), "{kind}: {line}");
        drop(agent);
        // The next agent is the only one.
        server.process.wait_record(0, PATIENCE, "upstream disconnected").expect("a line");
    }
}

#[test]
fn a_trusted_header_goes_all_the_way() {
    let (service, told) = reads_a_line();
    let server = Server::start(&[PORT, TRUSTED].concat());
    let _agent = agent_with_headers(&server, "tcp", service.addr(), "v1");
    let mut client = connect(port_of(&server, ENDPOINT));
    client.write_all(V2).expect("it is taken");
    assert_eq!(first_line(&told), "PROXY TCP4 203.0.113.9 192.0.2.1 5555 80\r\n");
    let mut client = connect(port_of(&server, ENDPOINT));
    client.write_all(V1).expect("it is taken");
    assert_eq!(first_line(&told), "PROXY TCP4 203.0.113.9 192.0.2.1 5555 80\r\n");
}

/// Between nodes only the address travels, as it does over HTTP.
#[test]
fn the_address_crosses_nodes() {
    let (service, told) = reads_a_line();
    let far = Server::start(&[]);
    let seed = far.gossip().to_string();
    let near = Server::start(&[&PORT[..], &TRUSTED, &["--cluster.join", &seed]].concat());
    let _agent = agent_with_headers(&far, "tcp", service.addr(), "v1");
    let port = port_of(&near, ENDPOINT);
    let deadline = Instant::now() + PATIENCE;
    let line = loop {
        assert!(Instant::now() < deadline, "the endpoint does not come to the other node");
        let mut client = connect(port);
        client.write_all(V1).expect("it is taken");
        // A reset until gossip has brought the endpoint; nothing else tells when it has. The service ends in order.
        match client.read(&mut [0; 1]) {
            Ok(n) => {
                assert_eq!(n, 0, "it says nothing");
                break first_line(&told);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    };
    assert_eq!(line, "PROXY TCP4 203.0.113.9 0.0.0.0 0 0\r\n");
    let forward = piko_tests::process::Forward::tcp(near.proxy, ENDPOINT, &[]);
    let _client = connect(forward.addr);
    assert_eq!(first_line(&told), "PROXY TCP4 127.0.0.1 0.0.0.0 0 0\r\n");
}

#[test]
fn version_2_is_binary() {
    let (tell, told) = std::sync::mpsc::channel();
    let service = Service::scripted(move |mut stream| {
        let mut header = [0; 28];
        let read = stream.read_exact(&mut header);
        let _ = tell.send(read.map(|()| header));
    });
    let server = Server::start(&[PORT, TRUSTED].concat());
    for kind in ["tcp", "http"] {
        let agent = agent_with_headers(&server, kind, service.addr(), "v2");
        let mut client =
            if kind == "tcp" { connect(port_of(&server, ENDPOINT)) } else { connect(server.proxy) };
        client.write_all(&[V2, REQUEST].concat()).expect("it is taken");
        let header = told.recv_timeout(PATIENCE).expect("it tells").expect("a header");
        assert_eq!(&header[..20], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09", "{kind}");
        drop(agent);
        // The next agent is the only one.
        server.process.wait_record(0, PATIENCE, "upstream disconnected").expect("a line");
    }
}

#[test]
fn an_http_service_hears_whose_each_request_is() {
    let service = mirror();
    let server = Server::start(&TRUSTED);
    let _agent = agent_with_headers(&server, "http", service.addr(), "v1");
    for (header, line) in [
        (V1, "PROXY TCP4 203.0.113.9 0.0.0.0 0 0"),
        (b"", "PROXY TCP4 127.0.0.1 0.0.0.0 0 0"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "PROXY TCP6 2001:db8::7 :: 0 0"),
    ] {
        let said = ask(server.proxy, &[header, REQUEST]);
        let body = said.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        assert_eq!(body.lines().next(), Some(line), "{said}");
        assert!(body.contains("\r\nGET / HTTP/1.1\r\n"), "{said}");
    }
}
