//! Who waits for an ACK, and when it leaves.

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
