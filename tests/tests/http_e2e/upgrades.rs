//! Upgrades: any protocol, all bytes, both directions.

use std::io;

use bytes::BytesMut;
use piko_core::ws::{Conn, FRONT_ROOM, Role, handshake};
use piko_tests::http::{Client, End, checksum_of, pattern};
use piko_tests::rig::{HOST, PATIENCE, Rig, scripted};

#[test]
fn any_protocol_is_switched_to_whatever_its_case() {
    let rig = Rig::start();
    for (connection, protocol) in [
        ("Upgrade", "websocket"),
        ("upgrade", "WebSocket"),
        ("keep-alive, UPGRADE", "chat/2.0"),
        ("upGrade", "TLS/1.0, foo"),
    ] {
        let mut client = rig.client();
        let fields = [("host", HOST), ("Connection", connection), ("Upgrade", protocol)];
        client.send_head("GET", "/upgrade", &fields).expect("sent");
        let head = client.read_head().expect("101");
        assert_eq!(head.status, 101, "{protocol}: {head:?}");
        assert_eq!(head.value("upgrade").as_deref(), Some(protocol));
        assert!(head.value("connection").is_some_and(|v| v.eq_ignore_ascii_case("upgrade")), "{head:?}");
        assert_eq!(head.value("content-length"), None);
        client.send(b"ping").expect("sent");
        assert_eq!(client.read_exact(4).expect("an echo"), b"ping");
        // A half close travels to the service, which then closes.
        client.finish().expect("half closed");
        assert_eq!(client.read_end(), End::Closed, "{protocol}");
    }
}

#[test]
fn bytes_right_behind_the_request_are_not_lost() {
    let rig = Rig::start();
    let mut client = rig.client();
    client
        .send(format!("GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly bytes").as_bytes())
        .expect("sent");
    assert_eq!(client.read_head().expect("101").status, 101);
    assert_eq!(client.read_exact(11).expect("the early bytes"), b"early bytes");
}

#[test]
fn bytes_right_behind_the_101_are_not_lost() {
    let service = scripted(|peer, _| {
        peer.send(
            b"HTTP/1.1 101 Sure\r\nX-Extra: 1\r\nConnection: upgrade\r\nUpgrade: X\r\n\r\nfirst words",
        )?;
        let echo = peer.read_exact(3)?;
        peer.send(&echo)?;
        // The client has ended its direction, this one goes on for a while.
        assert_eq!(peer.read_end(), End::Closed);
        peer.send(b"last words")?;
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    client
        .send_head("GET", "/", &[("host", HOST), ("connection", "upgrade"), ("upgrade", "x")])
        .expect("sent");
    let head = client.read_head().expect("101");
    assert_eq!(
        (head.status_line.as_str(), head.value("x-extra").as_deref()),
        ("HTTP/1.1 101 Sure", Some("1"))
    );
    assert_eq!(client.read_exact(11).expect("what came behind the 101"), b"first words");
    client.send(b"abc").expect("sent");
    assert_eq!(client.read_exact(3).expect("an echo"), b"abc");
    client.finish().expect("half closed");
    assert_eq!(client.read_exact(10).expect("the other half"), b"last words");
    assert_eq!(client.read_end(), End::Closed);
}

#[test]
fn megabytes_pass_both_ways_after_an_upgrade() {
    const N: u64 = 4 << 20;
    let rig = Rig::start();
    let mut client = rig.client();
    client
        .send_head("GET", "/upgrade", &[("host", HOST), ("connection", "upgrade"), ("upgrade", "x")])
        .expect("sent");
    assert_eq!(client.read_head().expect("101").status, 101);
    let mut writer = Client::over(client.stream().try_clone().expect("a copy")).expect("a connection");
    let sending = std::thread::spawn(move || -> io::Result<()> {
        let mut body = vec![0; N as usize];
        pattern(0, &mut body);
        writer.send(&body)?;
        writer.finish()
    });
    let bytes = client.read_exact(N as usize).expect("all bytes");
    assert_eq!(piko_tests::http::Checksum::of(&bytes), checksum_of(N));
    assert_eq!(client.read_end(), End::Closed);
    sending.join().expect("no panic").expect("everything was sent");
}

/// The service may also say no, and the connection goes on with HTTP.
#[test]
fn an_upgrade_that_is_declined_is_an_ordinary_request() {
    let rig = Rig::start();
    let mut client = rig.client();
    let fields = [("host", HOST), ("connection", "upgrade"), ("upgrade", "x")];
    for _ in 0..2 {
        let response = client.get("/hello", &fields).expect("sent");
        assert_eq!((response.status(), response.body.text().as_str()), (200, "hello\n"));
    }
    // 426 must say what to upgrade to (RFC 9110 15.5.22).
    assert_eq!(client.get("/upgrade", &[("host", HOST)]).expect("sent").status(), 426);
}

#[test]
fn another_protocol_than_asked_for_is_an_error() {
    let service = scripted(|peer, _| {
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")?;
        peer.read_end();
        Err(io::ErrorKind::NotConnected.into())
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    let response =
        client.get("/", &[("host", HOST), ("connection", "upgrade"), ("upgrade", "x")]).expect("sent");
    assert_eq!(response.status(), 502);
    assert_eq!(response.value("x-piko-error").as_deref(), Some("hop=agent; cause=bad-upgrade"));
}

/// An upgraded connection outlives every limit for answers.
#[test]
fn no_timeout_ends_an_upgraded_connection() {
    let rig = Rig::with(
        piko_tests::service::Service::start(),
        &[
            "--proxy.timeout",
            "200ms",
            "--proxy.http.read-timeout",
            "200ms",
            "--proxy.http.write-timeout",
            "200ms",
            "--proxy.http.idle-timeout",
            "200ms",
            "--proxy.http.read-header-timeout",
            "200ms",
        ],
        &["--timeout", "200ms"],
    );
    let mut client = rig.client();
    client
        .send_head("GET", "/upgrade", &[("host", HOST), ("connection", "upgrade"), ("upgrade", "x")])
        .expect("sent");
    assert_eq!(client.read_head().expect("101").status, 101);
    std::thread::sleep(std::time::Duration::from_millis(700));
    client.send(b"still here").expect("sent");
    assert_eq!(client.read_exact(10).expect("an echo"), b"still here");
}

/// Two WebSocket ends that check every rule of the protocol, with the tunnel between them.
#[test]
fn a_websocket_echoes_messages() {
    let service = scripted(|peer, head| {
        let key = head.split("\r\n").find_map(|l| l.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let mut out = BytesMut::new();
        handshake::write_response(&handshake::accept_key(key.as_bytes()), &[], &mut out);
        peer.send(&out)?;
        let mut ws = Conn::new(Role::Server);
        loop {
            let mut bytes = peer.read_some(64 * 1024)?;
            let input = ws.handle_input(&mut bytes);
            if !input.payload.is_empty() {
                let mut frame = vec![0; FRONT_ROOM];
                frame.extend_from_slice(&bytes[input.payload]);
                let start = ws.frame(&mut frame, [0; 4]);
                peer.send(&frame[start..])?;
            }
            if input.end.is_some() {
                let mut out = BytesMut::new();
                ws.poll_transmit(&mut out, [0; 4]);
                peer.send(&out)?;
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
    });
    let rig = Rig::with(service, &[], &[]);
    let mut client = rig.client();
    client.set_patience(PATIENCE).expect("an option");
    let key = [7; 16];
    let mut out = BytesMut::new();
    let ask = handshake::Ask { host: HOST.as_bytes(), target: b"/chat", key, fields: &[] };
    handshake::write_request(&ask, &mut out);
    client.send(&out).expect("sent");
    let head = client.read_raw_head().expect("101");
    let answer = handshake::judge_response(&key, &head, false, &mut |_| {});
    assert_eq!(answer, handshake::Answer::Upgraded { head_bytes: head.len() });
    let mut ws = Conn::new(Role::Client);
    for size in [1, 125, 126, 5000, 70_000] {
        let mut frame = vec![0; FRONT_ROOM + size];
        pattern(0, &mut frame[FRONT_ROOM..]);
        let start = ws.frame(&mut frame, [1, 2, 3, 4]);
        client.send(&frame[start..]).expect("sent");
        let mut echo = Vec::new();
        while echo.len() < size {
            let mut bytes = client.read_some(64 * 1024).expect("an echo");
            let input = ws.handle_input(&mut bytes);
            assert_eq!(input.end, None, "{size}");
            echo.extend_from_slice(&bytes[input.payload]);
        }
        assert_eq!(piko_tests::http::Checksum::of(&echo), checksum_of(size as u64), "{size}");
    }
    ws.close(Some(1000));
    let mut out = BytesMut::new();
    ws.poll_transmit(&mut out, [1, 2, 3, 4]);
    client.send(&out).expect("sent");
    let mut bytes = client.read_some(1024).expect("the echo of the close");
    let input = ws.handle_input(&mut bytes);
    assert_eq!(input.end, Some(piko_core::ws::End::Close(Some(1000))));
    assert_eq!(client.read_end(), End::Closed);
}
