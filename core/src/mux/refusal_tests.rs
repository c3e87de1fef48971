//! Streams that are refused: each is told so, however many come at once.

use super::super::config::{REFUSALS_MAX, REFUSALS_PAUSE};
use super::*;

fn frames(flags: u8, ids: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let frame = |id: u32| [&[0, 1, 0, flags][..], &id.to_be_bytes(), &[0; 4]].concat();
    ids.into_iter().flat_map(frame).collect()
}

fn syns(n: u32) -> Vec<u8> {
    frames(1, 1..=n)
}

fn rsts(n: u32) -> Vec<u8> {
    frames(8, 1..=n)
}

/// A session that takes no stream of its peer.
fn refusing(side: Side) -> Session {
    Session::new(side, Config { incoming_max: 0, ..Config::default() }, at(0))
}

#[test]
fn ten_thousand_at_once_are_each_reset_in_order() {
    let mut s = refusing(Side::Server);
    s.handle_input(at(0), &syns(10_000)).unwrap();
    assert!(!s.wants_input());
    let mut all = Vec::new();
    while all.len() < 10_000 * 12 {
        assert!(s.wants_transmit());
        let mut out = BytesMut::new();
        let n = s.poll_transmit(at(0), &mut out);
        assert!(n > 0 && n <= OUTBOX_BYTES_SLOW, "{n} bytes");
        s.handle_sent(at(0), n, true);
        all.extend_from_slice(&out);
        assert_eq!(s.wants_input(), all.len() >= (10_000 - REFUSALS_PAUSE) * 12);
        assert_eq!(s.owed.refused.len(), 10_000 - all.len() / 12);
    }
    assert_eq!(all, rsts(10_000));
    assert!(s.wants_input() && !s.wants_transmit() && !s.is_closed());
    assert_eq!(s.owed.refused.capacity(), 0);
    assert_eq!(s.poll_transmit(at(0), &mut BytesMut::new()), 0);
    assert_eq!(s.outbox.tail().capacity(), 0, "an idle session owns no buffer");
    // It is still a session.
    let id = s.open(at(0)).unwrap();
    assert_eq!(s.send(at(0), id).write(b"x"), Ok(1));
}

/// Data leaves refusals the control part of each transmission, and a go-away comes behind all of them.
#[test]
fn refusals_leave_behind_data_and_in_front_of_a_go_away() {
    let mut s = refusing(Side::Server);
    let ids: Vec<_> = (0..8).map(|_| s.open(at(0)).unwrap()).collect();
    output(&mut s, at(0));
    s.handle_input(at(0), &frames(1, (0..1_000).map(|n| n * 2 + 1))).unwrap();
    s.close(at(0), GoAway::Normal);
    let body = vec![7; 16_384];
    let mut left = 1_000;
    while left > 0 {
        for &id in &ids {
            let _ = s.send(at(0), id).write(&body);
        }
        let mut out = BytesMut::new();
        let n = s.poll_transmit(at(0), &mut out);
        s.handle_sent(at(0), n, true);
        let told = left - s.owed.refused.len();
        assert!(told > REFUSALS_PAUSE || told == left, "{told} of {left}");
        left -= told;
        assert_eq!(s.owed.away.is_some(), left > 0);
        assert!(left == 0 || s.wants_transmit());
    }
    assert!(!s.wants_transmit());
}

#[test]
fn more_than_any_driver_reads_at_once_is_a_flood() {
    let mut s = refusing(Side::Server);
    let most = REFUSALS_MAX as u32;
    s.handle_input(at(0), &syns(most)).unwrap();
    assert_eq!(s.owed.refused.capacity(), REFUSALS_MAX);
    assert_eq!(output(&mut s, at(0)), rsts(most));
    s.handle_input(at(0), &syns(most)).unwrap();
    assert_eq!(s.handle_input(at(0), SYN_2), Err(CloseReason::Violation));
    assert_eq!(output(&mut s, at(0)), GO_AWAY_1);
    assert_eq!(s.owed.refused.capacity(), 0);
    assert!(s.wants_input());
}

/// Looking for each of 10,000 among 10,000 would take a tenth of a second.
#[test]
fn who_resets_what_was_refused_is_told_nothing_within_bounds() {
    let mut s = refusing(Side::Server);
    s.handle_input(at(0), &[syns(256), rsts(256)].concat()).unwrap();
    assert!(s.owed.refused.is_empty());
    assert_eq!(output(&mut s, at(0)), []);
    assert_eq!(s.owed.refused.capacity(), 0);

    s.handle_input(at(0), &[syns(10_000), rsts(10_000)].concat()).unwrap();
    assert_eq!(output(&mut s, at(0)), rsts(10_000 - REFUSALS_PAUSE as u32));
    // The rest is still in order when one of the middle is gone.
    s.handle_input(at(0), &[&syns(4)[..], RST_2].concat()).unwrap();
    assert_eq!(output(&mut s, at(0)), frames(8, [1, 3, 4]));
}

/// What it has to say is not read, and that is no excuse: it would hold the tunnel for ever.
#[test]
fn a_peer_that_takes_no_resets_ends_by_the_keep_alive() {
    let mut s = refusing(Side::Server);
    s.handle_input(at(0), &syns(10_000)).unwrap();
    let n = s.poll_transmit(at(0), &mut BytesMut::new());
    s.handle_sent(at(0), 0, false);
    for now in [5_000, 9_000, 14_000] {
        s.handle_timeout(at(now));
        assert!(!s.wants_input() && !s.is_closed());
    }
    // As long as it takes some, it lives.
    s.handle_sent(at(14_000), n / 2, false);
    s.handle_timeout(at(23_999));
    assert!(!s.wants_input() && !s.is_closed());
    s.handle_timeout(at(24_000));
    assert_eq!(s.close_reason(), Some(&CloseReason::KeepAlive));
    assert!(s.wants_input(), "so that the end is read");
}
