//! Two sessions against the reference model under random schedules, and planted faults that it must find.

use bytes::BytesMut;
use piko_core::id::StreamId;
use piko_core::mux::{Budget, Config, Finish, Session, Side};
use piko_core::rng::Rng;
use piko_core::time::Instant;
use piko_tests::model::mux::{Fault, Op, World};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// Streams to begin with, so that short schedules have something to talk about.
const PROLOGUE: [Op; 4] =
    [Op::Open { side: 0 }, Op::Open { side: 0 }, Op::Open { side: 1 }, Op::Open { side: 0 }];

fn with_prologue(rest: impl IntoIterator<Item = Op>) -> Vec<Op> {
    PROLOGUE.into_iter().chain(rest).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 9_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_gives_what_the_model_says(
        swarm in any::<u8>(),
        raw in prop::collection::vec(any::<(u8, u8, u8, u16)>(), 50..110),
    ) {
        let ops = with_prologue(raw.into_iter().map(Op::decode));
        if let Err(why) = World::new(swarm, None).run(&ops) {
            prop_assert!(false, "{}", why);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transfers_beyond_a_window_give_what_the_model_says(
        swarm in any::<u8>(),
        raw in prop::collection::vec(any::<(u8, u8, u8, u16)>(), 100..200),
    ) {
        let ops = with_prologue(raw.into_iter().map(Op::decode_bulk));
        if let Err(why) = World::new(swarm, None).run(&ops) {
            prop_assert!(false, "{}", why);
        }
    }
}

/// A frame of a peer without manners: any flags, ids that meet, lengths around every limit.
fn rude_frame((kind, flags, id, length): (u8, u8, u8, u32)) -> Vec<u8> {
    let flags =
        if flags.is_multiple_of(32) { flags / 16 } else { [0, 0, 0, 1, 1, 2, 4, 8][usize::from(flags) % 8] };
    let kind = if kind > 253 { kind } else { [0, 0, 0, 1, 1, 2, 3][usize::from(kind) % 7] };
    let length = match (kind, length % 64) {
        (0, 0) => length % 300_000,
        (0, _) => length % 7_000,
        (3, 1..) => 0,
        _ => length,
    };
    let mut frame = vec![0, kind, 0, flags, 0, 0, 0, id % 64];
    frame.extend_from_slice(&length.to_be_bytes());
    if kind == 0 {
        frame.resize(12 + length as usize, 7);
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No panic, no growth beyond the limits, and all memory back at the end.
    #[test]
    fn a_peer_without_manners_does_no_harm(
        raw in prop::collection::vec((any::<(u8, u8, u8, u32)>(), any::<(u8, u8)>()), 1..120),
        cut in 1usize..40_000,
    ) {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut config = Config::default();
        config.budget = budget.clone();
        config.accept_backlog = 4;
        let fresh = || Session::new(Side::Server, config.clone(), Instant::ZERO);
        let mut session = fresh();
        let mut held = Vec::new();
        let mut out = BytesMut::new();
        let mut now = Instant::ZERO;
        for (frame, (act, pick)) in raw {
            for piece in rude_frame(frame).chunks(cut) {
                let error = session.handle_input(now, piece).err();
                prop_assert_eq!(error.as_ref(), session.close_reason());
            }
            let id = held.get(usize::from(pick) % held.len().max(1)).copied().unwrap_or(StreamId(2));
            match act % 12 {
                0 => held.extend(session.open(now)),
                1 | 2 => held.extend(session.accept()),
                3 => drop(session.send(now, id).write(&[1; 5000])),
                4 => drop(session.send(now, id).finish(Finish::Lazy)),
                5 => drop(session.recv(now, id).read_into(&mut [0; 70_000])),
                6 => session.recv(now, id).stop(),
                7 => {
                    session.release(now, id);
                    held.retain(|other| *other != id);
                }
                8 => {
                    now = now + Duration::from_millis(u64::from(pick) * 20);
                    session.handle_timeout(now);
                }
                9 => while session.poll_event().is_some() {},
                _ => {
                    out.clear();
                    session.poll_transmit(now, &mut out);
                    prop_assert!(out.len() <= 65_536);
                    session.handle_sent(now, out.len(), true);
                }
            }
            prop_assert!(session.streams() <= 64 + 120, "{} streams", session.streams());
            if session.is_closed() {
                // The next peer is no better.
                for id in held.drain(..) {
                    session.release(now, id);
                }
                prop_assert_eq!((session.streams(), budget.used()), (0, 0));
                session = fresh();
            }
            if let Some(deadline) = session.poll_timeout() {
                prop_assert!(deadline.at < Instant::FAR);
            }
        }
        session.handle_failure(now);
        for id in held {
            session.release(now, id);
        }
        prop_assert_eq!(session.streams(), 0);
        prop_assert_eq!(budget.used(), 0);
    }
}

/// The schedule of `seed`: numbers, so that a planted fault meets the same schedules in every run.
fn schedule(seed: u64, bulk: bool) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    let steps = if bulk { 400 } else { 120 };
    with_prologue((0..steps).map(|_| {
        let raw = rng.next_u64().to_le_bytes();
        let raw = (raw[0], raw[1], raw[2], u16::from_le_bytes([raw[3], raw[4]]));
        if bulk { Op::decode_bulk(raw) } else { Op::decode(raw) }
    }))
}

/// What 60 schedules say about the fault; without it all of them pass.
fn exposed(fault: Fault, bulk: bool) -> Vec<String> {
    (0..60)
        .filter_map(|seed| {
            let ops = schedule(seed, bulk);
            World::new(0, None).run(&ops).expect("sound without the fault");
            World::new(0, Some(fault)).run(&ops).err()
        })
        .collect()
}

#[test]
fn finds_a_dropped_window_update() {
    let found = exposed(Fault::DroppedCredit, true);
    assert!(found.iter().any(|why| why.contains("waits for ever")), "{found:?}");
}

#[test]
fn finds_a_duplicated_byte() {
    let found = exposed(Fault::DuplicatedByte, false);
    assert!(found.iter().any(|why| why.contains("not what was sent")), "{found:?}");
}

#[test]
fn finds_a_lost_fin() {
    let found = exposed(Fault::LostFin, false);
    assert!(found.iter().any(|why| why.contains("at the end")), "{found:?}");
}

#[test]
fn finds_reordered_frames() {
    let found = exposed(Fault::ReorderedFrames, false);
    assert!(found.iter().any(|why| why.contains("not what was sent")), "{found:?}");
}

#[test]
fn finds_a_swallowed_event() {
    let found = exposed(Fault::SwallowedEvent, false);
    assert!(found.iter().any(|why| why.contains("was not woken")), "{found:?}");
}

#[test]
fn finds_a_truncated_stream_that_claims_a_clean_end() {
    let found = exposed(Fault::TruncationAsEnd, false);
    assert!(found.iter().any(|why| why.contains("a clean end")), "{found:?}");
}
