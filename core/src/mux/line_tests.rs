//! Who may write when the outbox is short of room, and how much is set aside for it.

use super::*;

/// All ask for what they would take, and little of it would be used if it were set aside for them.
#[test]
fn writers_are_called_with_as_much_as_the_last_ones_wrote() {
    let mut s = server();
    let ids: Vec<_> = (0..8).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 250_000];
    // Every stream asks; those who may write as much as they have, or as there is. How many wrote in each turn.
    let turn = |s: &mut Session, has: usize| {
        let mut wrote = Vec::new();
        for _ in 0..2 {
            for &id in &ids {
                if let Ok(room) = s.send(at(0), id).ask(body.len()) {
                    wrote.push(s.send(at(0), id).write(&body[..has.min(room)]).unwrap());
                    let mut credit = [0; 12];
                    credit[1] = 1;
                    credit[4..8].copy_from_slice(&id.0.to_be_bytes());
                    credit[8..12].copy_from_slice(&(*wrote.last().unwrap() as u32).to_be_bytes());
                    s.handle_input(at(0), &credit).unwrap();
                }
            }
        }
        output(s, at(0));
        let called = events(s).iter().filter(|event| matches!(event, Event::Writable(_))).count();
        (wrote, called)
    };
    // Until the transport is known to be very fast.
    for _ in 0..16 {
        turn(&mut s, 250_000);
    }
    assert_eq!(turn(&mut s, 250_000), (vec![250_000], 1));
    for _ in 0..6 {
        turn(&mut s, 65_000);
    }
    for _ in 0..4 {
        assert_eq!(turn(&mut s, 65_000), (vec![65_000; 4], 4), "bodies of 64 KiB share an outbox");
    }
    // And one outbox after the other they are found to be longer.
    let (wrote, _) = turn(&mut s, 250_000);
    assert!(wrote.len() == 4 && wrote.iter().all(|n| (65_000..80_000).contains(n)), "{wrote:?}");
    let (wrote, _) = turn(&mut s, 250_000);
    assert!(wrote.len() <= 2 && wrote.iter().all(|n| *n > 130_000), "{wrote:?}");
    turn(&mut s, 250_000);
    assert_eq!(turn(&mut s, 250_000), (vec![250_000], 1));
    // The end of one says little of the others.
    turn(&mut s, 100);
    let (wrote, _) = turn(&mut s, 250_000);
    assert!(wrote.len() == 1 && wrote[0] > 200_000, "{wrote:?}");
}

#[test]
fn room_that_was_asked_for_and_given_back_goes_to_the_next() {
    let mut s = server();
    let ids: Vec<_> = (0..3).map(|_| s.open(at(0)).unwrap()).collect();
    let body = vec![1; 70_000];
    for _ in 0..2 {
        for &id in &ids {
            while s.send(at(0), id).write(&body).is_ok() {}
        }
        assert_eq!(s.send(at(0), ids[0]).ask(70_000), Err(WriteError::Blocked));
        output(&mut s, at(0));
    }
    let called = events(&mut s);
    let Some(&Event::Writable(first)) = called.last() else { panic!("{called:?}") };
    assert_eq!(s.send(at(0), first).ask(70_000), Ok(68 * 1024), "a frame is a whole outbox by now");
    s.send(at(0), first).give_back();
    let called = events(&mut s);
    assert!(matches!(called[..], [Event::Writable(next)] if next != first), "{called:?}");
}
