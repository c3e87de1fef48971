//! A body that broke off is never a complete one: in every framing, to both versions, however it broke.

use std::io;
use std::sync::{Mutex, mpsc};

use piko_tests::http::{End, Response};
use piko_tests::process::Signal;
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

fn get(rig: &Rig, version: &str, target: &str) -> Response {
    rig.raw(&format!("GET {target} HTTP/{version}\r\nHost: {HOST}\r\n\r\n"))
}

/// The end must look broken to a reader who knows nothing but HTTP: before the stated end where there is one,
/// and where a close would be the end, a reset.
fn assert_broken(response: &Response, sent: u64, what: &str) {
    assert_eq!(response.status(), 200, "{what}: {:?}", response.end);
    let framed = response.value("content-length").is_some() || response.value("transfer-encoding").is_some();
    if framed {
        assert!(matches!(response.end, End::Cut | End::Reset), "{what}: {:?}", response.end);
    } else {
        assert_eq!(response.end, End::Reset, "{what}");
    }
    assert!(response.body.len <= sent, "{what}: {} bytes", response.body.len);
}

#[test]
fn a_service_that_breaks_off_is_seen_by_the_client() {
    let rig = Rig::start();
    for version in ["1.1", "1.0"] {
        for (framing, how, n, sent) in [
            ("length", "fin", 100_000, 50_000),
            ("length", "rst", 100_000, 50_000),
            ("length", "fin", 10, 0),
            ("length", "fin", 3_000_000, 2_999_999),
            ("chunked", "fin", 100_000, 50_000),
            ("chunked", "rst", 100_000, 50_000),
            // All chunks came, only the last one did not.
            ("chunked", "fin", 100_000, 100_000),
            ("chunked", "rst", 100_000, 100_000),
            // Only a reset can cut a body without framing.
            ("close", "rst", 100_000, 100_000),
        ] {
            let what = format!("{framing} {how} {sent}/{n} to HTTP/{version}");
            let target = format!("/cut?framing={framing}&how={how}&n={n}&sent={sent}");
            let response = get(&rig, version, &target);
            assert_broken(&response, sent, &what);
        }
        // A body that ends with its connection is complete: there is no other end.
        let response = get(&rig, version, "/cut?framing=close&how=fin&n=1000&sent=1000");
        let end = if version == "1.1" { End::Complete } else { End::Closed };
        assert_eq!((response.body.len, response.end), (1000, end));
    }
    let response = rig.get("/cut?framing=head");
    assert_eq!(response.status(), 502);
    assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=agent; cause=cut-response"));
}

#[test]
fn an_agent_that_is_killed_cuts_what_is_under_way() {
    for framing in ["content-length: 1000000\r\n", "transfer-encoding: chunked\r\n", "connection: close\r\n"]
    {
        let (hold, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let service = scripted(move |peer, _| {
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes())?;
            let piece = [b'x'; 1000];
            if framing.contains("chunked") {
                peer.send_chunk(&piece)?
            } else {
                peer.send(&piece)?
            }
            // The body goes on only when the test is over.
            let _ = held.lock().expect("no panic").recv();
            Err(io::ErrorKind::NotConnected.into())
        });
        let mut rig = Rig::with(service, &[], &[]);
        for version in ["1.1", "1.0"] {
            let mut client = rig.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: {HOST}\r\n\r\n").as_bytes()).expect("sent");
            let head = client.read_head().expect("a head");
            let chunked = head.value("transfer-encoding").is_some();
            let framed = chunked || head.value("content-length").is_some();
            client
                .read_exact(if chunked { b"3e8\r\n".len() + 1000 + 2 } else { 1000 })
                .expect("the first piece");
            rig.agent.process.signal(Signal::Kill).expect("it runs");
            rig.agent.process.wait_exit(PATIENCE).expect("it ends");
            let end = client.read_end();
            let what = format!("{framing} to HTTP/{version}");
            if framed {
                assert!(matches!(end, End::Closed | End::Reset), "{what}: {end:?}");
            } else {
                assert_eq!(end, End::Reset, "{what}");
            }
            if version == "1.1" {
                let (url, addr) = (rig.server.connect_url(), rig.service.addr().to_string());
                rig.agent = piko_tests::process::Agent::http(&url, piko_tests::rig::ENDPOINT, &addr, &[]);
            }
        }
        drop(hold);
    }
}

/// The other direction: a service must not take half an upload for a whole one.
#[test]
fn a_client_that_breaks_off_is_seen_by_the_service() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let service = scripted(move |peer, _| {
        peer.set_patience(PATIENCE)?;
        // A client that goes before that may never be heard of here.
        let mut bytes = peer.read_exact(5)?;
        let _ = tell.lock().expect("no panic").send((Vec::new(), "there"));
        let end = loop {
            match peer.read_some(4096) {
                Ok(piece) if piece.is_empty() => break "fin",
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(_) => break "reset",
            }
        };
        let _ = tell.lock().expect("no panic").send((bytes, end));
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    for how in ["close", "finish", "abort"] {
        for framing in [("content-length", "100"), ("transfer-encoding", "chunked")] {
            let mut client = rig.client();
            client.send_head("POST", "/", &[("host", HOST), framing]).expect("sent");
            client
                .send(if framing.1 == "chunked" { b"5\r\nhello\r\n".as_slice() } else { b"hello" })
                .expect("sent");
            let what = format!("{how} {framing:?}");
            assert_eq!(told.recv_timeout(PATIENCE).expect("the request arrives").1, "there", "{what}");
            let mut kept = None;
            match how {
                "close" => drop(client),
                "finish" => {
                    client.finish().expect("half closed");
                    kept = Some(client);
                }
                _ => client.abort().expect("reset"),
            }
            let (bytes, end) = told.recv_timeout(PATIENCE).expect("the service sees the end");
            // What arrived may be less than what was sent, but never looks whole.
            assert!(bytes.len() < 100, "{what} {end}");
            assert!(!bytes.ends_with(b"0\r\n\r\n"), "{what} {end}: {bytes:?}");
            drop(kept);
        }
    }
}
