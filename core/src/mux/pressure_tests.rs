//! Pair tests: readers that stopped, one that reads, and a budget that is too small for all of them.

use super::super::{Budget, Config, Event, ReadError, Session, Side, WriteError};
use crate::id::StreamId;
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;

/// One round of the pair, and what it takes to be read by the other side.
const STEP: Duration = Duration::from_millis(5);
const WINDOW: usize = 256 * 1024;

/// A sender and a receiver of many streams. The receiver's budget is that of a server.
struct Pair {
    now: Instant,
    sender: Session,
    receiver: Session,
    budget: Arc<Budget>,
    /// In the order of their opening.
    streams: Vec<StreamId>,
    /// On their way to the receiver, which does not read the transport while it does not want to.
    wire: Vec<u8>,
}

impl Pair {
    fn new(budget_bytes: usize, streams: usize) -> Self {
        let budget = Arc::new(Budget::new(budget_bytes));
        let config = Config { budget: budget.clone(), ..Config::default() };
        let mut pair = Self {
            now: Instant::ZERO,
            sender: Session::new(Side::Client, Config::default(), Instant::ZERO),
            receiver: Session::new(Side::Server, config, Instant::ZERO),
            budget,
            streams: Vec::new(),
            wire: Vec::new(),
        };
        for _ in 0..streams {
            let id = pair.sender.open(pair.now).unwrap();
            pair.streams.push(id);
            pair.step();
            assert_eq!(pair.receiver.accept(), Some(id));
        }
        pair
    }

    /// Moves what waits, as drivers do, and lets a little time pass.
    fn step(&mut self) {
        self.now = self.now + STEP;
        for session in [&mut self.sender, &mut self.receiver] {
            if session.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                session.handle_timeout(self.now);
            }
        }
        let mut out = BytesMut::new();
        if self.wire.is_empty() && self.sender.poll_transmit(self.now, &mut out) > 0 {
            self.wire.extend_from_slice(&out);
            self.sender.handle_sent(self.now, out.len(), true);
            out.clear();
        }
        if self.receiver.wants_input() {
            let _ = self.receiver.handle_input(self.now, &core::mem::take(&mut self.wire));
        }
        while self.receiver.poll_transmit(self.now, &mut out) > 0 {
            self.receiver.handle_sent(self.now, out.len(), true);
            let _ = self.sender.handle_input(self.now, &out);
            out.clear();
        }
        for session in [&mut self.sender, &mut self.receiver] {
            while let Some(event) = session.poll_event() {
                assert!(!matches!(event, Event::Closed(_)), "{event:?}");
            }
        }
    }

    /// Writes what the stream takes.
    fn fill(&mut self, at: usize) {
        let block = vec![7; 16 * 1024];
        match self.sender.send(self.now, self.streams[at]).write(&block) {
            Ok(_) | Err(WriteError::Blocked | WriteError::Reset | WriteError::Finished) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Reads all that the stream has.
    fn read(&mut self, at: usize) -> usize {
        let mut buffer = vec![0; WINDOW];
        match self.receiver.recv(self.now, self.streams[at]).read_into(&mut buffer) {
            Ok(read) => read.unwrap_or(0),
            Err(error) => {
                assert_eq!(error, ReadError::Blocked, "the stream that is read lives");
                0
            }
        }
    }

    fn is_reset(&mut self, at: usize) -> bool {
        self.receiver.recv(self.now, self.streams[at]).chunk() == Err(ReadError::Reset)
    }
}

/// What the readers that stopped cost the one that reads: one wait of 2 s, not one for each of them.
#[test]
fn two_hundred_readers_that_stopped_hold_up_the_others_once() {
    const STALLED: usize = 200;
    let limit = 32 << 20;
    let mut pair = Pair::new(limit, STALLED + 1);
    let (mut silence, mut longest, mut waits, mut read) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for _ in 0..20_000 {
        for at in 0..=STALLED {
            pair.fill(at);
        }
        pair.step();
        match pair.read(STALLED) {
            0 => silence += STEP,
            bytes => {
                read += bytes;
                silence = Duration::ZERO;
            }
        }
        longest = longest.max(silence);
        waits += u32::from(silence == Duration::from_secs(1));
        assert!(pair.budget.used() <= limit + (1 << 20), "{} bytes", pair.budget.used());
    }
    assert_eq!(waits, 1, "the reader waited {waits} times");
    // The wait of 2 s, and a turn of the line of 201 writers, 48 KiB in each step.
    let turn = STEP * (STALLED as u32 + 1) / 3;
    assert!(longest <= Duration::from_secs(2) + turn, "{longest:?}");
    assert!(read > 50 << 20, "{read} bytes in all this time");
    // Those that fit stay, the longest waiting ones have gone.
    let resets: Vec<_> = (0..STALLED).filter(|&at| pair.is_reset(at)).collect();
    assert!((STALLED - limit / WINDOW..=STALLED - limit / WINDOW * 3 / 4 + 2).contains(&resets.len()));
}

/// Readers of a whole that is slow are not reset, however long the budget is exceeded: the tunnel goes on.
#[test]
fn slow_readers_that_get_somewhere_are_not_reset() {
    let mut pair = Pair::new(4 << 20, 40);
    for round in 0..8_000 {
        for at in 0..40 {
            pair.fill(at);
        }
        pair.step();
        // Thirty of them take 128 KiB a second together, one after the other; ten stand still.
        if round % 2 == 0 {
            let id = pair.streams[round / 2 % 30];
            pair.receiver.recv(pair.now, id).consume(1311);
        }
    }
    assert_eq!((0..40).filter(|&at| pair.is_reset(at)).count(), 0);
}

/// A byte now and then from each is a way to stop everybody: the tunnel outlives it.
#[test]
fn readers_of_a_byte_a_second_do_not_stop_the_tunnel() {
    let mut pair = Pair::new(4 << 20, 41);
    let (mut silence, mut longest) = (Duration::ZERO, Duration::ZERO);
    for round in 0..8_000 {
        for at in 0..41 {
            pair.fill(at);
        }
        pair.step();
        if round % 200 < 40 {
            pair.receiver.recv(pair.now, pair.streams[round % 200]).consume(1);
        }
        silence = if pair.read(40) > 0 { Duration::ZERO } else { silence + STEP };
        longest = longest.max(silence);
    }
    assert!(longest <= Duration::from_millis(2_500), "{longest:?}");
    assert!(!pair.is_reset(40));
}

/// A session gives back a part of what it holds and leaves the rest to the others.
#[test]
fn a_session_with_little_is_not_emptied_for_one_with_much() {
    let mut small = Pair::new(8 << 20, 4);
    // The other session of the same budget.
    let config = Config { budget: small.budget.clone(), ..Config::default() };
    let mut much = Session::new(Side::Server, config, Instant::ZERO);
    let mut frames = Vec::new();
    for id in (1..=61u8).step_by(2) {
        frames.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, id, 0, 4, 0, 0]);
        frames.resize(frames.len() + WINDOW, 7);
    }
    for _ in 0..100 {
        for at in 0..4 {
            small.fill(at);
        }
        small.step();
    }
    much.handle_input(small.now, &frames).unwrap();
    while much.accept().is_some() {}
    assert!(!small.receiver.wants_input() && !much.wants_input());
    let end = small.now + Duration::from_secs(3);
    while small.now < end {
        small.step();
        if much.poll_timeout().is_some_and(|deadline| deadline.at <= small.now) {
            much.handle_timeout(small.now);
        }
    }
    assert!(small.receiver.wants_input() && much.wants_input());
    // A quarter of the 31 windows of the one that holds much, and no more than one of the other's four.
    assert!(small.budget.used() <= 7 << 20, "{} bytes", small.budget.used());
    assert!((0..4).filter(|&at| small.is_reset(at)).count() <= 1);
}
