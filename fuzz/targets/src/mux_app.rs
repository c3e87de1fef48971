//! An application that opens, reads, writes and drops streams between the peer's pieces.

use crate::cuts::Cuts;
use crate::mux_model::Model;
use crate::mux_plan::Plan;
use crate::mux_wire::WireCheck;
use bytes::Bytes;
use piko_core::id::StreamId;
use piko_core::mux::{Budget, Event, Finish, GoAway, ReadError, Session};
use piko_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A block of received bytes with its overhead, and how many are kept for reuse or half empty per stream.
const BLOCK_BYTES: usize = 16 * 1024 + 128;
const SPARE_BLOCKS: usize = 12;
/// What windows may grow by (the default maximum less the initial window).
const WINDOW_GROWTH_BYTES: usize = (1 << 20) - (256 << 10);
/// Timers that are taken in a row after the peer fell silent, and for each stream: under an exceeded budget one
/// is reset after 2 s, in which the budget is looked at every 20 ms. The session must have ended by then.
const SILENT_TIMEOUTS_MAX: usize = 500;
const STREAM_TIMEOUTS_MAX: usize = 110;

/// One run.
pub(crate) struct App<'m> {
    session: Session,
    budget: Arc<Budget>,
    now: Instant,
    held: Vec<StreamId>,
    /// Ids that this side gave before the peer said anything.
    opened_first: BTreeSet<u32>,
    /// Ids that this side gave.
    own: BTreeSet<u32>,
    /// What was read per id, of streams that were read at all.
    read: BTreeMap<u32, Vec<u8>>,
    model: &'m Model,
    check: WireCheck<'m>,
    given_bytes: usize,
    closed_events: usize,
}

impl<'m> App<'m> {
    pub(crate) fn new(plan: &Plan<'_>, model: &'m Model) -> Self {
        let (session, budget) = plan.session();
        Self {
            session,
            budget,
            now: Instant::ZERO,
            held: Vec::new(),
            opened_first: BTreeSet::new(),
            own: BTreeSet::new(),
            read: BTreeMap::new(),
            model,
            check: WireCheck::new(plan, model),
            given_bytes: 0,
            closed_events: 0,
        }
    }

    /// Runs the plan to the end of the session, and checks at every step.
    pub(crate) fn run(mut self, plan: &Plan<'_>) {
        for _ in 0..plan.opened_first() {
            self.open();
        }
        self.opened_first = self.own.clone();
        let mut wire = &plan.wire[..];
        let mut cuts = Cuts::new(plan.cuts | 4, wire);
        let mut script = plan.script.chunks_exact(2).cycle();
        // Expanded inputs are long: their pieces are, too.
        let times = 1 + wire.len() / 2048;
        while !wire.is_empty() {
            for _ in 0..times {
                let piece = cuts.next(&mut wire);
                self.given_bytes += piece.len();
                let verdict = if plan.cuts & 8 != 0 {
                    self.session.handle_shared_input(self.now, &Bytes::copy_from_slice(piece))
                } else {
                    self.session.handle_input(self.now, piece)
                };
                assert_eq!(verdict.err().as_ref(), self.session.close_reason());
            }
            if let Some(&[verb, argument]) = script.next() {
                self.act(verb, argument);
            }
            self.within_limits();
        }
        self.fall_silent();
        self.wind_up();
    }

    fn open(&mut self) {
        if let Ok(id) = self.session.open(self.now) {
            self.own.insert(id.0);
            self.held.push(id);
        }
    }

    fn act(&mut self, verb: u8, argument: u8) {
        let now = self.now;
        let id = match self.held.len() {
            0 => StreamId(u32::from(argument)),
            n => self.held[usize::from(argument) % n],
        };
        match verb % 16 {
            0 | 1 => self.held.extend(self.session.accept()),
            2 => self.open(),
            3 => self.write(id, usize::from(argument) * 64 + 1),
            4 => drop(self.session.send(now, id).finish(Finish::Now)),
            5 => drop(self.session.send(now, id).finish(Finish::Lazy)),
            6 => self.session.send(now, id).reset(),
            7 => self.session.release(now, id),
            8 => self.session.recv(now, id).stop(),
            9 | 10 => self.read(id, usize::from(argument) * 64 + 1),
            11 => drop(self.check.drain(&mut self.session, now)),
            12 => self.events(),
            13 => self.pass(Duration::from_millis(u64::from(argument) * u64::from(argument))),
            14 => self.reserve(id, usize::from(argument)),
            _ => {
                let code = if argument > 200 { GoAway::InternalError } else { GoAway::Normal };
                self.session.close(now, code);
            }
        }
        if verb % 16 == 7 {
            self.held.retain(|held| *held != id);
        }
    }

    fn write(&mut self, id: StreamId, n: usize) {
        let data = vec![0x77; n];
        let mut stream = self.session.send(self.now, id);
        let room = stream.room(n);
        match stream.write(&data) {
            Ok(taken) => assert_eq!(taken, room),
            Err(_) => assert_eq!(room, 0),
        }
    }

    fn reserve(&mut self, id: StreamId, n: usize) {
        use bytes::BufMut;
        let mut stream = self.session.send(self.now, id);
        let Ok(mut frame) = stream.reserve(n) else { return };
        let room = frame.buf().remaining_mut();
        assert!(room <= n);
        let part = room / 2;
        frame.buf().put_bytes(0x55, part);
        assert_eq!(frame.buf().remaining_mut(), room - part);
        if !n.is_multiple_of(3) {
            assert_eq!(frame.commit(), part);
        }
    }

    /// Reads up to `n` bytes; they continue what the peer sent, and a clean end means all of it.
    fn read(&mut self, id: StreamId, n: usize) {
        let mut into = vec![0; n];
        // Where an id had several streams, the model cannot tell their bytes apart.
        let both = self.own.contains(&id.0) && !self.opened_first.contains(&id.0);
        let sent = self.model.get(id.0).filter(|sent| sent.begins == 1 && !both);
        match self.session.recv(self.now, id).read_into(&mut into) {
            Ok(Some(taken)) => {
                assert!(0 < taken && taken <= n);
                let all = self.read.entry(id.0).or_default();
                all.extend_from_slice(&into[..taken]);
                let fits = sent.is_none_or(|sent| sent.payload.starts_with(all));
                assert!(fits, "stream {id:?} was given other bytes than were sent");
            }
            Ok(None) => {
                let all = self.read.get(&id.0).map_or(&[][..], Vec::as_slice);
                let complete = sent.is_none_or(|sent| sent.fin && sent.payload == all);
                assert!(complete, "stream {id:?} ended cleanly before its end");
            }
            Err(ReadError::Blocked | ReadError::Reset | ReadError::Unknown) => {}
        }
    }

    /// All queued events: at most two per stream and one of each other kind.
    fn events(&mut self) {
        let most = 2 * self.session.streams() + 4;
        for _ in 0..=most {
            match self.session.poll_event() {
                None => {
                    assert_eq!(self.session.poll_event(), None, "an event out of nothing");
                    return;
                }
                Some(Event::Readable(id)) => {
                    let blocked = matches!(self.session.recv(self.now, id).chunk(), Err(ReadError::Blocked));
                    assert!(!blocked, "a readable stream has nothing to read");
                }
                Some(Event::Closed(reason)) => {
                    assert_eq!(Some(&reason), self.session.close_reason());
                    self.closed_events += 1;
                    assert_eq!(self.closed_events, 1, "closed is said once");
                }
                Some(_) => {}
            }
        }
        panic!("events never end");
    }

    /// Time goes on; what falls due is done.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if self.session.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
            self.session.handle_timeout(self.now);
        }
    }

    fn within_limits(&mut self) {
        let streams = self.session.streams();
        let most =
            self.given_bytes + (2 * streams + SPARE_BLOCKS) * BLOCK_BYTES + streams * WINDOW_GROWTH_BYTES;
        let used = self.budget.used();
        assert!(used <= most, "{used} bytes are charged where {most} can be");
        // Every frame of the peer takes twelve bytes, and so does every stream that it opens.
        assert!(streams <= self.given_bytes / 12 + self.held.len() + 4);
    }

    /// The peer says nothing more. Every deadline is kept: the session ends, and never spins.
    fn fall_silent(&mut self) {
        for _ in 0..SILENT_TIMEOUTS_MAX + STREAM_TIMEOUTS_MAX * self.session.streams() {
            self.events();
            self.check.drain(&mut self.session, self.now);
            let Some(deadline) = self.session.poll_timeout() else { break };
            assert!(deadline.at > self.now || self.just_due(), "{} is due again at once", deadline.why);
            self.now = self.now.max(deadline.at);
            self.session.handle_timeout(self.now);
        }
        assert!(self.session.is_closed(), "a silent peer is dead: {:?}", self.session.poll_timeout());
        self.events();
        assert_eq!(self.closed_events, 1, "closed is said");
    }

    /// A deadline that has passed may stand until the first call of `handle_timeout`.
    fn just_due(&mut self) -> bool {
        self.session.handle_timeout(self.now);
        self.check.drain(&mut self.session, self.now);
        self.session.poll_timeout().is_none_or(|deadline| deadline.at > self.now)
    }

    /// Any call is safe after the end, and all memory comes back.
    fn wind_up(mut self) {
        for verb in 0..16 {
            for argument in [0, 1, 255] {
                if verb != 7 {
                    self.act(verb, argument);
                }
            }
        }
        assert!(self.session.handle_input(self.now, &[0; 30]).is_err());
        self.session.handle_eof(self.now);
        self.session.handle_failure(self.now);
        for id in std::mem::take(&mut self.held) {
            self.session.release(self.now, id);
        }
        assert_eq!(self.session.streams(), 0, "a released stream stays");
        assert_eq!(self.budget.used(), 0, "an idle session owns memory");
        drop(self.session);
        assert_eq!(self.budget.used(), 0);
    }
}
