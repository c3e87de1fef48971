//! The mux as a map of byte vectors, and a world that holds two real sessions to it.
//!
//! A schedule is a list of [`Op`]s; an op whose precondition fails does nothing, so every part of a schedule is
//! a schedule. [`World::run`] checks safety after every op and liveness at the end: whatever was finished and
//! not reset arrives whole, every stream leaves the tables, and all memory goes back.

use bytes::BytesMut;
use piko_core::id::StreamId;
use piko_core::mux::{
    Budget, CloseReason, Config, Event, Finish, OpenError, ReadError, Session, Side, WriteError,
};
use piko_core::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most streams that a schedule opens.
const STREAMS_MAX: usize = 8;
/// Enough rounds for everything that a schedule can leave undone.
const ROUNDS_MAX: usize = 2_000;

/// One step. `side` is 0 or 1, `pick` chooses among the streams that the side holds.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    Accept {
        side: usize,
    },
    /// Virtual time passes, and everything due happens at its deadline.
    Advance {
        millis: u64,
    },
    /// Asks for room; with `keep` what was found stays set aside.
    Ask {
        side: usize,
        pick: usize,
        bytes: usize,
        keep: bool,
    },
    /// Moves up to `bytes` of what `side` has on the wire to the other side.
    Deliver {
        side: usize,
        bytes: usize,
    },
    Finish {
        side: usize,
        pick: usize,
        lazy: bool,
    },
    Open {
        side: usize,
    },
    Read {
        side: usize,
        pick: usize,
        bytes: usize,
    },
    Release {
        side: usize,
        pick: usize,
    },
    Reserve {
        side: usize,
        pick: usize,
        bytes: usize,
    },
    Reset {
        side: usize,
        pick: usize,
    },
    Stop {
        side: usize,
        pick: usize,
    },
    Transmit {
        side: usize,
    },
    Write {
        side: usize,
        pick: usize,
        bytes: usize,
    },
}

impl Op {
    /// Any four numbers are an op, so that shrinking and fuzzing need no grammar.
    pub fn decode((kind, side, pick, size): (u8, u8, u8, u16)) -> Self {
        let (side, pick) = (usize::from(side) % 2, usize::from(pick));
        let bytes = usize::from(size) >> (pick % 13);
        match kind % 64 {
            0..=3 => Self::Open { side },
            4..=8 => Self::Accept { side },
            9..=10 => Self::Ask { side, pick, bytes, keep: size.is_multiple_of(2) },
            11..=19 => Self::Write { side, pick, bytes },
            20..=23 => Self::Reserve { side, pick, bytes },
            24..=35 => Self::Read { side, pick, bytes },
            36..=43 => Self::Transmit { side },
            44..=53 => Self::Deliver { side, bytes },
            54..=56 => Self::Finish { side, pick, lazy: size.is_multiple_of(2) },
            57 => Self::Reset { side, pick },
            58 => Self::Stop { side, pick },
            59..=60 => Self::Release { side, pick },
            61 => Self::Advance { millis: u64::from(size) },
            _ => Self::Advance { millis: u64::from(size % 8) },
        }
    }

    /// As [`Self::decode`], without anything that ends a stream early: for transfers larger than a window.
    pub fn decode_bulk((kind, side, pick, size): (u8, u8, u8, u16)) -> Self {
        let (side, pick) = (usize::from(side) % 2, usize::from(pick) % 2);
        match kind % 16 {
            0 => Self::Open { side: 0 },
            1 => Self::Accept { side: 1 },
            2..=7 => Self::Write { side, pick, bytes: 16_384 },
            8 => Self::Write { side, pick, bytes: 100_000 },
            9..=10 => Self::Read { side, pick, bytes: usize::from(size) },
            11..=12 => Self::Transmit { side },
            _ => Self::Deliver { side, bytes: 65_536 },
        }
    }
}

/// A deliberate mistake between the sessions and the model, to show that the model would find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Window updates are lost: all of them, since a session gets over the loss of half a window.
    DroppedCredit,
    /// A byte of a body arrives twice, and the frame's length says so.
    DuplicatedByte,
    /// A FIN is lost.
    LostFin,
    /// Two data frames of one stream change places.
    ReorderedFrames,
    /// A `Readable` is swallowed.
    SwallowedEvent,
    /// A reset is reported as a clean end.
    TruncationAsEnd,
}

/// What was accepted for writing in one direction of a stream, and how much of it was read.
#[derive(Debug, Default)]
struct Half {
    sent: Vec<u8>,
    read: usize,
    finished: bool,
    ended: bool,
}

/// One stream: `halves[side]` is what `side` sends.
#[derive(Debug, Default)]
struct Model {
    halves: [Half; 2],
    /// Which sides hold the stream.
    held: [bool; 2],
    /// Which sides were told to wait for `Readable` or `Writable`.
    waits_read: [bool; 2],
    waits_write: [bool; 2],
    /// What the refused write wanted.
    wanted: [usize; 2],
    /// Somebody reset, stopped or released it early: both ends may see errors.
    cut: bool,
}

/// Two sessions, two pipes, one clock, and the model.
#[derive(Debug)]
pub struct World {
    now: Instant,
    sessions: [Session; 2],
    /// What each side's driver still has to write.
    wires: [BytesMut; 2],
    front_room: usize,
    streams: BTreeMap<u32, Model>,
    waits_slot: [bool; 2],
    budget: Arc<Budget>,
    fault: Option<Fault>,
    /// The schedule took long enough for a stream to time out.
    late: bool,
    /// Input lies in memory that is shared, and is read from there.
    shares: bool,
    /// The schedule is over: what times out from here on was lost.
    ending: bool,
}

type Outcome<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

impl World {
    /// A fresh pair; the bits of `swarm` choose among odd but legal limits.
    pub fn new(swarm: u8, fault: Option<Fault>) -> Self {
        let budget = Arc::new(Budget::new(64 << 20));
        let front_room = if swarm & 1 == 0 { 0 } else { 14 };
        let mut config = Config::default();
        config.front_room = front_room;
        config.quantum = [16_384, 16_384, 700, 64][usize::from(swarm >> 1) % 4];
        config.unacked_max = if swarm & 8 == 0 { 256 } else { 2 };
        config.window_max = if swarm & 16 == 0 { 1 << 20 } else { 0 };
        config.budget = budget.clone();
        let shares = swarm & 32 != 0;
        let now = Instant::from_millis(1);
        let session = |side| Session::new(side, config.clone(), now);
        Self {
            now,
            sessions: [session(Side::Server), session(Side::Client)],
            wires: Default::default(),
            front_room,
            streams: BTreeMap::new(),
            waits_slot: [false; 2],
            budget,
            fault,
            late: false,
            shares,
            ending: false,
        }
    }

    /// Runs the schedule and then to the end; the first broken promise is the error.
    pub fn run(mut self, ops: &[Op]) -> Outcome {
        for (i, op) in ops.iter().enumerate() {
            self.step(*op).and_then(|()| self.check()).map_err(|why| format!("step {i}, {op:?}: {why}"))?;
        }
        self.finish().map_err(|why| format!("at the end: {why}"))
    }

    fn step(&mut self, op: Op) -> Outcome {
        match op {
            Op::Accept { side } => self.accept(side),
            Op::Advance { millis } => return self.advance(millis),
            Op::Deliver { side, bytes } => return self.deliver(side, bytes),
            Op::Finish { side, pick, lazy } => {
                if let Some(id) = self.pick(side, pick) {
                    return self.finish_stream(side, id, if lazy { Finish::Lazy } else { Finish::Now });
                }
            }
            Op::Open { side } => return self.open(side),
            Op::Read { side, pick, bytes } => {
                if let Some(id) = self.pick(side, pick) {
                    return self.read(side, id, bytes).map(|_| ());
                }
            }
            Op::Release { side, pick } => {
                if let Some(id) = self.pick(side, pick) {
                    self.release(side, id);
                }
            }
            Op::Reserve { side, pick, bytes } => {
                if let Some(id) = self.pick(side, pick) {
                    return self.write(side, id, bytes, true);
                }
            }
            Op::Reset { side, pick } => {
                if let Some(id) = self.pick(side, pick) {
                    self.sessions[side].send(self.now, StreamId(id)).reset();
                    self.model(id).cut = true;
                }
            }
            Op::Stop { side, pick } => {
                if let Some(id) = self.pick(side, pick) {
                    self.sessions[side].recv(self.now, StreamId(id)).stop();
                    self.model(id).cut = true;
                }
            }
            Op::Transmit { side } => return self.transmit(side),
            Op::Ask { side, pick, bytes, keep } => {
                if let Some(id) = self.pick(side, pick) {
                    return self.ask(side, id, bytes, keep);
                }
            }
            Op::Write { side, pick, bytes } => {
                if let Some(id) = self.pick(side, pick) {
                    return self.write(side, id, bytes, false);
                }
            }
        }
        Ok(())
    }

    fn model(&mut self, id: u32) -> &mut Model {
        self.streams.entry(id).or_default()
    }

    fn held(&self, side: usize) -> Vec<u32> {
        self.streams.iter().filter(|(_, m)| m.held[side]).map(|(id, _)| *id).collect()
    }

    fn pick(&self, side: usize, pick: usize) -> Option<u32> {
        let held = self.held(side);
        (!held.is_empty()).then(|| held[pick % held.len()])
    }

    fn open(&mut self, side: usize) -> Outcome {
        if self.streams.len() >= STREAMS_MAX {
            return Ok(());
        }
        match self.sessions[side].open(self.now) {
            Ok(id) => {
                ensure!(!self.streams.contains_key(&id.0), "id {} was given twice", id.0);
                self.model(id.0).held[side] = true;
            }
            Err(OpenError::Blocked) => self.waits_slot[side] = true,
            Err(error) => return Err(format!("open: {error}")),
        }
        Ok(())
    }

    fn accept(&mut self, side: usize) {
        if let Some(id) = self.sessions[side].accept() {
            self.model(id.0).held[side] = true;
        }
    }

    /// Asks for room, which is what a write would take.
    fn ask(&mut self, side: usize, id: u32, bytes: usize, keep: bool) -> Outcome {
        let bytes = bytes.max(1);
        let Some(model) = self.streams.get_mut(&id) else { return Ok(()) };
        let mut stream = self.sessions[side].send(self.now, StreamId(id));
        let room = stream.room(bytes);
        match stream.ask(bytes) {
            Ok(n) => {
                ensure!(n > 0 && n == room, "asked for {bytes}: {n}, room {room}");
                model.waits_write[side] = false;
                if !keep {
                    stream.give_back();
                }
            }
            Err(WriteError::Blocked) => {
                ensure!(room == 0, "refused with room {room}");
                model.waits_write[side] = true;
                model.wanted[side] = bytes;
            }
            Err(WriteError::Finished) => ensure!(model.halves[side].finished, "finished without finish"),
            Err(WriteError::Reset) => ensure!(model.cut || self.late, "reset without a reason"),
            Err(WriteError::Unknown) => return Err("a held stream is unknown".into()),
        }
        Ok(())
    }

    fn write(&mut self, side: usize, id: u32, bytes: usize, reserve: bool) -> Outcome {
        let model = self.streams.get_mut(&id).expect("picked");
        let half = &mut model.halves[side];
        // Every byte tells its stream, direction and place.
        let start = half.sent.len();
        let data: Vec<u8> =
            (start..start + bytes).map(|k| (k * 7 + k / 251 + id as usize + side) as u8).collect();
        let mut stream = self.sessions[side].send(self.now, StreamId(id));
        let room = stream.room(bytes);
        let taken = if reserve {
            stream.reserve(bytes).map(|mut frame| {
                use bytes::BufMut;
                let mut buf = frame.buf();
                let n = buf.remaining_mut().min(bytes);
                buf.put_slice(&data[..n]);
                frame.commit()
            })
        } else {
            let (a, b) = data.split_at(bytes / 3);
            stream.write_vectored(&[a, b])
        };
        match taken {
            Ok(n) => {
                ensure!(n == room, "wrote {n} of {bytes} into room {room}");
                ensure!(!half.finished, "wrote behind the own FIN");
                half.sent.extend_from_slice(&data[..n]);
                if n > 0 {
                    model.waits_write[side] = false;
                }
            }
            Err(WriteError::Blocked) => {
                ensure!(room == 0, "blocked with room {room}");
                model.waits_write[side] = true;
                model.wanted[side] = bytes;
            }
            Err(WriteError::Finished) => ensure!(half.finished, "finished without finish"),
            Err(WriteError::Reset) => ensure!(model.cut || self.late, "reset without a reason"),
            Err(WriteError::Unknown) => return Err("a held stream is unknown".into()),
        }
        Ok(())
    }

    fn finish_stream(&mut self, side: usize, id: u32, how: Finish) -> Outcome {
        let result = self.sessions[side].send(self.now, StreamId(id)).finish(how);
        let model = self.streams.get_mut(&id).expect("picked");
        match result {
            Ok(()) => {
                ensure!(!model.halves[side].finished, "finished twice");
                model.halves[side].finished = true;
                model.waits_write[side] = false;
            }
            Err(WriteError::Finished) => ensure!(model.halves[side].finished, "finished without finish"),
            Err(WriteError::Reset) => ensure!(model.cut || self.late, "reset without a reason"),
            Err(error) => return Err(format!("finish: {error}")),
        }
        Ok(())
    }

    /// Reads up to `bytes` and says how many came.
    fn read(&mut self, side: usize, id: u32, bytes: usize) -> Outcome<usize> {
        let mut into = vec![0; bytes.max(1)];
        let mut recv = self.sessions[side].recv(self.now, StreamId(id));
        let shared = if self.shares { recv.take_shared(into.len()) } else { None };
        let result = match shared {
            Some(shared) => {
                into[..shared.len()].copy_from_slice(&shared);
                Ok(Some(shared.len()))
            }
            None => recv.read_into(&mut into),
        };
        let result = match result {
            Err(ReadError::Reset) if self.fault == Some(Fault::TruncationAsEnd) => Ok(None),
            other => other,
        };
        let late = self.late;
        let model = self.streams.get_mut(&id).expect("picked");
        let half = &mut model.halves[1 - side];
        match result {
            Ok(Some(n)) => {
                ensure!(n > 0, "an empty read");
                ensure!(!half.ended, "bytes behind the end");
                let expected = half.sent.get(half.read..half.read + n);
                ensure!(expected == Some(&into[..n]), "stream {id} is not what was sent at {}", half.read);
                half.read += n;
                model.waits_read[side] = false;
                Ok(n)
            }
            Ok(None) => {
                ensure!(half.finished, "a clean end of stream {id} that was not finished");
                ensure!(half.read == half.sent.len(), "a clean end of stream {id} before all was read");
                half.ended = true;
                Ok(0)
            }
            Err(ReadError::Blocked) => {
                model.waits_read[side] = true;
                Ok(0)
            }
            Err(ReadError::Reset) => {
                ensure!(model.cut || late, "stream {id} reset without a reason");
                half.ended = true;
                Ok(0)
            }
            Err(ReadError::Unknown) => Err("a held stream is unknown".into()),
        }
    }

    fn release(&mut self, side: usize, id: u32) {
        self.sessions[side].release(self.now, StreamId(id));
        let model = self.streams.get_mut(&id).expect("picked");
        model.held[side] = false;
        model.waits_read[side] = false;
        model.waits_write[side] = false;
        if !model.halves[side].finished || !model.halves[1 - side].ended {
            model.cut = true;
        }
    }

    fn transmit(&mut self, side: usize) -> Outcome {
        if !self.wires[side].is_empty() {
            return Ok(());
        }
        let mut out = core::mem::take(&mut self.wires[side]);
        let n = self.sessions[side].poll_transmit(self.now, &mut out);
        ensure!(out.len() <= 280 * 1024, "an outbox of {} bytes", out.len());
        ensure!((n == 0) == out.is_empty(), "{n} bytes said, {} given", out.len());
        if n > 0 {
            ensure!(out.len() == n + self.front_room, "front room is missing");
            let _ = out.split_to(self.front_room);
            if let Some(tampered) = self.fault.and_then(|fault| tamper(fault, &out)) {
                self.fault = self.fault.filter(|fault| *fault == Fault::DroppedCredit);
                out = BytesMut::from(&tampered[..]);
            }
        }
        self.wires[side] = out;
        Ok(())
    }

    fn deliver(&mut self, side: usize, bytes: usize) -> Outcome {
        let n = bytes.min(self.wires[side].len());
        if n == 0 {
            return Ok(());
        }
        let piece = self.wires[side].split_to(n);
        let session = &mut self.sessions[1 - side];
        let result = if self.shares {
            session.handle_shared_input(self.now, &piece.freeze())
        } else {
            session.handle_input(self.now, &piece)
        };
        ensure!(result.is_ok(), "an honest peer was refused: {result:?}");
        let drained = self.wires[side].is_empty();
        self.sessions[side].handle_sent(self.now, n, drained);
        Ok(())
    }

    /// Takes events; each must have something behind it.
    fn events(&mut self) -> Outcome {
        for side in 0..2 {
            while let Some(event) = self.sessions[side].poll_event() {
                let now = self.now;
                match event {
                    Event::Readable(id) => {
                        if self.fault == Some(Fault::SwallowedEvent) {
                            self.fault = None;
                            continue;
                        }
                        let chunk = self.sessions[side].recv(now, id).chunk().map(|_| ());
                        ensure!(
                            chunk != Err(ReadError::Blocked),
                            "Readable({}) with nothing behind it",
                            id.0
                        );
                        self.model(id.0).waits_read[side] = false;
                    }
                    Event::Writable(id) => {
                        let wanted = self.model(id.0).wanted[side];
                        let mut stream = self.sessions[side].send(now, id);
                        let useful = stream.room(wanted) > 0 || stream.write(b"") == Err(WriteError::Reset);
                        ensure!(useful, "Writable({}) without room", id.0);
                        self.model(id.0).waits_write[side] = false;
                    }
                    Event::Slot => {
                        ensure!(self.waits_slot[side], "Slot that nobody waits for");
                        self.waits_slot[side] = false;
                    }
                    Event::Incoming => {}
                    other => return Err(format!("unexpected {other:?}")),
                }
            }
        }
        Ok(())
    }

    /// What must hold after every step.
    fn check(&mut self) -> Outcome {
        self.events()?;
        for session in &self.sessions {
            ensure!(session.close_reason().is_none(), "closed: {:?}", session.close_reason());
            ensure!(session.streams() <= STREAMS_MAX, "{} streams", session.streams());
            ensure!(session.wants_input(), "the budget is far away");
        }
        // Each stream holds at most a window each way, and partly filled blocks.
        let bound = 2 * STREAMS_MAX * ((2 << 20) + (40 << 10)) + (256 << 10);
        ensure!(self.budget.used() <= bound, "{} bytes are charged", self.budget.used());
        Ok(())
    }

    /// Time passes in steps that keep an honest transport alive: what is due happens, and every second
    /// everything on the wires arrives.
    fn advance(&mut self, millis: u64) -> Outcome {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            let mut next = end.min(self.now + Duration::from_secs(1));
            for session in &self.sessions {
                if let Some(deadline) = session.poll_timeout() {
                    next = next.min(deadline.at.max(self.now + Duration::from_micros(100)));
                }
            }
            let tick = next.as_nanos() / 1_000_000_000 != self.now.as_nanos() / 1_000_000_000;
            self.now = next;
            self.late |= !self.ending && self.now > Instant::from_millis(74_000);
            for session in &mut self.sessions {
                session.handle_timeout(next);
            }
            self.events()?;
            if tick {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Everything on its way arrives; afterwards nobody who could go on may be waiting for an event.
    fn settle(&mut self) -> Outcome {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for side in 0..2 {
                self.transmit(side)?;
                moved |= !self.wires[side].is_empty();
                self.deliver(side, usize::MAX)?;
            }
            self.check()?;
            if !moved {
                return self.check_waiting();
            }
        }
        Err("two sessions talk for ever".into())
    }

    fn check_waiting(&mut self) -> Outcome {
        for (&id, model) in &self.streams {
            for side in 0..2 {
                let session = &mut self.sessions[side];
                if model.waits_read[side] {
                    let chunk = session.recv(self.now, StreamId(id)).chunk().map(|_| ());
                    ensure!(chunk == Err(ReadError::Blocked), "reader of {id} was not woken: {chunk:?}");
                }
                let line = session.poll_timeout().is_some_and(|d| d.why == "line of writers");
                if model.waits_write[side] && !line {
                    let room = session.send(self.now, StreamId(id)).room(model.wanted[side]);
                    ensure!(room == 0, "writer of {id} was not woken for {room} bytes");
                }
            }
        }
        Ok(())
    }

    /// Everybody reads what there is, finishes, and lets go: then all must be whole and gone.
    fn finish(&mut self) -> Outcome {
        self.ending = true;
        self.read_all()?;
        for _ in 0..ROUNDS_MAX {
            self.settle()?;
            let mut busy = false;
            for side in 0..2 {
                self.accept(side);
                for id in self.held(side) {
                    self.finish_stream(side, id, Finish::Lazy)?;
                    while self.read(side, id, 1 << 20)? > 0 {}
                    if self.streams[&id].halves[1 - side].ended {
                        self.release(side, id);
                    } else {
                        busy = true;
                    }
                }
            }
            let quiet = self.sessions.iter_mut().all(|s| !s.wants_transmit() && s.streams() == 0);
            if !busy && quiet {
                return self.check_gone();
            }
            // Discard mode and lazy frames need time, as does a FIN that was lost.
            self.advance(200)?;
        }
        let left: Vec<_> = self.sessions.iter().map(Session::streams).collect();
        Err(format!("streams stay for ever: {left:?}"))
    }

    /// When all that arrived was read, nobody may be left waiting for credit.
    fn read_all(&mut self) -> Outcome {
        for _ in 0..3 {
            self.settle()?;
            for side in 0..2 {
                while self.streams.values().any(|m| !m.held[side]) {
                    let before = self.held(side).len();
                    self.accept(side);
                    if self.held(side).len() == before {
                        break;
                    }
                }
                for id in self.held(side) {
                    while self.read(side, id, 1 << 20)? > 0 {}
                }
            }
            self.advance(10)?;
        }
        for (id, model) in self.streams.iter().filter(|(_, m)| !m.cut && m.held == [true; 2]) {
            ensure!(model.waits_write == [false; 2], "a writer of {id} waits for ever");
        }
        Ok(())
    }

    fn check_gone(&mut self) -> Outcome {
        self.settle()?;
        for (id, model) in &self.streams {
            for half in model.halves.iter().filter(|_| !model.cut && !self.late) {
                ensure!(half.read == half.sent.len(), "{} of {} bytes of {id}", half.read, half.sent.len());
            }
        }
        // What is spare stays with a session until it was silent for the keep-alive's time.
        let silent = self.now + Duration::from_secs(6);
        for session in &mut self.sessions {
            session.handle_timeout(silent);
        }
        ensure!(self.budget.used() == 0, "{} bytes stay charged", self.budget.used());
        for session in &mut self.sessions {
            session.handle_eof(self.now);
            ensure!(session.close_reason() == Some(&CloseReason::Eof), "{:?}", session.close_reason());
            ensure!(session.poll_event() == Some(Event::Closed(CloseReason::Eof)), "no last event");
            ensure!(session.poll_event().is_none(), "an event behind the last");
        }
        Ok(())
    }
}

/// `frames` with the fault in them, when there is a place for it.
fn tamper(fault: Fault, frames: &[u8]) -> Option<Vec<u8>> {
    let mut split: Vec<Vec<u8>> = Vec::new();
    let mut rest = frames;
    while let Some(header) = rest.get(..12) {
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let end = 12 + if header[1] == 0 { length } else { 0 };
        split.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    match fault {
        Fault::DroppedCredit => {
            split.retain(|f| f[1] != 1 || f[3] != 0);
        }
        Fault::DuplicatedByte => {
            let frame = split.iter_mut().find(|f| f[1] == 0)?;
            let last = *frame.last()?;
            frame.push(last);
            let length = (frame.len() - 12) as u32;
            frame[8..12].copy_from_slice(&length.to_be_bytes());
        }
        Fault::LostFin => {
            let at = split.iter().position(|f| f[1] == 1 && f[3] == 4)?;
            split.remove(at);
        }
        Fault::ReorderedFrames => {
            let data = |f: &Vec<u8>| f[1] == 0;
            let first = split.iter().position(data)?;
            let second =
                split.iter().enumerate().skip(first + 1).find(|(_, f)| {
                    data(f) && f[4..8] == split[first][4..8] && f[12..] != split[first][12..]
                })?;
            let second = second.0;
            split.swap(first, second);
        }
        Fault::SwallowedEvent | Fault::TruncationAsEnd => return None,
    }
    Some(split.concat())
}
