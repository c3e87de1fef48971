//! Bodies in every framing and both versions of HTTP.

use std::sync::{Mutex, mpsc};

use piko_tests::http::{Client, End, Response, checksum_of, pattern};
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

/// The size of the large bodies.
const LARGE: u64 = 5 << 20;

fn get_1_0(rig: &Rig, target: &str) -> Response {
    rig.raw(&format!("GET {target} HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
}

#[test]
fn large_downloads_arrive_whole_in_every_framing() {
    let rig = Rig::start();
    for framing in ["length", "chunked", "close"] {
        let target = format!("/bytes?n={LARGE}&framing={framing}");
        let response = rig.get(&target);
        assert_eq!(response.end, End::Complete, "{framing}");
        assert_eq!((response.body.len, response.body.checksum), (LARGE, checksum_of(LARGE)), "{framing}");
        let length = response.value("content-length");
        let coding = response.value("transfer-encoding");
        if framing == "length" {
            assert_eq!((length, coding), (Some(LARGE.to_string()), None));
        } else {
            assert_eq!((length, coding.as_deref()), (None, Some("chunked")), "{framing}");
        }

        let response = get_1_0(&rig, &target);
        let end = if framing == "length" { End::Complete } else { End::Closed };
        assert_eq!(response.end, end, "{framing} to HTTP/1.0");
        assert_eq!((response.body.len, response.body.checksum), (LARGE, checksum_of(LARGE)), "{framing}");
        assert_eq!(response.value("transfer-encoding"), None, "{framing} to HTTP/1.0");
    }
}

#[test]
fn large_uploads_arrive_whole_in_every_framing() {
    let rig = Rig::start();
    let mut body = vec![0; LARGE as usize];
    pattern(0, &mut body);
    let mut client = rig.client();
    let response = client.request("POST", "/echo", &[("host", HOST)], &body).expect("sent");
    assert_eq!((response.status(), response.end.clone()), (200, End::Complete));
    assert_eq!((response.body.len, response.body.checksum), (LARGE, checksum_of(LARGE)));

    client.send_head("PUT", "/echo", &[("host", HOST), ("transfer-encoding", "chunked")]).expect("sent");
    // Chunks of uneven sizes: borders fall everywhere.
    let mut rest = body.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(size.min(rest.len()));
        client.send_chunk(chunk).expect("sent");
        (rest, size) = (more, (size * 7 + 1) % 40_000 + 1);
    }
    client.send_last_chunk(&[]).expect("sent");
    let response = client.read_response("PUT");
    assert_eq!((response.status(), response.end.clone()), (200, End::Complete));
    assert_eq!((response.body.len, response.body.checksum), (LARGE, checksum_of(LARGE)));
}

/// Both directions of one exchange at once, more than all windows and buffers hold.
#[test]
fn a_body_flows_both_ways_at_the_same_time() {
    let rig = Rig::start();
    let client = rig.client();
    let mut writer = Client::over(client.stream().try_clone().expect("a copy")).expect("a connection");
    let mut reader = client;
    let sending = std::thread::spawn(move || -> std::io::Result<()> {
        writer.send_head("POST", "/echo?stream=1", &[("host", HOST), ("transfer-encoding", "chunked")])?;
        let mut block = vec![0; 8192];
        for i in 0..LARGE / 8192 {
            pattern(i * 8192, &mut block);
            writer.send_chunk(&block)?;
        }
        writer.send_last_chunk(&[("x-end", "yes")])
    });
    let response = reader.read_response("POST");
    sending.join().expect("no panic").expect("everything was sent");
    assert_eq!((response.status(), response.end.clone()), (200, End::Complete));
    assert_eq!((response.body.len, response.body.checksum), (LARGE, checksum_of(LARGE)));
    assert_eq!(response.trailer("x-end"), ["yes"]);
}

#[test]
fn trailers_pass_both_ways_except_those_that_must_not() {
    let rig = Rig::start();
    let mut client = rig.client();
    let fields = [("host", HOST), ("transfer-encoding", "chunked"), ("te", "trailers")];
    client.send_head("POST", "/echo", &fields).expect("sent");
    client.send_chunk(b"body").expect("sent");
    // The service sends back what it got, so each of these has passed the four hops, or was dropped.
    client
        .send_last_chunk(&[
            ("X-Checksum", "12"),
            ("x-again", "a"),
            ("x-again", "b"),
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("host", "evil.test"),
            ("authorization", "Basic eA=="),
        ])
        .expect("sent");
    let response = client.read_response("POST");
    assert_eq!((response.status(), response.end.clone()), (200, End::Complete));
    let lines: Vec<_> = response.trailers.iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    assert_eq!(lines, ["X-Checksum: 12", "x-again: a", "x-again: b"]);

    let response = client.get("/trailers?n=1000", &[("host", HOST)]).expect("the connection goes on");
    assert_eq!(response.value("trailer").as_deref(), Some("x-checksum"));
    assert_eq!(response.trailer("x-checksum"), [format!("{:016x}", checksum_of(1000).value())]);
    // HTTP/1.0 has no place for them.
    let response = get_1_0(&rig, "/trailers?n=1000");
    assert_eq!((response.end, response.body.checksum), (End::Closed, checksum_of(1000)));
}

/// RFC 9112 6.3: responses to HEAD and those with 204 or 304 end with their head.
#[test]
fn responses_without_body_end_with_their_head() {
    let rig = Rig::start();
    let mut client = rig.client();
    for framing in ["length", "chunked", "close"] {
        let target = format!("/bytes?n=1234&framing={framing}");
        let response = client.request("HEAD", &target, &[("host", HOST)], b"").expect("sent");
        assert_eq!((response.status(), response.end.clone()), (200, End::Complete), "{framing}");
        let length = (framing == "length").then(|| "1234".to_owned());
        assert_eq!(response.value("content-length"), length, "{framing}");
    }
    for status in [204, 304] {
        let response = client.get(&format!("/status?code={status}"), &[("host", HOST)]).expect("sent");
        assert_eq!((response.status(), response.end.clone()), (status, End::Complete));
        assert_eq!(response.value("transfer-encoding"), None, "{status}");
        assert_eq!(response.value("content-length"), None, "{status}");
    }
    // Nothing was left over on the way: the same connection still works.
    let response = client.get("/hello", &[("host", HOST)]).expect("sent");
    assert_eq!(response.body.text(), "hello\n");
}

/// A 304 may state the length that the 200 would have had (RFC 9110 8.6).
#[test]
fn the_length_of_a_304_is_a_fact_not_a_body() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 99\r\n\r\n")
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    for _ in 0..3 {
        let response = client.get("/", &[("host", HOST)]).expect("sent");
        assert_eq!((response.status(), response.end.clone()), (304, End::Complete));
        assert_eq!(response.value("content-length").as_deref(), Some("99"));
    }
}

#[test]
fn services_may_speak_http_1_0() {
    for (answer, body) in [
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nfixed", "fixed"),
    ] {
        let service = scripted(move |peer, _| {
            peer.send(answer.as_bytes())?;
            // Whoever speaks 1.0 closes.
            Err(std::io::ErrorKind::NotConnected.into())
        });
        let rig = Rig::with(service, &[], &[]);
        let mut client = rig.client();
        for _ in 0..2 {
            let response = client.get("/", &[("host", HOST)]).expect("the client's connection is kept");
            assert_eq!(
                response.head.as_ref().map(|h| h.status_line.as_str()),
                Some("HTTP/1.1 200 OK"),
                "{answer}"
            );
            assert_eq!((response.body.text().as_str(), response.end), (body, End::Complete), "{answer}");
        }
        let response = get_1_0(&rig, "/");
        assert_eq!(response.body.text(), body, "{answer}");
    }
}

#[test]
fn old_clients_may_ask_to_keep_the_connection() {
    let rig = Rig::start();
    let mut client = rig.client();
    for _ in 0..3 {
        client
            .send(format!("GET /hello HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n").as_bytes())
            .expect("the connection is open");
        let response = client.read_response("GET");
        assert_eq!((response.body.text().as_str(), response.end), ("hello\n", End::Complete));
        assert_eq!(response.head.and_then(|h| h.value("connection")).as_deref(), Some("keep-alive"));
    }
    client.send(format!("GET /hello HTTP/1.0\r\nHost: {HOST}\r\n\r\n").as_bytes()).expect("sent");
    let response = client.read_response("GET");
    assert_eq!(response.body.text(), "hello\n");
    assert_eq!(client.read_end(), End::Closed);
}

/// Each event is with the client before the service sends the next one.
#[test]
fn events_arrive_one_by_one() {
    for framing in ["transfer-encoding: chunked\r\n", "connection: close\r\n"] {
        let chunked = framing.contains("chunked");
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let service = scripted(move |peer, _| {
            peer.send(
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n").as_bytes(),
            )?;
            for i in 0..20 {
                wait.lock().expect("one connection").recv().expect("the test goes on");
                let event = format!("data: {i:04}\n\n");
                if chunked { peer.send_chunk(event.as_bytes())? } else { peer.send(event.as_bytes())? }
            }
            wait.lock().expect("one connection").recv().expect("the test goes on");
            if chunked { peer.send_last_chunk(&[]) } else { Err(std::io::ErrorKind::NotConnected.into()) }
        });
        let rig = Rig::with(service, &[], &[]);
        let mut client = rig.client();
        client.send_head("GET", "/", &[("host", HOST)]).expect("sent");
        // The head comes before any byte of the body exists.
        let head = client.read_head().expect("a head");
        assert_eq!(head.value("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(head.value("transfer-encoding").as_deref(), Some("chunked"));
        for i in 0..20 {
            go.send(()).expect("the service waits");
            let event = format!("data: {i:04}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            let bytes = client.read_exact(chunk.len()).expect("an event");
            assert_eq!(String::from_utf8_lossy(&bytes), chunk);
        }
        go.send(()).expect("the service waits");
        assert_eq!(client.read_exact(5).expect("the end"), b"0\r\n\r\n");
    }
}

/// Each piece of an upload is with the service before the client sends the next one.
#[test]
fn uploads_are_not_collected() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let service = scripted(move |peer, _| {
        for _ in 0..10 {
            let piece = peer.read_exact(3)?;
            let _ = tell.lock().expect("one connection").send(piece);
        }
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    client.send_head("POST", "/", &[("host", HOST), ("content-length", "30")]).expect("sent");
    for i in 0..10 {
        let piece = format!("{i:03}");
        client.send(piece.as_bytes()).expect("sent");
        assert_eq!(told.recv_timeout(PATIENCE).expect("a piece"), piece.as_bytes());
    }
    assert_eq!(client.read_response("POST").status(), 200);
}
