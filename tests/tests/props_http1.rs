//! Properties of the HTTP/1 machines: what one writes the other reads, however the bytes are cut; no input
//! panics or depends on its pieces; an exchange ends in the same state on both sides.

use bytes::{BufMut, BytesMut};
use piko_core::http1::{
    BodyLength, ClientConn, Config, Fault, Fields, Next, Part, RequestHead, ResponseHead, Reuse, ServerConn,
    Version, unfold, write_field,
};
use piko_core::time::Instant;
use proptest::prelude::*;

const NOW: Instant = Instant::ZERO;

type Block = Vec<(Vec<u8>, Vec<u8>)>;

/// A message as its sender means it.
#[derive(Clone, Debug)]
struct Message {
    fields: Block,
    body: BodyLength,
    pieces: Vec<Vec<u8>>,
    trailers: Block,
}

impl Message {
    fn payload(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// A message as its reader saw it. `ended` only with `Part::End`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    start: String,
    fields: Block,
    body: Option<BodyLength>,
    payload: Vec<u8>,
    trailers: Block,
    interim: Vec<u16>,
    ended: bool,
    switched: bool,
    fault: Option<Fault>,
}

fn own(fields: &Fields<'_>) -> Block {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn block(fields: &Block) -> BytesMut {
    let mut block = BytesMut::new();
    fields.iter().for_each(|(name, value)| write_field(&mut block, name, value).unwrap());
    block
}

impl Seen {
    /// Takes a part; true at the end of the message.
    fn take<H>(
        &mut self,
        part: Part<H, Fields<'_>>,
        input: &[u8],
        head: impl Fn(&H) -> (String, Block, BodyLength),
    ) -> bool {
        match part {
            Part::Data(range) => self.payload.extend_from_slice(&input[range]),
            Part::End => self.ended = true,
            Part::Head(h) => {
                let (start, fields, body) = head(&h);
                (self.start, self.fields, self.body) = (start, fields, Some(body));
            }
            Part::Interim(h) => self.interim.push(head(&h).0.parse().unwrap_or(0)),
            Part::Switched => self.switched = true,
            Part::Trailers(fields) => self.trailers = own(&fields),
        }
        self.ended || self.switched
    }
}

fn request_facts(head: &RequestHead<'_>) -> (String, Block, BodyLength) {
    let start = format!("{} {}", head.method.escape_ascii(), head.target.escape_ascii());
    (start, own(&head.fields), head.body)
}

fn response_facts(head: &ResponseHead<'_>) -> (String, Block, BodyLength) {
    (head.status.to_string(), own(&head.fields), head.body)
}

/// Reads one message from `wire`, of which `cuts` tells how much arrives at a time. What is not done with stays.
fn read_request(conn: &mut ServerConn, rest: &mut Vec<u8>, wire: &mut &[u8], cuts: &mut Cuts) -> Seen {
    let mut seen = Seen::default();
    loop {
        match conn.handle_input(NOW, rest) {
            Err(fault) => {
                seen.fault = Some(fault);
                return seen;
            }
            Ok((n, part)) => {
                let stop = part.is_none();
                let done = part.is_some_and(|part| seen.take(part, rest, request_facts));
                rest.drain(..n);
                if done || (stop && !cuts.more(rest, wire)) {
                    return seen;
                }
            }
        }
    }
}

fn read_response(conn: &mut ClientConn, rest: &mut Vec<u8>, wire: &mut &[u8], cuts: &mut Cuts) -> Seen {
    let mut seen = Seen::default();
    loop {
        match conn.handle_input(NOW, rest) {
            Err(fault) => {
                seen.fault = Some(fault);
                return seen;
            }
            Ok((n, part)) => {
                let stop = part.is_none();
                let done = part.is_some_and(|part| seen.take(part, rest, response_facts));
                rest.drain(..n);
                if done || (stop && !cuts.more(rest, wire)) {
                    return seen;
                }
            }
        }
    }
}

/// Sizes of what arrives, over and over.
#[derive(Clone, Debug)]
struct Cuts(Vec<usize>, usize);

impl Cuts {
    fn more(&mut self, rest: &mut Vec<u8>, wire: &mut &[u8]) -> bool {
        let n = self.0[self.1 % self.0.len()].min(wire.len());
        self.1 += 1;
        let (now, later) = wire.split_at(n);
        rest.extend_from_slice(now);
        *wire = later;
        n > 0
    }
}

fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![
        Just(Cuts(vec![1], 0)),
        Just(Cuts(vec![usize::MAX], 0)),
        prop::collection::vec(1usize..40, 1..6).prop_map(|sizes| Cuts(sizes, 0)),
    ]
}

fn fields() -> impl Strategy<Value = Block> {
    let name = "[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}".prop_filter("not the machine's", |name| {
        let ours = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "content-length",
            "upgrade",
            "host",
            "expect",
        ];
        !ours.contains(&name.to_ascii_lowercase().as_str())
    });
    let value = prop::collection::vec(prop_oneof![0x20u8..0x7f, Just(b'\t'), 0x80u8..=0xff], 0..20).prop_map(
        |value| {
            let start = value.iter().position(|b| !b" \t".contains(b)).unwrap_or(value.len());
            let end = value.iter().rposition(|b| !b" \t".contains(b)).map_or(start, |end| end + 1);
            value[start..end].to_vec()
        },
    );
    prop::collection::vec((name.prop_map(String::into_bytes), value), 0..6)
}

fn message() -> impl Strategy<Value = Message> {
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5);
    (fields(), pieces, fields(), 0..3u8).prop_map(|(fields, pieces, trailers, kind)| {
        let len = pieces.iter().map(Vec::len).sum::<usize>() as u64;
        match kind {
            0 => Message { fields, body: BodyLength::None, pieces: vec![], trailers: vec![] },
            1 => Message { fields, body: BodyLength::Known(len), pieces, trailers: vec![] },
            _ => Message { fields, body: BodyLength::Chunked, pieces, trailers },
        }
    })
}

fn exchange() -> impl Strategy<Value = (String, String, Message, u16, Message, bool)> {
    let method = prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("x!")].prop_map(String::from);
    let target = "/[a-zA-Z0-9/._~;,=+é|-]{0,20}(\\?[ -~&&[^# ]]{0,20})?";
    let status = prop_oneof![Just(200u16), Just(204), Just(304), Just(404), Just(599)];
    (method, target, message(), status, message(), prop::bool::weighted(0.8))
}

fn write_request(
    conn: &mut ClientConn,
    method: &str,
    target: &str,
    message: &Message,
    keep_alive: bool,
) -> BytesMut {
    let mut fields = block(&message.fields);
    write_field(&mut fields, b"Host", b"h").unwrap();
    let head = RequestHead {
        method: method.as_bytes(),
        target: target.as_bytes(),
        version: Version::Http11,
        fields: Fields::from_block(&fields),
        body: message.body,
        expects_continue: false,
        upgrade: false,
    };
    let mut out = BytesMut::new();
    conn.send_head(&head, keep_alive, &mut out).unwrap();
    for piece in &message.pieces {
        let behind = conn.send_data(piece.len(), &mut out).unwrap();
        out.put_slice(piece);
        out.put_slice(behind);
    }
    conn.send_trailers(&Fields::from_block(&block(&message.trailers)), &mut out).unwrap();
    conn.send_end(&mut out).unwrap();
    out
}

fn write_response(conn: &mut ServerConn, status: u16, message: &Message) -> (BytesMut, bool, Next) {
    let mut out = BytesMut::new();
    let fields = block(&message.fields);
    let head = ResponseHead {
        status,
        reason: b"R",
        version: Version::Http11,
        fields: Fields::from_block(&fields),
        body: message.body,
    };
    conn.send_head(&head, &mut out).unwrap();
    let has_body = conn.response_has_body();
    for piece in message.pieces.iter().filter(|_| has_body) {
        let behind = conn.send_data(piece.len(), &mut out).unwrap();
        out.put_slice(piece);
        out.put_slice(behind);
    }
    conn.send_trailers(&Fields::from_block(&block(&message.trailers)), &mut out).unwrap();
    let next = conn.send_end(&mut out);
    (out, has_body, next)
}

/// The forwarded part of a field block: what the machines added is left out.
fn forwarded(fields: &Block) -> Block {
    let ours: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"connection", b"Host"];
    fields.iter().filter(|(name, _)| !ours.contains(&&name[..])).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Exchange after exchange on one connection: what was meant is what is read, in both directions.
    #[test]
    fn what_one_side_writes_the_other_reads(
        exchanges in prop::collection::vec(exchange(), 1..5),
        mut cuts in cuts(),
    ) {
        let mut client = ClientConn::new(Config::default(), NOW);
        let mut server = ServerConn::new(Config::default(), NOW);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for (method, target, request, status, response, keep_alive) in exchanges {
            let wire = write_request(&mut client, &method, &target, &request, keep_alive);
            let seen = read_request(&mut server, &mut to_server, &mut &wire[..], &mut cuts);
            prop_assert_eq!(seen.fault, None);
            prop_assert_eq!(seen.start, format!("{method} {}", target.as_bytes().escape_ascii()));
            prop_assert_eq!(forwarded(&seen.fields), request.fields.clone());
            prop_assert_eq!(seen.body, Some(request.body));
            prop_assert_eq!(seen.payload, request.payload());
            prop_assert_eq!(seen.trailers, request.trailers.clone());
            prop_assert!(seen.ended && server.request_done());

            let (wire, has_body, next) = write_response(&mut server, status, &response);
            let seen = read_response(&mut client, &mut to_client, &mut &wire[..], &mut cuts);
            prop_assert_eq!(seen.fault, None);
            prop_assert_eq!(seen.start, status.to_string());
            prop_assert_eq!(forwarded(&seen.fields), response.fields.clone());
            prop_assert!(seen.ended && to_client.is_empty());
            prop_assert_eq!(has_body, method != "HEAD" && status != 204 && status != 304);
            if has_body {
                prop_assert_eq!(seen.payload, response.payload());
                prop_assert_eq!(seen.trailers, response.trailers.clone());
            } else {
                prop_assert_eq!((seen.payload, seen.body), (vec![], Some(BodyLength::None)));
            }
            // Both sides agree on whether there is a next one.
            prop_assert_eq!(next, if keep_alive { Next::KeepAlive } else { Next::Close });
            prop_assert_eq!(client.reuse(), if keep_alive { Reuse::Reuse } else { Reuse::Discard });
            if !keep_alive {
                break;
            }
        }
    }

    /// Legal messages with a few bytes changed: the pieces never matter, and nothing panics.
    #[test]
    fn damaged_requests_are_judged_alike_in_any_pieces(
        (method, target, message, _, _, keep_alive) in exchange(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..4),
        mut cuts in cuts(),
    ) {
        let mut wire = write_request(&mut ClientConn::new(Config::default(), NOW), &method, &target, &message, keep_alive).to_vec();
        hurt(&mut wire, &damage);
        let mut whole = (ServerConn::new(Config::default(), NOW), Vec::new());
        let mut parts = (ServerConn::new(Config::default(), NOW), Vec::new());
        let a = read_request(&mut whole.0, &mut whole.1, &mut &wire[..], &mut Cuts(vec![usize::MAX], 0));
        let b = read_request(&mut parts.0, &mut parts.1, &mut &wire[..], &mut cuts);
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(whole.0.request_done(), parts.0.request_done());
        let statuses = [None, Some(400), Some(417), Some(431), Some(501), Some(505)];
        prop_assert!(statuses.contains(&a.fault.map(|fault| fault.status)));
    }

    /// The first line alone gets the verdict that it gets in a complete head, or none: nothing legal is refused early.
    #[test]
    fn a_first_line_is_judged_early_as_in_a_complete_head(
        (method, target, _, _, _, _) in exchange(),
        version in "HTTP/[01][.][0129x]|http/1[.]1|HTTP/2[.]0",
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..2),
        rest in prop::sample::select(vec!["", "Host", "Host: h\r\nA", "Host: h\r\n"]),
        mut cuts in cuts(),
    ) {
        let mut line = format!("{method} {target} {version}").into_bytes();
        hurt(&mut line, &damage);
        prop_assume!(!line.contains(&b'\n'));
        let read = |rest: &str, cuts: &mut Cuts| {
            let wire = [&line[..], b"\r\n", rest.as_bytes()].concat();
            let mut conn = ServerConn::new(Config::default(), NOW);
            read_request(&mut conn, &mut Vec::new(), &mut &wire[..], cuts)
        };
        let whole = read("Host: h\r\n\r\n", &mut Cuts(vec![usize::MAX], 0));
        let early = read(rest, &mut cuts);
        // The first empty line is no first line, nor is what follows it then.
        prop_assume!(!line.is_empty());
        prop_assert_eq!(early.fault, whole.fault);
        prop_assert!(early.start.is_empty());
    }

    #[test]
    fn damaged_responses_are_judged_alike_in_any_pieces(
        (method, _, _, status, message, _) in exchange(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..4),
        mut cuts in cuts(),
    ) {
        let request = Message { fields: vec![], body: BodyLength::None, pieces: vec![], trailers: vec![] };
        let mut server = ServerConn::new(Config::default(), NOW);
        let client = || {
            let mut conn = ClientConn::new(Config::default(), NOW);
            (write_request(&mut conn, &method, "/", &request, true), conn)
        };
        let (wire, mut whole) = client();
        read_request(&mut server, &mut Vec::new(), &mut &wire[..], &mut Cuts(vec![usize::MAX], 0));
        let mut wire = write_response(&mut server, status, &message).0.to_vec();
        hurt(&mut wire, &damage);
        let mut parts = client().1;
        let a = read_response(&mut whole, &mut Vec::new(), &mut &wire[..], &mut Cuts(vec![usize::MAX], 0));
        let b = read_response(&mut parts, &mut Vec::new(), &mut &wire[..], &mut cuts);
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(whole.handle_eof(NOW), parts.handle_eof(NOW));
        prop_assert!(a.fault.is_none_or(|fault| fault.status == 502 || fault.is_too_large()));
        // Whatever is accepted once repaired is accepted at once, and repairing needs only one try.
        if a.fault.is_some_and(|fault| fault.is_folded()) {
            unfold(&mut wire);
            let mut repaired = client().1;
            let seen = read_response(&mut repaired, &mut Vec::new(), &mut &wire[..], &mut cuts);
            prop_assert!(!seen.fault.is_some_and(|fault| fault.is_folded()));
        }
    }

    /// Calls in any order, with any bytes: nothing panics, and no more is consumed than was given.
    #[test]
    fn any_order_is_safe(calls in prop::collection::vec((0..9u8, noise()), 1..30), upgrade in any::<bool>()) {
        let mut server = ServerConn::new(Config::default(), NOW);
        let mut client = ClientConn::new(Config::default(), NOW);
        let fields = Fields::from_block(b"Host: h\r\nUpgrade: u\r\n");
        for (call, bytes) in calls {
            let mut out = BytesMut::new();
            let len = bytes.len();
            let status = 100 + (len as u16 * 37) % 500;
            let body = [BodyLength::Chunked, BodyLength::Known(3), BodyLength::None, BodyLength::UntilClose][len % 4];
            match call {
                0..3 => {
                    if let Ok((n, _)) = server.handle_input(NOW, &bytes) {
                        prop_assert!(n <= len);
                    }
                    if let Ok((n, _)) = client.handle_input(NOW, &bytes) {
                        prop_assert!(n <= len);
                    }
                }
                3 => {
                    let head = ResponseHead { status, reason: b"", version: Version::Http10, fields, body };
                    let _ = server.send_head(&head, &mut out);
                    let (method, target): (&[u8], &[u8]) = if len % 3 == 0 { (b"CONNECT", b"h:1") } else { (b"GET", b"/") };
                    let head = RequestHead { method, target, version: Version::Http10, fields, body, expects_continue: false, upgrade };
                    let _ = client.send_head(&head, len % 2 == 0, &mut out);
                }
                4 => {
                    let _ = (server.send_data(len % 4, &mut out), client.send_data(len % 4, &mut out));
                }
                5 => {
                    let _ = (server.send_trailers(&fields, &mut out), client.send_trailers(&fields, &mut out));
                }
                6 => {
                    let _ = (server.send_end(&mut out), client.send_end(&mut out));
                }
                7 if len % 8 == 0 => {
                    let _ = (server.handle_eof(NOW), client.handle_eof(NOW));
                }
                7 => server.handle_timeout(Instant::from_millis(len as u64 * 100)),
                _ => {
                    let _ = (server.cut(), server.wants_input(), server.is_idle(), server.poll_timeout());
                    let _ = (client.reuse(), client.wants_input());
                }
            }
        }
    }
}

/// Pieces of HTTP, so that random sequences reach deep states.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 11] = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: upgrade\r\nUpgrade: u\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: u\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"1\r\na\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 103 E\r\n\r\n",
    ];
    prop_oneof![
        4 => prop::sample::select(known.map(<[u8]>::to_vec).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

#[derive(Clone, Debug)]
enum Damage {
    Cut,
    Insert(Vec<u8>),
    Remove,
    Replace(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let inserted: [&[u8]; 12] = [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\r\n ",
        b"\r\n\r\n",
        b":",
        b"\0",
        b";",
        b"0",
        b"\r\nContent-Length: 1",
        b"\r\nTransfer-Encoding: chunked",
    ];
    prop_oneof![
        Just(Damage::Cut),
        prop::sample::select(inserted.map(<[u8]>::to_vec).to_vec()).prop_map(Damage::Insert),
        Just(Damage::Remove),
        any::<u8>().prop_map(Damage::Replace),
    ]
}

fn hurt(wire: &mut Vec<u8>, damage: &[(prop::sample::Index, Damage)]) {
    for (index, what) in damage {
        if wire.is_empty() {
            return;
        }
        let at = index.index(wire.len());
        match what {
            Damage::Cut => wire.truncate(at),
            Damage::Insert(bytes) => {
                wire.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove => {
                wire.remove(at);
            }
            Damage::Replace(b) => wire[at] = *b,
        }
    }
}
