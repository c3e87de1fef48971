//! One connection after the upgrade: fragments, control frames, close.

use super::control::{BAD_CLOSE_CODE, CloseFrame, is_close_code, put_control};
use super::frame::{self, CONTROL_BYTES_MAX, FRONT_ROOM, Opcode, Role};
use super::mask;
use alloc::vec::Vec;
use bytes::{BufMut, BytesMut};
use core::mem;
use core::ops::Range;

/// Frames that carry no payload of a message (pings, pongs, empty fragments) which a peer may send in a
/// row: a peer that sends more means to keep us busy.
const EMPTY_FRAMES_MAX: u32 = 100_000;

/// How many of them each call of [`Conn::handle_input`] forgives, so that a peer which pings an idle
/// connection for months is not taken for a flood, whose frames come by the thousand per call.
const EMPTY_FRAMES_FORGIVEN: u32 = 64;

/// From this payload on a data frame is worth reading in one piece, in bytes.
const LONG_BYTES: u64 = 64 * 1024;

/// One WebSocket connection after the upgrade, as a machine without IO.
///
/// # Driving it
///
/// - Give every byte received to [`handle_input`](Self::handle_input); the payload comes back as a range of
///   the same buffer, which is free again when the payload has been used.
/// - Wrap what is to be sent with [`frame`](Self::frame).
/// - While [`wants_send`](Self::wants_send), append [`poll_transmit`](Self::poll_transmit) to what is sent,
///   between two frames, never inside one.
/// - When [`is_closing`](Self::is_closing): send no more frames, flush, and end the connection.
///
/// Any order of calls is safe. Between calls only an unfinished header (at most 13 bytes, inline), an
/// unfinished control frame and the newest unanswered ping (at most 125 bytes each, on the heap) are kept.
#[derive(Debug)]
pub struct Conn {
    role: Role,
    /// A fragmented message has begun and its last fragment has not.
    message_open: bool,
    header: [u8; FRONT_ROOM],
    header_len: u8,
    /// The last long data frame with its header, in bytes; zero before there was one.
    long_frame: u32,
    reading: Reading,
    /// What has arrived of a control frame that was cut; without heap otherwise.
    control: Vec<u8>,
    /// The newest unanswered ping: only that one needs an answer (RFC 6455 5.5.3), so pings cannot pile up.
    pong: Option<Vec<u8>>,
    empty_frames: u32,
    closing: Closing,
    end: Option<End>,
}

/// What input turned into: the payload bytes stand, unmasked and without gaps, in `payload` of the input given.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Payload of all binary frames in this input, in order. It is to be used even when `end` is set: it
    /// came before the end.
    pub payload: Range<usize>,
    /// Set once nothing more will be read, and from then on with every call.
    pub end: Option<End>,
}

/// Why a peer's data ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The peer sent a close frame, with this code. The echo is owed.
    Close(Option<u16>),
    /// The peer sent text, which Piko does not speak. Nothing is sent; the upstream port ends the
    /// connection, the TCP path ends this direction only (wire protocol 3.6).
    Text,
    /// The peer broke RFC 6455 in this way. A close frame with code 1002 is owed.
    Violation(&'static str),
}

/// What the next bytes belong to. `key` fits the next byte; it is zero when the frame is not masked.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Control { opcode: Opcode, left: usize, key: [u8; 4] },
    Data { left: u64, key: [u8; 4] },
    Header,
}

/// Our half of the closing handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Owed(CloseFrame),
    Sent,
}

impl Conn {
    /// A connection right after the upgrade, seen from the side `role`.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            message_open: false,
            header: [0; FRONT_ROOM],
            header_len: 0,
            long_frame: 0,
            reading: Reading::Header,
            control: Vec::new(),
            pong: None,
            empty_frames: 0,
            closing: Closing::No,
            end: None,
        }
    }

    /// Takes all of `input`, unmasks in place and closes the gaps between frames.
    ///
    /// What stands outside the payload range afterwards is without meaning. After an [`End`] the rest of
    /// the input and all later input is dropped.
    pub fn handle_input(&mut self, input: &mut [u8]) -> Input {
        self.empty_frames = self.empty_frames.saturating_sub(EMPTY_FRAMES_FORGIVEN);
        let mut payload = 0..0;
        let mut at = 0;
        while at < input.len() && self.end.is_none() {
            match self.reading {
                Reading::Header => at += self.take_header(&input[at..]),
                Reading::Control { opcode, left, key } => {
                    at += self.take_control(opcode, left, key, &mut input[at..]);
                }
                Reading::Data { left, key } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    mask::apply_unless_zero(&mut input[at..at + taken], key);
                    payload = join(input, payload, at..at + taken);
                    at += taken;
                    self.reading = match left - taken as u64 {
                        0 => Reading::Header,
                        left => Reading::Data { left, key: mask::rotated(key, taken) },
                    };
                }
            }
        }
        Input { payload, end: self.end.clone() }
    }

    /// How much of `room` bytes a read had better take, so that it does not cut long frames: what is left of the one under
    /// way, as many whole ones like the last as there is room for, and the header of the next, which says how long that
    /// one is. All of `room` while the peer has sent no long ones, and where that would be less than 64 KiB. Whoever reads
    /// more only has more pieces.
    pub fn worth_reading(&self, room: usize) -> usize {
        let whole = self.long_frame as usize;
        let left = match self.reading {
            Reading::Data { left, .. } => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 0,
        };
        // A client's frames are masked, and such a header is four bytes longer.
        let header = if self.role == Role::Server { FRONT_ROOM } else { FRONT_ROOM - 4 };
        let rest = left.saturating_add(header);
        if whole == 0 || rest >= room {
            return room;
        }
        let worth = rest + (room - rest) / whole * whole;
        // Nobody makes us read a few bytes at a time.
        if worth < LONG_BYTES as usize { room } else { worth }
    }

    /// Frames `buf` as one binary message: its first [`FRONT_ROOM`] bytes are free, payload follows.
    /// Returns where the frame starts.
    ///
    /// The client role masks the payload with `mask`, which must come from a strong generator and be new
    /// for each message (RFC 6455 10.3); the server role ignores it.
    ///
    /// # Panics
    ///
    /// When `buf` is shorter than [`FRONT_ROOM`], which is a bug of the caller.
    pub fn frame(&mut self, buf: &mut [u8], mask: [u8; 4]) -> usize {
        assert!(buf.len() >= FRONT_ROOM, "the caller leaves room for the header");
        let (front, payload) = buf.split_at_mut(FRONT_ROOM);
        let key = self.key(mask);
        if let Some(key) = key {
            mask::apply(payload, key);
        }
        let (header, start) = frame::encode(Opcode::Binary, payload.len(), key);
        front[start..].copy_from_slice(&header[start..]);
        start
    }

    /// The header of a message of `payload_bytes` that lies elsewhere, and where in it the frame starts. Server role
    /// only: a client's payload is masked, and with it in one piece ([`frame`](Self::frame)).
    pub fn header(&self, payload_bytes: usize) -> Option<([u8; FRONT_ROOM], usize)> {
        (self.role == Role::Server).then(|| frame::encode(Opcode::Binary, payload_bytes, None))
    }

    /// Queue a close frame. Later calls, and calls after the peer's close, change nothing.
    ///
    /// A code that may not stand in a frame (RFC 6455 7.4: below 1000, 1005, 1006, 1015, …) is left out.
    pub fn close(&mut self, code: Option<u16>) {
        self.owe(CloseFrame::Code(code.filter(|code| is_close_code(*code))));
    }

    /// True when [`poll_transmit`](Self::poll_transmit) would append something.
    pub fn wants_send(&self) -> bool {
        match self.closing {
            Closing::No => self.pong.is_some(),
            Closing::Owed(_) => true,
            Closing::Sent => false,
        }
    }

    /// Appends owed control frames (pong, close), at most 264 bytes, and says how many bytes.
    ///
    /// `mask` is used by the client role as in [`frame`](Self::frame). A pong and a close that leave together
    /// share it: the peer knows the content of both.
    pub fn poll_transmit(&mut self, out: &mut BytesMut, mask: [u8; 4]) -> usize {
        if self.closing == Closing::Sent {
            return 0;
        }
        let before = out.len();
        let key = self.key(mask);
        if let Some(payload) = self.pong.take() {
            put_control(out, Opcode::Pong, key, |out| out.put_slice(&payload));
        }
        if let Closing::Owed(close) = mem::replace(&mut self.closing, Closing::No) {
            put_control(out, Opcode::Close, key, |out| close.put(out));
            self.closing = Closing::Sent;
        }
        out.len() - before
    }

    /// True once a close frame was sent or the peer must be dropped after flushing. No message may be sent
    /// any more (RFC 6455 5.5.1). Text ends the peer's data but is not closing.
    pub fn is_closing(&self) -> bool {
        self.closing == Closing::Sent || matches!(self.end, Some(End::Close(_) | End::Violation(_)))
    }

    fn take_header(&mut self, input: &[u8]) -> usize {
        let mut taken = self.gather(input, 2);
        if self.header_len < 2 {
            return taken;
        }
        // Judged as soon as two bytes are there, so that the end does not depend on how the input is cut.
        let opcode = match frame::judge([self.header[0], self.header[1]], self.role, self.message_open) {
            Ok(Opcode::Text) => {
                self.end = Some(End::Text);
                return taken;
            }
            Ok(opcode) => opcode,
            Err(reason) => {
                self.fail(reason);
                return taken;
            }
        };
        let complete = frame::header_bytes(self.header[1]);
        taken += self.gather(&input[taken..], complete);
        if usize::from(self.header_len) == complete {
            self.header_len = 0;
            self.start(opcode);
        }
        taken
    }

    /// Moves bytes into the header until it has `complete`; says how many it took.
    fn gather(&mut self, input: &[u8], complete: usize) -> usize {
        let have = usize::from(self.header_len);
        let taken = complete.saturating_sub(have).min(input.len());
        self.header[have..have + taken].copy_from_slice(&input[..taken]);
        // At most FRONT_ROOM, so nothing is cut off.
        self.header_len = (have + taken) as u8;
        taken
    }

    fn start(&mut self, opcode: Opcode) {
        let (length, key) = match frame::rest(&self.header) {
            Ok(rest) => rest,
            Err(reason) => return self.fail(reason),
        };
        if opcode.is_control() || length == 0 {
            self.empty_frames += 1;
            if self.empty_frames > EMPTY_FRAMES_MAX {
                return self.fail("too many frames without payload");
            }
        }
        if opcode.is_control() {
            // `judge` let no control frame pass that is longer than 125 bytes.
            let left = usize::try_from(length).unwrap_or(CONTROL_BYTES_MAX).min(CONTROL_BYTES_MAX);
            if left == 0 {
                self.finish_control(opcode, &[]);
            } else {
                self.reading = Reading::Control { opcode, left, key };
            }
            return;
        }
        self.message_open = !frame::is_final(self.header[0]);
        if length >= LONG_BYTES {
            let whole = length + frame::header_bytes(self.header[1]) as u64;
            self.long_frame = u32::try_from(whole).unwrap_or(u32::MAX);
        }
        if length > 0 {
            self.empty_frames = 0;
            self.reading = Reading::Data { left: length, key };
        }
    }

    fn take_control(&mut self, opcode: Opcode, left: usize, key: [u8; 4], input: &mut [u8]) -> usize {
        let taken = left.min(input.len());
        let part = &mut input[..taken];
        mask::apply_unless_zero(part, key);
        if taken < left {
            if self.control.is_empty() {
                self.control.reserve_exact(left);
            }
            self.control.extend_from_slice(part);
            self.reading = Reading::Control { opcode, left: left - taken, key: mask::rotated(key, taken) };
            return taken;
        }
        self.reading = Reading::Header;
        if self.control.is_empty() {
            self.finish_control(opcode, part);
        } else {
            let mut whole = mem::take(&mut self.control);
            whole.extend_from_slice(part);
            self.finish_control(opcode, &whole);
        }
        taken
    }

    fn finish_control(&mut self, opcode: Opcode, payload: &[u8]) {
        match opcode {
            Opcode::Close => self.finish_close(payload),
            Opcode::Ping => {
                let pong = self.pong.get_or_insert_default();
                pong.clear();
                pong.extend_from_slice(payload);
            }
            // A pong needs no answer; the keep-alive is the mux's ping. Data does not come here.
            Opcode::Pong | Opcode::Binary | Opcode::Continuation | Opcode::Text => {}
        }
    }

    /// RFC 6455 5.5.1: nothing, or a code and a reason in UTF-8.
    fn finish_close(&mut self, payload: &[u8]) {
        let code = match payload {
            [] => None,
            [_] => return self.fail("close frame of one byte"),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !is_close_code(code) {
                    self.owe(CloseFrame::BadCode(code));
                    return self.fail(BAD_CLOSE_CODE);
                }
                if core::str::from_utf8(reason).is_err() {
                    return self.fail("invalid utf8 payload in close frame");
                }
                Some(code)
            }
        };
        self.owe(CloseFrame::Code(code));
        self.end = Some(End::Close(code));
    }

    fn fail(&mut self, reason: &'static str) {
        self.owe(CloseFrame::Violation(reason));
        self.end = Some(End::Violation(reason));
    }

    /// The first close wins: a connection sends one.
    fn owe(&mut self, close: CloseFrame) {
        if self.closing == Closing::No {
            self.closing = Closing::Owed(close);
        }
    }

    fn key(&self, mask: [u8; 4]) -> Option<[u8; 4]> {
        (self.role == Role::Client).then_some(mask)
    }
}

/// Brings `part` and the payload collected in front of it together, and gives the range of both. The shorter
/// one moves: usually a 12-byte message with a mux header stands in front of a long body, or behind it.
fn join(input: &mut [u8], payload: Range<usize>, part: Range<usize>) -> Range<usize> {
    if payload.is_empty() {
        part
    } else if payload.len() < part.len() {
        let start = part.start - payload.len();
        input.copy_within(payload, start);
        start..part.end
    } else {
        let end = payload.end + part.len();
        input.copy_within(part, payload.end);
        payload.start..end
    }
}
