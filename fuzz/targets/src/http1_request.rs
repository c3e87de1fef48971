//! Requests from a hostile client: `[flags][cuts][wire…]`.

use crate::cuts::Cuts;
use crate::http::{Block, End, Message, Seen, config, forwarded, lines, own};
use bytes::{BufMut, BytesMut};
use piko_core::http1::{
    BodyLength, ClientConn, Config, Fields, Next, Part, RequestHead, RequestPart, ResponseHead, Reuse,
    ServerConn, Version, is_name, list_members,
};
use piko_core::time::Instant;

const NOW: Instant = Instant::ZERO;
const STATUSES: [u16; 6] = [400, 417, 431, 501, 505, 408];

/// Reads a client's bytes whole and in pieces, answers each request, and forwards each as the proxy does.
///
/// # Panics
/// When the pieces show, or what was accepted is not accepted again with the same meaning.
pub fn http1_request(data: &[u8]) {
    let [flags, cuts, wire @ ..] = data else { return };
    let whole = read(*flags, wire, Cuts::whole());
    let cut = read(*flags, wire, Cuts::new(*cuts, wire));
    assert_eq!(whole, cut, "the pieces show");
    for message in &whole.messages {
        forward(message, *flags, *cuts);
    }
}

/// A request's start line and what follows from its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Start {
    method: Vec<u8>,
    target: Vec<u8>,
    version: Version,
    expects_continue: bool,
    upgrade: bool,
}

impl Start {
    fn of(head: &RequestHead<'_>) -> Self {
        Self {
            method: head.method.to_vec(),
            target: head.target.to_vec(),
            version: head.version,
            expects_continue: head.expects_continue,
            upgrade: head.upgrade,
        }
    }
}

/// Flags: 1 tiny limits; 2 upgrades are granted; 4 answers have a body of unknown length; 8 forwarded requests
/// end their connection.
fn read(flags: u8, mut wire: &[u8], mut cuts: Cuts) -> Seen<Start> {
    let mut conn = ServerConn::new(config(flags & 1 != 0), NOW);
    let mut seen = Seen::new();
    let mut rest = Vec::new();
    loop {
        let stop = match conn.handle_input(NOW, &rest) {
            Ok((n, part)) => {
                assert!(n <= rest.len());
                let stop = part.is_none();
                let ended = part.is_some_and(|part| take(&mut seen, part, &rest));
                rest.drain(..n);
                if ended && !answer(&mut conn, &seen, flags) {
                    break;
                }
                stop
            }
            Err(fault) => {
                assert!(STATUSES.contains(&fault.status), "{fault:?}");
                seen.fault = Some(fault);
                refuse(&mut conn, fault.status);
                break;
            }
        };
        if stop {
            assert!(rest.len() <= limit(flags), "{} bytes are kept", rest.len());
            let piece = cuts.next(&mut wire);
            if piece.is_empty() {
                let cut = conn.handle_eof(NOW);
                seen.fault = cut.err();
                break;
            }
            rest.extend_from_slice(piece);
        }
    }
    // Whatever happened, further calls are harmless and find nothing.
    let _ = conn.poll_timeout();
    conn.handle_timeout(Instant::FAR);
    let _ = conn.handle_eof(NOW);
    let after = conn.handle_input(NOW, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let found = after.is_ok_and(|(_, part)| matches!(part, Some(Part::Head(_))));
    assert!(!found, "a request behind the end");
    rest.extend_from_slice(wire);
    // Behind an end it is not said how much of a broken message was consumed.
    seen.rest = if seen.fault.is_none() { rest } else { Vec::new() };
    seen
}

/// What a caller may be made to keep: a head, or a piece that was just given.
fn limit(flags: u8) -> usize {
    config(flags & 1 != 0).head_bytes_max + 2
}

fn take(seen: &mut Seen<Start>, part: RequestPart<'_>, input: &[u8]) -> bool {
    match part {
        Part::Head(head) => {
            assert_ne!(head.body, BodyLength::UntilClose, "a request that ends with its connection");
            assert!(seen.messages.last().is_none_or(|last| last.end == End::Complete));
            seen.messages.push(Message {
                head: Start::of(&head),
                fields: own(&head.fields),
                body: head.body,
                payload: Vec::new(),
                trailers: Vec::new(),
                end: End::Cut,
            });
            false
        }
        Part::Interim(_) => panic!("an interim request"),
        part => {
            seen.take(part, input);
            seen.messages.last().is_some_and(|message| message.end != End::Cut)
        }
    }
}

/// Answers the request that just ended; false when the connection carries no other. The answer is read by the
/// other machine.
fn answer(conn: &mut ServerConn, seen: &Seen<Start>, flags: u8) -> bool {
    let Some(Message { head: start, fields, .. }) = seen.messages.last() else { return false };
    let connect = start.method == b"CONNECT";
    let protocol = Some(fields).filter(|_| start.upgrade && flags & 2 != 0).and_then(offered);
    let switch = protocol.is_some();
    let block = lines(&Vec::from_iter(protocol.map(|protocol| (b"Upgrade".to_vec(), protocol))));
    let head = ResponseHead {
        status: if switch && !connect { 101 } else { 200 },
        reason: b"OK",
        version: Version::Http11,
        fields: Fields::from_block(&block),
        body: if flags & 4 == 0 { BodyLength::Known(2) } else { BodyLength::UntilClose },
    };
    let mut out = BytesMut::new();
    conn.send_head(&head, &mut out).expect("a request that is complete may be answered");
    let mut next = Next::Close;
    if head.status == 200 && !connect {
        if conn.response_has_body() {
            let behind = conn.send_data(2, &mut out).expect("two bytes");
            out.put_slice(b"ok");
            out.put_slice(behind);
        }
        next = conn.send_end(&mut out);
        assert_ne!(next, Next::Abort);
    }
    read_answer(start, fields, &out, next);
    next == Next::KeepAlive
}

/// The first protocol that a service could choose.
fn offered(fields: &Block) -> Option<Vec<u8>> {
    let values = fields.iter().filter(|(name, _)| is_name(name, "upgrade")).map(|(_, value)| value);
    let mut members = values.flat_map(|value| list_members(value));
    members.find(|member| member.is_ascii()).map(<[u8]>::to_vec)
}

/// The client of this answer understands it, and agrees on what becomes of the connection.
fn read_answer(start: &Start, fields: &Block, wire: &[u8], next: Next) {
    let mut client = ClientConn::new(Config::default(), NOW);
    let block = lines(fields);
    let head = RequestHead {
        method: &start.method,
        target: &start.target,
        version: Version::Http11,
        fields: Fields::from_block(&block),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: start.upgrade,
    };
    client.send_head(&head, true, &mut BytesMut::new()).expect("what was accepted can be written");
    let (mut rest, mut ended) = (wire, false);
    while let (n, Some(part)) = client.handle_input(NOW, rest).expect("our own answer") {
        rest = &rest[n..];
        if matches!(part, Part::End | Part::Switched) {
            ended = true;
            break;
        }
    }
    let complete = ended || client.handle_eof(NOW) == Ok(true);
    assert!(complete && rest.is_empty(), "our own answer is not complete: {:?}", wire.escape_ascii());
    if ended && start.version == Version::Http11 {
        assert_eq!(client.reuse() == Reuse::Reuse, next == Next::KeepAlive);
    }
}

/// A fault is answered while nothing was answered.
fn refuse(conn: &mut ServerConn, status: u16) {
    let head = ResponseHead {
        status,
        reason: b"R",
        version: Version::Http11,
        fields: Fields::from_block(b""),
        body: BodyLength::Known(0),
    };
    let mut out = BytesMut::new();
    assert!(!conn.response_begun());
    conn.send_head(&head, &mut out).expect("a fault has its answer");
    assert_eq!(conn.send_end(&mut out), Next::Close, "nothing follows a fault");
}

/// Writes the request as the proxy does; another server reads the same from it.
fn forward(message: &Message<Start>, flags: u8, cuts: u8) {
    let Message { head: start, fields, body, payload, trailers, end } = message;
    let mut block = lines(fields);
    if !fields.iter().any(|(name, _)| is_name(name, "host")) {
        // Only HTTP/1.0 does without, and heads are written as HTTP/1.1.
        assert_eq!(start.version, Version::Http10);
        block.put_slice(b"Host: h\r\n");
    }
    let mut client = ClientConn::new(Config::default(), NOW);
    let head = RequestHead {
        method: &start.method,
        target: &start.target,
        version: start.version,
        fields: Fields::from_block(&block),
        body: *body,
        expects_continue: start.expects_continue,
        upgrade: start.upgrade,
    };
    let mut out = BytesMut::new();
    client.send_head(&head, flags & 8 == 0, &mut out).expect("what was accepted can be written");
    for part in payload.chunks(payload.len() / 2 + 1) {
        let behind = client.send_data(part.len(), &mut out).expect("within its length");
        out.put_slice(part);
        out.put_slice(behind);
    }
    if *end != End::Cut {
        client.send_trailers(&Fields::from_block(&lines(trailers)), &mut out).expect("once");
        client.send_end(&mut out).expect("a complete body");
        assert!(client.request_done());
    }
    let again = read(0, &out, Cuts::new(cuts, &out));
    let [copy] = &again.messages[..] else {
        panic!("{} requests out of one: {:?}", again.messages.len(), out.escape_ascii())
    };
    assert!(again.rest.is_empty() || *end == End::Switched, "something follows: {:?}", out.escape_ascii());
    assert_eq!(again.fault.is_some(), *end == End::Cut, "{:?}", again.fault);
    assert_eq!((&copy.head.method, &copy.head.target), (&start.method, &start.target));
    assert_eq!(copy.head.upgrade, start.upgrade && start.method != b"CONNECT");
    assert!(copy.head.expects_continue == start.expects_continue || start.version == Version::Http10);
    let expected = lines(&forwarded(fields, false));
    let found = lines(&forwarded(&copy.fields, false));
    assert!(found.starts_with(&expected), "{expected:?} became {found:?}");
    assert_eq!((copy.body, &copy.payload), (*body, payload));
    assert_eq!(copy.trailers, forwarded(trailers, true));
}
