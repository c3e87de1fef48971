use super::*;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use proptest::prelude::*;

/// A handshake message in records of `record` bytes.
fn records(message: &[u8], record: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in message.chunks(record) {
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(2, &[&[0][..], &vector(2, name)].concat()))
}

/// A hello with these extensions.
fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vector(1, &[9; 32]));
    body.extend(vector(2, &[0x13, 1, 0x13, 2]));
    body.extend(vector(1, &[0]));
    body.extend(vector(2, extensions));
    [&[1][..], &vector(3, &body)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    hello(&[extension(43, &[2, 3, 4]), sni(name), extension(21, &[0; 50])].concat())
}

fn done(name: &str) -> Judged<Vec<u8>, HelloFault> {
    Judged::Done(name.as_bytes().to_vec())
}

#[test]
fn a_name_is_found_in_records_of_every_size_and_pieces_of_every_length() {
    let message = named(b"My-DB.Example.com");
    for record in [1, 2, 3, 5, 64, 16_384] {
        let wire = records(&message, record);
        let beyond = [&wire[..], b"\x16\x03\x03 whatever follows"].concat();
        assert_eq!(server_name(&beyond), done("My-DB.Example.com"), "{record}");
        for end in 0..wire.len() {
            assert_eq!(server_name(&wire[..end]), Judged::Partial, "{record}: {end}");
        }
    }
}

#[test]
fn names_are_names() {
    let read = |name: &[u8]| server_name(&records(&named(name), 4096));
    assert_eq!(read(b"a.b."), done("a.b"));
    assert_eq!(read(b"x_y-1"), done("x_y-1"));
    for name in [&b"."[..], b"a b", b"a/b", b"a\0", b"\xff", &[b'a'; 256]] {
        assert_eq!(read(name), Judged::Bad(HelloFault::NoName), "{}", name.escape_ascii());
    }
    assert_eq!(read(b""), Judged::Bad(HelloFault::Malformed));
    assert_eq!(read(&[b'a'; 255]), Judged::Done(vec![b'a'; 255]));
}

#[test]
fn hellos_that_cannot_be_routed_say_why() {
    let read = |extensions: &[u8]| server_name(&records(&hello(extensions), 4096));
    assert_eq!(read(&extension(43, &[2, 3, 4])), Judged::Bad(HelloFault::NoName));
    assert_eq!(read(&[sni(b"a"), sni(b"b")].concat()), Judged::Bad(HelloFault::Malformed));
    let two = [vector(2, b"a"), vec![0], vector(2, b"b")].concat();
    let two = extension(0, &vector(2, &[&[0][..], &two].concat()));
    assert_eq!(read(&two), Judged::Bad(HelloFault::Malformed));
    assert_eq!(read(&extension(0, &[0, 9, 0])), Judged::Bad(HelloFault::Malformed));
    assert_eq!(server_name(b"GET / HTTP/1.1"), Judged::Bad(HelloFault::NotTls));
    assert_eq!(server_name(b"\x16\x02"), Judged::Bad(HelloFault::NotTls));
    assert_eq!(server_name(b"\x16\x03\x01\x00\x00"), Judged::Bad(HelloFault::Malformed));
    assert_eq!(server_name(b"\x16\x03\x01\x40\x01"), Judged::Bad(HelloFault::Malformed));
    // A ServerHello.
    assert_eq!(server_name(b"\x16\x03\x01\x00\x01\x02"), Judged::Bad(HelloFault::Malformed));
    // Longer than it may be: known from its first bytes.
    assert_eq!(server_name(b"\x16\x03\x01\x00\x04\x01\x00\x40\x01"), Judged::Bad(HelloFault::TooLong));
    // One byte in each record: the headers count.
    let padded = hello(&[extension(21, &[0; 4000]), sni(b"a")].concat());
    assert_eq!(server_name(&records(&padded, 1)), Judged::Bad(HelloFault::TooLong));
    assert_eq!(server_name(&records(&padded, 512)), done("a"));
    // Every length inside of it is one too long.
    let message = named(b"db.example.com");
    for at in 4..message.len() {
        let mut message = message.clone();
        message[at] = message[at].wrapping_add(1);
        let _ = server_name(&records(&message, 4096));
    }
    assert_eq!(alert(112), [21, 3, 3, 0, 2, 2, 112]);
}

fn client(peer: &str, local: &str) -> Source {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    Source::Client { peer: addr(peer), local: addr(local) }
}

/// The examples of the specification's section 2.1 and others.
#[test]
fn lines_of_version_1() {
    let read = |line: &str| parse_header([line, "\r\nGET"].concat().as_bytes());
    for (line, source) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
            client("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443", client("192.168.0.1:56324", "192.168.0.11:443")),
        ("PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 0 1", client("[2001:db8::1]:0", "[::ffff:1.2.3.4]:1")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            client(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN", Source::Unknown),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            Source::Unknown,
        ),
    ] {
        assert_eq!(read(line), Judged::Done((line.len() + 2, source)), "{line}");
        for end in 0..line.len() + 2 {
            assert_eq!(
                parse_header(&[line, "\r\n"].concat().as_bytes()[..end]),
                Judged::Partial,
                "{line}: {end}"
            );
        }
    }
    for (line, fault) in [
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1", HeaderFault::Malformed),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3", HeaderFault::Malformed),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1 2", HeaderFault::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2", HeaderFault::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2", HeaderFault::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2", HeaderFault::Address),
        ("PROXY TCP4 ::1 ::1 1 2", HeaderFault::Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2", HeaderFault::Address),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2", HeaderFault::Malformed),
        ("PROXY UNKNOWNS", HeaderFault::Malformed),
        ("PROXY ", HeaderFault::Malformed),
        ("proxy UNKNOWN", HeaderFault::Missing),
        ("PROXZ", HeaderFault::Missing),
        ("POST / HTTP/1.1", HeaderFault::Missing),
    ] {
        assert_eq!(read(line), Judged::Bad(fault), "{line}");
    }
    let long = ["PROXY UNKNOWN ", &"x".repeat(91)].concat();
    assert_eq!(read(&long), Judged::Done((107, Source::Unknown)));
    assert_eq!(read(&[&long, "x"].concat()), Judged::Bad(HeaderFault::TooLong));
}

const START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    [START, &[command, family], &vector(2, block)].concat()
}

#[test]
fn headers_of_version_2() {
    let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x01, 0xbb];
    let with_tlvs = [&v4[..], &[0x04, 0, 3, 0, 0, 0], &[0xe0; 40]].concat();
    let v6 = [&[0xfd; 32][..], &[0, 80, 1, 187]].concat();
    let fd = "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd";
    for (wire, source) in [
        (v2(0x21, 0x11, &v4), client("10.0.0.1:4660", "10.0.0.2:443")),
        (v2(0x21, 0x12, &v4), client("10.0.0.1:4660", "10.0.0.2:443")),
        (v2(0x21, 0x11, &with_tlvs), client("10.0.0.1:4660", "10.0.0.2:443")),
        (v2(0x21, 0x21, &v6), client(&alloc::format!("[{fd}]:80"), &alloc::format!("[{fd}]:443"))),
        (v2(0x21, 0x31, &[b'/'; 216]), Source::Unknown),
        (v2(0x21, 0x00, &[]), Source::Unknown),
        (v2(0x21, 0x00, &[1; 4096]), Source::Unknown),
        (v2(0x20, 0x00, &[]), Source::Unknown),
        (v2(0x20, 0xff, &[1; 5]), Source::Unknown),
    ] {
        let beyond = [&wire[..], b"GET"].concat();
        assert_eq!(parse_header(&beyond), Judged::Done((wire.len(), source)), "{}", wire.escape_ascii());
        for end in 0..wire.len() {
            assert_eq!(parse_header(&wire[..end]), Judged::Partial, "{}: {end}", wire.escape_ascii());
        }
    }
    for (wire, fault) in [
        (v2(0x21, 0x11, &v4[..11]), HeaderFault::Address),
        (v2(0x21, 0x21, &v6[..35]), HeaderFault::Address),
        (v2(0x21, 0x31, &[0; 215]), HeaderFault::Address),
        (v2(0x21, 0x41, &[0; 40]), HeaderFault::Malformed),
        (v2(0x21, 0x13, &v4), HeaderFault::Malformed),
        (v2(0x22, 0x11, &v4), HeaderFault::Malformed),
        (v2(0x11, 0x11, &v4), HeaderFault::Malformed),
        (v2(0x21, 0x11, &[0; 4097]), HeaderFault::TooLong),
    ] {
        assert_eq!(parse_header(&wire), Judged::Bad(fault), "{}", wire.escape_ascii());
    }
    // Not waited for.
    assert_eq!(parse_header(&[START, &[0x31]].concat()), Judged::Bad(HeaderFault::Malformed));
}

#[test]
fn what_is_written_is_read() {
    for version in [HeaderVersion::V1, HeaderVersion::V2] {
        for (given, read) in [
            (Source::Unknown, Source::Unknown),
            (client("1.2.3.4:5", "6.7.8.9:10"), client("1.2.3.4:5", "6.7.8.9:10")),
            (client("[2001:db8::1]:5", "[::1]:10"), client("[2001:db8::1]:5", "[::1]:10")),
            (client("[::ffff:1.2.3.4]:5", "6.7.8.9:10"), client("1.2.3.4:5", "6.7.8.9:10")),
            (client("[2001:db8::1]:5", "6.7.8.9:10"), client("[2001:db8::1]:5", "[::ffff:6.7.8.9]:10")),
        ] {
            let mut wire = Vec::new();
            write_header(version, given, &mut wire);
            assert_eq!(parse_header(&wire), Judged::Done((wire.len(), read)), "{version:?} {given:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_more_bytes_change_no_verdict(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", START, b"\x16\x03\x01\x00\x40\x01"]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = [start, &rest].concat();
        let part = &whole[..cut.index(whole.len() + 1)];
        if server_name(part) != Judged::Partial {
            prop_assert_eq!(server_name(part), server_name(&whole));
        }
        if parse_header(part) != Judged::Partial {
            prop_assert_eq!(parse_header(part), parse_header(&whole));
        }
        if let Judged::Done((length, _)) = parse_header(&whole) {
            prop_assert!(length <= whole.len() && length <= HEADER_BYTES_MAX);
        }
    }
}
