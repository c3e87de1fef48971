//! Windows over time, on a link in virtual time: `cargo test -p piko-tests --test windows -- --nocapture` prints them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use piko_core::id::StreamId;
use piko_core::mux::{Budget, Config, Event, ReadError, Session, Side, WriteError};
use piko_core::time::Instant;

/// What every stream begins with (wire protocol 4.4).
const INITIAL: usize = 256 << 10;
/// That of a server's tunnels.
const BUDGET: usize = 32 << 20;
const BLOCK: usize = 64 << 10;

/// One direction of a link: what is sent arrives after a delay, so many bytes per step.
struct Wire {
    delay: Duration,
    per_step: usize,
    pieces: VecDeque<(Instant, Vec<u8>)>,
}

impl Wire {
    fn new(delay: Duration, per_step: usize) -> Self {
        Self { delay, per_step, pieces: VecDeque::new() }
    }

    fn send(&mut self, from: &mut Session, now: Instant) {
        let mut left = self.per_step;
        while left > 0 {
            let mut out = BytesMut::new();
            let n = from.poll_transmit(now, &mut out);
            if n == 0 {
                return;
            }
            from.handle_sent(now, n, true);
            self.pieces.push_back((now + self.delay, out.to_vec()));
            left = left.saturating_sub(n);
        }
    }

    fn arrive(&mut self, to: &mut Session, now: Instant) {
        while self.pieces.front().is_some_and(|(due, _)| *due <= now) && to.wants_input() {
            let Some((_, piece)) = self.pieces.pop_front() else { return };
            to.handle_input(now, &piece).expect("the peer keeps its windows");
        }
    }
}

struct Link {
    step: Duration,
    now: Instant,
    sender: Session,
    receiver: Session,
    budget: Arc<Budget>,
    there: Wire,
    back: Wire,
    streams: Vec<StreamId>,
    read: usize,
}

impl Link {
    /// With a delay each way, and a rate in bytes per second towards the receiver.
    fn new(one_way: Duration, rate: usize, streams: usize) -> Self {
        let step = (one_way / 2).min(Duration::from_millis(5));
        let budget = Arc::new(Budget::new(BUDGET));
        let mut config = Config::default();
        config.budget = budget.clone();
        config.window_max = 8 << 20;
        let mut sending = Config::default();
        sending.unacked_max = streams;
        config.accept_backlog = streams;
        let per_step = (rate as f64 * step.as_secs_f64()) as usize;
        let mut link = Self {
            step,
            now: Instant::ZERO,
            sender: Session::new(Side::Client, sending, Instant::ZERO),
            receiver: Session::new(Side::Server, config, Instant::ZERO),
            budget,
            there: Wire::new(one_way, per_step),
            back: Wire::new(one_way, usize::MAX),
            streams: Vec::new(),
            read: 0,
        };
        for _ in 0..streams {
            let id = link.sender.open(link.now).expect("a stream");
            link.streams.push(id);
        }
        link
    }

    /// Lets `time` pass: the sender always has something to send, and the receiver reads at once.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        let (block, mut room) = (vec![7; BLOCK], vec![0; BLOCK]);
        while self.now < until {
            self.now = self.now + self.step;
            for session in [&mut self.sender, &mut self.receiver] {
                if session.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                    session.handle_timeout(self.now);
                }
            }
            let mut budget = self.there.per_step;
            loop {
                let mut wrote = 0;
                for &id in &self.streams {
                    match self.sender.send(self.now, id).write(&block) {
                        Ok(n) => wrote += n,
                        Err(WriteError::Blocked) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                let before = self.there.pieces.len();
                self.there.send(&mut self.sender, self.now);
                let sent: usize = self.there.pieces.iter().skip(before).map(|(_, piece)| piece.len()).sum();
                budget = budget.saturating_sub(sent);
                while self.sender.poll_event().is_some() {}
                if wrote == 0 || budget == 0 {
                    break;
                }
            }
            self.there.arrive(&mut self.receiver, self.now);
            while self.receiver.accept().is_some() {}
            for &id in &self.streams {
                loop {
                    match self.receiver.recv(self.now, id).read_into(&mut room) {
                        Ok(Some(n)) => self.read += n,
                        Ok(None) | Err(ReadError::Blocked) => break,
                        // It is not opened there yet.
                        Err(_) if self.now < Instant::ZERO + self.there.delay * 4 => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
            self.back.send(&mut self.receiver, self.now);
            self.back.arrive(&mut self.sender, self.now);
            for session in [&mut self.sender, &mut self.receiver] {
                while let Some(event) = session.poll_event() {
                    assert!(!matches!(event, Event::Closed(_)), "{event:?}");
                }
            }
            let promised = self.budget.promised();
            assert!(promised <= BUDGET / 4 * 3, "{promised} bytes of credit are promised");
        }
    }

    /// Prints growth and throughput, one line per `every`; the last line's.
    fn table(&mut self, title: &str, every: Duration, lines: usize) -> (usize, f64) {
        println!("{title}");
        let mut last = (0, 0.0);
        for _ in 0..lines {
            let before = self.read;
            self.run(every);
            let rate = (self.read - before) as f64 * 8.0 / 1e6 / every.as_secs_f64();
            last = (self.budget.promised(), rate);
            let at = self.now.since(Instant::ZERO);
            println!(
                "  {:>5} ms  {:>6} KiB beyond the initial windows  {rate:>6.0} Mbit/s",
                at.as_millis(),
                last.0 / 1024
            );
        }
        last
    }
}

/// 1 Gbit/s.
const FAST: usize = 125_000_000;

#[test]
fn a_near_peer_needs_no_larger_window() {
    let mut link = Link::new(Duration::from_micros(500), FAST, 1);
    let (grown, rate) = link.table("1 ms round trip, 1 Gbit/s, one stream:", Duration::from_millis(20), 8);
    assert!(grown <= INITIAL, "a quarter of a MiB is twice what is under way: {grown} more");
    assert!(rate > 900.0, "{rate} Mbit/s");
}

#[test]
fn a_far_peer_gets_a_window_as_long_as_its_road() {
    let mut link = Link::new(Duration::from_millis(50), FAST, 1);
    let (grown, rate) =
        link.table("100 ms round trip, 1 Gbit/s, one stream:", Duration::from_millis(200), 15);
    assert!(grown + INITIAL >= 4 << 20, "{grown} bytes");
    assert!(rate >= 300.0, "{rate} Mbit/s");
}

#[test]
fn a_thousand_streams_share_what_there_is() {
    let mut link = Link::new(Duration::from_millis(50), 10 * FAST, 1_000);
    let (grown, _) =
        link.table("100 ms round trip, 10 Gbit/s, 1,000 streams:", Duration::from_millis(200), 5);
    // Asserted in every step: never more than three quarters of the budget.
    assert!(grown > BUDGET / 2, "{grown} bytes");
}
