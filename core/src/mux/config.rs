//! Limits, their defaults and their sum.

use super::budget::Budget;
use alloc::sync::Arc;
use core::time::Duration;

/// The window that the protocol gives every direction of every stream, in bytes (wire protocol 4.4).
pub const INITIAL_WINDOW_BYTES: u32 = 256 * 1024;

/// The outbox in all: front room, data and control frames, in bytes; this long on a transport that is very fast. Each
/// write costs the kernel and the peer a wake-up or two: four bodies of 64 KiB in one took a sixth less CPU on both
/// sides than four writes.
pub(super) const OUTBOX_BYTES_MAX: usize = 280 * 1024;
/// The same while the transport is fast.
pub(super) const OUTBOX_BYTES_FAST: usize = 80 * 1024;
/// The same while the transport is slow: three frames of the smaller quantum, which a small answer may have to
/// wait for.
pub(super) const OUTBOX_BYTES_SLOW: usize = 54 * 1024;
/// The end of the outbox that only control frames may use, in bytes.
pub(super) const CONTROL_BYTES: usize = 4 * 1024;
/// The most front room that leaves the outbox useful, in bytes.
pub(super) const FRONT_ROOM_MAX: usize = 4 * 1024;
/// Unanswered pings of the peer that are remembered; one more closes the session (weakness M14).
pub(super) const PONGS_MAX: usize = 16;
/// Refused SYNs whose RST waits, above which the transport is not read: what a Go opener may have unacknowledged. Whoever
/// sends more and does not take its RSTs is held back by the transport.
pub(super) const REFUSALS_PAUSE: usize = 256;
/// The same whatever was read at once: a driver that reads [`INPUT_BYTES_MAX`] never comes so far, and beyond is a flood.
pub(super) const REFUSALS_MAX: usize = 32 * 1024;
/// What may be given to a session at once, in bytes: the whole outbox of a peer like this one, and some.
pub const INPUT_BYTES_MAX: usize = 288 * 1024;
/// What a stream in discard mode may still receive, in bytes, before it is reset.
pub(super) const DISCARD_BYTES_MAX: u32 = 1 << 20;
/// How long discard mode may last before the stream is reset.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(10);
/// How long a pong or a ping that measures may wait for company, and by default every frame that nobody waits for
/// ([`Config::lazy_time`]).
pub const LAZY_TIME: Duration = Duration::from_millis(2);
/// [`Config::lazy_time`] for a loop of exchanges that come one after the other: a timer of this length stands behind the
/// next tick of a kernel with 250 Hz, so that its clock need not be set for it at every wait. On a virtual machine that takes
/// as long as the work in between.
pub const LAZY_TIME_CALM: Duration = Duration::from_millis(20);
/// More than that helps nobody, and peers keep what they have for streams that are long over.
const LAZY_TIME_MAX: Duration = Duration::from_secs(1);
/// A transport that takes a full outbox within this time is fast (160 Mbit/s): the quantum is
/// [`Config::quantum_max`], since frames cost more than the wait behind a long one. On a slower one a small
/// answer must not stand behind long frames.
pub const FAST_TURN: Duration = Duration::from_millis(4);
/// One that takes a full outbox within this time, so many times in a row, is very fast (650 Mbit/s, and more bytes than
/// the kernel would swallow at once), and stays so until an outbox takes longer than [`FAST_TURN`]: nobody waits
/// longer behind the longer outbox, however few streams share it. One that has the bytes may fill it, since every piece of a
/// body costs both sides a task's turn and system calls: read whole, 1 MiB took a third less CPU than in pieces of 68 KiB.
pub(super) const RUSH_TURN: Duration = Duration::from_millis(1);
pub(super) const RUSH_AFTER: u8 = 8;
/// How long writers must have waited, all in all, for a transport to be judged by what it took meanwhile. Single turns say
/// little: where processors are scarce, each may take as long as on a slow link.
pub(super) const PACE_TIME: Duration = Duration::from_millis(100);
/// The most that a single turn counts of it: whoever pauses once is not slow.
pub(super) const PACE_TURN: Duration = Duration::from_millis(50);
/// A transport that took less crawls (13 Mbit/s): it gets outboxes of one frame and a small answer, and its kernel had
/// better hold little back.
pub(super) const CRAWL_BYTES: usize = 160 * 1024;
/// One that crawls must take this much to be told otherwise (16 Mbit/s). More would be out of reach where turns, not the
/// transport, take 8 ms, since those of a crawling one are short.
pub(super) const WALK_BYTES: usize = 200 * 1024;
/// A refused write of at most this many bytes goes in front of the larger ones: a whole small answer.
pub(super) const FRONT_BYTES_MAX: usize = 4 * 1024;
/// How long granted room waits for its writers before the next ones in the line are called.
pub(super) const LINE_TIME: Duration = Duration::from_millis(2);
/// How long an exceeded budget may see next to no consumption before the longest waiting streams are reset.
pub(super) const PRESSURE_TIME: Duration = Duration::from_secs(2);
/// How often a session that stopped its input looks whether others made room.
pub(super) const PRESSURE_LOOK: Duration = Duration::from_millis(20);
/// How long a session reads again before the wait that was under way is forgotten.
pub(super) const PRESSURE_RECHECK: Duration = Duration::from_secs(1);
/// Frames without payload within [`BARREN_TIME`] and without a payload byte between them: beyond is a flood.
pub(super) const BARREN_MAX: u32 = 100_000;
/// The span over which frames without payload are counted, so that years of pings add up to nothing.
pub(super) const BARREN_TIME: Duration = Duration::from_secs(60);

/// The most of [`Config::quantum`]: a frame of it always finds room in an empty outbox, or its writer would wait for ever.
const QUANTUM_BYTES_MAX: usize =
    OUTBOX_BYTES_SLOW - CONTROL_BYTES - FRONT_ROOM_MAX - super::frame::HEADER_BYTES;

const _: () = assert!(CONTROL_BYTES + FRONT_ROOM_MAX + 16 * 1024 < OUTBOX_BYTES_SLOW);
const _: () = assert!(OUTBOX_BYTES_SLOW < OUTBOX_BYTES_FAST && OUTBOX_BYTES_FAST < OUTBOX_BYTES_MAX);
/// What is owed to a session that is read leaves with one transmission, also behind data: pongs, the ping, RSTs, go-away.
const _: () = assert!((PONGS_MAX + REFUSALS_PAUSE + 2) * super::frame::HEADER_BYTES < CONTROL_BYTES);
const _: () = assert!(REFUSALS_PAUSE + INPUT_BYTES_MAX / super::frame::HEADER_BYTES < REFUSALS_MAX);

/// Limits of one session.
///
/// With the defaults a session holds at most: 280 KiB of outbox (and the buffer that the driver swaps in); about
/// 200 bytes for each stream; for each stream up to its window of unread bytes and two partly filled blocks
/// of 16 KiB, of which all sessions of one [`Budget`] together hold its limit (64 MiB) and what was read at
/// once by each of them; 128 KiB of refused ids. An idle session owns no buffer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Bytes that `poll_transmit` leaves free in front of the outbox for the transport's header; at most 4 KiB.
    pub front_room: usize,
    /// Streams that a peer may have open towards us at once; 0 refuses every SYN with RST. Default 4096.
    pub incoming_max: usize,
    /// Streams that may wait for `accept`; the next SYN is answered with RST. Default 256 (wire protocol 4.4).
    pub accept_backlog: usize,
    /// Own streams that may wait for their ACK; the next `open` is refused. Default 256 (wire protocol 4.4).
    pub unacked_max: usize,
    /// Payload bytes that one stream may add to the outbox between two transmissions, as long as the transport
    /// takes longer than [`FAST_TURN`] for a full outbox. Default 16 KiB; at most 45 KiB.
    pub quantum: usize,
    /// The same while the transport is faster; while it is very fast, the whole outbox. Default 68 KiB; at most 80 KiB.
    pub quantum_max: usize,
    /// The window that a stream's receive direction may grow to, in bytes; the initial 256 KiB switches
    /// growth off. Default 6 MiB, enough for 400 Mbit/s at a round trip of 100 ms; at most 1 GiB.
    pub window_max: u32,
    /// Silence of the peer before a keep-alive ping. Default 5 s.
    pub ping_after: Duration,
    /// Silence after the ping before the peer counts as dead. Default 5 s.
    pub ping_timeout: Duration,
    /// How long a frame that nobody waits for (the end of an answered request, early credit, an ACK) may wait for
    /// company. Default 2 ms. A loop that sleeps between the frames of an exchange sets a timer of that length at each
    /// of them: one shorter than the tick of the system (4 ms on many) is more work for its timers than the frame is.
    pub lazy_time: Duration,
    /// ACKs of accepted streams leave at once, for peers that wait for them, and not together with the first data
    /// ([`Self::lazy_time`] later at most). Default false.
    pub prompt_acks: bool,
    /// Time without an ACK before an own stream is reset. Default 75 s (wire protocol 4.4).
    pub open_timeout: Duration,
    /// Silence of a stream after the own FIN before it is reset: no frame from the peer, and nothing unread that
    /// the application could take. Default 5 min (wire protocol 4.4).
    pub close_timeout: Duration,
    /// Memory for received bytes, shared with other sessions.
    pub budget: Arc<Budget>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            front_room: 0,
            incoming_max: 4096,
            accept_backlog: 256,
            unacked_max: 256,
            quantum: 16 * 1024,
            quantum_max: 68 * 1024,
            window_max: 6 << 20,
            ping_after: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            lazy_time: LAZY_TIME,
            prompt_acks: false,
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(300),
            budget: Arc::new(Budget::default()),
        }
    }
}

impl Config {
    /// This one where it is fit for use, so that many sessions share it; else what is made of it.
    pub(super) fn fitted(self: Arc<Self>) -> Arc<Self> {
        let clamped = Self::clone(&self).clamped();
        let same = self.front_room == clamped.front_room
            && self.quantum == clamped.quantum
            && self.quantum_max == clamped.quantum_max
            && self.window_max == clamped.window_max
            && self.accept_backlog == clamped.accept_backlog
            && self.lazy_time == clamped.lazy_time
            && self.close_timeout == clamped.close_timeout;
        if same { self } else { Arc::new(clamped) }
    }

    /// Brings every value into the range that the session's arithmetic relies on.
    fn clamped(mut self) -> Self {
        self.front_room = self.front_room.min(FRONT_ROOM_MAX);
        self.quantum = self.quantum.clamp(1, QUANTUM_BYTES_MAX);
        self.quantum_max = self.quantum_max.clamp(self.quantum, OUTBOX_BYTES_FAST);
        self.window_max = self.window_max.clamp(INITIAL_WINDOW_BYTES, 1 << 30);
        self.accept_backlog = self.accept_backlog.min(self.incoming_max);
        // A timer that is started anew must not be due at the same instant.
        self.close_timeout = self.close_timeout.max(LAZY_TIME);
        self.lazy_time = self.lazy_time.min(LAZY_TIME_MAX);
        self
    }
}
