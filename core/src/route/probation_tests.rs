//! What is known of an upstream that takes connections and resets them.

use super::*;
use crate::id::{EndpointId, TunnelId};
use crate::time::Instant;
use core::time::Duration;

const NOW: Instant = Instant::from_millis(5_000);
const BAD: Route = Route::Local(TunnelId(0));
const GOOD: Route = Route::Local(TunnelId(1));

fn two() -> Router {
    let mut router = Router::default();
    for id in 0..2 {
        router.attach(EndpointId::new(b"ep").unwrap(), TunnelId(id));
    }
    router
}

fn pick(router: &Router, now: Instant, exclude: &[Route]) -> Pick {
    router.select(now, b"ep", Hop::First, 0, exclude).unwrap()
}

/// The tunnel takes a connection, and resets it.
fn reset(router: &Router, now: Instant) {
    pick(router, now, &[GOOD]).taken().broke(now);
}

fn is_passed_over(router: &Router, now: Instant) -> bool {
    (0..4).all(|_| *pick(router, now, &[]).route() == GOOD)
}

#[test]
fn five_resets_in_a_row_set_aside_although_each_was_taken() {
    let router = two();
    reset(&router, NOW);
    assert!(is_passed_over(&router, NOW), "for a second at once");
    let later = NOW + Duration::from_secs(2);
    assert!(!is_passed_over(&router, later));
    (0..4).for_each(|_| reset(&router, NOW));
    assert!(is_passed_over(&router, later));
    assert_eq!(router.set_aside(later), 1);
}

#[test]
fn a_service_that_speaks_starts_the_count_again_and_one_without_a_word_does_not() {
    for speaks in [true, false] {
        let router = two();
        (0..4).for_each(|_| reset(&router, NOW));
        let probation = pick(&router, NOW, &[GOOD]).taken();
        if speaks {
            probation.served();
        }
        reset(&router, NOW);
        assert_eq!(router.set_aside(NOW), usize::from(!speaks));
    }
}

/// A trial lasts until the service speaks, however soon the agent has taken it.
#[test]
fn a_trial_is_judged_by_what_comes_of_it() {
    let router = two();
    (0..5).for_each(|_| reset(&router, NOW));
    let mut now = NOW + Duration::from_secs(10);
    let trial = |now| {
        let mut pick = pick(&router, now, &[]);
        assert_eq!(*pick.route(), BAD);
        pick.taken()
    };
    let running = trial(now);
    assert!(is_passed_over(&router, now), "one at a time");
    running.broke(now);
    now = now + Duration::from_secs(19);
    assert!(is_passed_over(&router, now), "for twice as long");
    now = now + Duration::from_secs(1);
    // Its client left first: the next one finds out.
    drop(trial(now));
    trial(now).served();
    assert_eq!(router.set_aside(now), 0);
}
