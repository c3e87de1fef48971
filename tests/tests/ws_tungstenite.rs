//! tungstenite as judge of our WebSocket: its frames through our machine, ours through it, the same bytes
//! through both.

use async_tungstenite::tungstenite;
use bytes::BytesMut;
use piko_core::http1::{BodyLength, Fields, RequestHead, Version};
use piko_core::rng::Rng;
use piko_core::ws::handshake::{
    Answer, Ask, accept_key, judge_request, judge_response, write_request, write_response,
};
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// Memory in place of a socket: what tungstenite reads and what it wrote. Reads are short at random.
#[derive(Clone)]
struct Wire(Rc<RefCell<WireState>>);

struct WireState {
    input: Vec<u8>,
    output: Vec<u8>,
    rng: Rng,
}

impl Wire {
    fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(WireState { input: vec![], output: vec![], rng: Rng::new(seed) })))
    }

    fn give(&self, bytes: &[u8]) {
        self.0.borrow_mut().input.extend(bytes);
    }

    fn written(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().output)
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if state.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = state.input.len().min(into.len());
        let n = 1 + state.rng.below(most as u64) as usize;
        into[..n].copy_from_slice(&state.input[..n]);
        state.input.drain(..n);
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().output.extend(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Our machine on one side, theirs on the other.
struct Pair {
    ours: Conn,
    theirs: WebSocket<Wire>,
    wire: Wire,
    rng: Rng,
}

impl Pair {
    fn new(our_role: Role, seed: u64) -> Self {
        let wire = Wire::new(seed);
        let their_role = match our_role {
            Role::Client => TheirRole::Server,
            Role::Server => TheirRole::Client,
        };
        let theirs = WebSocket::from_raw_socket(wire.clone(), their_role, None);
        Self { ours: Conn::new(our_role), theirs, wire, rng: Rng::new(seed) }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.rng.next_u64() as u8).collect()
    }

    fn mask(&mut self) -> [u8; 4] {
        (self.rng.next_u64() as u32).to_be_bytes()
    }

    /// Brings what they wrote to us in random pieces.
    fn theirs_to_us(&mut self) -> (Vec<u8>, Option<End>) {
        self.theirs.flush().ok();
        let wire: Vec<u8> = self.wire.written();
        let (mut got, mut end, mut rest) = (vec![], None, &wire[..]);
        while !rest.is_empty() {
            let widest = [3, 20, 5000, rest.len()][self.rng.below(4) as usize].min(rest.len());
            let (piece, behind) = rest.split_at(1 + self.rng.below(widest as u64) as usize);
            let mut piece = piece.to_vec();
            let input = self.ours.handle_input(&mut piece);
            got.extend(&piece[input.payload]);
            end = input.end;
            rest = behind;
        }
        (got, end)
    }

    fn send_ours(&mut self, payload: &[u8]) {
        let mut buf = vec![0; FRONT_ROOM];
        buf.extend(payload);
        let mask = self.mask();
        let start = self.ours.frame(&mut buf, mask);
        self.wire.give(&buf[start..]);
    }

    fn send_our_control(&mut self) {
        let mut out = BytesMut::new();
        let mask = self.mask();
        self.ours.poll_transmit(&mut out, mask);
        self.wire.give(&out);
    }

    /// All messages that they can read, and the error that ended them unless more bytes were wanted.
    fn read_theirs(&mut self) -> (Vec<Message>, Option<Error>) {
        let mut messages = vec![];
        loop {
            match self.theirs.read() {
                Ok(message) => messages.push(message),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (messages, None);
                }
                Err(error) => return (messages, Some(error)),
            }
        }
    }
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const LENGTHS: [usize; 10] = [0, 1, 12, 125, 126, 127, 4096, 65_535, 65_536, 200_000];

#[test]
fn their_messages_reach_us() {
    for seed in 0..60 {
        let mut pair = Pair::new(ROLES[seed as usize % 2], seed);
        let (mut expected, mut pinged) = (vec![], None);
        for _ in 0..pair.rng.below(20) {
            let len = LENGTHS[pair.rng.below(10) as usize];
            let payload = pair.bytes(len);
            if pair.rng.below(4) == 0 {
                let ping = payload[..len.min(125)].to_vec();
                pair.theirs.send(Message::Ping(ping.clone().into())).expect("sent");
                pinged = Some(ping);
            } else {
                expected.extend(&payload);
                pair.theirs.send(Message::Binary(payload.into())).expect("sent");
            }
        }
        let (got, end) = pair.theirs_to_us();
        assert!(got == expected, "seed {seed}");
        assert_eq!(end, None);
        assert_eq!(pair.ours.wants_send(), pinged.is_some());
        pair.send_our_control();
        let pongs = pinged.map(|payload| Message::Pong(payload.into()));
        let (messages, error) = pair.read_theirs();
        assert!(error.is_none());
        assert_eq!(messages, pongs.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn our_messages_reach_them() {
    for seed in 0..60 {
        let mut pair = Pair::new(ROLES[seed as usize % 2], seed);
        let mut expected = vec![];
        for _ in 0..pair.rng.below(10) {
            let len = LENGTHS[pair.rng.below(10) as usize];
            let payload = pair.bytes(len);
            pair.send_ours(&payload);
            expected.push(Message::Binary(payload.into()));
        }
        let (messages, error) = pair.read_theirs();
        assert!(error.is_none(), "{error:?}");
        assert!(messages == expected, "seed {seed}");
    }
}

#[test]
fn their_close_is_echoed_to_their_content() {
    for role in ROLES {
        for code in [None, Some(CloseCode::Normal), Some(CloseCode::Restart), Some(CloseCode::Library(4321))]
        {
            let mut pair = Pair::new(role, 5);
            pair.theirs.send(Message::Binary(b"last"[..].into())).expect("sent");
            let close = code.map(|code| CloseFrame { code, reason: "good bye".into() });
            pair.theirs.close(close).expect("closing");
            let (got, end) = pair.theirs_to_us();
            assert_eq!((&got[..], end), (&b"last"[..], Some(End::Close(code.map(u16::from)))));
            assert!(pair.ours.is_closing());
            pair.send_our_control();
            let (messages, error) = pair.read_theirs();
            let echo = code.map(|code| CloseFrame { code, reason: "".into() });
            assert_eq!(messages, [Message::Close(echo)]);
            // A client waits for the server to drop the connection; a server is done.
            assert!(matches!(error, Some(Error::ConnectionClosed)) || role == Role::Server, "{error:?}");
        }
    }
}

#[test]
fn our_close_is_echoed_by_them() {
    for role in ROLES {
        for code in [None, Some(1000), Some(1012), Some(4999)] {
            let mut pair = Pair::new(role, 6);
            pair.send_ours(b"last");
            pair.ours.close(code);
            pair.send_our_control();
            assert!(pair.ours.is_closing());
            let (messages, _) = pair.read_theirs();
            let close = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
            assert_eq!(messages, [Message::Binary(b"last"[..].into()), Message::Close(close)]);
            let (_, end) = pair.theirs_to_us();
            assert_eq!(end, Some(End::Close(code)));
            assert!(!pair.ours.wants_send());
        }
    }
}

#[test]
fn our_violation_close_is_one_that_they_understand() {
    let mut pair = Pair::new(Role::Server, 7);
    let end = pair.ours.handle_input(&mut [0x83, 0x80]).end;
    assert_eq!(end, Some(End::Violation("bad opcode 3")));
    pair.send_our_control();
    let (messages, _) = pair.read_theirs();
    let close = CloseFrame { code: CloseCode::Protocol, reason: "bad opcode 3".into() };
    assert_eq!(messages, [Message::Close(Some(close))]);
}

/// One frame of random kind, mostly legal, written by hand.
fn random_frame(rng: &mut Rng, masked: bool) -> Vec<u8> {
    let mut first = [0x82, 0x82, 0x02, 0x00, 0x00, 0x80, 0x89, 0x8a, 0x88][rng.below(9) as usize];
    if rng.below(40) == 0 {
        first = rng.next_u64() as u8;
    }
    let len = [0, 1, 2, 5, 125, 126, 300][rng.below(7) as usize];
    let mut payload: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
    if first == 0x88 && len >= 2 {
        payload = [&1000_u16.to_be_bytes()[..], b"why"].concat();
    }
    let bit = if masked ^ (rng.below(60) == 0) { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(bit | len as u8),
        len => out.extend([bit | 126, (len >> 8) as u8, len as u8]),
    }
    let key = if bit == 0 { [0; 4] } else { (rng.next_u64() as u32).to_be_bytes() };
    if bit != 0 {
        out.extend(key);
    }
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// The same bytes through both: the same payload, and an end at the same place for the same kind of reason.
#[test]
fn both_judge_the_same_bytes_alike() {
    let (mut clean, mut violations, mut early, mut closes) = (0, 0, 0, 0);
    for seed in 0..6000 {
        let role = ROLES[seed as usize % 2];
        let mut pair = Pair::new(role, seed);
        // Both read as the same side here.
        let their_role = if role == Role::Client { TheirRole::Client } else { TheirRole::Server };
        let config = WebSocketConfig::default().max_frame_size(Some(1 << 20)).max_message_size(None);
        pair.theirs = WebSocket::from_raw_socket(pair.wire.clone(), their_role, Some(config));
        let mut wire = vec![];
        for _ in 0..pair.rng.below(8) {
            wire.extend(random_frame(&mut pair.rng, role == Role::Server));
        }
        if pair.rng.below(10) == 0 && !wire.is_empty() {
            let at = pair.rng.below(wire.len() as u64) as usize;
            wire[at] ^= 1 << pair.rng.below(8);
        }
        pair.wire.give(&wire);
        let (messages, error) = pair.read_theirs();
        let mut ours = wire.clone();
        let input = pair.ours.handle_input(&mut ours);
        let payload = &ours[input.payload];

        let mut whole = vec![];
        let mut closed = None;
        for message in messages {
            match message {
                Message::Binary(part) => whole.extend(&part[..]),
                Message::Close(close) => closed = Some(close.map(|close| u16::from(close.code))),
                _ => {}
            }
        }
        if input.end == Some(End::Text) || matches!(error, Some(Error::Capacity(_))) {
            continue; // They speak text; they have a limit.
        }
        assert!(payload.starts_with(&whole), "seed {seed}: whole messages of theirs are in our stream");
        match input.end {
            None => {
                assert!(error.is_none() && closed.is_none(), "seed {seed}: {error:?} {closed:?}");
                clean += 1;
            }
            Some(End::Close(code)) => {
                assert_eq!(closed, Some(code), "seed {seed}: {error:?}");
                closes += 1;
            }
            // They answer a code that may not be sent with a close of their own and report no error, unless
            // the reason is bad too.
            Some(End::Violation("bad close code")) => {
                assert!(closed.is_some() || matches!(error, Some(Error::Utf8(_))), "seed {seed}: {error:?}");
            }
            Some(End::Violation(why)) => {
                // They judge a frame once it is whole, we with its second byte.
                let alike = matches!(error, None | Some(Error::Protocol(_) | Error::Utf8(_)));
                assert!(alike && closed.is_none(), "seed {seed}: {why}, {error:?}");
                violations += u32::from(error.is_some());
                early += u32::from(error.is_none());
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(clean > 500 && violations > 500 && closes > 500, "{clean} {violations} {closes}");
    assert!(early < 60, "{early} inputs that only we refused");
}

const KEY: [u8; 16] = [9; 16];

#[test]
fn accept_values_agree() {
    for key in ["dGhlIHNhbXBsZSBub25jZQ==", "", "x", &"long".repeat(50)] {
        assert_eq!(
            accept_key(key.as_bytes()),
            *tungstenite::handshake::derive_accept_key(key.as_bytes()).as_bytes()
        );
    }
}

#[test]
fn our_client_is_accepted_by_their_server() {
    let wire = Wire::new(1);
    let mut out = BytesMut::new();
    let fields: &[(&str, &[u8])] = &[("Authorization", b"Bearer T")];
    write_request(&Ask { host: b"piko:8001", target: b"/piko/v1/upstream/e1", key: KEY, fields }, &mut out);
    wire.give(&out);
    let mut result = tungstenite::accept(wire.clone());
    while let Err(HandshakeError::Interrupted(middle)) = result {
        result = middle.handshake();
    }
    assert!(result.is_ok());
    let answer = wire.written();
    let mut shown = 0;
    let got = judge_response(&KEY, &answer, false, &mut |_| shown += 1);
    assert_eq!((got, shown), (Answer::Upgraded { head_bytes: answer.len() }, 1));
}

#[test]
fn their_client_is_accepted_by_our_server() {
    let wire = Wire::new(2);
    let result = tungstenite::client("ws://piko:8001/piko/v1/upstream/e1", wire.clone());
    let Err(HandshakeError::Interrupted(middle)) = result else { panic!("it waits for the answer") };
    let request = String::from_utf8(wire.written()).expect("text");
    let (line, fields) = request.split_once("\r\n").expect("a request line");
    assert_eq!(line, "GET /piko/v1/upstream/e1 HTTP/1.1");
    let head = RequestHead {
        method: b"GET",
        target: b"/piko/v1/upstream/e1",
        version: Version::Http11,
        fields: Fields::from_block(fields.strip_suffix("\r\n").expect("a blank line").as_bytes()),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: true,
    };
    let accept = judge_request(&head).expect("a good request");
    let mut out = BytesMut::new();
    write_response(&accept, &[("x-piko-caps", b"v=1")], &mut out);
    wire.give(&out);
    let mut result = middle.handshake();
    while let Err(HandshakeError::Interrupted(middle)) = result {
        result = middle.handshake();
    }
    let (_, answer) = result.expect("upgraded");
    assert_eq!(answer.headers()["x-piko-caps"], "v=1");
}
