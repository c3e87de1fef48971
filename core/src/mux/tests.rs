//! Pair tests: two sessions, one clock, real bytes; and single sessions against handwritten frames.

use super::config::{BARREN_MAX, CONTROL_BYTES, OUTBOX_BYTES_MAX, OUTBOX_BYTES_SLOW};
use super::*;
use crate::id::StreamId;
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{BufMut, BytesMut};
use core::time::Duration;

#[path = "ack_tests.rs"]
mod acks;
#[path = "line_tests.rs"]
mod lines;
#[path = "refusal_tests.rs"]
mod refusals;

const SYN_2: &[u8] = &[0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
const ACK_2: &[u8] = &[0, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0];
const FIN_2: &[u8] = &[0, 1, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0];
const RST_2: &[u8] = &[0, 1, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0];
const GO_AWAY_1: &[u8] = &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const TWO: StreamId = StreamId(2);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn client(config: Config) -> Session {
    Session::new(Side::Client, config, at(0))
}

fn server() -> Session {
    Session::new(Side::Server, Config::default(), at(0))
}

/// A session whose peer's stream 2 was accepted, with the ACK out of the way.
fn accepted(config: Config) -> Session {
    let mut s = client(config);
    s.handle_input(at(0), SYN_2).unwrap();
    assert_eq!(s.poll_event(), Some(Event::Incoming));
    assert_eq!(s.accept(), Some(TWO));
    assert_eq!(output(&mut s, at(0)), ACK_2);
    s
}

fn output(s: &mut Session, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut out = BytesMut::new();
        let n = s.poll_transmit(now, &mut out);
        if n == 0 {
            assert!(out.is_empty());
            return all;
        }
        assert_eq!(out.len(), n + s.config.front_room);
        assert!(out.len() <= OUTBOX_BYTES_MAX);
        s.handle_sent(now, out.len(), true);
        all.extend_from_slice(&out[s.config.front_room..]);
    }
}

fn data(id: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, 0, 0, 0, id];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn events(s: &mut Session) -> Vec<Event> {
    core::iter::from_fn(|| s.poll_event()).collect()
}

/// Moves what waits in both directions until nothing does.
fn settle(a: &mut Session, b: &mut Session, now: Instant) {
    loop {
        let (x, y) = (output(a, now), output(b, now));
        if x.is_empty() && y.is_empty() {
            return;
        }
        let _ = b.handle_input(now, &x);
        let _ = a.handle_input(now, &y);
    }
}

#[test]
fn a_request_and_its_answer_pass_and_leave_nothing() {
    let (mut s, mut a) = (server(), client(Config::default()));
    let id = s.open(at(0)).unwrap();
    assert_eq!(s.send(at(0), id).write(b"ping"), Ok(4));
    assert!(s.wants_transmit());
    settle(&mut s, &mut a, at(0));
    assert_eq!(events(&mut a), [Event::Incoming]);
    assert_eq!(a.accept(), Some(id));
    assert_eq!(a.recv(at(0), id).chunk(), Ok(Some(&b"ping"[..])));
    a.recv(at(0), id).consume(4);
    assert_eq!(a.recv(at(0), id).chunk(), Err(ReadError::Blocked));
    a.send(at(0), id).write(b"pong").unwrap();
    a.send(at(0), id).finish(Finish::Lazy).unwrap();
    settle(&mut s, &mut a, at(0));
    assert_eq!(events(&mut s), [Event::Readable(id)]);
    let mut buf = [0; 10];
    assert_eq!(s.recv(at(0), id).read_into(&mut buf), Ok(Some(4)));
    assert_eq!(&buf[..4], b"pong");
    assert_eq!(s.recv(at(0), id).read_into(&mut buf), Ok(None));
    s.send(at(0), id).finish(Finish::Now).unwrap();
    s.release(at(0), id);
    settle(&mut s, &mut a, at(0));
    assert_eq!(events(&mut a), [Event::Readable(id)]);
    assert_eq!(a.recv(at(0), id).chunk(), Ok(None));
    a.release(at(0), id);
    assert_eq!((s.streams(), a.streams()), (0, 0));
    for session in [&mut s, &mut a] {
        // What is spare waits for the next request until the keep-alive's time has come.
        session.handle_timeout(at(5_000));
        assert_eq!(session.config.budget.used(), 0);
    }
    assert_eq!(s.send(at(0), id).write(b"x"), Err(WriteError::Unknown));
}

#[test]
fn an_idle_session_is_small_and_owns_no_buffer() {
    assert!(size_of::<Session>() <= 744, "{} bytes", size_of::<Session>());
    assert!(size_of::<stream::Stream>() <= 216, "{} bytes", size_of::<stream::Stream>());
    let mut s = accepted(Config::default());
    s.send(at(0), TWO).write(b"x").unwrap();
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    s.handle_input(at(0), FIN_2).unwrap();
    s.release(at(0), TWO);
    let mut out = BytesMut::with_capacity(4096);
    assert_eq!(s.poll_transmit(at(0), &mut out), 25);
    assert_eq!(s.outbox.tail().capacity(), 4096, "one request follows another");
    s.handle_timeout(at(5_000));
    assert_eq!(s.outbox.tail().capacity(), 0);
    assert_eq!(output(&mut s, at(5_000)).len(), 12, "the keep-alive ping");
    assert_eq!(s.poll_transmit(at(5_000), &mut BytesMut::new()), 0);
    assert_eq!(s.outbox.tail().capacity(), 0);
    assert_eq!(s.streams(), 0);
}

#[test]
fn control_comes_behind_data_and_front_room_stays_free() {
    let mut s = client(Config { front_room: 14, ..Config::default() });
    s.handle_input(at(0), SYN_2).unwrap();
    s.accept().unwrap();
    let mut stream = s.send(at(0), TWO);
    let mut frame = stream.reserve(1000).unwrap();
    frame.buf().put_slice(b"he");
    frame.buf().put_slice(b"llo");
    assert_eq!(frame.commit(), 5);
    let mut frame = stream.reserve(3).unwrap();
    assert_eq!(frame.buf().remaining_mut(), 3);
    frame.buf().put_slice(b"no");
    drop(frame);
    assert_eq!(stream.reserve(10).unwrap().commit(), 0);
    stream.finish(Finish::Now).unwrap();
    let expected = [ACK_2, &data(2, b"hello"), FIN_2].concat();
    assert_eq!(output(&mut s, at(0)), expected);
}

#[test]
fn a_stream_writes_one_quantum_per_turn_and_is_called_again() {
    let mut s = accepted(Config::default());
    let body = vec![7; 40_000];
    assert_eq!(s.send(at(0), TWO).write(&body), Ok(16_384));
    assert_eq!(s.send(at(0), TWO).room(1), 0);
    assert_eq!(s.send(at(0), TWO).write(&body), Err(WriteError::Blocked));
    assert_eq!(events(&mut s), []);
    output(&mut s, at(0));
    assert_eq!(events(&mut s), [Event::Writable(TWO)]);
    assert_eq!(s.send(at(0), TWO).write(&body), Ok(16_384));
}

#[test]
fn the_line_is_called_in_order_and_only_as_far_as_the_room_goes() {
    let mut s = server();
    let ids: Vec<_> = (0..100).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 16_384];
    let mut blocked = Vec::new();
    for &id in &ids {
        match s.send(at(0), id).write(&body) {
            Ok(n) => assert!(n > 0),
            Err(e) => {
                assert_eq!(e, WriteError::Blocked);
                blocked.push(id);
            }
        }
    }
    assert!(blocked.len() > 90);
    while !blocked.is_empty() {
        let mut out = BytesMut::new();
        assert!(s.poll_transmit(at(0), &mut out) > 0);
        let called = events(&mut s);
        assert!(called.len() <= OUTBOX_BYTES_MAX / body.len() && !called.is_empty(), "{}", called.len());
        for (event, id) in called.iter().zip(blocked.drain(..called.len()).collect::<Vec<_>>()) {
            assert_eq!(*event, Event::Writable(id));
            assert_eq!(s.send(at(0), id).write(&body), Ok(16_384));
        }
    }
}

#[test]
fn called_writers_that_stay_silent_do_not_hold_the_line() {
    let mut s = server();
    let ids: Vec<_> = (0..20).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 16_384];
    for &id in &ids {
        let _ = s.send(at(0), id).write(&body);
        let _ = s.send(at(0), id).write(&body);
    }
    let mut out = BytesMut::new();
    s.poll_transmit(at(0), &mut out);
    let mut called = events(&mut s).len();
    let mut now = at(0);
    while called < 20 {
        let deadline = s.poll_timeout().unwrap();
        assert_eq!(deadline.why, "line of writers");
        assert!(deadline.at > now);
        now = deadline.at;
        s.handle_timeout(now);
        called += events(&mut s).len();
    }
    assert_eq!(called, 20);
}

#[test]
fn credit_goes_back_when_half_a_window_was_read() {
    let mut s = accepted(Config { window_max: 0, ..Config::default() });
    s.handle_input(at(0), &data(2, &vec![1; 262_144])).unwrap();
    let mut sink = vec![0; 131_071];
    s.recv(at(0), TWO).read_into(&mut sink).unwrap();
    assert!(!s.wants_transmit());
    assert_eq!(output(&mut s, at(0)), []);
    s.recv(at(0), TWO).consume(1);
    assert!(s.wants_transmit(), "the sender is out of credit and waits");
    assert_eq!(output(&mut s, at(0)), [0, 1, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0]);
}

#[test]
fn a_violation_owes_a_go_away_and_touches_nothing_else() {
    let overrun = [SYN_2, &data(2, &vec![1; 262_145])].concat();
    let syn_overrun = [&[0, 0, 0, 1, 0, 0, 0, 2][..], &262_145u32.to_be_bytes()].concat();
    for bad in [
        &[SYN_2, SYN_2].concat()[..],
        &[SYN_2, FIN_2, FIN_2].concat(),
        &overrun,
        &syn_overrun,
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[[0u8, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]; 17].concat(),
    ] {
        let mut s = client(Config::default());
        assert_eq!(s.handle_input(at(0), bad), Err(CloseReason::Violation));
        assert!(s.wants_transmit());
        assert_eq!(events(&mut s), [Event::Closed(CloseReason::Violation)]);
        assert_eq!(output(&mut s, at(0)), GO_AWAY_1);
        assert!(!s.wants_transmit());
        assert_eq!(s.open(at(0)), Err(OpenError::Closed));
        assert_eq!(s.poll_timeout(), None);
        assert_eq!(s.config.budget.used(), 0);
    }
}

#[test]
fn what_must_be_tolerated_is() {
    let mut s = accepted(Config::default());
    let odd = [
        &data(8, b"unknown stream")[..],
        &[0, 1, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0], // FIN for an unknown stream
        &[0, 1, 0xff, 0xf0, 0, 0, 0, 2, 0, 0, 0, 0], // unknown flags
        &[0, 1, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff], // more credit than there are bytes
        &[0, 1, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff],
        &[0, 2, 0, 2, 0, 0, 0, 0, 9, 9, 9, 9], // an answer to no ping
        &[0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // a ping without flags
        &data(2, b""),
        FIN_2,
        &data(2, b"behind the end"),
        &[0, 1, 0, 12, 0, 0, 0, 2, 0, 0, 0, 0], // FIN and RST together
        FIN_2,
    ]
    .concat();
    s.handle_input(at(0), &odd).unwrap();
    assert_eq!(s.recv(at(0), TWO).chunk(), Ok(None));
    assert_eq!(s.send(at(0), TWO).write(b"x"), Err(WriteError::Reset));
    s.release(at(0), TWO);
    assert_eq!(s.streams(), 0);
    assert_eq!(output(&mut s, at(0)), []);
}

#[test]
fn bytes_before_a_reset_are_handed_out_first() {
    let mut s = accepted(Config::default());
    s.handle_input(at(0), &[&data(2, b"abc"), RST_2].concat()).unwrap();
    assert_eq!(events(&mut s), [Event::Readable(TWO)]);
    assert_eq!(s.recv(at(0), TWO).chunk(), Ok(Some(&b"abc"[..])));
    s.recv(at(0), TWO).consume(3);
    assert_eq!(s.recv(at(0), TWO).chunk(), Err(ReadError::Reset));
}

#[test]
fn a_lost_transport_is_never_a_clean_end() {
    for eof in [true, false] {
        let mut s = accepted(Config::default());
        s.handle_input(at(0), &data(2, b"abc")).unwrap();
        if eof {
            s.handle_eof(at(0));
        } else {
            s.handle_failure(at(0));
        }
        assert_eq!(s.recv(at(0), TWO).chunk(), Ok(Some(&b"abc"[..])));
        s.recv(at(0), TWO).consume(3);
        assert_eq!(s.recv(at(0), TWO).chunk(), Err(ReadError::Reset));
        assert_eq!(s.send(at(0), TWO).write(b"x"), Err(WriteError::Reset));
        s.release(at(0), TWO);
        assert_eq!((s.streams(), s.config.budget.used()), (0, 0));
    }
}

#[test]
fn release_resets_what_is_unfinished_and_discards_what_is_unread() {
    let mut s = accepted(Config::default());
    s.release(at(0), TWO);
    assert_eq!(output(&mut s, at(0)), RST_2);
    assert_eq!(s.streams(), 0);

    let mut s = accepted(Config::default());
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    s.release(at(0), TWO);
    assert_eq!(output(&mut s, at(0)), FIN_2);
    let mut sent = 0;
    while sent < 1 << 20 {
        s.handle_input(at(0), &data(2, &[1; 65_536])).unwrap();
        sent += 65_536;
        let credit = output(&mut s, at(0));
        assert!(credit.len() <= 12 && !credit.starts_with(RST_2));
        assert_eq!(s.config.budget.used(), 0);
    }
    s.handle_input(at(0), &data(2, &[1])).unwrap();
    assert_eq!(output(&mut s, at(0)), RST_2);
    assert_eq!(s.streams(), 0);

    let mut s = accepted(Config::default());
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    s.release(at(100), TWO);
    output(&mut s, at(100));
    s.handle_input(at(9_000), &data(2, &[1])).unwrap();
    s.handle_timeout(at(10_099));
    assert_eq!(s.streams(), 1);
    s.handle_timeout(at(10_100));
    assert!(output(&mut s, at(10_100)).ends_with(RST_2));
    assert_eq!(s.streams(), 0);
}

#[test]
fn a_stopped_stream_still_gives_its_answer() {
    let mut s = accepted(Config::default());
    s.handle_input(at(0), &data(2, &[1; 1000])).unwrap();
    s.recv(at(0), TWO).stop();
    assert_eq!(s.recv(at(0), TWO).chunk(), Err(ReadError::Reset));
    let spare = s.config.budget.used();
    s.handle_input(at(60_000), &data(2, &[1; 1000])).unwrap();
    assert_eq!(s.config.budget.used(), spare, "what arrives is dropped");
    assert_eq!(s.send(at(60_000), TWO).write(b"413"), Ok(3));
    s.send(at(60_000), TWO).finish(Finish::Now).unwrap();
    assert_eq!(output(&mut s, at(60_000)), [&data(2, b"413")[..], FIN_2].concat());
    s.handle_input(at(60_000), FIN_2).unwrap();
    s.release(at(60_000), TWO);
    assert_eq!(s.streams(), 0);
}

#[test]
fn incoming_streams_are_refused_by_limit_backlog_and_go_away() {
    let mut none = client(Config { incoming_max: 0, ..Config::default() });
    none.handle_input(at(0), &[SYN_2, &data(2, b"x")].concat()).unwrap();
    assert!(none.wants_transmit());
    assert_eq!(output(&mut none, at(0)), RST_2);
    assert_eq!((none.accept(), none.streams()), (None, 0));

    let mut away = client(Config::default());
    away.close(at(0), GoAway::Normal);
    away.handle_input(at(0), SYN_2).unwrap();
    assert_eq!(output(&mut away, at(0)), [RST_2, &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
    assert!(!away.is_closed());
}

#[test]
fn unacknowledged_streams_are_limited_and_time_out_alone() {
    let mut s = server();
    let first = s.open(at(0)).unwrap();
    for _ in 1..256 {
        s.open(at(1)).unwrap();
    }
    assert_eq!(s.open(at(1)), Err(OpenError::Blocked));
    output(&mut s, at(1));
    s.handle_input(at(1), ACK_2).unwrap();
    s.handle_input(at(1), ACK_2).unwrap();
    assert_eq!(events(&mut s), [Event::Slot]);
    let last = s.open(at(2)).unwrap();
    assert_eq!(s.open(at(2)), Err(OpenError::Blocked));
    output(&mut s, at(2));
    s.keepalive.excuse(at(75_001));
    s.handle_timeout(at(75_001));
    assert_eq!(s.send(at(75_001), first).room(usize::MAX), 16_384);
    assert_eq!(s.send(at(75_001), StreamId(4)).write(b"x"), Err(WriteError::Reset));
    assert!(s.send(at(75_001), last).write(b"x").is_ok());
    assert_eq!(s.close_reason(), None);
}

#[test]
fn no_fin_within_five_minutes_is_a_reset() {
    let mut s = accepted(Config { close_timeout: Duration::from_millis(100), ..Config::default() });
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    assert_eq!(output(&mut s, at(0)), FIN_2);
    s.handle_timeout(at(99));
    assert_eq!(output(&mut s, at(99)), []);
    s.handle_timeout(at(100));
    assert_eq!(output(&mut s, at(100)), RST_2);
    assert_eq!(events(&mut s), [Event::Readable(TWO)]);
    assert_eq!(s.recv(at(100), TWO).chunk(), Err(ReadError::Reset));
}

/// A download over a half-closed stream may last for hours; only silence ends it.
#[test]
fn whatever_passes_on_a_half_closed_stream_keeps_it() {
    let mut s = accepted(Config { close_timeout: Duration::from_millis(100), ..Config::default() });
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    assert_eq!(output(&mut s, at(0)), FIN_2);
    // A frame, the rest of its body much later, then credit without data: each is a sign of life.
    let frame = data(2, b"abcd");
    for (now, piece) in [(90, &frame[..14]), (180, &frame[14..]), (270, ACK_2)] {
        s.handle_timeout(at(now));
        s.handle_input(at(now), piece).unwrap();
    }
    // Nobody has read the four bytes: the next step is not the peer's.
    s.handle_timeout(at(370));
    s.handle_timeout(at(470));
    assert_eq!(output(&mut s, at(470)), []);
    s.recv(at(500), TWO).consume(2);
    s.recv(at(560), TWO).consume(2);
    s.handle_timeout(at(659));
    assert_eq!(output(&mut s, at(659)), []);
    s.handle_timeout(at(660));
    assert_eq!(output(&mut s, at(660)), RST_2);
}

#[test]
fn go_away_codes_of_the_peer() {
    let mut s = server();
    s.handle_input(at(0), &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(events(&mut s), [Event::GoAway(GoAway::Normal)]);
    assert_eq!(s.open(at(0)), Err(OpenError::GoingAway));
    assert_eq!(s.peer_going_away(), Some(GoAway::Normal));
    let reason = CloseReason::GoAway(GoAway::InternalError);
    assert_eq!(s.handle_input(at(0), &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]), Err(reason.clone()));
    assert_eq!(events(&mut s), [Event::Closed(reason)]);
    assert!(!s.wants_transmit());
}

#[test]
fn an_own_close_hands_out_what_was_queued_and_then_the_go_away() {
    let mut s = accepted(Config::default());
    s.send(at(0), TWO).write(b"bye").unwrap();
    s.send(at(0), TWO).finish(Finish::Lazy).unwrap();
    s.close(at(0), GoAway::InternalError);
    assert_eq!(s.recv(at(0), TWO).chunk(), Err(ReadError::Reset));
    assert_eq!((s.wants_transmit(), s.is_closed()), (true, false));
    let away: &[u8] = &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(output(&mut s, at(0)), [&data(2, b"bye")[..], FIN_2, away].concat());
    assert_eq!(events(&mut s), [Event::Closed(CloseReason::Local)]);
}

#[test]
fn floods_without_payload_end_the_session_and_cost_no_memory() {
    let syn_rst = [SYN_2, RST_2].concat();
    for flood in [&data(2, b"")[..], &data(8, b""), &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], &syn_rst] {
        let mut s = client(Config::default());
        if flood != syn_rst {
            s = accepted(Config::default());
        }
        let mut frames = 0;
        while s.handle_input(at(1), flood).is_ok() {
            frames += 1;
            assert!(frames <= BARREN_MAX);
            assert!(s.streams() <= 1 && s.owed.refused.len() <= 1);
        }
        assert_eq!(s.close_reason(), Some(&CloseReason::Violation));
    }
    // The same number spread over time is a living, quiet connection.
    let mut s = client(Config::default());
    for minute in 0..u64::from(BARREN_MAX) + 10 {
        s.handle_input(at(minute * 60_000), &[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(output(&mut s, at(minute * 60_000)).len(), 12);
    }
}

#[test]
fn owed_frames_that_do_not_fit_follow_in_the_next_transmission() {
    let mut s = client(Config { accept_backlog: 4096, ..Config::default() });
    for id in 1..=1000u32 {
        let mut syn = SYN_2.to_vec();
        syn[4..8].copy_from_slice(&(id * 2).to_be_bytes());
        s.handle_input(at(0), &syn).unwrap();
    }
    let ids: Vec<_> = core::iter::from_fn(|| s.accept()).collect();
    assert_eq!(ids.len(), 1000);
    let filler = vec![0; 16_384];
    for &id in &ids {
        let _ = s.send(at(0), id).write(&filler);
    }
    let mut out = BytesMut::new();
    let first = s.poll_transmit(at(0), &mut out);
    assert!(first > OUTBOX_BYTES_SLOW - CONTROL_BYTES && first <= OUTBOX_BYTES_SLOW);
    assert!(s.wants_transmit());
    let second = output(&mut s, at(0)).len();
    // Every ACK, and three frames with their headers.
    assert_eq!(first + second, 1000 * 12 + 3 * (12 + 16_384));
    assert!(!s.wants_transmit());
}

#[test]
fn an_exceeded_budget_stops_input_and_then_resets_who_waits_longest() {
    let budget = Arc::new(Budget::new(20_000));
    let mut s = client(Config { budget: budget.clone(), ..Config::default() });
    let four: &[u8] = &[0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0];
    s.handle_input(at(0), &[SYN_2, four].concat()).unwrap();
    assert_eq!([s.accept(), s.accept()], [Some(TWO), Some(StreamId(4))]);
    output(&mut s, at(0));
    s.handle_input(at(0), &data(2, &[1; 10_000])).unwrap();
    assert!(s.wants_input());
    s.handle_input(at(0), &data(4, &[1; 10_000])).unwrap();
    assert!(!s.wants_input());
    // A byte is no reason to wait longer.
    s.recv(at(1_000), TWO).consume(1);
    assert_eq!(s.poll_timeout().unwrap().why, "budget");
    s.handle_timeout(at(1_999));
    assert!(!s.wants_input());
    s.handle_timeout(at(2_000));
    assert!(s.wants_input());
    assert_eq!(s.recv(at(2_000), StreamId(4)).chunk(), Err(ReadError::Reset));
    assert_eq!(s.recv(at(2_000), TWO).chunk().map(|c| c.map(<[u8]>::len)), Ok(Some(9_999)));
    assert_eq!(output(&mut s, at(2_000)), [0, 1, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0]);
    drop(s);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_window_grows_only_for_a_sender_that_credit_limits() {
    for (took_ms, grows) in [(15, true), (25, false)] {
        let mut s = accepted(Config::default());
        s.keepalive.probe(at(0));
        output(&mut s, at(0));
        s.handle_input(at(10), &[0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(s.round_trip(), Some(Duration::from_millis(10)));
        s.handle_input(at(20), &data(2, &[1; 65_536])).unwrap();
        s.handle_input(at(20 + took_ms), &data(2, &[1; 196_608])).unwrap();
        s.recv(at(50), TWO).read_into(&mut vec![0; 262_144]).unwrap();
        let credit: u32 = if grows { 524_288 } else { 262_144 };
        let update = [&[0, 1, 0, 0, 0, 0, 0, 2][..], &credit.to_be_bytes()].concat();
        assert_eq!(output(&mut s, at(50)), update);
        s.release(at(50), TWO);
        output(&mut s, at(50));
        s.handle_timeout(at(60_000));
        assert_eq!(s.config.budget.used(), 0);
    }
}

#[test]
fn keep_alive_kills_a_silent_peer_and_spares_a_slow_one() {
    let mut s = client(Config::default());
    assert_eq!(s.poll_timeout().unwrap().at, at(5_000));
    s.handle_timeout(at(5_000));
    assert!(s.wants_transmit());
    assert_eq!(output(&mut s, at(5_000)), [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    s.handle_input(at(9_000), &[0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    s.handle_timeout(at(14_000));
    assert_eq!(output(&mut s, at(14_000)), [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    s.handle_timeout(at(19_000));
    assert_eq!(events(&mut s), [Event::Closed(CloseReason::KeepAlive)]);
}

#[test]
fn ids_run_out_where_go_says_so() {
    let mut s = server();
    s.exhaust_ids(u32::MAX - 3);
    assert_eq!(s.open(at(0)), Ok(StreamId(4_294_967_292)));
    assert_eq!(output(&mut s, at(0)), [0, 1, 0, 1, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0]);
    assert_eq!(s.open(at(0)), Err(OpenError::Exhausted));
}

#[test]
fn a_finished_writer_is_not_called() {
    let mut s = accepted(Config::default());
    while s.send(at(0), TWO).write(&[0; 20_000]).is_ok() {}
    output(&mut s, at(0));
    s.send(at(0), TWO).finish(Finish::Now).unwrap();
    assert_eq!(events(&mut s), []);
}

#[test]
fn taken_ids_at_the_end_are_exhaustion() {
    let mut s = server();
    for id in [u32::MAX - 1, u32::MAX, u32::MAX - 3] {
        let mut syn = SYN_2.to_vec();
        syn[4..8].copy_from_slice(&id.to_be_bytes());
        s.handle_input(at(0), &syn).unwrap();
    }
    s.exhaust_ids(u32::MAX - 3);
    assert_eq!(s.open(at(0)), Err(OpenError::Exhausted));
}

#[test]
fn the_rest_of_a_body_does_not_reach_the_next_stream_of_its_id() {
    let mut s = server();
    // The peer takes an id of our parity, and goes on with a body after we let the stream go.
    let mut frame = data(2, b"old body");
    frame[3] = 1;
    s.handle_input(at(0), &frame[..15]).unwrap();
    assert_eq!(s.accept(), Some(TWO));
    s.release(at(0), TWO);
    output(&mut s, at(0));
    assert_eq!(s.open(at(0)), Ok(TWO));
    s.handle_input(at(0), &frame[15..]).unwrap();
    assert_eq!(s.recv(at(0), TWO).chunk(), Err(ReadError::Blocked));
    s.handle_input(at(0), &data(2, b"new")).unwrap();
    assert_eq!(s.recv(at(0), TWO).chunk(), Ok(Some(&b"new"[..])));
}

#[test]
fn a_small_answer_passes_large_ones_that_wait() {
    let mut s = server();
    let large: Vec<_> = (0..50).map(|_| s.open(at(0)).unwrap()).collect();
    let small = s.open(at(0)).unwrap();
    let body = vec![1; 70_000];
    for &id in &large {
        let _ = s.send(at(0), id).write(&body);
    }
    while s.send(at(0), large[0]).room(70_000) > 0 {
        s.send(at(0), large[0]).write(&body).unwrap();
    }
    let filler = s.open(at(0)).unwrap();
    while s.send(at(0), filler).write(&[2; 600]).is_ok() {}
    assert_eq!(s.send(at(0), small).write(&[3; 600]), Err(WriteError::Blocked));
    output(&mut s, at(0));
    let called = events(&mut s);
    assert!(called.contains(&Event::Writable(small)), "{called:?}");
    assert!(called.iter().any(|e| matches!(e, Event::Writable(id) if large.contains(id))), "{called:?}");
}

#[test]
fn many_small_writers_leave_large_ones_half_a_frame() {
    let mut s = server();
    let large = s.open(at(0)).unwrap();
    let small: Vec<_> = (0..200).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 200_000];
    let mut sent = 0;
    for turn in 0..20 {
        for &id in &small {
            let _ = s.send(at(turn), id).write(&[2; 2_000]);
        }
        if let Ok(n) = s.send(at(turn), large).write(&body) {
            sent += n;
        }
        output(&mut s, at(turn));
        events(&mut s);
    }
    assert!(sent >= 18 * 8 * 1024, "{sent}");
}

#[test]
fn frames_grow_while_the_transport_is_fast_and_shrink_when_it_is_not() {
    let mut s = server();
    let ids: Vec<_> = (0..4).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 200_000];
    let mut now = 0;
    let mut turn = |s: &mut Session, millis: u64| {
        now += millis;
        let frames: Vec<_> = ids.iter().filter_map(|&id| s.send(at(now), id).write(&body).ok()).collect();
        output(s, at(now));
        // The peer reads.
        for &id in &ids {
            let mut credit = [0; 12];
            credit[1] = 1;
            credit[4..8].copy_from_slice(&id.0.to_be_bytes());
            credit[8..12].copy_from_slice(&140_000u32.to_be_bytes());
            s.handle_input(at(now), &credit).unwrap();
        }
        events(s);
        frames
    };
    assert_eq!(turn(&mut s, 0), [16_384; 3], "nothing is known of the transport");
    turn(&mut s, 1);
    assert_eq!(turn(&mut s, 1), [68 * 1024], "a whole frame, and no piece of another");
    assert_eq!(turn(&mut s, 50), [68 * 1024]);
    // Wherever the judgement falls, the second one is of long turns alone.
    for _ in 0..4 {
        assert_eq!(turn(&mut s, 50), [16_384; 3]);
        if s.is_crawling() {
            break;
        }
    }
    assert!(s.is_crawling(), "98 KiB in 100 ms");
    for _ in 0..30 {
        assert_eq!(turn(&mut s, 10), [16_384], "one frame, and room for a small answer");
    }
    assert!(s.is_crawling(), "13 Mbit/s");
    while s.is_crawling() {
        turn(&mut s, 5);
    }
    assert_eq!(turn(&mut s, 2), [16_384; 3]);
    assert_eq!(turn(&mut s, 2), [68 * 1024]);
    assert_eq!(turn(&mut s, 2), [68 * 1024]);
    for _ in 0..8 {
        assert_eq!(
            turn(&mut s, 1),
            [68 * 1024],
            "not at once: a kernel takes its buffer's length from anybody"
        );
    }
    let frames = turn(&mut s, 4);
    assert!(frames.iter().sum::<usize>() > 270_000, "a very fast one gets the longest outbox, {frames:?}");
    assert_eq!(turn(&mut s, 5), [200_000], "and whoever fills it may");
    assert_eq!(turn(&mut s, 4), [68 * 1024]);
    // A pause of everything now and then is no slow transport.
    for _ in 0..100 {
        for millis in [1, 1, 1, 1, 500] {
            turn(&mut s, millis);
            assert!(!s.is_crawling());
        }
    }
}

/// Behind a download over a transport that crawls, a small answer leaves with the next outbox.
#[test]
fn a_small_answer_finds_room_in_a_short_outbox() {
    let mut s = server();
    let [bulk, small] = [0; 2].map(|_| s.open(at(0)).unwrap());
    let body = vec![1; 200_000];
    let mut now = 0;
    while !s.is_crawling() {
        now += 25;
        while s.send(at(now), bulk).write(&body).is_ok() {}
        output(&mut s, at(now));
        let mut credit = [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        credit[4..8].copy_from_slice(&bulk.0.to_be_bytes());
        s.handle_input(at(now), &credit).unwrap();
        events(&mut s);
    }
    assert_eq!(s.send(at(now), bulk).write(&body), Ok(16_384));
    assert_eq!(s.send(at(now), bulk).write(&body), Err(WriteError::Blocked));
    assert_eq!(s.send(at(now), small).write(&body[..1000]), Ok(1000));
}
