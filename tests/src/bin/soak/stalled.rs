//! One reader that stopped does not hold up the others of its tunnel.

use std::thread;
use std::time::Instant;

use piko_tests::http::{End, checksum_of};

use crate::{FIELDS, Outcome, Setup, check, connect, mib, text};

/// What the reader asks for that reads nothing of it.
const STALLED_BYTES: u64 = 1 << 30;

pub(crate) fn run(quick: bool) -> Outcome {
    let (readers, n): (usize, u64) = if quick { (19, 256 << 10) } else { (99, 8 << 20) };
    let setup = Setup::start()?;
    let mut stalled = setup.client()?;
    stalled.send_head("GET", &format!("/bytes?n={STALLED_BYTES}"), &FIELDS).map_err(text)?;
    let head = stalled.read_head().map_err(|e| format!("{e:?}"))?;
    check(head.status == 200, || head.status_line.clone())?;
    let (sum, start) = (checksum_of(n), Instant::now());
    thread::scope(|scope| {
        let server = &setup.server;
        let reading: Vec<_> = (0..readers)
            .map(|at| {
                scope.spawn(move || {
                    let response = connect(server)?.get(&format!("/bytes?n={n}"), &FIELDS).map_err(text)?;
                    let whole = response.end == End::Complete && response.body.checksum == sum;
                    check(whole, || format!("reader {at}: {:?}, {} bytes", response.end, response.body.len))
                })
            })
            .collect();
        reading.into_iter().try_for_each(|r| r.join().map_err(|_| "a reader panicked".to_owned())?)
    })?;
    let rate = (readers as u64 * n) as f64 / start.elapsed().as_secs_f64();
    println!("  {readers} readers beside a stalled one: {} each, {}/s in all", mib(n), mib(rate as u64));
    setup.judge_memory("stalled")
}
