//! Peers that do not speak TLS, or stop in the middle.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use piko_tests::flags::Way;

use crate::{SOON, Setup, TO_E};

/// Everything until the end of the connection, however it ends.
fn read_all(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        all.extend_from_slice(&chunk[..n]);
    }
    all
}

fn say(addr: SocketAddr, text: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).expect("the port is open");
    // The server may hang up before all of it is taken.
    let _ = stream.write_all(text);
    read_all(stream)
}

/// Go's answer, to the byte.
const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

#[test]
fn a_plain_request_is_told_so() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy", "upstream", "admin"], &[]);
    for addr in [server.proxy, server.upstream, server.admin] {
        for request in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\n\r\n",
            "DELETE / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(say(addr, request.as_bytes()), ANSWER, "{request}");
        }
    }
    // Also when it comes letter by letter.
    let mut stream = TcpStream::connect(server.proxy).expect("the port is open");
    stream.set_nodelay(true).expect("a socket");
    for letter in b"GET / " {
        stream.write_all(&[*letter]).expect("it waits for more");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    assert_eq!(read_all(stream), ANSWER);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let before = server.process.memory().expect("it runs").rss_bytes;
    let noise: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    // Noise, noise that begins like a record, and a record that says it is larger than one may be.
    for start in [&[][..], &[22, 3, 1, 2, 0], &[22, 3, 3, 0xff, 0xff], &[23, 3, 3, 0x40, 0]] {
        let answer = say(server.proxy, &[start, &noise].concat());
        // At most an alert (RFC 8446 6: content type 21).
        assert!(answer.len() <= 7 && answer.first().is_none_or(|&kind| kind == 21), "{answer:?}");
    }
    let grown = server.process.memory().expect("it runs").rss_bytes.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    assert_eq!(setup.client(server.proxy).get("/", &[]).expect("an answer").0, 400);
}

/// A handshake that stops is bounded by the time that a request's head has.
#[test]
fn half_a_handshake_does_not_last() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[("proxy.http.read-header-timeout", "500ms")]);
    for start in [&[][..], &[22, 3, 1, 0, 100, 1, 0, 0, 96]] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.proxy).expect("the port is open");
        stream.write_all(start).expect("a socket");
        read_all(stream);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(450) && took < SOON / 2, "{took:?}");
    }
    let line = server.process.wait_record(0, SOON, "TLS handshake error").expect("a line").1;
    assert!(line["error"].as_str().expect("a reason").contains("too long"), "{line}");
}

/// Many that stop, after one byte, within the first message and behind it: each ends when its time is over, on every port,
/// and nobody else notices.
#[test]
fn halves_of_handshakes_disturb_nobody() {
    let setup = Setup::new();
    let limits = [("proxy.http.read-header-timeout", "1s")];
    let server = setup.server(Way::Flag, &["proxy", "upstream", "admin"], &limits);
    let service = piko_tests::service::Service::start();
    let url = format!("https://localhost:{}", server.upstream.port());
    let roots = [("connect.tls.root-cas", setup.ca.as_str())];
    let agent = piko_tests::flags::agent(Way::Flag, &url, "e", &service.addr().to_string(), &roots);
    agent.wait_connected(0, SOON).expect("the tunnel");
    let mut before = setup.client(server.proxy);
    let hello = setup.trust().hello("localhost");
    let began = Instant::now();
    let mut halves = Vec::new();
    for n in 0..300 {
        let addr = [server.proxy, server.upstream, server.admin][n % 3];
        let mut stream = TcpStream::connect(addr).expect("the port is open");
        let len = [1, hello.len() / 2, hello.len()][n / 3 % 3];
        stream.write_all(&hello[..len]).expect("a socket");
        halves.push((addr, stream));
    }
    for _ in 0..20 {
        assert_eq!(before.get("/hello", &TO_E).expect("an old connection").0, 200);
        assert_eq!(setup.client(server.proxy).get("/hello", &TO_E).expect("a new connection").0, 200);
        assert_eq!(setup.client(server.admin).get("/health", &[]).expect("an answer").0, 200);
    }
    for (addr, stream) in halves {
        read_all(stream);
        if addr == server.proxy {
            assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        }
    }
    assert_eq!(before.get("/hello", &TO_E).expect("an old connection").0, 200);
    assert_eq!(agent.process.lines(0).iter().filter(|line| line.is_record("tunnel connected")).count(), 1);
}

/// An end without a word is no end of a message: a request that is cut is not passed on as a whole one.
#[test]
fn a_cut_connection_is_no_clean_end() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let mut client = setup.client(server.proxy);
    client.stream().write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-pi").expect("half a head");
    client.stream().sock.shutdown(std::net::Shutdown::Write).expect("a socket");
    let mut rest = Vec::new();
    // It hears nothing, cleanly or not.
    let _ = client.stream().read_to_end(&mut rest);
    assert_eq!(rest, b"");
}
