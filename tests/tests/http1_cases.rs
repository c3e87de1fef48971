//! Conformance of the HTTP/1 machines: what is refused, what is normalised, how bodies end. Every row names
//! the section that decides it; every row is fed whole, byte by byte, and cut at every place.

use bytes::BytesMut;
use piko_core::http1::Fields;
use piko_core::http1::{
    BodyLength, ClientConn, Config, Fault, Next, Part, RequestHead, ResponseHead, Reuse, ServerConn, Version,
    unfold, write_field,
};
use piko_core::time::Instant;

const NOW: Instant = Instant::ZERO;

/// A part with its bytes. Neighbouring pieces of data are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Data(Vec<u8>),
    End,
    Head { line: String, fields: Vec<(Vec<u8>, Vec<u8>)>, body: BodyLength, upgrade: bool, expects: bool },
    Interim(u16),
    Switched,
    Trailers(Vec<(Vec<u8>, Vec<u8>)>),
}

fn own(fields: &Fields<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn push(seen: &mut Vec<Seen>, part: Seen) {
    match (seen.last_mut(), part) {
        (Some(Seen::Data(all)), Seen::Data(more)) => all.extend(more),
        (_, part) => seen.push(part),
    }
}

fn see_request(part: Part<RequestHead<'_>, Fields<'_>>, input: &[u8]) -> Seen {
    match part {
        Part::Data(range) => Seen::Data(input[range].to_vec()),
        Part::End => Seen::End,
        Part::Head(head) => Seen::Head {
            line: format!("{} {} {:?}", text(head.method), text(head.target), head.version),
            fields: own(&head.fields),
            body: head.body,
            upgrade: head.upgrade,
            expects: head.expects_continue,
        },
        Part::Interim(_) => unreachable!("requests have no interim heads"),
        Part::Switched => Seen::Switched,
        Part::Trailers(fields) => Seen::Trailers(own(&fields)),
    }
}

fn see_response(part: Part<ResponseHead<'_>, Fields<'_>>, input: &[u8]) -> Seen {
    match part {
        Part::Data(range) => Seen::Data(input[range].to_vec()),
        Part::End => Seen::End,
        Part::Head(head) => Seen::Head {
            line: format!("{} {} {:?}", head.status, text(head.reason), head.version),
            fields: own(&head.fields),
            body: head.body,
            upgrade: false,
            expects: false,
        },
        Part::Interim(head) => Seen::Interim(head.status),
        Part::Switched => Seen::Switched,
        Part::Trailers(fields) => Seen::Trailers(own(&fields)),
    }
}

/// Either machine, as a driver sees it.
trait Reads {
    fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Seen>), Fault>;
}

impl Reads for ServerConn {
    fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Seen>), Fault> {
        let (n, part) = self.handle_input(NOW, input)?;
        Ok((n, part.map(|part| see_request(part, input))))
    }
}

impl Reads for ClientConn {
    fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Seen>), Fault> {
        let (n, part) = self.handle_input(NOW, input)?;
        Ok((n, part.map(|part| see_response(part, input))))
    }
}

/// Feeds `pieces` as a driver would: the rest is kept and handed in whole. Stops at `Switched`.
fn feed<'a>(
    conn: &mut impl Reads,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Option<Fault>, Vec<u8>) {
    let mut rest = Vec::new();
    let mut seen = Vec::new();
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            match conn.read(&rest) {
                Err(fault) => return (seen, Some(fault), rest),
                Ok((n, None)) => {
                    rest.drain(..n);
                    break;
                }
                Ok((_, Some(Seen::Switched))) => {
                    push(&mut seen, Seen::Switched);
                    break;
                }
                Ok((n, Some(part))) => {
                    push(&mut seen, part);
                    rest.drain(..n);
                }
            }
        }
    }
    (seen, None, rest)
}

fn server() -> ServerConn {
    ServerConn::new(Config::default(), NOW)
}

/// A client machine whose request is out.
fn client(method: &[u8], upgrade: Option<&[u8]>) -> ClientConn {
    let mut conn = ClientConn::new(Config::default(), NOW);
    let mut block = BytesMut::new();
    write_field(&mut block, b"Host", b"h").unwrap();
    if let Some(protocol) = upgrade {
        write_field(&mut block, b"Upgrade", protocol).unwrap();
    }
    let target: &[u8] = if method == b"CONNECT" { b"h:1" } else { b"/" };
    let head = request(method, target, &block, BodyLength::None, upgrade.is_some());
    conn.send_head(&head, true, &mut BytesMut::new()).unwrap();
    conn
}

fn request<'a>(
    method: &'a [u8],
    target: &'a [u8],
    block: &'a [u8],
    body: BodyLength,
    upgrade: bool,
) -> RequestHead<'a> {
    RequestHead {
        method,
        target,
        version: Version::Http11,
        fields: Fields::from_block(block),
        body,
        expects_continue: false,
        upgrade,
    }
}

fn response(status: u16, block: &[u8], body: BodyLength) -> ResponseHead<'_> {
    ResponseHead { status, reason: b"R", version: Version::Http11, fields: Fields::from_block(block), body }
}

/// All ways of cutting in two, and byte by byte.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let twos = (0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
    twos.chain([bytes.chunks(1).collect(), bytes.chunks(3).collect()])
}

#[test]
fn requests_that_are_refused() {
    let long_fold = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n";
    let rows: &[(&str, u16, &str)] = &[
        // RFC 9112 3: request line.
        ("GET /\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.1"),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.1"),
        ("\u{16}\u{3}\u{1}", 400, "9112 3.1"),
        // 2.2: one empty line is forgiven, two are not.
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.1"),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.1"),
        // 3.2: targets.
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2.4"),
        ("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2"),
        ("GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2"),
        ("GET /a#f HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2"),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2"),
        ("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400, "3986 2.1"),
        ("GET /a\u{1}b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "9112 3.2.3"),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 400, "9110 9.3.6"),
        // Versions. A prior-knowledge HTTP/2 preface fails at its target first.
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "9110 2.5"),
        ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", 505, "9110 2.5"),
        ("GET / HTTP/1.x\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400, "9112 3"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "9112 3.2.4"),
        // 2.2 and 5: line ends, names, values.
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", 400, "9112 2.2"),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", 400, "9112 2.2"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", 400, "9112 2.2"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400, "9112 2.2"),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "9112 2.2"),
        (long_fold, 400, "9112 5.2"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, "9112 5.1"),
        ("GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400, "9112 5.1"),
        ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400, "9112 5.1"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA(: b\r\n\r\n", 400, "9112 5.1"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 400, "9110 5.5"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\u{b}c\r\n\r\n", 400, "9110 5.5"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\u{7f}\r\n\r\n", 400, "9110 5.5"),
        // 3.2: Host.
        ("GET / HTTP/1.1\r\n\r\n", 400, "9112 3.2"),
        ("GET http://h/ HTTP/1.1\r\n\r\n", 400, "9112 3.2"),
        ("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", 400, "9112 3.2"),
        ("GET / HTTP/1.0\r\nHost: h\r\nhost: i\r\n\r\n", 400, "9112 3.2"),
        ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, "9112 3.2"),
        ("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", 400, "9112 3.2"),
        ("GET / HTTP/1.1\r\nHost: é\r\n\r\n", 400, "9112 3.2"),
        // 6.1 to 6.3: framing.
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "9112 6.3",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
            400,
            "9112 6.3",
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5x\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400, "9112 6.3"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "9112 6.3",
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", 400, "9112 6.3"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "9112 6.1"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 501, "9112 6.1"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501, "9112 6.1"),
        ("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "9112 6.1"),
        // RFC 9110 10.1.1: expectations.
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417, "9110 10.1.1"),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, tea\r\n\r\n", 417, "9110 10.1.1"),
    ];
    for (bytes, status, section) in rows {
        for pieces in cuts(bytes.as_bytes()) {
            let mut conn = server();
            let (seen, fault, _) = feed(&mut conn, pieces);
            let fault = fault.unwrap_or_else(|| panic!("accepted: {bytes:?}"));
            assert_eq!((fault.status, seen), (*status, vec![]), "{bytes:?}");
            assert!(
                fault.what.contains(&format!("RFC {section}")),
                "{bytes:?}: {} is not {section}",
                fault.what
            );
            // The answer can be written, and says that it is the last.
            let mut out = BytesMut::new();
            conn.send_head(&response(fault.status, b"", BodyLength::Known(0)), &mut out).unwrap();
            assert!(out.ends_with(b"content-length: 0\r\nconnection: close\r\n\r\n"), "{}", text(&out));
            assert_eq!(conn.send_end(&mut out), Next::Close);
            assert!(!conn.wants_input());
        }
    }
}

/// Another protocol's first line is answered, and not waited behind until the head's deadline.
#[test]
fn a_first_line_that_cannot_become_legal_is_refused_before_the_head_is_complete() {
    for line in [
        "SSH-2.0-OpenSSH_9",
        "GET /a HTTP/9.x",
        "GET /a HTTP/2.0",
        "GET /",
        "GET  / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET h HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let whole = format!("{line}\r\nHost: h\r\n\r\n");
        let want = feed(&mut server(), [whole.as_bytes()]).1;
        assert!(want.is_some(), "{line}");
        assert_eq!(
            feed(&mut server(), [line.as_bytes()]),
            (vec![], None, line.into()),
            "its end is not there"
        );
        // What is wrong behind it is not what is told, whether it came along or not.
        for rest in ["", "Host", "A: b\n\n", " folded\r\n", "A: b\r\n c\r\n\r\n", "A : b\r\n\r\n", "\r\n"] {
            for before in ["", "\r\n"] {
                let bytes = format!("{before}{line}\r\n{rest}");
                for pieces in cuts(bytes.as_bytes()) {
                    let (seen, fault, _) = feed(&mut server(), pieces);
                    assert_eq!((seen, fault), (vec![], want), "{bytes:?}");
                }
            }
        }
    }
    for line in [
        "GET /a HTTP/1.1",
        "GET /a HTTP/1.0",
        "GET /a HTTP/1.9",
        "x! http://h HTTP/1.1",
        "CONNECT h:1 HTTP/1.1",
    ] {
        let bytes = format!("{line}\r\nHost: h\r\nA: b\r\n");
        for pieces in cuts(bytes.as_bytes()) {
            let mut conn = server();
            assert_eq!(feed(&mut conn, pieces), (vec![], None, bytes.clone().into()), "a rest is waited for");
            assert!(conn.wants_input() && conn.poll_timeout().is_some());
        }
    }
}

#[test]
fn the_texts_of_host_faults_are_those_of_go() {
    let told = |bytes: &[u8]| feed(&mut server(), [bytes]).1.unwrap().text();
    assert_eq!(told(b"GET / HTTP/1.1\r\n\r\n"), "400 Bad Request: missing required Host header");
    assert_eq!(told(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), "400 Bad Request: malformed Host header");
    assert_eq!(told(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "400 Bad Request");
}

#[test]
fn heads_beyond_the_limits() {
    let mut config = Config::default();
    config.head_bytes_max = 64;
    config.fields_max = 3;
    let mut fits = b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec();
    fits.resize(60, b'a');
    fits.extend_from_slice(b"\r\n\r\n");
    let mut long = fits.clone();
    long.insert(40, b'a');
    let many = b"GET / HTTP/1.1\r\nHost: h\r\nA:\r\nB:\r\nC:\r\n\r\n".to_vec();
    let endless = vec![b'G'; 65];
    let long_line = format!("GET /{} HTTP/9.x\r\n", "a".repeat(64)).into_bytes();
    for (bytes, status) in [
        (fits, None),
        (long, Some(431)),
        (many, Some(431)),
        (endless, Some(431)),
        // Its end is beyond what may be a head, so that it is never judged.
        (long_line, Some(431)),
    ] {
        for pieces in cuts(&bytes) {
            let (_, fault, _) = feed(&mut ServerConn::new(config.clone(), NOW), pieces);
            assert_eq!(fault.map(|fault| fault.status), status, "{}", text(&bytes));
        }
    }
    let trailers =
        b"POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\nA:\r\nB:\r\nC:\r\nD:\r\n\r\n";
    config.head_bytes_max = 100;
    for pieces in cuts(trailers) {
        let (seen, fault, _) = feed(&mut ServerConn::new(config.clone(), NOW), pieces);
        assert_eq!((seen.len(), fault.map(|fault| fault.status)), (1, Some(431)));
    }
}

#[test]
fn requests_that_are_accepted() {
    use BodyLength::{Chunked, Known, None};
    let rows: &[(&str, BodyLength, bool, bool)] = &[
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", None, false, false),
        ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", None, false, false),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", None, false, false),
        ("GET / HTTP/1.0\r\n\r\n", None, false, false),
        ("GET /é?\"<>%zz HTTP/1.1\r\nHost: [::1]:80\r\nA: é\t!\r\n\r\n", None, false, false),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", None, false, false),
        ("GET http://h:1/p?q HTTP/1.1\r\nHost: i\r\n\r\n", None, false, false),
        ("M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", None, false, false),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", Known(0), false, false),
        ("POST / HTTP/1.0\r\ncontent-length: 03\r\n\r\nabc", Known(3), false, false),
        // RFC 9110 8.6: identical lengths may be taken for one.
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            Known(1),
            false,
            false,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx", Known(1), false, false),
        // RFC 9110 2.5: a higher minor version is read as 1.1.
        ("GET / HTTP/1.2\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", None, true, false),
        ("POST / HTTP/1.1\r\nHost: h\r\nTRANSFER-encoding: Chunked\r\n\r\n0\r\n\r\n", Chunked, false, false),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
            Known(1),
            false,
            true,
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: a, Upgrade\r\nUpgrade: x/1\r\n\r\n", None, true, false),
        // RFC 9110 7.8: all three parts are needed.
        ("GET / HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", None, false, false),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\n", None, false, false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n", None, false, false),
    ];
    for (bytes, body, upgrade, expects) in rows {
        for pieces in cuts(bytes.as_bytes()) {
            let mut conn = server();
            let (seen, fault, rest) = feed(&mut conn, pieces);
            assert_eq!((fault, rest.len()), (Option::None, 0), "{bytes:?}");
            let Some(Seen::Head { body: b, upgrade: u, expects: e, .. }) = seen.first() else {
                panic!("{bytes:?}: {seen:?}")
            };
            assert_eq!((b, u, e), (body, upgrade, expects), "{bytes:?}");
            assert_eq!(seen.last(), Some(&Seen::End), "{bytes:?}");
            assert!(conn.request_done());
        }
    }
}

#[test]
fn chunks_that_are_refused() {
    // The second column: may a response do it?
    let rows: &[(&str, bool)] = &[
        ("\r\n", false),
        ("g\r\n", false),
        ("-1\r\n", false),
        ("0x1\r\na\r\n0\r\n\r\n", false),
        (" 1\r\na\r\n0\r\n\r\n", false),
        ("1\na\r\n0\r\n\r\n", false),
        ("1\r\nab\r\n0\r\n\r\n", false),
        ("1\r\na\n0\r\n\r\n", false),
        ("1\r\naX\n0\r\n\r\n", false),
        ("1\r\na0\r\n\r\n", false),
        ("1\r\na\rb", false),
        ("1\rx", false),
        ("1;a\nb\r\na\r\n0\r\n\r\n", false),
        ("1;a\rb\r\n", false),
        ("1;a\0\r\n", false),
        ("10000000000000000\r\n", false),
        ("000000000000000000000000000000001\r\n", false),
        ("1 \r\na\r\n0\r\n\r\n", true),
        ("1 x\r\na\r\n0\r\n\r\n", false),
        ("0\r\nA: b\nC: d\r\n\r\n", false),
        // RFC 9112 5.1: a proxy removes it from a response.
        ("0\r\nA : b\r\n\r\n", true),
        ("0\r\n : b\r\n\r\n", false),
        ("0\r\nA (: b\r\n\r\n", false),
        ("0\r\n A: b\r\n\r\n", false),
        ("0\r\nA: b\r\n c\r\n\r\n", false),
        ("0\r\nA: b\0\r\n\r\n", false),
        ("0\r\nA: b\rc\r\n\r\n", false),
    ];
    for (body, lenient) in rows {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        for pieces in cuts(request.as_bytes()) {
            let (seen, fault, _) = feed(&mut server(), pieces);
            assert_eq!(fault.map(|fault| fault.status), Some(400), "{body:?}");
            assert!(!seen.contains(&Seen::End), "{body:?}");
        }
        for pieces in cuts(response.as_bytes()) {
            let (seen, fault, _) = feed(&mut client(b"GET", None), pieces);
            assert_eq!(fault.map(|fault| fault.status), if *lenient { None } else { Some(502) }, "{body:?}");
            assert!(!fault.is_some_and(|fault| fault.is_folded()), "only heads can be repaired");
            assert_eq!(seen.contains(&Seen::End), *lenient, "{body:?}");
        }
    }
    let endless =
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(5000));
    assert_eq!(
        feed(&mut server(), [endless.as_bytes()]).1.map(|fault| fault.status),
        Some(400),
        "RFC 9112 7.1.1"
    );
}

#[test]
fn chunks_that_are_read() {
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0A;x=\"y;z\"\r\n0123456789\r\n01 ; q\r\n!\r\n00\r\nX: y\r\nContent-Length: 9\r\n\r\n";
    for pieces in cuts(bytes) {
        let (seen, fault, rest) = feed(&mut server(), pieces);
        assert_eq!((fault, rest.len()), (None, 0));
        let trailers = vec![(b"X".to_vec(), b"y".to_vec()), (b"Content-Length".to_vec(), b"9".to_vec())];
        let want = [Seen::Data(b"abc0123456789!".to_vec()), Seen::Trailers(trailers), Seen::End];
        assert_eq!(seen[1..], want);
    }
}

#[test]
fn responses_that_are_refused() {
    let rows: &[(&str, &str)] = &[
        ("SSH-2.0-OpenSSH", "9112 4"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "9112 4"),
        ("HTTP/2.0 200 OK\r\n\r\n", "9112 4"),
        ("HTTP/1.x 200 OK\r\n\r\n", "9112 4"),
        ("HTTP/1.1 20 OK\r\n\r\n", "9112 4"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "9112 4"),
        ("HTTP/1.1 099 OK\r\n\r\n", "9112 4"),
        ("HTTP/1.1 200 O\u{1}K\r\n\r\n", "9112 4"),
        ("HTTP/1.1 200 O\rK\r\n\r\n", "9112 4"),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "9112 2.2"),
        ("HTTP/1.1 200 OK\r\n : b\r\n\r\n", "9112 2.2"),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "9112 5.1"),
        ("HTTP/1.1 200 OK\r\nA B : b\r\n\r\n", "9112 5.1"),
        ("HTTP/1.1 200 OK\r\nA : b\r\nno colon\r\n\r\n", "9112 5.1"),
        ("HTTP/1.1 200 OK\r\nA : b\rc\r\n\r\n", "9112 5.1"),
        // 5.2: only values fold.
        ("HTTP/1.1 200 OK\r\nA\r\n : b\r\n\r\n", "9112 5.1"),
        ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\nContent-Length: 6\r\n\r\n", "9112 6.3"),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "9112 2.2"),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", "9110 5.5"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "9112 6.3"),
        ("HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "9112 6.3"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "9112 6.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", "9112 6.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "9112 6.1"),
        ("HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", "9110 15.2.2"),
    ];
    for (bytes, section) in rows {
        for pieces in cuts(bytes.as_bytes()) {
            let mut conn = client(b"GET", None);
            let (seen, fault, _) = feed(&mut conn, pieces);
            let fault = fault.unwrap_or_else(|| panic!("accepted: {bytes:?}"));
            assert_eq!((fault.status, seen), (502, vec![]), "{bytes:?}");
            assert!(
                fault.what.contains(&format!("RFC {section}")),
                "{bytes:?}: {} is not {section}",
                fault.what
            );
            assert_eq!(conn.reuse(), Reuse::Discard);
            assert!(!conn.wants_input());
        }
    }
}

#[test]
fn responses_and_their_readings() {
    use BodyLength::{Chunked, Known, None, UntilClose};
    use Reuse::{Discard, Reuse as Keep};
    // Method, bytes (each with more behind it than belongs to it, where it ends by itself), reading, payload,
    // and whether the connection is used again.
    let rows: &[(&str, &str, BodyLength, &str, Reuse)] = &[
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Known(2), "ab", Keep),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", Known(2), "ab", Keep),
        ("GET", "HTTP/1.1 200 \r\ncontent-length:2 \r\n\r\nab", Known(2), "ab", Keep),
        ("GET", "HTTP/1.1 999 what é\r\nContent-Length: 0\r\n\r\n", Known(0), "", Keep),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
            Known(2),
            "ab",
            Discard,
        ),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", Known(2), "ab", Discard),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
            Known(2),
            "ab",
            Keep,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 2\r\n\r\nab",
            Known(2),
            "ab",
            Discard,
        ),
        // RFC 9110 2.5: a higher minor version is read as 1.1.
        ("GET", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nab", Known(2), "ab", Keep),
        // RFC 9112 6.3: identical lengths collapse, the coding wins over a length.
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab",
            Known(2),
            "ab",
            Keep,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Chunked,
            "ab",
            Keep,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Chunked,
            "ab",
            Discard,
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Chunked,
            "",
            Discard,
        ),
        // RFC 9112 6.3: no body, whatever the fields say.
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", None, "", Keep),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None, "", Keep),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None, "", Keep),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", None, "", Keep),
        ("GET", "HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", None, "", Discard),
        ("GET", "HTTP/1.1 304 Not\r\nContent-Length: 2\r\n\r\n", None, "", Keep),
        // RFC 9112 5.1: whitespace between a name and its colon is as if it were not there.
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab", Known(2), "ab", Keep),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding \t: chunked\r\n\r\n2\r\nab\r\n0\r\nA : b\r\n\r\n",
            Chunked,
            "ab",
            Keep,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection : close\r\nContent-Length :2\r\n\r\nab",
            Known(2),
            "ab",
            Discard,
        ),
        // RFC 9112 2.2: bare LF in a head.
        ("GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nab", Known(2), "ab", Keep),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nab", UntilClose, "ab", Discard),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nab", UntilClose, "ab", Discard),
    ];
    for (method, bytes, body, payload, reuse) in rows {
        for pieces in cuts(bytes.as_bytes()) {
            let mut conn = client(method.as_bytes(), Option::None);
            let (mut seen, fault, rest) = feed(&mut conn, pieces);
            assert_eq!((fault, rest.len()), (Option::None, 0), "{bytes:?}");
            assert!(matches!(&seen[0], Seen::Head { body: b, .. } if b == body), "{bytes:?}: {seen:?}");
            if *body == UntilClose {
                assert!(!seen.contains(&Seen::End), "{bytes:?}");
                assert_eq!(conn.handle_eof(NOW), Ok(true), "{bytes:?}");
                seen.push(Seen::End);
            }
            assert!(!conn.wants_input());
            let got: Vec<u8> = seen
                .iter()
                .flat_map(|part| if let Seen::Data(d) = part { d.clone() } else { vec![] })
                .collect();
            assert_eq!((text(&got).as_str(), seen.last()), (*payload, Some(&Seen::End)), "{bytes:?}");
            assert_eq!(conn.reuse(), *reuse, "{bytes:?}");
            // What stands behind a complete response belongs to nothing.
            assert_eq!(conn.handle_input(NOW, b"HTTP/1.1 200 OK\r\n\r\n").unwrap().0, 0);
            assert_eq!(conn.reuse(), Discard);
        }
    }
}

#[test]
fn folded_responses_are_repaired_in_place() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\n d\r\nContent-Length: 2\r\n\r\na\n b".to_vec();
    let mut conn = client(b"GET", None);
    let fault = feed(&mut conn, [&bytes[..]]).1.expect("folded");
    assert!(fault.is_folded());
    unfold(&mut bytes);
    let (seen, fault, rest) = feed(&mut conn, [&bytes[..]]);
    assert_eq!((fault, &rest[..]), (None, &b" b"[..]));
    let Seen::Head { fields, .. } = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(fields[0], (b"A".to_vec(), b"b  \tc  d".to_vec()));
    assert_eq!(seen[1], Seen::Data(b"a\n".to_vec()));
}

#[test]
fn interim_responses_and_switches() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n\
        HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\nraw";
    for pieces in cuts(bytes) {
        let mut conn = client(b"GET", Some(b"x, websocket"));
        let (seen, fault, rest) = feed(&mut conn, pieces);
        assert_eq!(fault, None);
        assert_eq!(seen[..2], [Seen::Interim(100), Seen::Interim(103)]);
        assert!(matches!(seen[2], Seen::Head { body: BodyLength::None, .. }));
        assert_eq!((&seen[3], &rest[rest.len() - 3..]), (&Seen::Switched, &b"raw"[..]));
        assert_eq!(conn.reuse(), Reuse::Discard);
    }
    for other in ["Upgrade: y", "Upgrade: x, y", "Connection: upgrade"] {
        let answer = format!("HTTP/1.1 101 S\r\n{other}\r\n\r\n");
        let fault = feed(&mut client(b"GET", Some(b"x")), [answer.as_bytes()]).1;
        assert!(fault.is_some_and(|fault| fault.what.contains("9110 7.8")), "{other}");
    }
    let mut conn = client(b"GET", Some(b"x"));
    let refused = b"HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\n!";
    assert_eq!(feed(&mut conn, [&refused[..]]).0.last(), Some(&Seen::End));
    assert_eq!(conn.reuse(), Reuse::Reuse);
    let mut conn = client(b"CONNECT", None);
    let (seen, _, rest) = feed(&mut conn, [&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntunnel"[..]]);
    assert_eq!((seen.last(), &rest[..]), (Some(&Seen::Switched), &b"tunnel"[..]));
    assert!(matches!(seen[0], Seen::Head { body: BodyLength::None, .. }), "a tunnel has no length");
}

#[test]
fn a_cut_body_is_never_a_complete_one() {
    let bodies: [(&str, &str); 4] = [
        ("Content-Length: 5\r\n", "abcde"),
        ("Transfer-Encoding: chunked\r\n", "3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\nX: y\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ];
    for (field, body) in bodies {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n{body}");
        for cut in 1..request.len() {
            let mut conn = server();
            let (seen, fault, _) = feed(&mut conn, [&request.as_bytes()[..cut]]);
            assert_eq!((seen.contains(&Seen::End), fault), (false, None), "{request:?} at {cut}");
            assert!(!conn.request_done());
            assert_eq!(conn.handle_eof(NOW).map_err(|fault| fault.status), Err(400), "{request:?} at {cut}");
            assert!(!conn.request_done());
            let after = feed(&mut conn, [&request.as_bytes()[cut..]]);
            assert_eq!(after.0, [], "nothing is read behind the end");
        }
        let response = format!("HTTP/1.1 200 OK\r\n{field}\r\n{body}");
        for cut in 0..response.len() {
            let mut conn = client(b"GET", None);
            let (seen, fault, _) = feed(&mut conn, [&response.as_bytes()[..cut]]);
            assert_eq!((seen.contains(&Seen::End), fault), (false, None), "{response:?} at {cut}");
            assert_eq!(conn.handle_eof(NOW).map_err(|fault| fault.status), Err(502), "{response:?} at {cut}");
            assert_eq!(conn.reuse(), Reuse::Discard);
        }
    }
    // A head that is cut short is no response either, and silence before it is worth a retry.
    assert!(client(b"GET", None).handle_eof(NOW).is_err());
    assert_eq!(ClientConn::new(Config::default(), NOW).handle_eof(NOW), Ok(false));
    assert_eq!(server().handle_eof(NOW), Ok(()));
}

/// What a log can say of a request that was refused.
#[test]
fn the_request_line_of_a_refused_head() {
    use piko_core::http1::peek_request_line;
    for (head, seen) in [
        ("GET /x HTTP/1.1\r\nHost: a", Some(("GET", "/x"))),
        ("\r\nGET /x HTTP/9\r\n", Some(("GET", "/x"))),
        ("GET /cut-in-the-mid", Some(("GET", "/cut-in-the-mid"))),
        ("GET /a b HTTP/1.1\r\n", Some(("GET", "/a"))),
        ("GET", None),
        ("GET ", None),
        ("", None),
        ("\0\0\0\0\r\n", None),
        ("G{T /x HTTP/1.1", None),
        ("GET /\t HTTP/1.1", None),
    ] {
        let peeked = peek_request_line(head.as_bytes());
        assert_eq!(peeked, seen.map(|(method, target)| (method.as_bytes(), target.as_bytes())), "{head:?}");
    }
    assert_eq!(peek_request_line(format!("{} /", "M".repeat(65)).as_bytes()), None);
}
