//! Many bytes through one connection, each compared.

use std::io::Read;
use std::time::Instant;

use piko_tests::runs::Outcome;

use crate::road::Road;
use crate::service::{self, DOWN, RIGHT, UP};
use crate::{check, mbit_per_s, mib, text};

pub(crate) fn run(quick: bool) -> Outcome {
    let bytes: u64 = if quick { 64 << 20 } else { 10 << 30 };
    let road = Road::start(None)?;
    let start = Instant::now();
    let mut stream = road.connect()?;
    service::ask(&mut stream, DOWN, bytes).map_err(text)?;
    let right = service::receive(&mut stream, bytes).map_err(text)?;
    check(right, || "down: other bytes than were sent".to_owned())?;
    // The end comes behind the last byte, and nothing else.
    let rest = stream.read(&mut [0; 1]).map_err(text)?;
    check(rest == 0, || "down: more bytes than were sent".to_owned())?;
    println!("  down: {} at {:.0} Mbit/s", mib(bytes), mbit_per_s(bytes, start.elapsed()));
    let start = Instant::now();
    let mut stream = road.connect()?;
    service::ask(&mut stream, UP, bytes).map_err(text)?;
    service::send(&mut stream, bytes).map_err(text)?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).map_err(text)?;
    check(answer == [RIGHT], || "up: other bytes than were sent".to_owned())?;
    println!("  up: {} at {:.0} Mbit/s", mib(bytes), mbit_per_s(bytes, start.elapsed()));
    road.judge_memory("long")
}
