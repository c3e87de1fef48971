//! Responses from a hostile service: `[flags][cuts][wire…]`.

use crate::cuts::Cuts;
use crate::http::{End, Message, Seen, config, forwarded, lines, own};
use bytes::{BufMut, BytesMut};
use piko_core::http1::{
    BodyLength, ClientConn, Config, Fields, Next, Part, RequestHead, ResponseHead, ResponsePart, Reuse,
    ServerConn, Version, unfold,
};
use piko_core::time::Instant;

const NOW: Instant = Instant::ZERO;

/// Reads a service's bytes whole and in pieces, and forwards what they say to a client as the proxy does.
///
/// # Panics
/// When the pieces show, or the client reads something else.
pub fn http1_response(data: &[u8]) {
    let [flags, cuts, wire @ ..] = data else { return };
    let whole = read(*flags, wire, Cuts::whole(), *flags & 1 != 0);
    let cut = read(*flags, wire, Cuts::new(*cuts, wire), *flags & 1 != 0);
    assert_eq!(whole, cut, "the pieces show");
    if let Some(message) = whole.messages.first() {
        forward(message, &whole.interim, *flags, *cuts);
    }
}

/// Status and reason.
type Start = (u16, Vec<u8>);

/// The request that is answered: flags 2 and 4 choose the method, 8 offers protocols.
fn request(flags: u8) -> RequestHead<'static> {
    let (method, target): (&[u8], &[u8]) = match flags >> 1 & 3 {
        0 => (b"GET", b"/"),
        1 => (b"HEAD", b"/"),
        2 => (b"CONNECT", b"h:1"),
        _ => (b"POST", b"/"),
    };
    RequestHead {
        method,
        target,
        version: Version::Http11,
        fields: Fields::from_block(b"Host: h\r\nUpgrade: websocket, a/1\r\n"),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: flags & 8 != 0,
    }
}

/// A connection that waits for the answer, and what it asked.
fn asked(flags: u8, tiny: bool) -> (ClientConn, BytesMut) {
    let mut conn = ClientConn::new(config(tiny), NOW);
    let mut out = BytesMut::new();
    conn.send_head(&request(flags), true, &mut out).expect("a plain request");
    (conn, out)
}

/// Reads one response, of which the end of the input is the end of the connection.
fn read(flags: u8, mut wire: &[u8], mut cuts: Cuts, tiny: bool) -> Seen<Start> {
    let (mut conn, _) = asked(flags, tiny);
    let mut seen = Seen::new();
    let mut rest = Vec::new();
    let mut repaired = false;
    loop {
        match conn.handle_input(NOW, &rest) {
            Ok((n, part)) => {
                assert!(n <= rest.len());
                let stop = part.is_none();
                repaired &= stop;
                let ended = part.is_some_and(|part| take(&mut seen, part, &rest));
                rest.drain(..n);
                if ended {
                    break;
                }
                if stop {
                    assert!(rest.len() <= config(tiny).head_bytes_max + 2, "{} bytes are kept", rest.len());
                    let piece = cuts.next(&mut wire);
                    if piece.is_empty() {
                        match conn.handle_eof(NOW) {
                            Ok(true) => seen.take(Part::<(), _>::End, b""),
                            Ok(false) => {}
                            Err(fault) => seen.fault = Some(fault),
                        }
                        break;
                    }
                    rest.extend_from_slice(piece);
                }
            }
            Err(fault) if fault.is_folded() => {
                assert!(!repaired, "repairing needs only one try");
                repaired = true;
                let before = rest.len();
                unfold(&mut rest);
                assert_eq!(rest.len(), before);
            }
            Err(fault) => {
                assert!(fault.status == 502 || fault.is_too_large(), "{fault:?}");
                seen.fault = Some(fault);
                break;
            }
        }
    }
    rest.extend_from_slice(wire);
    if seen.messages.last().is_some_and(|message| message.end == End::Complete) && !rest.is_empty() {
        assert_eq!(conn.handle_input(NOW, &rest).map(|(n, part)| (n, part.is_none())), Ok((0, true)));
        assert_eq!(conn.reuse(), Reuse::Discard, "bytes behind a response are not to be trusted");
    }
    // Whatever happened, further calls are harmless.
    let _ = conn.handle_eof(NOW);
    assert_eq!(conn.reuse(), Reuse::Discard);
    let _ = conn.handle_input(NOW, b"HTTP/1.1 200 OK\r\n\r\n");
    // It is not said how much of a broken message was consumed.
    seen.rest = if seen.fault.is_none() { rest } else { Vec::new() };
    seen
}

fn take(seen: &mut Seen<Start>, part: ResponsePart<'_>, input: &[u8]) -> bool {
    match part {
        Part::Head(head) => {
            assert!(seen.messages.is_empty(), "a second response");
            seen.messages.push(Message {
                head: (head.status, head.reason.to_vec()),
                fields: own(&head.fields),
                body: head.body,
                payload: Vec::new(),
                trailers: Vec::new(),
                end: End::Cut,
            });
        }
        Part::Interim(head) => {
            assert!((100..200).contains(&head.status) && head.status != 101 && seen.messages.is_empty());
            seen.interim.push(head.status);
        }
        part => seen.take(part, input),
    }
    seen.messages.first().is_some_and(|message| message.end != End::Cut)
}

/// Writes the response as the proxy does, for a client of HTTP/1.1 or (flag 16) of 1.0, and reads it there.
fn forward(message: &Message<Start>, interim: &[u16], flags: u8, cuts: u8) {
    let Message { head: (status, reason), fields, body, payload, trailers, end } = message;
    let (_, mut asking) = asked(flags, false);
    let old = flags & 16 != 0 && *end != End::Switched;
    if old {
        let at = asking.windows(8).position(|w| w == b"HTTP/1.1").expect("our own request");
        asking[at + 7] = b'0';
    }
    let mut server = ServerConn::new(Config::default(), NOW);
    let (taken, part) = server.handle_input(NOW, &asking).expect("our own request");
    assert!(taken == asking.len() && matches!(part, Some(Part::Head(_))));
    let ended = server.handle_input(NOW, b"").expect("no body");
    assert!(matches!(ended, (0, Some(Part::End))));

    let mut out = BytesMut::new();
    let block = lines(fields);
    let mut head = ResponseHead {
        status: 103,
        reason: b"",
        version: Version::Http11,
        fields: Fields::from_block(b""),
        body: BodyLength::None,
    };
    for &status in interim {
        head.status = status;
        server.send_head(&head, &mut out).expect("an interim response");
    }
    assert!(!old || out.is_empty(), "HTTP/1.0 knows no interim responses");
    let head = ResponseHead {
        status: *status,
        reason,
        version: Version::Http11,
        fields: Fields::from_block(&block),
        body: *body,
    };
    server.send_head(&head, &mut out).expect("what was accepted can be written");
    for part in payload.chunks(payload.len() / 2 + 1) {
        let behind = server.send_data(part.len(), &mut out).expect("within its length");
        out.put_slice(part);
        out.put_slice(behind);
    }
    if *end == End::Complete {
        server.send_trailers(&Fields::from_block(&lines(trailers)), &mut out).expect("once");
        assert_ne!(server.send_end(&mut out), Next::Abort, "a complete response");
    } else if *end == End::Cut {
        let until_close = old && !matches!(body, BodyLength::Known(_) | BodyLength::None);
        assert_eq!(server.cut(), if until_close { Next::Abort } else { Next::Close });
    }
    read_forwarded(message, interim, flags, cuts, &out, old);
}

/// The client reads what the service said, and no cut response is complete to it.
fn read_forwarded(message: &Message<Start>, interim: &[u16], flags: u8, cuts: u8, wire: &[u8], old: bool) {
    let again = read(flags & !1, wire, Cuts::new(cuts, wire), false);
    let [copy] = &again.messages[..] else {
        panic!("{} responses out of one: {:?}", again.messages.len(), wire.escape_ascii())
    };
    assert!(again.rest.is_empty(), "something follows: {:?}", wire.escape_ascii());
    assert_eq!(again.interim, if old { &[] } else { interim });
    assert_eq!(copy.head, message.head);
    assert_eq!(forwarded(&copy.fields, false), forwarded(&message.fields, false));
    assert_eq!(copy.payload, message.payload);
    // A body that ends with the connection is reset when it is cut, which this client does not see.
    let unmarked = copy.body == BodyLength::UntilClose && message.end == End::Cut;
    assert!(copy.end == message.end || unmarked, "{copy:?}");
    assert_eq!(again.fault.is_some(), copy.end == End::Cut, "{:?}", again.fault);
    if copy.body == BodyLength::Chunked {
        assert_eq!(copy.trailers, forwarded(&message.trailers, true));
    }
    let expected = match message.body {
        BodyLength::Chunked | BodyLength::UntilClose if old => BodyLength::UntilClose,
        BodyLength::Chunked | BodyLength::UntilClose => BodyLength::Chunked,
        same => same,
    };
    assert_eq!(copy.body, expected);
}
