use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const TO: Destination<'_> = Destination { host: "piko.example", port: 8001 };
const SOCKS_OK: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80];

fn login() -> Login {
    Login { user: "Aladdin".into(), password: "open sesame".into() }
}

fn sent(handshake: &mut Handshake) -> Vec<u8> {
    let mut out = BytesMut::new();
    assert_eq!(handshake.poll_transmit(&mut out), out.len());
    out.to_vec()
}

fn connect() -> Handshake {
    Handshake::new(Protocol::Connect, None, TO).expect("sayable")
}

fn socks5(login: Option<&Login>) -> Handshake {
    Handshake::new(Protocol::Socks5, login, TO).expect("sayable")
}

/// The outcome of `input` in pieces that end at `cuts`, and all that was sent meanwhile.
fn play(mut handshake: Handshake, input: &[u8], cuts: &[usize]) -> (Result<Progress, Fault>, Vec<u8>) {
    let (mut from, mut said) = (0, sent(&mut handshake));
    for &to in cuts.iter().chain([&input.len()]) {
        match handshake.handle_input(&input[from..to]) {
            Ok(Progress::Done { taken }) => {
                said.extend(sent(&mut handshake));
                return (Ok(Progress::Done { taken: from + taken }), said);
            }
            Ok(Progress::More) => {}
            Err(fault) => {
                assert_eq!(handshake.handle_input(b"HTTP/1.1 200 OK\r\n\r\n"), Err(fault), "it stays so");
                assert_eq!(handshake.handle_eof(), Err(fault));
                assert!(sent(&mut handshake).is_empty());
                return (Err(fault), said);
            }
        }
        said.extend(sent(&mut handshake));
        from = to;
    }
    (Ok(Progress::More), said)
}

#[test]
fn connect_asks_for_host_and_port() {
    assert_eq!(
        sent(&mut connect()),
        b"CONNECT piko.example:8001 HTTP/1.1\r\nHost: piko.example:8001\r\n\r\n"
    );
    let to = Destination { host: "::1", port: 443 };
    let mut handshake = Handshake::new(Protocol::Connect, Some(&login()), to).expect("sayable");
    // The login is the one of RFC 7617 2.
    assert_eq!(
        sent(&mut handshake),
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
          Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
    );
    assert!(sent(&mut handshake).is_empty(), "once");
}

#[test]
fn any_status_of_200_to_299_connects() {
    for (answer, expected) in [
        ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(true)),
        ("HTTP/1.0 200\r\nVia: x\r\n\r\n", Ok(true)),
        ("HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(true)),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(true)),
        ("HTTP/1.1 200 OK\n\n", Ok(true)),
        ("HTTP/1.1 200 OK\r\n", Ok(false)),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            Err(Fault::Status(407)),
        ),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Err(Fault::Status(502))),
        ("HTTP/1.1 301 Moved\r\n\r\n", Err(Fault::Status(301))),
        ("HTTP/2 200\r\n\r\n", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("HTTP/1.1 20\r\n\r\n", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("HTTP/1.1 0200\r\n\r\n", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("HTTP/1.1  200\r\n\r\n", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("SSH-2.0-", Err(Fault::NotAProxy("answer is not HTTP"))),
        ("<", Err(Fault::NotAProxy("answer is not HTTP"))),
    ] {
        let expected = expected.map(|done| match done {
            true => Progress::Done { taken: answer.len() },
            false => Progress::More,
        });
        assert_eq!(play(connect(), answer.as_bytes(), &[]).0, expected, "{answer}");
        // What follows a yes is the server's.
        if let Ok(Progress::Done { .. }) = expected {
            let more = format!("{answer}early");
            assert_eq!(play(connect(), more.as_bytes(), &[]).0, expected, "{answer}");
        }
        for cut in 0..=answer.len() {
            assert_eq!(play(connect(), answer.as_bytes(), &[cut]).0, expected, "{answer} cut at {cut}");
        }
    }
}

#[test]
fn a_huge_answer_is_none() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    assert_eq!(play(connect(), head.as_bytes(), &[]).0, Err(Fault::NotAProxy("answer head too long")));
    // Interim answers without end neither.
    let heads = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert_eq!(play(connect(), heads.as_bytes(), &[]).0, Err(Fault::NotAProxy("answer head too long")));
}

#[test]
fn socks_goes_through_its_steps() {
    let (name, port) = (TO.host.as_bytes(), [0x1f, 0x41]);
    let request = [&[5, 1, 0, 3, 12], name, &port].concat();
    let input = [&[5, 0], SOCKS_OK].concat();
    let (outcome, said) = play(socks5(None), &input, &[2]);
    assert_eq!(outcome, Ok(Progress::Done { taken: input.len() }));
    assert_eq!(said, [&[5, 1, 0], &request[..]].concat());

    let asked = [&[1, 7], &b"Aladdin"[..], &[11], b"open sesame"].concat();
    let input = [&[5, 2], &[1, 0], SOCKS_OK].concat();
    let (outcome, said) = play(socks5(Some(&login())), &input, &[2, 4]);
    assert_eq!(outcome, Ok(Progress::Done { taken: input.len() }));
    assert_eq!(said, [&[5, 2, 0, 2], &asked[..], &request].concat());

    // A proxy that wants no login is not told one.
    let (_, said) = play(socks5(Some(&login())), &[5, 0], &[]);
    assert_eq!(said, [&[5, 2, 0, 2], &request[..]].concat());
}

#[test]
fn addresses_are_sent_as_what_they_are() {
    for (host, expected) in [
        ("192.0.2.7", vec![1, 192, 0, 2, 7]),
        ("::1", vec![4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("a", vec![3, 1, b'a']),
    ] {
        let to = Destination { host, port: 1 };
        let handshake = Handshake::new(Protocol::Socks5, None, to).expect("sayable");
        let (_, said) = play(handshake, &[5, 0], &[]);
        assert_eq!(said, [&[5, 1, 0, 5, 1, 0], &expected[..], &[0, 1]].concat(), "{host}");
    }
}

#[test]
fn replies_of_every_form_are_read_to_their_end() {
    let long = [&[5, 0, 0, 3, 255][..], &[b'x'; 255], &[0, 1]].concat();
    let v6 = [&[5, 0, 0, 4][..], &[0; 16], &[0, 1]].concat();
    for reply in [SOCKS_OK, &long, &v6, &[5, 0, 0, 3, 0, 0, 1]] {
        let input = [&[5, 0], reply, b"early"].concat();
        let end = 2 + reply.len();
        for cut in 0..=end {
            let (outcome, _) = play(socks5(None), &input, &[cut]);
            assert_eq!(outcome, Ok(Progress::Done { taken: end }), "cut at {cut}");
        }
        assert_eq!(play(socks5(None), &input[..end - 1], &[]).0, Ok(Progress::More));
    }
}

#[test]
fn every_no_of_a_socks_proxy_is_told_apart() {
    for (input, fault) in [
        (&[5, 0xff][..], Fault::Method),
        (&[5, 2], Fault::Method),
        (&[5, 1], Fault::NotAProxy("a method that was not offered")),
        (&[4], Fault::NotAProxy("answer is not SOCKS5")),
        (b"HTTP/1.1 400", Fault::NotAProxy("answer is not SOCKS5")),
        (&[5, 0, 4], Fault::NotAProxy("answer is not SOCKS5")),
        (&[5, 0, 5, 5], Fault::Reply(5)),
        (&[5, 0, 5, 0, 0, 2], Fault::NotAProxy("reply with an unknown address")),
    ] {
        assert_eq!(play(socks5(None), input, &[]).0, Err(fault), "{input:?}");
    }
    for (input, fault) in [
        (&[5, 2, 1, 1][..], Fault::Login),
        (&[5, 2, 5, 0], Fault::NotAProxy("answer to the login is none")),
        (&[5, 0xff], Fault::Method),
    ] {
        assert_eq!(play(socks5(Some(&login())), input, &[]).0, Err(fault), "{input:?}");
    }
    assert_eq!(Fault::Reply(5).to_string(), "refused: connection refused (5)");
    for code in 0..=255 {
        assert!(Fault::Reply(code).to_string().contains(&code.to_string()));
    }
}

#[test]
fn an_end_in_the_middle_is_a_fault_and_behind_it_none() {
    for mut handshake in [connect(), socks5(None)] {
        assert_eq!(handshake.handle_eof(), Err(Fault::Ended));
        assert_eq!(handshake.handle_input(b"x"), Err(Fault::Ended));
    }
    let mut handshake = connect();
    assert_eq!(handshake.handle_input(b"HTTP/1.1 200\r\n\r\n"), Ok(Progress::Done { taken: 16 }));
    assert_eq!(handshake.handle_eof(), Ok(()));
    assert_eq!(handshake.handle_input(b"x"), Ok(Progress::Done { taken: 0 }));
}

#[test]
fn what_cannot_be_said_is_not() {
    let long = "x".repeat(256);
    let login = |user: &str, password: &str| Login { user: user.into(), password: password.into() };
    for (protocol, login, host, unfit) in [
        (Protocol::Connect, login("a:b", ""), "h", Unfit::User),
        (Protocol::Connect, login("a\r\nb", ""), "h", Unfit::User),
        (Protocol::Connect, login("a", "b\n"), "h", Unfit::Password),
        (Protocol::Connect, login("a", "b"), "h\r\nx", Unfit::Host),
        (Protocol::Connect, login("a", "b"), "", Unfit::Host),
        (Protocol::Socks5, login("", "b"), "h", Unfit::User),
        (Protocol::Socks5, login(&long, "b"), "h", Unfit::User),
        (Protocol::Socks5, login("a", &long), "h", Unfit::Password),
        (Protocol::Socks5, login("a", ""), &long, Unfit::Host),
    ] {
        let refused = Handshake::new(protocol, Some(&login), Destination { host, port: 1 });
        assert_eq!(refused.err(), Some(unfit));
    }
    let handshake = Handshake::new(Protocol::Socks5, Some(&login("a", "")), TO);
    assert!(handshake.is_ok(), "a password may be empty");
    assert_eq!(format!("{:?}", login("hunter", "2")), "[redacted]");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_chunks_do_not_matter(
        socks in any::<bool>(),
        yes in any::<bool>(),
        input in prop::collection::vec(any::<u8>(), 0..600),
        cut in 0..600_usize,
    ) {
        let start = || if socks { socks5(Some(&login())) } else { connect() };
        let prefix: &[u8] = if yes && socks { &[5, 0, 5, 0, 0] } else if yes { b"HTTP/1.1 2" } else { b"" };
        let input = [prefix, &input].concat();
        let (whole, said) = play(start(), &input, &[]);
        let (cut, said_in_pieces) = play(start(), &input, &[cut.min(input.len())]);
        prop_assert_eq!(whole, cut);
        if whole.is_ok() {
            prop_assert_eq!(said, said_in_pieces);
        }
    }
}
