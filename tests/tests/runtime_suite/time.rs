//! Timers.

use crate::helpers::*;
use futures::future::{Either, select};
use piko_core::time::Instant;
use piko_driver::{Runtime, Timer};
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

/// How late a timer may be when others use the processor too.
const LATENESS_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn a_timer_fires_in_time<R: Runtime>(rt: R) {
    let start = rt.now();
    sleep(&rt, Duration::from_millis(30)).await;
    let took = rt.now().since(start);
    assert!(took >= Duration::from_millis(30), "early: {took:?}");
    assert!(took < LATENESS_MAX, "late: {took:?}");
    // What has passed needs no waiting.
    let mut timer = rt.timer();
    poll_fn(|cx| timer.poll_until(cx, Some(start))).await;
}

pub(crate) async fn a_timer_moves_earlier<R: Runtime>(rt: R) {
    let start = rt.now();
    let mut timer = rt.timer();
    assert!(poll_once(poll_fn(|cx| timer.poll_until(cx, Some(start + 10 * PATIENCE)))).await.is_none());
    let soon = start + Duration::from_millis(30);
    poll_fn(|cx| timer.poll_until(cx, Some(soon))).await;
    let took = rt.now().since(start);
    assert!(took >= Duration::from_millis(30) && took < LATENESS_MAX, "{took:?}");
}

pub(crate) async fn a_timer_that_moves_away_is_not_armed_again<R: Runtime>(rt: R) {
    let start = rt.now();
    let (early, late) = (start + Duration::from_millis(40), start + Duration::from_millis(800));
    let mut timer = rt.timer();
    let mut polls: Vec<Instant> = Vec::new();
    poll_fn(|cx| {
        // The first poll arms the timer; every later one says that the deadline has moved away.
        let at = if polls.is_empty() { early } else { late };
        let polled = timer.poll_until(cx, Some(at));
        if polls.is_empty() {
            assert!(polled.is_pending());
            assert!(timer.poll_until(cx, Some(late)).is_pending());
        }
        polls.push(rt.now());
        polled
    })
    .await;
    let ended = rt.now();
    assert!(ended >= late, "the later deadline is the one that counts");
    assert!(ended < late + LATENESS_MAX);
    // The alarm that was set went off, harmlessly: nobody paid for moving it.
    assert!(polls.len() >= 3, "polled only {} times", polls.len());
    assert!(polls.iter().any(|at| (early..late).contains(at)), "never woken by the earlier alarm: {polls:?}");
}

pub(crate) async fn a_timer_without_a_deadline_waits_forever<R: Runtime>(rt: R) {
    let mut timer = rt.timer();
    for never in [None, Some(Instant::FAR)] {
        let (waits, alarm) =
            (pin!(poll_fn(|cx| timer.poll_until(cx, never))), pin!(sleep(&rt, Duration::from_millis(50))));
        assert!(matches!(select(waits, alarm).await, Either::Right(_)), "{never:?} came");
    }
    // Not even when it was armed before, and the time of that alarm has come.
    let soon = rt.now() + Duration::from_millis(10);
    assert!(poll_once(poll_fn(|cx| timer.poll_until(cx, Some(soon)))).await.is_none());
    let (waits, alarm) =
        (pin!(poll_fn(|cx| timer.poll_until(cx, None))), pin!(sleep(&rt, Duration::from_millis(50))));
    assert!(matches!(select(waits, alarm).await, Either::Right(_)));
}

pub(crate) async fn a_timer_serves_many_deadlines<R: Runtime>(rt: R) {
    let start = rt.now();
    let mut timer = rt.timer();
    for round in 1..=20 {
        let at = start + round * Duration::from_millis(2);
        poll_fn(|cx| timer.poll_until(cx, Some(at))).await;
        assert!(rt.now() >= at);
    }
    assert!(rt.now().since(start) < LATENESS_MAX);
}
