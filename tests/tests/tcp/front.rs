//! PROXY protocol headers: believed from trusted networks, written for services that ask for them.

use crate::common::{ENDPOINT, PATIENCE, Way, connect};
use crate::raw::port_of;
use piko_tests::certs::Folder;
use piko_tests::process::{Agent, Process, Server, need};
use piko_tests::service::Service;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
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
    let server = Server::start(&[&TRUSTED[..], &["--proxy.http.read-header-timeout", "500ms"]].concat());
    for bad in [&b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x31"] {
        let mut client = connect(server.proxy);
        client.write_all(bad).expect("it is taken");
        assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "nothing is said to it");
    }
    let start = Instant::now();
    let mut client = connect(server.proxy);
    client.write_all(b"PROXY TCP4 ").expect("it is taken");
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "nothing is said to it");
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    let mut counted = crate::upgrade::metric(server.admin, "piko_proxy_headers_refused_total");
    counted.sort();
    let line =
        |cause: &str, count: u32| format!("piko_proxy_headers_refused_total{{cause=\"{cause}\"}} {count}");
    assert_eq!(counted, [line("malformed", 2), line("timeout", 1)]);
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
    let args = ["--proxy.tcp.ports", "127.0.0.1:0=db", "--proxy.http.read-header-timeout", "500ms"];
    let way = Way::local_with(service.addr(), &[&args[..], &TRUSTED].concat());
    let port = port_of(&way.servers[0], ENDPOINT);
    let mut client = connect(port);
    client.write_all(&[V1, b"hello\n"].concat()).expect("it is taken");
    assert_eq!(first_line(&told), "hello\n");
    let mut client = connect(port);
    client.write_all(b"hello\n").expect("it is taken");
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it is closed");
    let mut client = connect(port);
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "it is closed");
    let mut counted = crate::upgrade::metric(way.servers[0].admin, "piko_proxy_headers_refused_total");
    counted.sort();
    let line = |cause: &str| format!("piko_proxy_headers_refused_total{{cause=\"{cause}\"}} 1");
    assert_eq!(counted, [line("missing"), line("timeout")]);
}

/// HAProxy in front of `target`, which it sends headers of that kind.
fn haproxy(
    program: &std::path::Path,
    folder: &Folder,
    target: SocketAddr,
    kind: &str,
) -> (Process, SocketAddr) {
    let addr = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
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
            "20",
            "-H",
            "Host: db.example.com",
        ]);
        let output = client.arg(format!("http://{addr}/")).output().expect("curl starts");
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert_eq!(forwarded_for(&said), "127.0.0.77", "{kind}: {output:?}");
    }
}
