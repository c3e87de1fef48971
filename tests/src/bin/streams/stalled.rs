//! Whether a reader that stopped is felt by the other streams of its tunnel.

use std::io::{Read, Write};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::runs::Outcome;

use crate::road::Road;
use crate::service::{self, DOWN, ECHO};
use crate::{check, quantile, spread, text};

const PING: usize = 64;
/// Between two pings of a stream; all together are far below what the machine can do.
const PERIOD: Duration = Duration::from_millis(40);
/// The first pings of each stream do not count: connections come about meanwhile, and the stopped reader's windows and
/// kernels fill up, which is a download and no reader that stopped.
const WARM_UP: usize = 5;
/// What a stopped reader may do to the p99 of the others.
const RATIO_MAX: f64 = 1.1;

pub(crate) fn run(quick: bool) -> Outcome {
    let (streams, rounds, pings) = if quick { (9, 1, 10) } else { (99, 9, 75) };
    let road = Road::start(None)?;
    let mut ratios = Vec::new();
    for round in 0..rounds {
        // Which comes first changes, so that a machine that gets slower favours nobody.
        let order = [round % 2 == 1, round % 2 == 0];
        let mut p99 = [Duration::ZERO; 2];
        for beside in order {
            let mut stopped = None;
            if beside {
                let mut stream = road.connect()?;
                service::ask(&mut stream, DOWN, 1 << 40).map_err(text)?;
                // It reads one byte, so that its stream is known to be under way, and never again.
                stream.read_exact(&mut [0; 1]).map_err(text)?;
                stopped = Some(stream);
            }
            let mut samples = echo(&road, streams, pings)?;
            p99[usize::from(beside)] = quantile(&mut samples, 0.99);
            drop(stopped);
        }
        let [alone, beside] = p99;
        println!("  round {}: p99 {alone:?} alone, {beside:?} beside a stopped reader", round + 1);
        ratios.push(beside.as_secs_f64() / alone.as_secs_f64());
    }
    let (median, min, max) = spread(ratios);
    println!(
        "  p99 of {streams} streams beside a stopped reader: {median:.2} x ({min:.2}..{max:.2}) that alone"
    );
    check(quick || median <= RATIO_MAX, || format!("a stopped reader made it {median:.2} x"))
}

/// The times from ping to echo on `streams` streams at once.
fn echo(road: &Road, streams: usize, pings: usize) -> Result<Vec<Duration>, String> {
    let barrier = Barrier::new(streams);
    thread::scope(|scope| {
        let echoing: Vec<_> = (0..streams)
            .map(|at| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let stream = road.connect();
                    barrier.wait();
                    let mut stream = stream?;
                    service::ask(&mut stream, ECHO, 0).map_err(text)?;
                    // Spread over the period, so that they do not wait for each other.
                    thread::sleep(PERIOD * at as u32 / streams as u32);
                    let (mut samples, mut buf) = (Vec::with_capacity(pings), [0; PING]);
                    for ping in 0..WARM_UP + pings {
                        let start = Instant::now();
                        stream.write_all(&[7; PING]).map_err(text)?;
                        stream.read_exact(&mut buf).map_err(text)?;
                        let took = start.elapsed();
                        if ping >= WARM_UP {
                            samples.push(took);
                        }
                        // The pace of the load.
                        thread::sleep(PERIOD.saturating_sub(took));
                    }
                    Ok::<_, String>(samples)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in echoing {
            all.extend(thread.join().map_err(|_| "an echo panicked".to_owned())??);
        }
        Ok(all)
    })
}
