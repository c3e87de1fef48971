//! Server-sent events: each one arrives before the next is sent, for as long as the stream lasts.

use std::time::Instant;

use crate::{FIELDS, Outcome, Setup, check, text};

pub(crate) fn run(quick: bool) -> Outcome {
    // Longer than every deadline of requests that the programs have by default.
    let (events, pause_ms) = if quick { (8u64, 300) } else { (61, 1000) };
    let setup = Setup::start()?;
    let warm = setup.service.counts().body_out;
    let mut client = setup.client()?;
    client.send_head("GET", &format!("/sse?n={events}&ms={pause_ms}"), &FIELDS).map_err(text)?;
    let head = client.read_head().map_err(|e| format!("{e:?}"))?;
    check(head.status == 200, || head.status_line.clone())?;
    let start = Instant::now();
    let (mut got, mut sent) = (String::new(), 0);
    for n in 0..events {
        let event = format!("data: {n}\n\n");
        while !got.contains(&event) {
            let piece = client.read_some(4096).map_err(|e| format!("event {n}: {e}"))?;
            check(!piece.is_empty(), || format!("the stream ends before event {n}"))?;
            got.push_str(&String::from_utf8_lossy(&piece));
        }
        sent += event.len() as u64;
        let already = setup.service.counts().body_out - warm;
        check(already <= sent, || format!("event {n} came when the next was already sent"))?;
    }
    while !got.ends_with("0\r\n\r\n") {
        let piece = client.read_some(4096).map_err(text)?;
        check(!piece.is_empty(), || "the stream breaks off".to_owned())?;
        got.push_str(&String::from_utf8_lossy(&piece));
    }
    println!("  {events} events in {:.1} s, each before the next", start.elapsed().as_secs_f64());
    setup.judge_memory("events")
}
