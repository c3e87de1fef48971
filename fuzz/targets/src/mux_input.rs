//! Mux frames from a hostile peer; [`crate::mux_plan`] says how an input is read.

use crate::cuts::Cuts;
use crate::mux_app::App;
use crate::mux_model::Model;
use crate::mux_plan::Plan;
use crate::mux_wire::WireCheck;
use piko_core::id::StreamId;
use piko_core::mux::{CloseReason, Event, ReadError};
use piko_core::time::Instant;

const NOW: Instant = Instant::ZERO;

/// Gives a session a hostile peer's bytes, whole and in pieces, and lets an application work on it.
///
/// # Panics
/// When the pieces show, the session sends what the protocol forbids, hands out bytes that were not sent, takes
/// more memory than was given to it, spins, or is not usable to its end.
pub fn mux_input(data: &[u8]) {
    let Some(plan) = Plan::new(data) else { return };
    let opened: Vec<u32> = (0..plan.opened_first() as u32).map(|n| plan.first_id() + 2 * n).collect();
    let model = Model::read(&plan.wire, &opened);
    let whole = observe(&plan, &model, Cuts::whole());
    let cut = observe(&plan, &model, Cuts::new(plan.cuts, &plan.wire));
    assert_eq!(whole, cut, "the pieces show");
    App::new(&plan, &model).run(&plan);
}

/// Everything that an application can see of a session which it only watches.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    verdict: Result<(), CloseReason>,
    wants: (bool, bool),
    streams: usize,
    used: usize,
    events: Vec<Event>,
    accepted: Vec<StreamId>,
    output: Vec<Vec<u8>>,
    read: Vec<(StreamId, Vec<u8>, Result<bool, ReadError>)>,
}

fn observe(plan: &Plan<'_>, model: &Model, mut cuts: Cuts) -> Seen {
    let (mut session, budget) = plan.session();
    let mut check = WireCheck::new(plan, model);
    let mut ids: Vec<StreamId> = (0..plan.opened_first()).filter_map(|_| session.open(NOW).ok()).collect();
    for &id in &ids {
        // Of the second write only what the tiny quantum leaves is taken, and the stream waits in line.
        let _ = session.send(NOW, id).write(&[1; 100]);
        let _ = session.send(NOW, id).write(&[2; 100]);
    }
    let mut output = vec![check.drain(&mut session, NOW)];
    let mut verdict = Ok(());
    let mut wire = &plan.wire[..];
    while !wire.is_empty() {
        verdict = session.handle_input(NOW, cuts.next(&mut wire));
    }
    let wants = (session.wants_input(), session.wants_transmit());
    let streams = session.streams();
    let used = budget.used();
    let mut events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
    let accepted: Vec<StreamId> = std::iter::from_fn(|| session.accept()).collect();
    ids.extend(&accepted);
    output.push(check.drain(&mut session, NOW));
    let mut read = Vec::new();
    for &id in &ids {
        let mut bytes = Vec::new();
        let mut stream = session.recv(NOW, id);
        let end = loop {
            match stream.chunk() {
                Ok(Some(chunk)) => {
                    assert!(!chunk.is_empty());
                    bytes.extend_from_slice(chunk);
                    let n = chunk.len();
                    stream.consume(n);
                }
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        read.push((id, bytes, end));
        let _ = session.send(NOW, id).write(&[3; 100]);
    }
    output.push(check.drain(&mut session, NOW));
    events.extend(std::iter::from_fn(|| session.poll_event()));
    Seen { verdict, wants, streams, used, events, accepted, output, read }
}
