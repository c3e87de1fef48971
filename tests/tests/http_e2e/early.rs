//! Answers to uploads that are not finished, and clients that leave.

use std::io;
use std::sync::{Mutex, mpsc};

use piko_tests::http::End;
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large";

/// Answers at the sight of the head and reads on, as servers do that close with care.
fn refuses_uploads() -> piko_tests::service::Service {
    scripted(|peer, _| {
        peer.send(TOO_LARGE)?;
        peer.finish()?;
        while !peer.read_some(64 * 1024)?.is_empty() {}
        Err(io::ErrorKind::NotConnected.into())
    })
}

#[test]
fn an_early_answer_reaches_a_client_that_still_uploads() {
    let rig = Rig::with(refuses_uploads(), &[], &[]);
    for framing in [("content-length", "50000000"), ("transfer-encoding", "chunked")] {
        let mut client = rig.client();
        client.send_head("POST", "/", &[("host", HOST), framing]).expect("sent");
        let piece = if framing.0 == "content-length" { b"12345" } else { b"5\r\n12" };
        client.send(piece).expect("sent");
        // The answer comes though the body does not, and then the connection is over.
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.end.clone()), (413, End::Complete), "{framing:?}");
        assert_eq!(response.body.text(), "too large", "{framing:?}");
        assert_eq!(response.value("connection").as_deref(), Some("close"), "{framing:?}");
        assert_eq!(client.read_end(), End::Closed, "{framing:?}");
    }
}

/// RFC 9112 9.6: a server that closes while data arrives must not lose its last answer to a reset.
#[test]
fn an_early_answer_is_not_lost_to_a_busy_upload() {
    let rig = Rig::with(refuses_uploads(), &[], &[]);
    for _ in 0..5 {
        let mut client = rig.client();
        client.send_head("POST", "/", &[("host", HOST), ("content-length", "50000000")]).expect("sent");
        // As much as clients have on the way when they first look for an answer.
        client.send(&vec![b'x'; 1 << 20]).expect("a mebibyte is taken");
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.end.clone()), (413, End::Complete), "{response:?}");
        assert_eq!(response.body.text(), "too large");
        assert_eq!(response.value("connection").as_deref(), Some("close"));
    }
}

/// RFC 9112 9.3, 9.6: whoever will not read the rest of a request says that it closes. That holds for the
/// service's answers, though it keeps its own connection, and for those made here.
#[test]
fn an_answer_to_an_unfinished_upload_announces_the_close() {
    let service = scripted(|peer, head| {
        // The whole answer at once, or its head alone where it refuses.
        let answer: &[u8] = if head.contains("/whole") {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        } else if head.contains("/empty") {
            b"HTTP/1.1 204 No Content\r\n\r\n"
        } else {
            b"HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        };
        peer.send(answer)?;
        while !peer.read_some(64 * 1024)?.is_empty() {}
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    for (target, host, status) in [
        ("/whole", HOST, 200),
        ("/empty", HOST, 204),
        ("/refused", HOST, 403),
        ("/", "nobody.test", 502),
        ("/", "localhost", 400),
    ] {
        let mut client = rig.client();
        client.send_head("POST", target, &[("host", host), ("content-length", "50000000")]).expect("sent");
        client.send(b"12345").expect("sent");
        let response = client.read_response("POST");
        assert_eq!((response.status(), response.end.clone()), (status, End::Complete), "{target} {host}");
        assert_eq!(response.value("connection").as_deref(), Some("close"), "{target} {host}");
        assert_eq!(client.read_end(), End::Closed, "{target} {host}");
    }
}

/// An answer that begins before the upload ends, and does not end before it, costs the connection nothing.
#[test]
fn a_streamed_answer_to_a_streamed_upload_keeps_the_connection() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let body = peer.read_exact(5)?;
        peer.send_chunk(&body)?;
        peer.send_last_chunk(&[])
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    for _ in 0..2 {
        client.send_head("POST", "/", &[("host", HOST), ("content-length", "5")]).expect("sent");
        let head = client.read_head().expect("a head before the body");
        assert_eq!((head.status, head.value("connection")), (200, None));
        client.send(b"12345").expect("sent");
        assert_eq!(client.read_exact(15).expect("the body"), b"5\r\n12345\r\n0\r\n\r\n");
    }
}

/// The client goes: the service is told, be it busy with the head or with the body.
#[test]
fn a_client_that_leaves_cancels_at_the_service() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let service = scripted(move |peer, head| {
        let say = |what: String| {
            let _ = tell.lock().expect("no panic").send(what);
        };
        if head.contains("/body") {
            peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            peer.send_chunk(b"begin")?;
        }
        say("there".to_owned());
        peer.set_patience(PATIENCE)?;
        say(format!("{:?}", peer.read_end()));
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    let hear = || told.recv_timeout(PATIENCE).expect("the service speaks");
    for target in ["/head", "/body"] {
        for how in ["close", "finish", "abort"] {
            let mut client = rig.client();
            client.send_head("GET", target, &[("host", HOST)]).expect("sent");
            assert_eq!(hear(), "there");
            if target == "/body" {
                assert_eq!(client.read_head().expect("a head").status, 200);
            }
            let kept = match how {
                "close" => {
                    drop(client);
                    None
                }
                "finish" => {
                    client.finish().expect("half closed");
                    Some(client)
                }
                _ => {
                    client.abort().expect("reset");
                    None
                }
            };
            let end = hear();
            assert!(end == "Closed" || end == "Reset", "{target} {how}: {end}");
            drop(kept);
        }
    }
}

/// A stream of events whose client leaves while nothing is sent.
#[test]
fn many_clients_that_leave_leave_nothing_behind() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        peer.set_patience(PATIENCE)?;
        peer.read_end();
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = rig.client();
            client.send_head("GET", "/", &[("host", HOST)]).expect("sent");
            client
        })
        .collect();
    let clients: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            assert_eq!(client.read_head().expect("a head").status, 200);
            client
        })
        .collect();
    assert_eq!(rig.service.open_connections(), 50);
    drop(clients);
    let deadline = std::time::Instant::now() + PATIENCE;
    while rig.service.open_connections() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} connections stay", rig.service.open_connections());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
