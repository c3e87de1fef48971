//! With the real connection machines: bytes of a client in, bytes for the next hop out, and back.

use super::*;
use crate::http1::{self, ClientConn, Fault, Part, ServerConn};
use crate::rng::Rng;
use alloc::format;
use alloc::vec::Vec;

/// Parses `input`, judges it and writes what goes to a tunnel (or a node).
fn through(exchange: &mut Exchange, input: &[u8], to_tunnel: bool) -> Result<Result<String, Answer>, Fault> {
    let mut conn = ServerConn::new(http1::Config::default(), T0);
    let (_, part) = conn.handle_input(T0, input)?;
    let Some(Part::Head(head)) = part else { panic!("no head: {part:?}") };
    match exchange.handle_request(T0, &head) {
        Step::Answer(answer) => return Ok(Err(answer)),
        step => assert!(matches!(step, Step::Forward | Step::Switch), "{step:?}"),
    }
    let mut block = BytesMut::new();
    let head = exchange.rewrite_request(&head, to_tunnel, &mut block);
    let mut out = Vec::new();
    ClientConn::new(http1::Config::default(), T0).send_head(&head, false, &mut out).unwrap();
    Ok(Ok(String::from_utf8(out).unwrap()))
}

fn to_tunnel(input: &str) -> String {
    through(&mut server(), input.as_bytes(), true).unwrap().unwrap()
}

#[test]
fn a_browsers_request_reaches_the_tunnel() {
    let input = "POST http://ep.x:8000/a/b?c=d HTTP/1.1\r\nhost: other\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                 Content-Length: 3\r\nAccept: */*\r\nX-Forwarded-For: 9.9.9.9\r\nX-Piko-Authorization: t\r\n\r\nabc";
    let expected = "POST /a/b?c=d HTTP/1.1\r\nhost: ep.x:8000\r\nAccept: */*\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\n\
                    X-Forwarded-Host: ep.x:8000\r\nX-Forwarded-Proto: http\r\ncontent-length: 3\r\nconnection: close\r\n\r\n";
    assert_eq!(to_tunnel(input), expected);
}

#[test]
fn an_old_clients_request_gets_a_host_and_the_version_of_today() {
    let out = to_tunnel("GET / HTTP/1.0\r\nx-piko-endpoint: ep\r\n\r\n");
    assert!(out.starts_with("GET / HTTP/1.1\r\nHost: ep\r\nx-piko-endpoint: ep\r\n"), "{out}");
}

#[test]
fn an_upgrade_is_asked_for_anew() {
    let out = to_tunnel(
        "GET /ws HTTP/1.1\r\nHost: ep.x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
    );
    assert_eq!(out.matches("pgrade").count(), 2, "{out}");
    assert!(out.contains("Upgrade: websocket\r\n") && out.ends_with("connection: upgrade\r\n\r\n"), "{out}");
}

#[test]
fn chunks_keep_their_announcement() {
    let out = to_tunnel(
        "POST / HTTP/1.1\r\nHost: ep.x\r\nTransfer-Encoding: chunked\r\nTrailer: sum\r\nTE: trailers\r\n\r\n",
    );
    assert!(out.contains("Trailer: sum\r\nTE: trailers\r\n"), "{out}");
    assert_eq!(out.matches("chunked").count(), 1, "{out}");
}

/// What the second node and the agent make of the first node's bytes.
#[test]
fn three_hops_agree() {
    let input = "GET /p HTTP/1.1\r\nHost: ep.x\r\nAuthorization: Bearer u\r\nx-piko-authorization: t\r\n\r\n";
    let node = through(&mut server(), input.as_bytes(), false).unwrap().unwrap();
    assert!(node.contains("x-piko-forward: true\r\n") && node.contains("x-piko-authorization: t\r\n"));
    let mut second = server();
    let tunnel = through(&mut second, node.as_bytes(), true).unwrap().unwrap();
    assert_eq!(second.hop(), crate::route::Hop::Forwarded);
    let service = through(&mut agent(), tunnel.as_bytes(), true).unwrap().unwrap();
    assert_eq!(
        service,
        "GET /p HTTP/1.1\r\nHost: ep.x\r\nAuthorization: Bearer u\r\nX-Forwarded-For: 203.0.113.7\r\n\
         X-Forwarded-Host: ep.x\r\nX-Forwarded-Proto: http\r\nconnection: close\r\n\r\n"
    );
}

/// The machines refuse what the exchange would have to guess about; the exchange answers in their words.
#[test]
fn faults_become_answers() {
    for (input, body) in [
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request: missing required Host header"),
        ("GET / HTTP/1.1\r\nHost: ep.x:1:2\r\n\r\n", "400 Bad Request: malformed Host header"),
        ("GET / HTTP/1.1\r\nHost: a.x\r\nHost: b.x\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/2.0\r\nHost: a.x\r\n\r\n", "505 HTTP Version Not Supported"),
        ("GET / HTTP/1.1\r\nHost: a.x\r\nExpect: x\r\n\r\n", "417 Expectation Failed"),
    ] {
        let fault = through(&mut server(), input.as_bytes(), true).unwrap_err();
        let answer = Answer::for_fault(Place::Server, &fault);
        assert_eq!((core::str::from_utf8(&answer.body).unwrap(), answer.close), (body, true));
    }
}

fn to_client(request: &str, response: &[u8]) -> String {
    let mut exchange = server();
    let mut front = ServerConn::new(http1::Config::default(), T0);
    let (_, part) = front.handle_input(T0, request.as_bytes()).unwrap();
    let Some(Part::Head(head)) = part else { panic!("no head") };
    assert_eq!(exchange.handle_request(T0, &head), Step::Forward);
    let mut block = BytesMut::new();
    let head = exchange.rewrite_request(&head, true, &mut block);
    let mut back = ClientConn::new(http1::Config::default(), T0);
    back.send_head(&head, false, &mut Vec::new()).unwrap();
    let (_, part) = back.handle_input(T0, response).unwrap();
    let Some(Part::Head(head)) = part else { panic!("no response head") };
    assert!(matches!(exchange.handle_response(T0, &head), Step::Forward | Step::Switch));
    let mut block = BytesMut::new();
    let head = exchange.rewrite_response(&head, Some(b"now"), &mut block);
    let mut out = Vec::new();
    front.send_head(&head, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn responses_reach_the_client() {
    let get = "GET / HTTP/1.1\r\nHost: ep.x\r\n\r\n";
    assert_eq!(
        to_client(get, b"HTTP/1.1 200 Fine\r\nserver: s\r\nConnection: close, X-A\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi"),
        "HTTP/1.1 200 Fine\r\nserver: s\r\nDate: now\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!(
        to_client(&get.replace("GET", "HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nDate: d\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nDate: d\r\ncontent-length: 9\r\n\r\n"
    );
    let upgrade = get.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n");
    assert_eq!(
        to_client(&upgrade, b"HTTP/1.1 101 Go\r\nUpgrade: w\r\nConnection: Upgrade\r\nX: y\r\n\r\n"),
        "HTTP/1.1 101 Go\r\nUpgrade: w\r\nX: y\r\nconnection: upgrade\r\n\r\n"
    );
}

/// Random heads of interesting lines: what reaches the tunnel never has two readings, never leaks what is
/// Piko's own, and a second pass over it changes nothing.
#[test]
fn random_heads_stay_clean() {
    let lines = [
        "Connection: close",
        "Connection: x-a, x-forwarded-for, host, x-piko-endpoint",
        "connection: keep-alive, te, trailer, date",
        "Keep-Alive: 1",
        "TE: trailers;q=1, trailers",
        "Trailer: x",
        "Upgrade: u",
        "Connection: upgrade",
        "X-A: 1",
        "x-a:2",
        "X-Forwarded-For:1.1.1.1",
        "X-Forwarded-For: ",
        "x-forwarded-proto: https",
        "X-Forwarded-Host: o",
        "x-piko-forward: true",
        "X-Piko-Forward: false",
        "X-PIKO-AUTHORIZATION: t",
        "x-piko-endpoint: e",
        "x-pico-endpoint: p",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "Proxy-Authorization: p",
        "Expect: 100-continue",
        "Date: d",
    ];
    let (mut forwarded, mut refused) = (0, 0);
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut input = String::from("PUT /p HTTP/1.1\r\nHost: ep.x\r\n");
        for _ in 0..rng.below(9) {
            input += lines[rng.below(lines.len() as u64) as usize];
            input += "\r\n";
        }
        input += "\r\n";
        let to_tunnel = rng.below(2) == 0;
        let mut exchange = server();
        let Ok(Ok(out)) = through(&mut exchange, input.as_bytes(), to_tunnel) else {
            refused += 1;
            continue;
        };
        forwarded += 1;
        let story = format!("{input}---\n{out}");
        let head = out.split_once("\r\n").unwrap().1.strip_suffix("\r\n").unwrap();
        let fields = Fields::from_block(head.as_bytes());
        let count = |name: &str| fields.all(name).count();
        assert_eq!((count("host"), count("connection")), (1, 1), "{story}");
        assert!(count("content-length") + count("transfer-encoding") <= 1, "{story}");
        assert_eq!(count("keep-alive") + count("proxy-authorization"), 0, "{story}");
        assert_eq!(count("x-piko-forward"), usize::from(!to_tunnel), "{story}");
        assert_eq!(count("x-piko-endpoint"), input.matches("x-piko-endpoint: e").count(), "{story}");
        let tokens = if to_tunnel { 0 } else { input.matches("AUTHORIZATION").count() };
        assert_eq!(count("x-piko-authorization"), tokens, "{story}");
        if exchange.hop() == crate::route::Hop::First {
            let last = fields.all("x-forwarded-for").last().unwrap();
            assert!(last.ends_with(b"203.0.113.7") && count("x-forwarded-for") == 1, "{story}");
            assert!(count("x-forwarded-proto") >= 1 && count("x-forwarded-host") >= 1, "{story}");
        }
        if !to_tunnel {
            let again = through(&mut server(), out.as_bytes(), false).unwrap().unwrap();
            let without = |text: &str| text.replace("x-piko-load: ?\r\nx-piko-forward: true\r\n", "");
            assert_eq!(without(&again), without(&out), "{story}");
        }
    }
    assert!(forwarded > 1000 && refused > 100, "{forwarded} {refused}");
}
