//! WebSocket frames from a hostile peer: `[role][cuts][wire…]`.

use crate::cuts::Cuts;
use async_tungstenite::tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message, WebSocket};
use bytes::BytesMut;
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use std::io::{self, Cursor, Read, Write};

const MASK: [u8; 4] = [0xa1, 0x5e, 0x00, 0x7f];
/// The most that one call may append: a pong and a close, each of 125 bytes, two bytes of header and a key.
const CONTROL_BYTES_MAX: usize = 2 * (125 + 2 + 4) + 2;

/// A peer that sends much makes nobody read less at once, in bytes.
const READ_LEAST: usize = 64 * 1024;

/// Reads a hostile peer's frames whole and in pieces, and lets tungstenite judge the same bytes.
///
/// # Panics
/// When the pieces show, a limit is exceeded, tungstenite reads something else, or a payload does not survive
/// being framed and read back.
pub fn ws_input(data: &[u8]) {
    let [role, cuts, wire @ ..] = data else { return };
    let role = if role & 1 == 0 { Role::Server } else { Role::Client };
    let whole = read(role, wire, Cuts::whole());
    let cut = read(role, wire, Cuts::new(*cuts, wire));
    assert_eq!(whole, cut, "the pieces show");
    compare(role, wire, &whole);
    round_trip(role, &whole.payload, *cuts);
}

/// Tungstenite takes a control frame whose small length is written in a long form; RFC 6455 5.2 asks for the
/// shortest, and Go refuses it as we do.
const LONG_CONTROL: &str = "len > 125 for control";

/// What a connection made of its input.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    payload: Vec<u8>,
    end: Option<End>,
    control: BytesMut,
}

fn read(role: Role, mut wire: &[u8], mut cuts: Cuts) -> Seen {
    let mut conn = Conn::new(role);
    let (mut payload, mut end) = (Vec::new(), None);
    while !wire.is_empty() {
        let mut piece = cuts.next(&mut wire).to_vec();
        let ended = end.is_some();
        let input = conn.handle_input(&mut piece);
        assert!(!ended || (input.end == end && input.payload.is_empty()), "an end is final");
        payload.extend_from_slice(&piece[input.payload]);
        end = input.end;
        for room in [0, 1, READ_LEAST, 5 * READ_LEAST] {
            let worth = conn.worth_reading(room);
            assert!((room.min(READ_LEAST)..=room).contains(&worth), "{worth} of {room} are worth reading");
        }
    }
    let wanted = conn.wants_send();
    let mut control = BytesMut::new();
    let n = conn.poll_transmit(&mut control, MASK);
    assert_eq!((n > 0, n), (wanted, control.len()), "what is wanted is what comes");
    assert!(n <= CONTROL_BYTES_MAX, "{n} bytes of control frames");
    assert!(!conn.wants_send() && conn.poll_transmit(&mut control, MASK) == 0, "nothing is sent twice");
    let closes = matches!(end, Some(End::Close(_) | End::Violation(_)));
    assert_eq!(conn.is_closing(), closes);
    Seen { payload, end, control }
}

/// Memory in place of a socket.
struct Wire<'w>(Cursor<&'w [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite made of the same bytes.
struct Theirs {
    payload: Vec<u8>,
    text: bool,
    closed: Option<Option<u16>>,
    error: Option<Error>,
}

fn read_theirs(role: Role, wire: &[u8]) -> Theirs {
    let role = if role == Role::Client { TheirRole::Client } else { TheirRole::Server };
    let config =
        WebSocketConfig::default().read_buffer_size(4096).max_frame_size(None).max_message_size(None);
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(wire)), role, Some(config));
    let mut theirs = Theirs { payload: Vec::new(), text: false, closed: None, error: None };
    loop {
        match socket.read() {
            Ok(Message::Binary(part)) if !theirs.text => theirs.payload.extend_from_slice(&part),
            Ok(Message::Text(_)) => theirs.text = true,
            Ok(Message::Close(close)) => theirs.closed = Some(close.map(|close| u16::from(close.code))),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return theirs,
            Err(error) => {
                theirs.error = Some(error);
                return theirs;
            }
        }
    }
}

/// Both read the same, as far as both go: tungstenite knows text and judges a frame once it is whole; ours
/// hands payload out as it comes and judges a frame with its second byte.
fn compare(role: Role, wire: &[u8], ours: &Seen) {
    // Tungstenite reserves memory for an announced length before it comes.
    if announces_much(wire) {
        return;
    }
    let theirs = read_theirs(role, wire);
    let (error, closed) = (&theirs.error, &theirs.closed);
    let (our_payload, their_payload) = (&ours.payload[..], &theirs.payload[..]);
    // Where only ours refuses, they read on behind our end.
    let goes_on = ours.end == Some(End::Violation(LONG_CONTROL)) && their_payload.starts_with(our_payload);
    assert!(
        our_payload.starts_with(their_payload) || goes_on,
        "whole messages of theirs are not in our stream"
    );
    match &ours.end {
        None => assert!(error.is_none() && closed.is_none(), "only they refuse: {error:?} {closed:?}"),
        // They read on, and may find anything.
        Some(End::Text) => {}
        // Registered after RFC 6455 (bad gateway); they do not know it.
        Some(End::Close(Some(1014))) => assert_eq!(closed, &Some(Some(1002)), "{error:?}"),
        Some(End::Close(code)) => assert_eq!(closed, &Some(*code), "{error:?}"),
        // They answer a code that may not be sent with a close of their own and report no error, unless the
        // reason is bad too.
        Some(End::Violation("bad close code")) => {
            assert!(closed.is_some() || matches!(error, Some(Error::Utf8(_))), "{error:?}");
        }
        Some(End::Violation(LONG_CONTROL)) => {}
        Some(End::Violation(why)) => {
            let alike = matches!(error, None | Some(Error::Protocol(_) | Error::Utf8(_)));
            assert!(alike && closed.is_none(), "{why}: {error:?} {closed:?}");
        }
        Some(other) => panic!("an end that this target does not know: {other:?}"),
    }
}

/// A 64-bit length of more than a few MiB anywhere.
fn announces_much(wire: &[u8]) -> bool {
    wire.windows(9)
        .any(|w| w[0] & 0x7f == 127 && u64::from_be_bytes(w[1..].try_into().expect("eight bytes")) > 1 << 22)
}

/// What was read, framed by the same side, is read by the other one and by tungstenite.
fn round_trip(role: Role, payload: &[u8], cuts: u8) {
    let mut conn = Conn::new(role);
    let mut wire = Vec::new();
    for part in payload.chunks(payload.len() / 2 + 1) {
        let mut frame = vec![0; FRONT_ROOM];
        frame.extend_from_slice(part);
        let start = conn.frame(&mut frame, MASK);
        wire.extend_from_slice(&frame[start..]);
    }
    let other = if role == Role::Client { Role::Server } else { Role::Client };
    let back = read(other, &wire, Cuts::new(cuts, &wire));
    assert_eq!((&back.payload[..], back.end), (payload, None));
    let theirs = read_theirs(other, &wire);
    assert!(theirs.error.is_none() && theirs.payload == payload, "{:?}", theirs.error);
}
