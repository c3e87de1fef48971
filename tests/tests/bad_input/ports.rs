//! Bytes that are no request, on every port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use piko_tests::http::{Client, End};
use piko_tests::process::Line;
use piko_tests::rig::{PATIENCE, Rig};

use crate::hostile::beside_load;

/// The start of a ClientHello of TLS 1.2, as a browser sends it to the wrong port.
const CLIENT_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x03, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0x00, 0x00, 0x02, 0x13,
    0x01, 0x01, 0x00, 0x00, 0x00,
];

#[test]
fn garbage_on_every_port_is_answered_or_dropped() {
    beside_load(|rig| {
        let garbage: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let zeros = vec![0; 100_000];
        let lines = b"\r\n".repeat(10_000);
        for addr in [rig.server.proxy, rig.server.upstream, rig.server.admin] {
            for (what, bytes) in [
                ("a ClientHello", CLIENT_HELLO),
                ("noise", &garbage),
                ("zeros", &zeros),
                ("empty lines", &lines),
                ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n"),
                ("a mux frame", &[0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
            ] {
                let mut client = Client::connect(addr).expect("the port takes connections");
                // It may be refused before all of it is taken.
                let _ = client.send(bytes);
                let _ = client.finish();
                let response = client.read_response("GET");
                let answered = response.status() == 400 && response.end == End::Complete;
                let dropped = response.head.is_none() && matches!(response.end, End::Closed | End::Reset);
                assert!(answered || dropped, "{what} on {addr}: {response:?}");
                if what == "a ClientHello" {
                    assert!(answered, "{what} on {addr} deserves an answer: {response:?}");
                }
            }
        }
    });
}

/// A first line that cannot become legal is answered when it is there: nobody ends the head, and the head's deadline
/// would be silent.
#[test]
fn a_first_line_of_another_protocol_is_answered_at_once() {
    let rig = Rig::start();
    for addr in [rig.server.proxy, rig.server.upstream, rig.server.admin] {
        for (line, status, method, path) in [
            ("SSH-2.0-OpenSSH_9\r\n", 400, "", ""),
            ("GET /a HTTP/9.x\r\n", 400, "GET", "/a"),
            ("GET /b HTTP/9.0\r\n", 505, "GET", "/b"),
        ] {
            let already = rig.server.process.mark();
            let mut client = Client::connect(addr).expect("the port takes connections");
            client.send(line.as_bytes()).expect("sent");
            let response = client.read_response("GET");
            assert_eq!((response.status(), &response.end), (status, &End::Complete), "{line:?} on {addr}");
            assert_eq!(response.value("connection").as_deref(), Some("close"), "{line:?} on {addr}");
            assert_eq!(client.read_end(), End::Closed, "{line:?} on {addr}");
            // The other ports keep no records of requests.
            if addr != rig.server.proxy {
                continue;
            }
            let is_record = |line: &Line| line.json().is_some_and(|r| r["subsystem"] == "proxy.access");
            let record = rig.server.process.wait_line(already, PATIENCE, is_record).expect("a record");
            let record = record.json().expect("an object")["request"].take();
            let seen = (&record["status"], &record["method"], &record["path"]);
            assert_eq!(seen, (&status.into(), &method.into(), &path.into()), "{line:?} on {addr}: {record}");
        }
    }
}

/// Forty heads of 10 MB at once, on every port: each is told so at its first megabyte.
#[test]
fn heads_of_ten_megabytes_are_refused() {
    beside_load(|rig| {
        for addr in [rig.server.proxy, rig.server.upstream, rig.server.admin] {
            let senders: Vec<_> = (0..40)
                .map(|_| {
                    std::thread::spawn(move || {
                        let mut client = Client::connect(addr).expect("the port takes connections");
                        client.set_patience(PATIENCE).expect("an option");
                        let mut stream = client.stream();
                        let mut sent =
                            stream.write_all(b"GET / HTTP/1.1\r\nHost: e2e.test\r\nX-Long: ").is_ok();
                        let block = [b'x'; 64 * 1024];
                        for _ in 0..160 {
                            sent = sent && stream.write_all(&block).is_ok();
                        }
                        let response = client.read_response("GET");
                        (response.status(), response.end, sent)
                    })
                })
                .collect();
            let mut refused = 0;
            for sender in senders {
                let (status, end, _) = sender.join().expect("no panic");
                // 10 MB go beyond what a lingering close reads, so the answer may be lost to a reset; it is
                // never anything else.
                assert!(
                    status == 431 || (status == 0 && matches!(end, End::Reset | End::Closed)),
                    "{status} {end:?} on {addr}"
                );
                refused += u32::from(status == 431);
            }
            eprintln!("{addr}: {refused} of 40 saw their 431");
        }
    });
}

/// Two thousand connections that each hold a piece of a head: beyond what all may hold together, some are
/// told so.
#[test]
fn two_thousand_unfinished_heads_share_one_budget() {
    beside_load(|rig| {
        let mut held = Vec::new();
        for _ in 0..2000 {
            let mut stream = TcpStream::connect(rig.server.proxy).expect("the port takes connections");
            stream.set_write_timeout(Some(Duration::from_secs(10))).expect("an option");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: e2e.test\r\nX-Long: ").expect("sent");
            stream.write_all(&[b'x'; 15 * 1024]).expect("sent");
            held.push(stream);
        }
        // 30 MB are on their way and 16 MiB may be held.
        let mut refused = 0;
        let deadline = Instant::now() + PATIENCE;
        while refused < 500 {
            assert!(Instant::now() < deadline, "{refused} of 2000 heads were refused");
            held.retain_mut(|stream: &mut TcpStream| {
                stream.set_nonblocking(true).expect("an option");
                let mut head = [0; 64];
                match stream.read(&mut head) {
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
                    Ok(n) => assert!(
                        head[..n].starts_with(b"HTTP/1.1 431 "),
                        "{:?}",
                        String::from_utf8_lossy(&head[..n])
                    ),
                    Err(e) => panic!("not an answer but {e}"),
                }
                refused += 1;
                false
            });
        }
        // And a request among them is answered.
        let mut client = rig.client();
        assert_eq!(client.get("/hello", &[("host", piko_tests::rig::HOST)]).expect("sent").status(), 200);
    });
}

/// Heads that come a byte at a time, on every port: each byte is progress, and none of it buys time.
#[test]
fn heads_that_drip_in_end_with_the_head_deadline() {
    beside_load(|rig| {
        let begin = Instant::now();
        let mut dripping = Vec::new();
        for addr in [rig.server.proxy, rig.server.upstream, rig.server.admin] {
            for _ in 0..60 {
                let mut stream = TcpStream::connect(addr).expect("the port takes connections");
                stream.write_all(b"GET / HTTP/1.1\r\nHost: e2e.test\r\nX-Slow: ").expect("sent");
                stream.set_nonblocking(true).expect("an option");
                dripping.push(stream);
            }
        }
        while !dripping.is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(14), "{} heads still drip", dripping.len());
            dripping.retain_mut(|stream| {
                let open =
                    matches!(stream.read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
                let taken = open && stream.write_all(b"x").is_ok();
                let early = begin.elapsed() < Duration::from_secs(9);
                assert!(taken || !early, "ended after {:?}, before the deadline of 10 s", begin.elapsed());
                taken
            });
            // Time is the subject: heads that come byte by byte.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}
