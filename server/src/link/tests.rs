//! When a link is opened, and when it is tried again.

use super::*;
use piko_core::time::Instant;

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

fn dial(link: &Link, ms: u64) -> Option<u64> {
    match link.find(0, || at(ms)) {
        Found::Dial(number) => Some(number),
        Found::Nothing => None,
        Found::Up(_) => panic!("nothing came up"),
    }
}

#[test]
fn one_request_opens_a_link_and_the_others_do_without() {
    let link = Link::default();
    assert_eq!(dial(&link, 0), Some(1));
    assert_eq!(dial(&link, 60_000), None, "it is being opened");
    // It was up for long: the next one may be opened at once.
    link.ended(1, at(60_000), true);
    assert_eq!(dial(&link, 60_000), Some(2));
    link.close();
    assert_eq!(dial(&link, 600_000), None);
    link.ended(2, at(600_000), true);
    assert_eq!(dial(&link, 600_000), None, "for good");
}

#[test]
fn a_link_that_does_not_come_up_is_tried_less_and_less_often() {
    let link = Link::default();
    let mut now = 0;
    for (n, wait_s) in [1, 2, 4, 8, 16, 32, 32, 32].into_iter().enumerate() {
        let number = n as u64 + 1;
        assert_eq!(dial(&link, now), Some(number));
        link.ended(number, at(now), false);
        // What is said of an earlier one changes nothing.
        link.ended(number - 1, at(now), true);
        assert_eq!(dial(&link, now + wait_s * 1000 - 1), None);
        now += wait_s * 1000;
    }
    // A good one forgives all.
    assert_eq!(dial(&link, now), Some(9));
    link.ended(9, at(now), true);
    assert_eq!(dial(&link, now), Some(10));
    link.ended(10, at(now), false);
    assert_eq!(dial(&link, now + 1000), Some(11));
}

#[test]
fn limits_fit_each_other() {
    let limits = limits();
    // What an entry may have open is never refused by the owner.
    assert!(limits.unacked_max <= limits.accept_backlog && limits.accept_backlog <= limits.incoming_max);
    assert_eq!(limits.unacked_max, STREAMS_MAX);
    assert_eq!(limits.budget.limit(), BUDGET_BYTES);
    assert_eq!(label().as_bytes(), b"_nodes");
}

#[test]
fn what_other_authorities_let_in_is_opened_anew() {
    let link = Link::default();
    assert_eq!(dial(&link, 0), Some(1));
    let dial = |version: u32, ms: u64| match link.find(version, || at(ms)) {
        Found::Dial(number) => Some(number),
        _ => None,
    };
    // The one that is being opened may be of before: nobody waits for it.
    assert_eq!(dial(1, 10), Some(2));
    assert_eq!(dial(0, 20), None, "a request that looked before is no reason for another one");
    link.ended(1, at(30), false);
    assert_eq!(dial(1, 40), None, "it is being opened");
    // Neither is there a rest because of what older ones met.
    link.ended(2, at(50), false);
    assert_eq!(dial(1, 60), None, "a rest");
    assert_eq!(dial(2, 70), Some(3));
    link.close();
    assert_eq!(dial(3, 80), None, "for good");
}
