//! Streams to an agent that is far away: how their windows grow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::runs::Outcome;

use crate::relay::Link;
use crate::road::Road;
use crate::service::{self, BLOCK, DOWN, DOWN_OF_MANY, UP};
use crate::{check, mbit_per_s, text};

/// One stream at 100 ms round trip, once its window has grown.
const FAR_MBIT_PER_S: f64 = 300.0;
/// What a link holds without a sender having to wait: more than a stream's window ever is.
const QUEUE: usize = 64 << 20;
/// Of the figures.
const STEP: Duration = Duration::from_millis(500);

pub(crate) fn run(quick: bool) -> Outcome {
    let steps = if quick { 2 } else { 16 };
    for ms in [1, 100] {
        let link = Link { delay: Duration::from_millis(ms) / 2, rate: None, queue: QUEUE };
        let road = Road::start(Some(link))?;
        for what in [DOWN, UP] {
            let stream = road.connect()?;
            let rates = over_time(vec![stream], what, steps)?;
            let way = if what == DOWN { "down" } else { "up" };
            let last = rates.iter().rev().take(steps / 2).sum::<f64>() / (steps / 2) as f64;
            println!("  {ms} ms, {way}: {} Mbit/s, one figure per {STEP:?}", listed(&rates));
            let enough = quick || ms == 1 || last >= FAR_MBIT_PER_S;
            check(enough, || format!("{last:.0} Mbit/s {way} at {ms} ms round trip"))?;
        }
        road.judge_memory(&format!("{ms} ms"))?;
    }
    let streams = if quick { 50 } else { 1_000 };
    let link = Link { delay: Duration::from_millis(50), rate: None, queue: QUEUE };
    let road = Road::start(Some(link))?;
    let all: Result<Vec<_>, _> = (0..streams).map(|_| road.connect()).collect();
    let rates = over_time(all?, DOWN_OF_MANY, steps)?;
    println!("  100 ms, {streams} streams down: {} Mbit/s in all, one figure per {STEP:?}", listed(&rates));
    road.judge_memory(&format!("{streams} streams"))
}

fn listed(rates: &[f64]) -> String {
    rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(" ")
}

/// What goes through these streams in each step, in Mbit/s, from the first byte on.
fn over_time(streams: Vec<TcpStream>, what: u8, steps: usize) -> Result<Vec<f64>, String> {
    let (over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for mut stream in streams {
            let (over, moved) = (&over, &moved);
            service::ask(&mut stream, what, 1 << 40).map_err(text)?;
            scope.spawn(move || {
                let mut buf = vec![7; BLOCK];
                while !over.load(Ordering::Relaxed) {
                    let n = if what == UP { stream.write(&buf) } else { stream.read(&mut buf) };
                    match n {
                        Ok(n) if n > 0 => moved.fetch_add(n as u64, Ordering::Relaxed),
                        _ => return,
                    };
                }
            });
        }
        let mut rates = Vec::new();
        let mut before = 0;
        for _ in 0..steps {
            let start = Instant::now();
            // Time is the subject: so much of it goes into each figure.
            thread::sleep(STEP);
            let now = moved.load(Ordering::Relaxed);
            rates.push(mbit_per_s(now - before, start.elapsed()));
            before = now;
        }
        over.store(true, Ordering::Relaxed);
        Ok(rates)
    })
}
