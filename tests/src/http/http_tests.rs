//! The client, given answers byte by byte.

use super::*;
use crate::service::Service;
use std::io::Read;
use std::thread;

/// What the client makes of these bytes, followed by a FIN.
fn of(method: &str, answer: &'static [u8]) -> Response {
    let service = Service::scripted(move |mut stream| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        // Single bytes show that no border between reads matters.
        for byte in answer {
            let _ = stream.write_all(&[*byte]);
            thread::yield_now();
        }
    });
    let mut client = Client::connect(service.addr()).expect("connect");
    client.request(method, "/", &[], &[]).expect("send")
}

#[test]
fn framings_end_as_they_say() {
    let r = of("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((r.status(), r.body.text().as_str(), r.end), (200, "abc", End::Complete));
    let r = of("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc");
    assert_eq!((r.body.text().as_str(), r.end), ("abc", End::Cut));
    let r = of("GET", b"HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!((r.body.text().as_str(), r.end), ("abc", End::Closed));
    let r = of("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    assert_eq!((r.body.len, r.end), (0, End::Complete));
    let r =
        of("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n");
    assert_eq!((r.body.text().as_str(), r.trailer("a"), r.end), ("abc", vec!["b".to_owned()], End::Complete));
}

#[test]
fn every_cut_of_a_chunked_answer_is_noticed() {
    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(of("GET", WHOLE).end, End::Complete);
    assert_eq!(of("GET", &[]).end, End::Closed);
    for n in 1..WHOLE.len() {
        assert_eq!(of("GET", &WHOLE[..n]).end, End::Cut, "after {n} bytes");
    }
}

#[test]
fn what_is_wrong_is_called_wrong() {
    let answers: &[&[u8]] = &[
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    ];
    for answer in answers {
        let r = of("GET", answer);
        assert!(matches!(r.end, End::Malformed(_)), "{:?} for {}", r.end, String::from_utf8_lossy(answer));
    }
}

#[test]
fn lines_are_kept_as_they_came() {
    let r = of("GET", b"HTTP/1.1 200 Fine indeed\r\nA:  b \r\na: c\r\nX: \xff\r\nContent-Length: 0\r\n\r\n");
    let head = r.head.expect("a head");
    assert_eq!(head.status_line, "HTTP/1.1 200 Fine indeed");
    assert_eq!(head.lines[0], b"A:  b ");
    assert_eq!(head.lines[2], b"X: \xff");
    assert_eq!(head.values("A"), ["b", "c"]);
    assert_eq!(head.value("a"), None, "repeated");
}

#[test]
fn large_bodies_are_summed_and_not_stored() {
    let service = Service::start();
    let mut client = Client::connect(service.addr()).expect("connect");
    client.keep(10);
    let r = client.get("/bytes?n=20000000&framing=chunked", &[]).expect("send");
    assert_eq!((r.body.len, r.body.checksum), (20_000_000, checksum_of(20_000_000)));
    assert_eq!(r.body.bytes.len(), 10);
}

#[test]
fn the_content_tells_places_apart() {
    let mut whole = vec![0; 200_000];
    pattern(0, &mut whole);
    let mut part = vec![0; 1000];
    for offset in [1usize, 255, 256, 65_535, 65_536, 131_072] {
        pattern(offset as u64, &mut part);
        assert_eq!(part, whole[offset..offset + 1000], "the content depends on the place only");
        assert_ne!(part, whole[..1000], "and differs from the start");
    }
    assert_ne!(checksum_of(1000), Checksum::of(&whole[1..1001]));
}

#[test]
fn a_reset_by_the_client_is_a_reset() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let service = Service::scripted(move |mut stream| {
        let mut byte = [0];
        let read = stream.read(&mut byte).map_err(|e| e.kind());
        let _ = sender.lock().expect("no panic").send(read);
    });
    let client = Client::connect(service.addr()).expect("connect");
    client.abort().expect("abort");
    let read = receiver.recv_timeout(PATIENCE).expect("the service read");
    assert_eq!(read, Err(io::ErrorKind::ConnectionReset));
}
