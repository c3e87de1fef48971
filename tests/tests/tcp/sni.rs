//! The TLS port that routes by name: a real TLS service behind `piko-agent tcp`, reached by TLS clients alone.

use crate::common::{ENDPOINT, PATIENCE, Way, body, connect, echo};
use piko_tests::certs::{Authority, Folder};
use piko_tests::process::{Process, Server, need};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SNI: [&str; 2] = ["--proxy.tcp.sni.bind-addr", "127.0.0.1:0"];

fn way(service: SocketAddr, across_nodes: bool) -> (Way, SocketAddr) {
    let way =
        if across_nodes { Way::across_nodes_with(service, &SNI) } else { Way::local_with(service, &SNI) };
    let port = port_of(&way.servers[0]);
    (way, port)
}

fn port_of(server: &Server) -> SocketAddr {
    let (_, record) = server.process.wait_record(0, PATIENCE, "starting sni port").expect("a port");
    record["addr"].as_str().and_then(|addr| addr.parse().ok()).expect("an address")
}

/// `openssl s_server`, which answers any request with what it knows of the connection.
fn tls_service(openssl: &Path, cert: &str, key: &str) -> (Process, SocketAddr) {
    let mut command = Command::new(openssl);
    command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-cert", cert, "-key", key]);
    let process = Process::spawn("openssl s_server", &mut command).expect("openssl starts");
    let line =
        process.wait_line(0, PATIENCE, |line| line.text.contains("ACCEPT 127.0.0.1:")).expect("a port");
    let addr = line.text.rsplit(' ').next().and_then(|addr| addr.trim().parse().ok()).expect("an address");
    (process, addr)
}

#[test]
fn tls_clients_reach_a_service_with_its_own_certificate() {
    let (Some(openssl), Some(curl)) = (need("openssl"), need("curl")) else { return };
    let folder = Folder::new("sni");
    let authority = Authority::new("services");
    let name = "db.tcp.example.com";
    let [cert, key] = authority.issue(&[name]).write(&folder, "service");
    let ca = folder.put("ca.pem", &authority.pem());
    let (_service, addr) = tls_service(&openssl, &cert, &key);
    for across_nodes in [false, true] {
        let (_way, port) = way(addr, across_nodes);
        let mut client = Command::new(&openssl);
        client.args(["s_client", "-connect", &port.to_string(), "-servername", name, "-CAfile", &ca]);
        client.args(["-verify_hostname", name, "-verify_return_error"]);
        let output = client.stdin(Stdio::null()).output().expect("openssl starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Verify return code: 0 (ok)"), "{across_nodes}: {output:?}");

        let mut client = Command::new(&curl);
        let resolve = format!("{name}:{}:127.0.0.1", port.port());
        client.args(["--silent", "--show-error", "--cacert", &ca, "--resolve", &resolve, "--max-time", "20"]);
        let output = client.arg(format!("https://{name}:{}/", port.port())).output().expect("curl starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("s_server"), "{across_nodes}: {output:?}");
    }
}

/// A ClientHello of one cipher suite, in records of `record` bytes.
fn hello(name: Option<&str>, record: usize) -> Vec<u8> {
    let vector = |bytes: usize, content: &[u8]| {
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        [&length[4 - bytes..], content].concat()
    };
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
        extensions = [&[0, 0][..], &vector(2, &vector(2, &entry))].concat();
    }
    let body =
        [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, &extensions)]
            .concat();
    let message = [&[1][..], &vector(3, &body)].concat();
    message.chunks(record).flat_map(|piece| [&[22, 3, 1][..], &vector(2, piece)].concat()).collect()
}

#[test]
fn every_byte_goes_on_as_it_came() {
    for across_nodes in [false, true] {
        let service = echo();
        let (_way, port) = way(service.addr(), across_nodes);
        let mut client = connect(port);
        client.set_nodelay(true).expect("a socket option");
        let sent = [hello(Some("db.example.com"), 9), body(200_000)].concat();
        // In segments of their own, as far as the kernel plays along.
        let (start, rest) = sent.split_at(50);
        for piece in start.chunks(7) {
            client.write_all(piece).expect("it is taken");
        }
        let writer = client.try_clone().expect("a second handle");
        let back = std::thread::scope(|scope| {
            scope.spawn(move || (&writer).write_all(rest).expect("it is taken"));
            let mut back = vec![0; sent.len()];
            client.read_exact(&mut back).expect("an echo");
            back
        });
        assert!(back == sent, "{across_nodes}");
    }
}

/// What a server says in plain text before it ends.
fn answer(port: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut client = connect(port);
    client.write_all(sent).expect("it is taken");
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("an alert and an end");
    said
}

#[test]
fn what_leads_nowhere_is_an_alert_a_number_and_a_line() {
    let service = echo();
    let args = [&SNI[..], &["--proxy.tcp.sni.domain", "tcp.example.com"]].concat();
    let way = Way::local_with(service.addr(), &args);
    let server = &way.servers[0];
    let port = port_of(server);
    let alert = |description| vec![21, 3, 3, 0, 2, 2, description];
    let named = |name| answer(port, &hello(Some(name), 4096));
    assert_eq!(named("nobody.tcp.example.com"), alert(112));
    let (_, record) = server.process.wait_record(0, PATIENCE, "refused TLS connection").expect("a line");
    let told = (&record["cause"], &record["server-name"], &record["client-ip"]);
    assert_eq!(told, (&"unknown-name".into(), &"nobody.tcp.example.com".into(), &"127.0.0.1".into()));
    // The endpoint exists; the name is of another domain.
    assert_eq!(named("db.example.com"), alert(112));
    assert_eq!(answer(port, &hello(None, 4096)), alert(112));
    assert_eq!(answer(port, b"GET / HTTP/1.1\r\n\r\n"), alert(10));
    assert_eq!(answer(port, b"\x16\x03\x01\x00\x00"), alert(50));
    assert_eq!(answer(port, b"\x16\x03\x01\x00\x04\x01\x00\x40\x01"), alert(40));
    // One that ends before it begins is a look whether the port is open.
    drop(connect(port));
    let name = "piko_proxy_sni_tcp_connections_failed_total";
    let line = |cause: &str, count: u32| format!("{name}{{cause=\"{cause}\"}} {count}");
    let expected = [
        line("hello-too-long", 1),
        line("malformed-hello", 1),
        line("no-server-name", 1),
        line("not-tls", 1),
        line("unknown-name", 2),
    ];
    let mut counted = crate::upgrade::metric(server.admin, name);
    counted.sort();
    assert_eq!(counted, expected);
    let mut client = connect(port);
    let sent = hello(Some("DB.tcp.example.com"), 4096);
    client.write_all(&sent).expect("it is taken");
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("an alert: the names of endpoints have case");
    assert_eq!(said, alert(112));
    assert_eq!(ENDPOINT, "db");
}

#[test]
fn a_hello_that_does_not_come_is_not_waited_for() {
    let args = [&SNI[..], &["--proxy.http.read-header-timeout", "500ms"]].concat();
    let server = Server::start(&args);
    let start = Instant::now();
    assert_eq!(answer(port_of(&server), b"\x16\x03\x01"), [21, 3, 3, 0, 2, 2, 40]);
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}
