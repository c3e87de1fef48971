//! The service and the client judge each other: every route, over real sockets.

use super::*;
use crate::http::{Client, End, Response, checksum_of};

fn get(service: &Service, target: &str) -> Response {
    let mut client = Client::connect(service.addr()).expect("connect");
    client.get(target, &[]).expect("send")
}

#[test]
fn plain_answers_keep_the_connection() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    for _ in 0..3 {
        let hello = client.get("/hello", &[]).expect("send");
        assert_eq!((hello.status(), hello.body.text().as_str(), hello.end), (200, "hello\n", End::Complete));
    }
    let head = client.request("HEAD", "/bytes?n=10", &[], &[]).expect("send");
    assert_eq!((head.value("content-length").as_deref(), head.body.len), (Some("10"), 0));
    for (code, length) in [(204, None), (304, None), (404, Some("0"))] {
        let status = client.get(&format!("/status?code={code}"), &[]).expect("send");
        assert_eq!((status.status(), status.value("content-length").as_deref()), (code, length));
    }
    assert_eq!(client.get("/nothing", &[]).expect("send").status(), 404);
    let counts = service.counts();
    assert_eq!((counts.connections, counts.requests), (1, 8));
}

#[test]
fn bytes_arrive_in_every_framing() {
    let service = Service::start();
    for n in [0, 1, 16 * 1024, 100_001] {
        for (framing, end) in [("length", End::Complete), ("chunked", End::Complete), ("close", End::Closed)]
        {
            let r = get(&service, &format!("/bytes?n={n}&framing={framing}"));
            assert_eq!((r.body.len, r.body.checksum, &r.end), (n, checksum_of(n), &end), "{framing}");
            assert_eq!(r.body.chunks > 0, framing == "chunked" && n > 0, "{framing}");
        }
    }
}

#[test]
fn echo_keeps_the_framing() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    for target in ["/echo", "/echo?stream=1"] {
        let r = client.request("POST", target, &[], b"some bytes").expect("send");
        assert_eq!(
            (r.body.text().as_str(), r.value("content-length").as_deref()),
            ("some bytes", Some("10"))
        );

        client.send_head("POST", target, &[("transfer-encoding", "chunked")]).expect("send");
        client.send_chunk(b"one").expect("send");
        client.send_chunk(b"three").expect("send");
        client.send_last_chunk(&[("x-end", "yes")]).expect("send");
        let r = client.read_response("POST");
        assert_eq!((r.body.text().as_str(), &r.end), ("onethree", &End::Complete));
        assert_eq!(r.value("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(r.trailer("x-end"), ["yes"]);
    }
    assert_eq!(service.counts().body_in, 2 * (10 + 8));
    assert_eq!(service.counts().body_out, 2 * (10 + 8));
}

#[test]
fn a_streamed_echo_answers_while_the_request_runs() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    client.send_head("POST", "/echo?stream=1", &[("transfer-encoding", "chunked")]).expect("send");
    client.send_chunk(b"ping").expect("send");
    let head = client.read_head().expect("a head before the end of the request");
    assert_eq!(head.status, 200);
    assert_eq!(client.read_exact(9).expect("the first chunk"), b"4\r\nping\r\n");
    client.send_last_chunk(&[]).expect("send");
    assert_eq!(client.read_exact(5).expect("the last chunk"), b"0\r\n\r\n");
}

#[test]
fn a_cut_answer_is_never_complete() {
    let service = Service::start();
    for (framing, fin) in
        [("length", End::Cut), ("chunked", End::Cut), ("close", End::Closed), ("head", End::Cut)]
    {
        let r = get(&service, &format!("/cut?framing={framing}&n=100&sent=40"));
        assert_eq!(r.end, fin, "{framing} with a FIN");
        let r = get(&service, &format!("/cut?framing={framing}&n=100&sent=40&how=rst"));
        assert_eq!(r.end, End::Reset, "{framing} with a reset");
        if framing != "head" {
            assert_eq!((r.body.len, r.body.checksum), (40, checksum_of(40)), "{framing}");
        }
    }
    // All chunks and no last one.
    let r = get(&service, "/cut?framing=chunked&n=100&sent=100");
    assert_eq!((r.body.len, r.body.chunks, r.end), (100, 1, End::Cut));
}

#[test]
fn interim_answers_are_told_apart() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    let expect = [("expect", "100-continue"), ("content-length", "4")];
    client.send_head("POST", "/100", &expect).expect("send");
    assert_eq!(client.read_head().expect("an interim answer").status, 100);
    client.send(b"body").expect("send");
    assert_eq!(client.read_response("POST").body.text(), "body");

    let hints = client.get("/103", &[]).expect("send");
    assert_eq!((hints.interim.len(), hints.interim[0].status, hints.status()), (1, 103, 200));
    assert_eq!(hints.interim[0].value("link").as_deref(), Some("</style.css>; rel=preload"));

    client.send_head("POST", "/100?refuse=1", &expect).expect("send");
    let refused = client.read_response("POST");
    assert_eq!((refused.status(), refused.interim.len()), (417, 0));
    assert_eq!(client.read_end(), End::Closed);
}

#[test]
fn trailers_events_and_waits() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    let r = client.get("/trailers?n=50000", &[]).expect("send");
    assert_eq!(r.trailer("x-checksum"), [format!("{:016x}", r.body.checksum.value())]);

    let start = Instant::now();
    let events = client.get("/sse?n=3&ms=20", &[]).expect("send");
    assert_eq!((events.body.text().as_str(), events.body.chunks), ("data: 0\n\ndata: 1\n\ndata: 2\n\n", 3));
    assert!(start.elapsed() >= Duration::from_millis(40), "two pauses");

    let start = Instant::now();
    let slow = client.get("/slow?head_ms=20&body_ms=20", &[]).expect("send");
    assert_eq!(slow.body.text(), "slow\n");
    assert!(start.elapsed() >= Duration::from_millis(40), "two waits");

    client.set_patience(Duration::from_millis(50)).expect("option");
    let late = client.get("/slow?head_ms=2000", &[]).expect("send");
    assert_eq!(late.end, End::Timeout);
}

#[test]
fn headers_come_back_byte_for_byte() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    let raw = b"GET /headers HTTP/1.1\r\nHoSt: a\r\nX-Odd:  two  spaces \r\n\r\n";
    client.send(raw).expect("send");
    assert_eq!(client.read_response("GET").body.bytes, raw);
}

#[test]
fn an_upgrade_echoes_until_the_fin() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    let plain = client.get("/upgrade", &[]).expect("send");
    assert_eq!(plain.status(), 426);
    let fields = [("connection", "upgrade"), ("upgrade", "chat/7")];
    // What is sent right behind the head belongs to the new protocol.
    client
        .send(b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat/7\r\n\r\nearly")
        .expect("send");
    let head = client.read_head().expect("101");
    assert_eq!((head.status, head.value("upgrade").as_deref()), (101, Some(fields[1].1)));
    client.send(b" late").expect("send");
    assert_eq!(client.read_exact(10).expect("the echo"), b"early late");
    client.finish().expect("fin");
    assert_eq!(client.read_end(), End::Closed);
}

#[test]
fn a_wait_ends_when_all_are_there() {
    let service = Service::start();
    let addr = service.addr();
    let ask = move || Client::connect(addr).and_then(|mut c| c.get("/wait?n=2", &[]));
    let first = thread::spawn(ask);
    let alone = service.wait_counts(Duration::from_secs(5), |c| c.requests == 1);
    assert!(alone.is_some_and(|c| c.body_out == 0), "one alone gets no answer");
    let second = ask().expect("send");
    let first = first.join().expect("no panic").expect("send");
    assert_eq!((first.status(), second.status()), (200, 200));
}

#[test]
fn idle_connections_are_closed_when_wanted() {
    let options = Options::default().close_idle_after(Duration::from_millis(30));
    let service = Service::start_with(options);
    let mut client = Client::connect(service.addr()).expect("connect");
    assert_eq!(client.get("/hello", &[]).expect("send").status(), 200);
    assert_eq!(client.read_end(), End::Closed);

    let mut last = Client::connect(service.addr()).expect("connect");
    assert_eq!(last.get("/close", &[]).expect("send").body.text(), "hello\n");
    assert_eq!(last.read_end(), End::Closed);
}

#[test]
fn dropping_the_service_ends_its_connections() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    assert_eq!(client.get("/hello", &[]).expect("send").status(), 200);
    assert_eq!(service.open_connections(), 1);
    let addr = service.addr();
    drop(service);
    assert_eq!(client.read_end(), End::Closed);
    assert!(Client::connect(addr).is_err(), "the port is closed");
}
