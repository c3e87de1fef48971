//! [`Session`]: its state, the application's verbs and the events. Input, output and time are in files of
//! their own.

use super::config::{Config, LAZY_TIME};
use super::error::{CloseReason, GoAway, OpenError};
use super::frame::{Flags, HEADER_BYTES, Header, Kind};
use super::handle::{RecvStream, SendStream};
use super::input::Reading;
use super::keepalive::KeepAlive;
use super::outbox::Outbox;
use super::pressure::Pressure;
use super::queue::Blocks;
use super::stream::{Holder, RecvHalf, SendHalf, Stream};
use super::table::{List, Table};
use crate::id::StreamId;
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The role in the protocol: which ids this side gives its streams (wire protocol 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Odd ids from 1: the agent.
    Client,
    /// Even ids from 2: the server.
    Server,
}

/// What happened. Events are edges: each says that something changed, not that it still holds.
#[must_use]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session is over, once. Whoever waits for anything of it should look again.
    Closed(CloseReason),
    /// The peer takes no new streams; only ever with [`GoAway::Normal`], since other codes close the session.
    GoAway(GoAway),
    /// The backlog was empty and is not: call [`Session::accept`] until it gives nothing.
    Incoming,
    /// The stream had nothing to read and has: data, the end, or a reset.
    Readable(StreamId),
    /// An `open` was refused as blocked, and one would be possible.
    Slot,
    /// A write was refused as blocked, and room grew; or the stream was reset.
    Writable(StreamId),
}

/// One end of a mux connection.
///
/// Drive it like this, in any order; extra calls are harmless:
///
/// - bytes from the transport go to [`Self::handle_input`], its end to [`Self::handle_eof`] or
///   [`Self::handle_failure`]; while [`Self::wants_input`] is false the transport should not be read;
/// - when the transport can take bytes, [`Self::poll_transmit`] gives them; [`Self::handle_sent`] reports how far
///   writing them is;
/// - after each of these and after application calls, [`Self::poll_event`] until it gives nothing, and arm a
///   timer for [`Self::poll_timeout`], at which [`Self::handle_timeout`] is due;
/// - every id from [`Self::open`] or [`Self::accept`] is given back with [`Self::release`].
///
/// The deadline may move with every call except the pure reads.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    /// The latest time that any call brought, so that timers start in order.
    pub(super) now: Instant,
    pub(super) phase: Phase,
    pub(super) table: Table,
    pub(super) blocks: Blocks,
    pub(super) outbox: Outbox,
    /// Nothing has happened for a while, so no memory is kept for what comes next.
    pub(super) idle: bool,
    pub(super) reading: Reading,
    pub(super) keepalive: KeepAlive,
    pub(super) owed: Owed,
    pub(super) news: News,
    pub(super) peer_away: Option<GoAway>,
    /// This side takes no new streams.
    pub(super) own_away: bool,
    /// The peer was told that this side takes no new streams, or will be.
    announced: bool,
    next_id: u32,
    pub(super) unacked: usize,
    pub(super) incoming: usize,
    /// Frames without payload since the last payload byte, and since when.
    pub(super) barren: u32,
    pub(super) barren_since: Instant,
    pub(super) pressure: Pressure,
    /// When the line goes on though the called writers did not write.
    pub(super) line_at: Option<Instant>,
    /// What a stream may write in a turn: a long frame while the transport is fast.
    pub(super) quantum: usize,
    /// What is set aside for a writer that is called, if it asked for as much, in bytes.
    pub(super) usual_share: usize,
    /// When the last transmission was handed out, and whether writers stood in line at that moment.
    pub(super) turn_at: Instant,
    pub(super) contended: bool,
    /// How long that transmission was.
    pub(super) turn_bytes: usize,
    /// What was transmitted while writers stood in line, and how long that took, since the last judgement.
    pub(super) pace_bytes: usize,
    pub(super) pace_nanos: u64,
    /// By that judgement the transport crawls.
    pub(super) crawls: bool,
    /// Outboxes in a row that the transport took at once.
    pub(super) quick_turns: u8,
}

/// Whether the session lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Closed by this side; the go-away has not been handed out.
    Closing {
        since: Instant,
    },
    Closed(CloseReason),
}

/// Control output that belongs to no stream of the table.
#[derive(Debug)]
pub(super) struct Owed {
    /// Something that the peer waits for is owed.
    pub(super) urgent: bool,
    /// When something that nobody waits for has waited long enough for company.
    pub(super) lazy_at: Option<Instant>,
    /// The lazy frames have waited long enough.
    pub(super) lazy_due: bool,
    pub(super) away: Option<GoAway>,
    /// The values of pings that are not answered, at most [`super::config::PONGS_MAX`].
    pub(super) pongs: Vec<u32>,
    /// Refused streams whose RST is owed, oldest first, at most [`super::config::REFUSALS_MAX`].
    pub(super) refused: Vec<u32>,
}

/// Events that belong to no stream.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) closed: bool,
    pub(super) away: bool,
    pub(super) incoming: bool,
    pub(super) slot: bool,
    pub(super) slot_wanted: bool,
}

impl Session {
    /// A session over a fresh transport. Sessions that are given the same [`Arc`] share it; values out of range are
    /// brought into it for this session.
    pub fn new(side: Side, config: impl Into<Arc<Config>>, now: Instant) -> Self {
        let config = config.into().fitted();
        Self {
            now,
            phase: Phase::Open,
            table: Table::new(),
            blocks: Blocks::new(config.budget.clone()),
            outbox: Outbox::new(config.front_room),
            idle: true,
            reading: Reading::START,
            keepalive: KeepAlive::new(config.ping_after, config.ping_timeout, now),
            owed: Owed {
                urgent: false,
                lazy_at: None,
                lazy_due: false,
                away: None,
                pongs: Vec::new(),
                refused: Vec::new(),
            },
            news: News::default(),
            peer_away: None,
            own_away: false,
            announced: false,
            next_id: match side {
                Side::Client => 1,
                Side::Server => 2,
            },
            unacked: 0,
            incoming: 0,
            barren: 0,
            barren_since: now,
            pressure: Pressure::NONE,
            line_at: None,
            quantum: config.quantum,
            usual_share: config.quantum_max,
            turn_at: now,
            contended: false,
            turn_bytes: 0,
            pace_bytes: 0,
            pace_nanos: 0,
            crawls: false,
            quick_turns: 0,
            config,
        }
    }

    /// Opens a stream: its SYN goes into the outbox, data may follow at once (wire protocol 4.5).
    ///
    /// # Errors
    /// [`OpenError::Blocked`] is followed by [`Event::Slot`]; the others are final.
    pub fn open(&mut self, now: Instant) -> Result<StreamId, OpenError> {
        self.tick(now);
        if self.phase != Phase::Open {
            return Err(OpenError::Closed);
        }
        if self.peer_away.is_some() {
            return Err(OpenError::GoingAway);
        }
        // A peer may have taken an id of our parity, which Go tolerates too (weakness M12).
        // Go reports exhaustion from the last two ids on (vector `last_stream_id_server`).
        while self.next_id < u32::MAX - 1 && self.table.find(self.next_id).is_some() {
            self.next_id += 2;
        }
        if self.next_id >= u32::MAX - 1 {
            return Err(OpenError::Exhausted);
        }
        if !self.can_open() {
            self.news.slot_wanted = true;
            return Err(OpenError::Blocked);
        }
        let id = self.next_id;
        self.next_id += 2;
        self.outbox.put(Header::new(Kind::WindowUpdate, Flags::SYN, id, 0));
        let at = self.table.insert(Stream::outgoing(id));
        self.idle = false;
        self.unacked += 1;
        self.start_timer(at, List::Opening);
        Ok(StreamId(id))
    }

    /// Takes the longest waiting stream of the peer and owes its ACK.
    pub fn accept(&mut self) -> Option<StreamId> {
        if self.phase != Phase::Open {
            return None;
        }
        let at = self.table.head(List::Backlog)?;
        self.table.leave(List::Backlog, at);
        let stream = self.table.get_mut(at)?;
        stream.accept();
        let id = StreamId(stream.id);
        // Mostly nobody waits for an ACK: it goes out in front of the first data, or within the lazy time.
        self.owe(at, if self.config.prompt_acks { Urgency::Now } else { Urgency::Lazy });
        Some(id)
    }

    /// True once the peer has shown that it took a stream of ours, or once that is not to be waited for: the stream, or
    /// the session, is over. Where it has not, an [`Event::Slot`] comes when it shows it of this stream or of another one.
    pub fn is_acknowledged(&mut self, id: StreamId) -> bool {
        let unacked = |at| self.table.get(at).is_some_and(|stream| stream.unacked);
        let waits = self.phase == Phase::Open && self.held(id).is_some_and(unacked);
        self.news.slot_wanted |= waits;
        !waits
    }

    /// The sending side of a stream. An unknown id gives a view that refuses everything.
    pub fn send(&mut self, now: Instant, id: StreamId) -> SendStream<'_> {
        self.tick(now);
        let at = self.held(id);
        SendStream::new(self, at)
    }

    /// The receiving side of a stream. An unknown id gives a view that refuses everything.
    pub fn recv(&mut self, now: Instant, id: StreamId) -> RecvStream<'_> {
        self.tick(now);
        let at = self.held(id);
        RecvStream::new(self, at)
    }

    /// Gives both halves up. A stream that was not finished is reset; a finished one that the peer still sends
    /// on enters discard mode: input is dropped and credited, up to 1 MiB or 10 s, then the stream is reset.
    pub fn release(&mut self, now: Instant, id: StreamId) {
        self.tick(now);
        let Some(at) = self.held(id) else { return };
        let Some(stream) = self.table.get_mut(at) else { return };
        stream.holder = Holder::Session;
        let (unfinished, reset) = (stream.send == SendHalf::Open, stream.reset);
        self.table.leave(List::Events, at);
        if matches!(self.phase, Phase::Closed(_)) {
            self.remove(at);
        } else if reset {
            self.drop_unread(at);
            self.reap(at);
        } else if unfinished {
            self.kill(at);
        } else {
            self.stop_reading(at);
            self.reap(at);
        }
    }

    /// Queues a go-away (wire protocol 4.7).
    ///
    /// [`GoAway::Normal`] refuses new streams of the peer and keeps the session. Every other code ends all streams
    /// with an error at once; the session is closed ([`CloseReason::Local`]) when [`Self::poll_transmit`] has
    /// handed the go-away out, behind what was queued before, or when that takes longer than the ping timeout.
    pub fn close(&mut self, now: Instant, code: GoAway) {
        self.tick(now);
        if self.phase != Phase::Open {
            return;
        }
        if code == GoAway::Normal {
            self.announce(now);
            self.own_away = true;
        } else {
            self.owed.away = Some(code);
            self.owed.urgent = true;
            self.phase = Phase::Closing { since: self.now };
        }
    }

    /// Asks the peer for no new streams, once: a go-away 0 is owed. Those that cross it on the wire are taken
    /// until [`Self::close`] with [`GoAway::Normal`]; their openers could not know.
    pub fn announce(&mut self, now: Instant) {
        self.tick(now);
        if self.phase == Phase::Open && !self.announced {
            self.announced = true;
            self.owed.away = Some(GoAway::Normal);
            self.owed.urgent = true;
        }
    }

    /// The next event; `None` until something else happens.
    pub fn poll_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.news.away) {
            if let Some(code) = self.peer_away {
                return Some(Event::GoAway(code));
            }
        }
        while let Some(at) = self.table.head(List::Events) {
            if let Some(event) = self.stream_event(at) {
                return Some(event);
            }
        }
        if core::mem::take(&mut self.news.incoming) && self.table.count(List::Backlog) > 0 {
            return Some(Event::Incoming);
        }
        if core::mem::take(&mut self.news.slot) {
            if self.can_open() {
                return Some(Event::Slot);
            }
            self.news.slot_wanted = true;
        }
        match &self.phase {
            Phase::Closed(reason) if self.news.closed => {
                let reason = reason.clone();
                self.news.closed = false;
                Some(Event::Closed(reason))
            }
            _ => None,
        }
    }

    /// Why the session is over; `None` while it lives.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        match &self.phase {
            Phase::Closed(reason) => Some(reason),
            Phase::Open | Phase::Closing { .. } => None,
        }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Streams that are not gone yet: held by the application, in the backlog, or on their way out.
    pub fn streams(&self) -> usize {
        self.table.len()
    }

    /// The peer's go-away, if one came.
    pub fn peer_going_away(&self) -> Option<GoAway> {
        self.peer_away
    }

    /// The smallest round trip that pings measured in the last minute, as of the latest call.
    pub fn round_trip(&self) -> Option<core::time::Duration> {
        self.keepalive.round_trip(self.now)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Where the application's stream `id` is.
    fn held(&self, id: StreamId) -> Option<u32> {
        let at = self.table.find(id.0)?;
        self.table.get(at).is_some_and(Stream::is_held).then_some(at)
    }

    /// Jumps to the id `next`.
    #[cfg(test)]
    pub(super) fn exhaust_ids(&mut self, next: u32) {
        self.next_id = next;
    }

    fn can_open(&self) -> bool {
        self.unacked < self.config.unacked_max && self.outbox.unreserved() >= HEADER_BYTES
    }

    /// Queues a `Slot` when somebody waits for one and there is one.
    pub(super) fn offer_slot(&mut self) {
        if self.news.slot_wanted && self.can_open() {
            self.news.slot_wanted = false;
            self.news.slot = true;
        }
    }

    /// The next event of the stream in front of the list, or nothing when what it told of is over.
    fn stream_event(&mut self, at: u32) -> Option<Event> {
        let Some(stream) = self.table.get_mut(at) else {
            self.table.leave(List::Events, at);
            return None;
        };
        let id = StreamId(stream.id);
        if core::mem::take(&mut stream.readable) {
            if !stream.writable {
                let news = stream.has_news();
                self.table.leave(List::Events, at);
                return news.then_some(Event::Readable(id));
            }
            return stream.has_news().then_some(Event::Readable(id));
        }
        stream.writable = false;
        let gone = stream.reset || self.phase != Phase::Open;
        let open = stream.send == SendHalf::Open;
        let credit = stream.credit.bytes() > 0;
        let asked = stream.asked as usize;
        let waits = !gone && open && self.write_room(at, asked) == 0;
        self.table.leave(List::Events, at);
        if !gone && !open {
            // Finished in the meantime: there is nothing to write any more.
            return None;
        }
        if waits {
            // Somebody else took the room in the meantime: the refusal stands.
            if let Some(stream) = self.table.get_mut(at) {
                stream.refused = true;
            }
            if credit {
                self.table.join_line(at);
                self.call_line();
            }
            return None;
        }
        Some(Event::Writable(id))
    }

    pub(super) fn notify_readable(&mut self, at: u32) {
        if let Some(stream) = self.table.get_mut(at) {
            if stream.is_held() {
                stream.readable = true;
                self.table.join(List::Events, at);
            }
        }
    }

    pub(super) fn notify_writable(&mut self, at: u32) {
        if let Some(stream) = self.table.get_mut(at) {
            stream.refused = false;
            if stream.is_held() {
                stream.writable = true;
                self.table.join(List::Events, at);
            }
        }
    }

    /// Notes that the stream owes a frame.
    pub(super) fn owe(&mut self, at: u32, urgency: Urgency) {
        self.table.join(List::Owed, at);
        self.hurry(urgency);
    }

    pub(super) fn hurry(&mut self, urgency: Urgency) {
        let span = match urgency {
            Urgency::Lazy => self.config.lazy_time,
            Urgency::Soon => self.config.lazy_time.min(LAZY_TIME),
            Urgency::Now => {
                self.owed.urgent = true;
                return;
            }
        };
        let at = self.now + span;
        self.owed.lazy_at = Some(self.owed.lazy_at.map_or(at, |first| first.min(at)));
    }

    /// Resets a stream from this side: unread bytes are dropped, an RST is owed, whoever waits is told.
    pub(super) fn kill(&mut self, at: u32) {
        self.drop_unread(at);
        self.end_timers(at);
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.holder == Holder::Backlog {
            stream.holder = Holder::Session;
        }
        let refused = stream.refused;
        stream.stop();
        stream.kill(true);
        let tell = stream.rst_owed;
        self.table.leave(List::Backlog, at);
        self.notify_readable(at);
        if refused {
            self.notify_writable(at);
        }
        if tell {
            self.owe(at, Urgency::Now);
        }
        self.reap(at);
    }

    /// Leaves the line, the timers and the count of unacknowledged streams: nobody waits for this stream's peer.
    pub(super) fn end_timers(&mut self, at: u32) {
        self.table.leave_timer(at);
        self.table.leave_line(at);
        self.acknowledge(at);
        self.give_back(at);
    }

    /// The peer showed that it has the stream, or the stream ended: its place among the unacknowledged is free.
    pub(super) fn acknowledge(&mut self, at: u32) {
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.unacked {
            stream.unacked = false;
            self.unacked = self.unacked.saturating_sub(1);
            self.table.leave(List::Opening, at);
            self.offer_slot();
        }
    }

    /// Nobody reads the stream any more.
    pub(super) fn stop_reading(&mut self, at: u32) {
        let Some(stream) = self.table.get_mut(at) else { return };
        if stream.recv == RecvHalf::Ended && stream.queue.is_empty() {
            return;
        }
        let had_news = stream.has_news();
        stream.stop();
        self.drop_unread(at);
        if !had_news {
            self.notify_readable(at);
        }
        self.update_discard(at);
        self.offer_credit(at);
    }

    /// Starts the bound on discard mode when the stream is in it.
    pub(super) fn update_discard(&mut self, at: u32) {
        let Some(stream) = self.table.get(at) else { return };
        let begins = stream.is_discarding() && stream.is_live() && stream.recv == RecvHalf::Open;
        if begins && !self.table.is_in(List::Discarding, at) {
            self.start_timer(at, List::Discarding);
        }
    }

    pub(super) fn drop_unread(&mut self, at: u32) {
        if let Some(stream) = self.table.get_mut(at) {
            self.blocks.clear(&mut stream.queue);
            self.table.leave(List::Unread, at);
            self.relieve(0);
        }
    }

    /// Forgets the stream when nothing is left to do for it.
    pub(super) fn reap(&mut self, at: u32) {
        if self.table.get(at).is_some_and(Stream::is_over) {
            self.remove(at);
        }
    }

    pub(super) fn remove(&mut self, at: u32) {
        self.end_timers(at);
        let Some(stream) = self.table.get_mut(at) else { return };
        // A peer may take an id of our parity: the rest of a body that is under way must not reach an own
        // stream that is given the id next.
        if let Reading::Body { at: reading, left, .. } = self.reading {
            if reading == at {
                self.reading = Reading::skip(left);
            }
        }
        self.blocks.clear(&mut stream.queue);
        self.blocks.account().forget(stream.window.extra());
        if !stream.local {
            self.incoming = self.incoming.saturating_sub(1);
        }
        self.table.remove(at);
        self.relieve(0);
        self.rest();
    }

    /// An idle session owns no buffer (performance guide 4.1). Idle is one that had nothing to do for as long
    /// as it takes until a keep-alive ping: a tunnel with one request at a time would otherwise give its
    /// buffers back and ask for them again with each.
    pub(super) fn rest(&mut self) {
        if self.idle && self.table.is_empty() {
            self.blocks.rest();
            self.table.rest();
            if self.outbox.is_empty() {
                self.outbox.clear();
            }
        }
    }

    /// The session is over. What the application holds stays until it is released.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        tracing::debug!(%reason, streams = self.table.len(), "mux session closed");
        self.phase = Phase::Closed(reason);
        self.idle = true;
        self.news.closed = true;
        self.owed.away = None;
        self.owed.urgent = false;
        self.owed.lazy_at = None;
        self.owed.lazy_due = false;
        self.owed.pongs = Vec::new();
        self.owed.refused = Vec::new();
        self.pressure = Pressure::NONE;
        self.line_at = None;
        self.outbox.clear();
        for at in self.table.all() {
            if self.table.get(at).is_some_and(|stream| !stream.is_held()) {
                self.remove(at);
            }
        }
        self.rest();
    }
}

/// How soon an owed frame has to leave (performance guide 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// With the next transmission, or after [`Config::lazy_time`].
    Lazy,
    /// The same, and after [`LAZY_TIME`] whatever that is: its receiver measures how long it takes.
    Soon,
    /// Its receiver waits for it.
    Now,
}
