//! Who waits for an ACK and when it leaves, and how long frames wait for which nobody does.

use super::*;

/// Whoever waits for the ACK of one stream is called as who waits for a slot is.
#[test]
fn the_peer_shows_that_it_took_a_stream() {
    let mut s = server();
    let (two, four) = (s.open(at(0)).unwrap(), s.open(at(0)).unwrap());
    assert!(!s.is_acknowledged(two) && !s.is_acknowledged(four));
    output(&mut s, at(0));
    s.handle_input(at(1), ACK_2).unwrap();
    assert_eq!(events(&mut s), [Event::Slot]);
    assert!(s.is_acknowledged(two) && !s.is_acknowledged(four));
    // Data say it as well.
    s.handle_input(at(2), &data(4, b"x")).unwrap();
    assert!(events(&mut s).contains(&Event::Slot));
    assert!(s.is_acknowledged(four) && s.is_acknowledged(StreamId(6)), "nobody waits for what is not");
    let last = s.open(at(3)).unwrap();
    assert!(!s.is_acknowledged(last));
    s.send(at(3), last).reset();
    assert!(s.is_acknowledged(last), "nor for what is over");
}

/// An ACK leaves with the first data, or at once where the peer waits for it.
#[test]
fn acks_are_lazy_unless_somebody_waits() {
    for prompt in [false, true] {
        let mut s = client(Config { prompt_acks: prompt, ..Config::default() });
        s.handle_input(at(0), SYN_2).unwrap();
        assert_eq!(s.accept(), Some(TWO));
        assert_eq!(s.wants_transmit(), prompt);
        assert_eq!(output(&mut s, at(0)), ACK_2);
    }
}

#[test]
fn lazy_frames_ride_along_or_wait_two_milliseconds() {
    let mut s = accepted(Config::default());
    s.send(at(10), TWO).finish(Finish::Lazy).unwrap();
    assert!(!s.wants_transmit());
    let deadline = s.poll_timeout().unwrap();
    assert_eq!((deadline.at, deadline.why), (at(12), "lazy"));
    s.handle_timeout(at(12));
    assert!(s.wants_transmit());
    assert_eq!(output(&mut s, at(12)), FIN_2);
    assert!(!s.wants_transmit());
    s.handle_input(at(13), &[0, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    assert!(!s.wants_transmit());
    assert_eq!(output(&mut s, at(13)), [0, 2, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4]);
}

#[test]
fn a_longer_lazy_time_is_for_what_nobody_measures() {
    let mut s = accepted(Config { lazy_time: LAZY_TIME_CALM, ..Config::default() });
    s.send(at(10), TWO).finish(Finish::Lazy).unwrap();
    assert_eq!(s.poll_timeout().unwrap().at, at(30));
    // A pong, which also takes what is owed with it.
    s.handle_input(at(15), &[0, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    assert_eq!(s.poll_timeout().unwrap().at, at(17));
    s.handle_timeout(at(17));
    assert!(s.wants_transmit());
    assert_eq!(output(&mut s, at(17)).len(), 24);
    // The first that is owed counts, whichever kind it is of.
    let mut s = accepted(Config { lazy_time: LAZY_TIME_CALM, ..Config::default() });
    s.handle_input(at(10), &[0, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    s.send(at(11), TWO).finish(Finish::Lazy).unwrap();
    assert_eq!(s.poll_timeout().unwrap().at, at(12));
    let s = client(Config { lazy_time: Duration::MAX, ..Config::default() });
    assert_eq!(s.lazy_time(), Duration::from_secs(1), "within what the arithmetic bears");
}
