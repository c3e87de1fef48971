//! One mux session with its grant and its drain.

use super::Caps;
use crate::id::{EndpointId, StreamId};
use crate::mux::{CloseReason, Config, Event, GoAway, OpenError, RecvStream, SendStream, Session, Side};
use crate::time::{Deadline, Instant};
use alloc::sync::Arc;
use bytes::{Bytes, BytesMut};
use core::time::Duration;

/// How long a drained agent stays for streams that the server opened before it read the go-away: a round trip
/// around the world. A Go server that never hears of such a stream waits 75 s for it and then ends the whole
/// connection (wire protocol 4.4).
const LATE_SYN_WAIT: Duration = Duration::from_millis(200);

/// How long after its go-away a draining agent still takes streams. One that crosses the go-away carries a
/// request that the server may not be able to repeat; a server that goes on for longer does not listen.
const LATE_SYN_TAKEN: Duration = Duration::from_secs(1);

/// How long a tunnel without streams stays after the hint. There is nothing to finish in it and nothing is opened any
/// more, so this is only a head start for the agent's next dial, whose first wait is at most 100 ms.
const HINT_WAIT: Duration = Duration::from_millis(100);

/// How the transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEnd {
    /// In order: FIN, or a WebSocket close.
    Closed,
    /// Reset, timed out, or broke the rules of the transport.
    Failed,
}

/// What the server allowed this tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The tunnel ends then (token expiry).
    pub expires: Option<Instant>,
}

/// What happened in a tunnel. Edges, as in the mux.
#[must_use]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEvent {
    /// The tunnel has ended, with all its streams; the last event. What `poll_transmit` gave before may still
    /// be sent.
    Closed(CloseReason),
    /// The peer takes no new streams.
    GoingAway(GoAway),
    /// A stream waits for [`Tunnel::accept`].
    Incoming,
    /// There is something to read: data, the end, or a reset.
    Readable(StreamId),
    /// [`Tunnel::open`] was blocked and may succeed.
    Slot,
    /// A refused write may succeed.
    Writable(StreamId),
}

/// One tunnel: a mux session, to whom it belongs, how long it may last and how it is taken down.
///
/// # Driving it
///
/// As every machine: chunks in, [`poll_transmit`](Self::poll_transmit) out, then
/// [`poll_event`](Self::poll_event) until `None`, then arm [`poll_timeout`](Self::poll_timeout). Any order is safe.
///
/// # Drain
///
/// The sides differ, because Go peers read go-away in their own way (wire protocol 3.5, 4.7):
///
/// ```text
///   server   Open ─ drain ─► Draining ─ no streams, or grace over ─► LastWord: go-away 2 ─► closed
///                            (go-away 0 first, when the agent knows it as a hint)
///   agent    Open ─ drain ─► Draining ─ no streams ─► Quiet ─ 200 ms ─► closed
///                            go-away 0 at once   ◄─ late SYN ─┘
///                            SYNs are taken for another second, then refused
/// ```
///
/// Go agents come back within milliseconds after go-away 2, and never after a bare close.
pub struct Tunnel {
    endpoint: EndpointId,
    session: Session,
    side: Side,
    caps: Caps,
    expires: Option<Instant>,
    /// A draining agent refuses new streams from then on.
    refuse_at: Option<Instant>,
    /// When a server gave the hint that the tunnel will be drained.
    hinted_at: Option<Instant>,
    phase: Phase,
    /// Set when this side ended the session as if the transport had: that is not the reason to tell.
    ended_here: bool,
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No new streams. Ends with the last one, not before `earliest`, and at `until` in any case.
    Draining {
        earliest: Instant,
        until: Instant,
    },
    /// Over; ends as soon as nothing waits to be sent, and at `until` in any case.
    Flushing {
        until: Instant,
    },
    /// The session closes once its go-away was transmitted, which it bounds by itself.
    LastWord,
    Open,
    /// Nothing is open; what comes late is waited for until `over`.
    Quiet {
        over: Instant,
        until: Instant,
    },
}

impl Tunnel {
    /// The server's side of a tunnel for `endpoint`. The peer may open no streams (wire protocol 4.1: agents
    /// never do), whatever `config` says. One that says so too, with `incoming_max` and `accept_backlog` of 0, is
    /// shared by all tunnels that are given it.
    pub fn accepted(
        endpoint: EndpointId,
        grant: Grant,
        config: impl Into<Arc<Config>>,
        now: Instant,
    ) -> Self {
        let mut config = config.into();
        if config.incoming_max > 0 {
            Arc::make_mut(&mut config).incoming_max = 0;
        }
        Self::new(endpoint, Side::Server, config, grant.expires, now)
    }

    /// The agent's side of a tunnel for `endpoint`.
    pub fn dialled(endpoint: EndpointId, config: impl Into<Arc<Config>>, now: Instant) -> Self {
        Self::new(endpoint, Side::Client, config.into(), None, now)
    }

    fn new(
        endpoint: EndpointId,
        side: Side,
        config: Arc<Config>,
        expires: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            endpoint,
            session: Session::new(side, config, now),
            side,
            caps: Caps::default(),
            expires,
            refuse_at: None,
            hinted_at: None,
            phase: Phase::Open,
            ended_here: false,
            told: false,
        }
    }

    /// What both sides stated in `x-piko-caps`; nothing until this is called.
    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// What both sides stated.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Whom the tunnel serves.
    pub fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }

    /// Takes bytes of the transport; how they are cut means nothing. The error comes as an event too.
    pub fn handle_chunk(&mut self, now: Instant, chunk: &[u8]) -> Result<(), CloseReason> {
        let result = self.session.handle_input(now, chunk);
        self.settle(now);
        result
    }

    /// As [`Self::handle_chunk`], of memory that can be shared ([`Session::handle_shared_input`]).
    pub fn handle_shared_chunk(&mut self, now: Instant, chunk: &Bytes) -> Result<(), CloseReason> {
        let result = self.session.handle_shared_input(now, chunk);
        self.settle(now);
        result
    }

    /// The transport has ended: every stream ends with an error.
    pub fn handle_end(&mut self, now: Instant, how: TransportEnd) {
        match how {
            TransportEnd::Closed => self.session.handle_eof(now),
            TransportEnd::Failed => self.session.handle_failure(now),
        }
    }

    /// The transport took `bytes` (zero when it is full) of what `poll_transmit` gave; `drained` when it has
    /// taken all of it. The keep-alive counts bytes that a full transport takes as progress.
    pub fn handle_sent(&mut self, now: Instant, bytes: usize, drained: bool) {
        self.session.handle_sent(now, bytes, drained);
        self.settle(now);
    }

    /// Keep-alive, grant expiry, drain deadline.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            if self.close_reason().is_none() {
                tracing::info!(endpoint = %self.endpoint, "grant expired");
                self.last_word(now, GoAway::InternalError);
            }
        }
        self.settle(now);
    }

    /// Takes the tunnel down in an orderly way.
    ///
    /// Server: no new streams, wait for the open ones up to `grace`, go-away 2, close. Agent: go-away 0, answer
    /// what is open, close. A second call can only shorten the grace.
    pub fn drain(&mut self, now: Instant, grace: Duration) {
        let until = now + grace;
        match self.phase {
            Phase::Open if self.close_reason().is_some() => {}
            Phase::Open => {
                tracing::debug!(endpoint = %self.endpoint, grace_ms = grace.as_millis() as u64, streams = self.streams(), "drain");
                self.phase = match self.side {
                    Side::Server => self.drain_server(now, until),
                    Side::Client => self.drain_agent(now, until),
                };
            }
            Phase::Draining { earliest, until: before } => {
                let until = before.min(until.max(self.agent_earliest(now)));
                self.phase = Phase::Draining { earliest: earliest.min(until), until };
            }
            Phase::Flushing { .. } | Phase::LastWord | Phase::Quiet { .. } => {}
        }
        self.settle(now);
    }

    fn drain_server(&mut self, now: Instant, until: Instant) -> Phase {
        self.hint(now);
        let earliest = self.hinted_at.map_or(now, |at| now.max(at + HINT_WAIT));
        Phase::Draining { earliest: until.min(earliest), until }
    }

    /// Asks an agent of ours to open its next tunnel elsewhere, because this one will be drained: nothing else
    /// changes, streams can still be opened. Without effect on other agents, on an agent's side, and a second time.
    pub fn hint(&mut self, now: Instant) {
        let open = self.phase == Phase::Open && self.close_reason().is_none();
        if open && self.side == Side::Server && self.caps.drain_hint && self.hinted_at.is_none() {
            self.session.close(now, GoAway::Normal);
            self.hinted_at = Some(now);
        }
    }

    fn drain_agent(&mut self, now: Instant, until: Instant) -> Phase {
        self.session.announce(now);
        self.refuse_at = Some(until.min(now + LATE_SYN_TAKEN));
        Phase::Draining { earliest: now, until: until.max(self.agent_earliest(now)) }
    }

    /// Without any grace an agent still says its go-away and refuses what crosses it.
    fn agent_earliest(&self, now: Instant) -> Instant {
        match self.side {
            Side::Client => now + LATE_SYN_WAIT,
            Side::Server => now,
        }
    }

    /// Ends at once: all streams fail, the session closes after a go-away.
    ///
    /// [`GoAway::Normal`] ends nothing on the wire (wire protocol 4.7), so that the streams live on for the
    /// 200 ms in which it is sent.
    pub fn abort(&mut self, now: Instant, code: GoAway) {
        if code == GoAway::Normal {
            self.refuse_at = None;
            if matches!(self.phase, Phase::Open | Phase::Draining { .. }) && self.close_reason().is_none() {
                self.session.close(now, GoAway::Normal);
                let until = now + LATE_SYN_WAIT;
                self.phase = Phase::Quiet { over: until, until };
            }
        } else {
            self.last_word(now, code);
        }
    }

    /// True once the tunnel is being taken down: no new streams, in either direction.
    pub fn is_draining(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Opens a stream towards the peer. Refused with [`OpenError::GoingAway`] once draining.
    pub fn open(&mut self, now: Instant) -> Result<StreamId, OpenError> {
        if self.close_reason().is_some() {
            Err(OpenError::Closed)
        } else if self.is_draining() {
            Err(OpenError::GoingAway)
        } else {
            self.session.open(now)
        }
    }

    /// The next stream that the peer opened. Those that came before a drain are still to be answered.
    pub fn accept(&mut self) -> Option<StreamId> {
        self.session.accept()
    }

    /// As [`Session::is_acknowledged`].
    pub fn is_acknowledged(&mut self, id: StreamId) -> bool {
        self.session.is_acknowledged(id)
    }

    /// The sending half of a stream.
    pub fn send(&mut self, now: Instant, id: StreamId) -> SendStream<'_> {
        self.session.send(now, id)
    }

    /// The receiving half of a stream.
    pub fn recv(&mut self, now: Instant, id: StreamId) -> RecvStream<'_> {
        self.session.recv(now, id)
    }

    /// Both halves of a stream are given up: reset when not finished, discard mode when finished but not read
    /// to the end.
    pub fn release(&mut self, now: Instant, id: StreamId) {
        self.session.release(now, id);
        self.settle(now);
    }

    /// Swaps `out`, which must be empty, for what is to be sent, as the mux does: `Config::front_room` free
    /// bytes, then as many as it says. Nothing when it says zero.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> usize {
        self.settle(now);
        let written = self.session.poll_transmit(now, out);
        self.settle(now);
        written
    }

    /// False while buffered bytes reached the budget, or while many refusals wait for the wire: the transport should not
    /// be read then (see [`Session::wants_input`]).
    pub fn wants_input(&self) -> bool {
        self.session.wants_input()
    }

    /// How long frames that nobody waits for may wait for company ([`Session::lazy_time`]).
    pub fn lazy_time(&self) -> Duration {
        self.session.lazy_time()
    }

    /// True while the transport is so slow that the kernel had better hold little back (see [`Session::is_crawling`]).
    pub fn is_crawling(&self) -> bool {
        self.session.is_crawling()
    }

    /// True while refused writers wait for room (see [`Session::is_crowded`]).
    pub fn is_crowded(&self) -> bool {
        self.session.is_crowded()
    }

    /// True when output waits whose receiver waits for it (not only lazy frames).
    pub fn wants_transmit(&self) -> bool {
        self.session.wants_transmit()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        if self.told {
            return None;
        }
        let event = match self.session.poll_event() {
            Some(Event::Closed(reason)) => {
                TunnelEvent::Closed(if self.ended_here { CloseReason::Local } else { reason })
            }
            Some(Event::GoAway(code)) => TunnelEvent::GoingAway(code),
            Some(Event::Incoming) => TunnelEvent::Incoming,
            Some(Event::Readable(id)) => TunnelEvent::Readable(id),
            Some(Event::Slot) => TunnelEvent::Slot,
            Some(Event::Writable(id)) => TunnelEvent::Writable(id),
            None if self.ended_here => TunnelEvent::Closed(CloseReason::Local),
            None => return None,
        };
        self.told = matches!(event, TunnelEvent::Closed(_));
        Some(event)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next: the earliest of keep-alive, grant and drain.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.close_reason().is_some() {
            return None;
        }
        let mut first = None;
        self.each_deadline(|at, why| first = Deadline::earliest(first, Some(Deadline::new(at, why))));
        Deadline::earliest(first, self.session.poll_timeout())
    }

    /// As [`Self::poll_timeout`] without the reason, for who asks often; [`Instant::FAR`] when nothing is due.
    pub fn timeout_at(&self) -> Instant {
        if self.close_reason().is_some() {
            return Instant::FAR;
        }
        let mut first = self.session.timeout_at();
        self.each_deadline(|at, _| first = first.min(at));
        first
    }

    /// The deadlines that are not the session's.
    #[inline]
    fn each_deadline(&self, mut f: impl FnMut(Instant, &'static str)) {
        if let Some(at) = self.expires {
            f(at, "grant expiry");
        }
        if let Some(at) = self.refuse_at {
            f(at, "no more late streams");
        }
        match self.phase {
            Phase::Draining { earliest, .. } if self.streams() == 0 => f(earliest, "drained"),
            Phase::Draining { until, .. } => f(until, "drain grace"),
            Phase::Flushing { until } => f(until, "drain flush"),
            Phase::LastWord | Phase::Open => {}
            Phase::Quiet { over, .. } => f(over, "late streams"),
        }
    }

    /// Why the tunnel has ended, once it has.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        if self.ended_here { Some(&CloseReason::Local) } else { self.session.close_reason() }
    }

    /// Streams that are not gone yet.
    pub fn streams(&self) -> usize {
        self.session.streams()
    }

    /// Moves the drain on as far as it can go. Costs one comparison while the tunnel is open.
    fn settle(&mut self, now: Instant) {
        if self.phase == Phase::Open || self.close_reason().is_some() {
            return;
        }
        if self.refuse_at.is_some_and(|at| at <= now) {
            self.refuse_at = None;
            self.session.close(now, GoAway::Normal);
        }
        if let Phase::Draining { earliest, until } = self.phase {
            self.settle_draining(now, earliest, until);
        }
        if let Phase::Quiet { over, until } = self.phase {
            if self.refuse_at.is_some() && self.streams() > 0 {
                // It crossed the go-away.
                self.phase = Phase::Draining { earliest: now, until };
            } else if over <= now {
                self.phase = Phase::Flushing { until };
            }
        }
        match self.phase {
            Phase::Flushing { .. } if !self.session.wants_transmit() => self.end_here(now),
            Phase::Flushing { until } if until <= now => self.end_here(now),
            _ => {}
        }
    }

    fn settle_draining(&mut self, now: Instant, earliest: Instant, until: Instant) {
        let is_over = until <= now;
        let is_done = self.streams() == 0 && earliest <= now;
        match self.side {
            Side::Server if is_over || is_done => self.last_word(now, GoAway::InternalError),
            Side::Client if is_over => self.phase = Phase::Flushing { until },
            Side::Client if is_done => self.phase = Phase::Quiet { over: now + LATE_SYN_WAIT, until },
            _ => {}
        }
    }

    fn last_word(&mut self, now: Instant, code: GoAway) {
        if self.close_reason().is_none() && !matches!(self.phase, Phase::LastWord) {
            self.session.close(now, code);
            self.phase = Phase::LastWord;
        }
    }

    /// Ends the session without a word on the wire; what is still open fails.
    fn end_here(&mut self, now: Instant) {
        self.ended_here = true;
        self.session.handle_failure(now);
    }
}
