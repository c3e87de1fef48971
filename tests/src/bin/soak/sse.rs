//! Server-sent events: each one arrives before the next is sent, for as long as the stream lasts.

use std::time::Instant;

use piko_tests::http::Client;

use crate::{FIELDS, Outcome, Setup, check, text};

pub(crate) fn run(quick: bool) -> Outcome {
    // Longer than every deadline of requests that the programs have by default.
    let (events, pause_ms) = if quick { (8u64, 300) } else { (61, 1000) };
    let setup = Setup::start()?;
    let mut client = setup.client()?;
    let target = format!("/sse?n={events}&ms={pause_ms}&gate=next");
    client.send_head("GET", &target, &FIELDS).map_err(text)?;
    // Asked without a detour: each event is sent when this says that the one before it has arrived.
    let mut gate = Client::connect(setup.service.addr()).map_err(text)?;
    let head = client.read_head().map_err(|e| format!("{e:?}"))?;
    check(head.status == 200, || head.status_line.clone())?;
    let start = Instant::now();
    let mut got = String::new();
    for n in 0..events {
        let event = format!("data: {n}\n\n");
        while !got.contains(&event) {
            let piece = client.read_some(4096).map_err(|e| format!("event {n}: {e}"))?;
            check(!piece.is_empty(), || format!("the stream ends before event {n}"))?;
            got.push_str(&String::from_utf8_lossy(&piece));
        }
        let passed = gate.get("/pass?gate=next", &[]).map_err(text)?;
        check(passed.status() == 200, || format!("the service stops at event {n}"))?;
    }
    while !got.ends_with("0\r\n\r\n") {
        let piece = client.read_some(4096).map_err(text)?;
        check(!piece.is_empty(), || "the stream breaks off".to_owned())?;
        got.push_str(&String::from_utf8_lossy(&piece));
    }
    println!("  {events} events in {:.1} s, each before the next", start.elapsed().as_secs_f64());
    setup.judge_memory("events")
}
