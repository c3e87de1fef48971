//! Lines that are kept open: upgraded connections and event streams. They may be cut, and come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use piko_tests::http::Client;

use crate::{Outcome, check};

/// Small stacks, since there are hundreds of them.
const STACK_BYTES: usize = 128 * 1024;
/// The pause between two echoes of an upgraded line.
const BEAT: Duration = Duration::from_millis(500);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// Where lines lead.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) ready: Arc<Vec<AtomicBool>>,
    pub(crate) endpoints: Vec<String>,
}

pub(crate) struct Lines {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    beats: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Lines {
    pub(crate) fn start(way: &Way, n: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (opened, beats) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let threads = (0..n).map(|i| {
            let (way, stop) = (way.clone(), Arc::clone(&stop));
            let (opened, beats) = (Arc::clone(&opened), Arc::clone(&beats));
            let work = move || {
                let mut down = Duration::ZERO;
                let mut last = Instant::now();
                let mut turn = i;
                while !stop.load(Ordering::SeqCst) {
                    turn += 1;
                    let mut beat = || {
                        beats.fetch_add(1, Ordering::Relaxed);
                        down = down.max(last.elapsed());
                        last = Instant::now();
                    };
                    if follow(&way, turn, i % 2 == 0, &stop, &opened, &mut beat).is_none() {
                        // A client that waits before it comes back, as real ones do.
                        thread::sleep(AGAIN);
                    }
                }
                down.max(last.elapsed())
            };
            thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread")
        });
        let threads = threads.collect();
        Self { stop, opened, beats, threads }
    }

    /// Ends the lines and judges how long the worst was without a sign of life.
    pub(crate) fn judge(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let n = self.threads.len() as u64;
        let down = self.threads.into_iter().map(|line| line.join().unwrap_or(Duration::MAX)).max();
        let down = down.unwrap_or_default();
        let (opened, beats) = (self.opened.load(Ordering::SeqCst), self.beats.load(Ordering::SeqCst));
        println!(
            "  {n} WebSockets and event streams: {beats} signs of life, opened {opened} times, longest silence {} ms",
            down.as_millis()
        );
        check(n == 0 || opened >= n, || format!("{opened} lines were opened, not {n}"))?;
        check(down <= crate::LINE_DOWN_MAX, || format!("a line was down for {down:?}"))
    }
}

/// One line, from its beginning to its end, whatever that is.
fn follow(
    way: &Way,
    turn: usize,
    upgrade: bool,
    stop: &AtomicBool,
    opened: &AtomicU64,
    beat: &mut impl FnMut(),
) -> Option<()> {
    let n = way.targets.len();
    let at = (0..n).map(|i| (turn + i) % n).find(|at| way.ready[*at].load(Ordering::SeqCst))?;
    let mut client = Client::connect(way.targets[at]).ok()?;
    client.set_patience(Duration::from_secs(3)).ok()?;
    let endpoint = &way.endpoints[turn % way.endpoints.len()];
    let mut fields = vec![("x-piko-endpoint", endpoint.as_str())];
    if upgrade {
        fields.extend([("connection", "Upgrade"), ("upgrade", "websocket")]);
    }
    client.send_head("GET", "/events", &fields).ok()?;
    let head = client.read_head().ok()?;
    if head.status != if upgrade { 101 } else { 200 } {
        return None;
    }
    opened.fetch_add(1, Ordering::Relaxed);
    while !stop.load(Ordering::SeqCst) {
        if upgrade {
            client.send(b"beat").ok()?;
            if client.read_exact(4).ok()? != b"beat" {
                return None;
            }
            beat();
            // A pace, not a wait: the line is to be mostly idle, as real ones are.
            thread::sleep(BEAT);
        } else {
            if client.read_some(64).ok()?.is_empty() {
                return None;
            }
            beat();
        }
    }
    Some(())
}
