//! Two sessions against the reference model under random schedules, and planted faults that it must find.

use piko_core::rng::Rng;
use piko_tests::model::mux::{Fault, Op, World};
use proptest::prelude::*;

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
