use super::*;
use alloc::vec;
use alloc::vec::Vec;

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn fatal() -> Failure {
    Failure::Fatal { status: 401 }
}

fn dial(reconnector: &mut Reconnector) -> (Attempt, u16, Duration) {
    match reconnector.poll_action() {
        Some(Action::Dial { attempt, target, limit }) => {
            (attempt, target, limit.expect("every dial has one"))
        }
        other => panic!("no dial but {other:?}"),
    }
}

/// A server that is down between two moments, and a driver that notices at once.
struct World {
    reconnector: Reconnector,
    now: Instant,
    /// What the dials up to here were: when and which target.
    dials: Vec<(Instant, u16)>,
}

impl World {
    fn new(targets: u16, backoff: Backoff, seed: u64, now: Instant) -> Self {
        Self { reconnector: Reconnector::new(targets, backoff, seed, now), now, dials: vec![] }
    }

    /// Runs until connected or until nothing is due before `end`; `works` says whether a dial succeeds.
    fn run(&mut self, end: Instant, works: impl Fn(Instant, u16) -> bool) {
        loop {
            while let Some(action) = self.reconnector.poll_action() {
                let Action::Dial { attempt, target, .. } = action else { return };
                self.dials.push((self.now, target));
                if works(self.now, target) {
                    self.reconnector.handle_connected(self.now, attempt);
                    assert!(self.reconnector.is_connected());
                    return;
                }
                self.reconnector.handle_failed(self.now, attempt, Failure::Retry);
            }
            match self.reconnector.poll_timeout() {
                Some(deadline) if deadline.at <= end => {
                    assert!(deadline.at >= self.now);
                    self.now = deadline.at;
                    self.reconnector.handle_timeout(self.now);
                }
                _ => return,
            }
        }
    }
}

#[test]
fn a_server_that_is_back_within_half_a_minute_is_dialled_within_600_ms() {
    let lost = at(100_000);
    for seed in 0..400 {
        let down = Duration::from_millis(seed * 30_000 / 400);
        let mut world = World::new(1, Backoff::default(), seed, at(0));
        world.run(lost, |_, _| true);
        assert!(world.reconnector.is_connected());
        world.now = lost;
        world.reconnector.handle_lost(lost);
        world.run(lost + Duration::from_secs(60), |now, _| now >= lost + down);
        assert!(world.reconnector.is_connected());
        let back = world.now.since(lost + down);
        assert!(back <= Duration::from_millis(600), "down for {down:?}, dialled {back:?} later");
    }
}

#[test]
fn the_same_holds_for_a_server_that_starts_after_its_agent_and_for_several_targets() {
    for seed in 0..200 {
        let down = Duration::from_millis(seed * 150);
        let mut world = World::new(3, Backoff::default(), seed, at(5));
        world.run(at(60_005), |now, target| target == 2 && now >= at(5) + down);
        assert!(world.reconnector.is_connected());
        assert!(world.now.since(at(5) + down) <= Duration::from_millis(600));
    }
}

#[test]
fn after_half_a_minute_waits_grow_to_15_s_and_no_further() {
    let mut world = World::new(1, Backoff::default(), 9, at(0));
    world.run(at(3_600_000), |_, _| false);
    let waits: Vec<_> = world.dials.windows(2).map(|two| (two[0].0, two[1].0.since(two[0].0))).collect();
    assert!(waits.iter().all(|(_, wait)| *wait <= Duration::from_secs(15)));
    assert!(
        waits.iter().filter(|(from, _)| *from < at(30_000)).all(|(_, wait)| *wait <= at(600).since(at(0)))
    );
    assert!(waits.iter().any(|(_, wait)| *wait > Duration::from_secs(10)));
    let hurried = waits.iter().filter(|(from, _)| *from < at(30_000)).count();
    assert!((60..200).contains(&hurried), "{hurried}");
    let late = waits.len() - hurried;
    assert!((380..600).contains(&late), "an hour of waits of 7.5 s on average: {late}");
}

#[test]
fn agents_do_not_come_back_in_step() {
    let firsts: Vec<_> = (0..1000)
        .map(|seed| {
            let mut world = World::new(1, Backoff::default(), seed, at(0));
            world.run(at(0), |_, _| true);
            world.reconnector.handle_lost(at(10_000));
            let wait = world.reconnector.poll_timeout().unwrap().at.since(at(10_000));
            assert!(wait <= Duration::from_millis(100));
            wait.as_millis() / 10
        })
        .collect();
    for tenth in 0..10 {
        let count = firsts.iter().filter(|wait| **wait == tenth).count();
        assert!((60..140).contains(&count), "{count} agents within the same 10 ms");
    }
}

#[test]
fn attempts_are_limited_by_the_hurry() {
    let mut reconnector = Reconnector::new(1, Backoff::default(), 1, at(0));
    let (attempt, _, limit) = dial(&mut reconnector);
    assert_eq!(limit, Duration::from_secs(5));
    reconnector.handle_failed(at(40_000), attempt, Failure::Retry);
    let next = reconnector.poll_timeout().unwrap();
    reconnector.handle_timeout(next.at);
    assert_eq!(dial(&mut reconnector).2, Duration::from_secs(30));
}

#[test]
fn an_attempt_that_nobody_answers_is_followed_by_another_and_its_late_answer_is_harmless() {
    let mut reconnector = Reconnector::new(1, Backoff::default(), 1, at(0));
    let (first, ..) = dial(&mut reconnector);
    reconnector.handle_timeout(at(5_500));
    assert_eq!(reconnector.poll_action(), None, "the driver holds the limit");
    reconnector.handle_timeout(at(6_000));
    let next = reconnector.poll_timeout().unwrap();
    assert!(next.at <= at(6_600));
    reconnector.handle_timeout(next.at);
    let (second, ..) = dial(&mut reconnector);
    assert_ne!(first, second);
    reconnector.handle_connected(next.at, first);
    assert!(!reconnector.is_connected());
    reconnector.handle_failed(next.at, first, fatal());
    assert_eq!(reconnector.poll_action(), None);
    reconnector.handle_connected(next.at, second);
    assert!(reconnector.is_connected());
    reconnector.handle_failed(next.at, second, fatal());
    assert!(reconnector.is_connected(), "a second answer to the same attempt");
    assert_eq!(reconnector.poll_timeout(), None);
}

#[test]
fn every_round_goes_through_the_targets_in_order() {
    let mut world = World::new(3, Backoff::default(), 4, at(0));
    world.run(at(60_000), |_, target| target == 1);
    world.reconnector.handle_lost(world.now);
    world.dials.clear();
    let lost = world.now;
    world.run(at(120_000), |now, target| target == 1 && now > lost + Duration::from_secs(3));
    let targets: Vec<_> = world.dials.iter().map(|dial| dial.1).collect();
    assert!(targets.len() > 3);
    assert!(targets.iter().enumerate().all(|(i, target)| usize::from(*target) == i % 3), "{targets:?}");
    // The targets of one round are tried without a wait between them.
    let rounds = world.dials.chunks_exact(3);
    assert!(rounds.into_iter().all(|round| round[0].0 == round[2].0));
}

#[test]
fn one_target_that_refuses_for_good_leaves_the_others_their_chance() {
    let mut reconnector = Reconnector::new(3, Backoff::default(), 1, at(0));
    let mut now = at(0);
    // Not every answer of a round is fatal, so that another round may do better.
    for failures in [[fatal(), Failure::Retry, fatal()], [Failure::Retry, fatal(), fatal()]] {
        for (n, failure) in failures.into_iter().enumerate() {
            let (attempt, target, _) = dial(&mut reconnector);
            assert_eq!(usize::from(target), n);
            reconnector.handle_failed(now, attempt, failure);
        }
        now = reconnector.poll_timeout().unwrap().at;
        reconnector.handle_timeout(now);
    }
    for _ in 0..3 {
        let (attempt, ..) = dial(&mut reconnector);
        reconnector.handle_failed(now, attempt, fatal());
    }
    assert_eq!(reconnector.poll_action(), Some(Action::GiveUp(fatal())));
}

#[test]
fn a_fatal_status_counts_only_before_the_first_success() {
    let mut reconnector = Reconnector::new(1, Backoff::default(), 1, at(0));
    let (attempt, ..) = dial(&mut reconnector);
    reconnector.handle_failed(at(1), attempt, fatal());
    assert_eq!(reconnector.poll_action(), Some(Action::GiveUp(fatal())));
    assert_eq!((reconnector.poll_action(), reconnector.poll_timeout()), (None, None));
    reconnector.handle_timeout(at(100_000));
    reconnector.handle_lost(at(100_000));
    reconnector.handle_connected(at(100_000), attempt);
    assert_eq!((reconnector.poll_action(), reconnector.is_connected()), (None, false));

    let mut reconnector = Reconnector::new(1, Backoff::default(), 1, at(0));
    let (attempt, ..) = dial(&mut reconnector);
    reconnector.handle_connected(at(1), attempt);
    reconnector.handle_lost(at(10_000));
    for _ in 0..50 {
        let next = reconnector.poll_timeout().unwrap().at;
        reconnector.handle_timeout(next);
        let (attempt, ..) = dial(&mut reconnector);
        reconnector.handle_failed(next, attempt, fatal());
    }
    assert!(matches!(reconnector.state, State::Waiting { .. }));
}

#[test]
fn statuses_are_sorted_as_go_does() {
    for status in 0..=999 {
        let expected = if [408, 429, 500, 502, 503, 504].contains(&status) {
            Failure::Retry
        } else {
            Failure::Fatal { status }
        };
        assert_eq!(Failure::from_status(status), expected);
    }
}

#[test]
fn exit_on_failure_gives_up_after_the_first_connects_time_and_not_later() {
    let backoff = Backoff { exit_on_failure: true, ..Backoff::default() };
    let mut world = World::new(1, backoff.clone(), 7, at(0));
    world.run(at(29_999), |_, _| false);
    assert!(matches!(world.reconnector.state, State::Waiting { .. }));
    world.reconnector.handle_timeout(at(30_000));
    assert_eq!(world.reconnector.poll_action(), Some(Action::GiveUp(Failure::Retry)));

    // The last attempt ends with the time.
    let mut reconnector = Reconnector::new(1, backoff.clone(), 7, at(0));
    let (attempt, ..) = dial(&mut reconnector);
    reconnector.handle_failed(at(27_990), attempt, Failure::Retry);
    let next = reconnector.poll_timeout().unwrap().at;
    reconnector.handle_timeout(next);
    let (attempt, _, limit) = dial(&mut reconnector);
    assert_eq!(next + limit, at(30_000));
    reconnector.handle_failed(at(30_000), attempt, Failure::Retry);
    assert_eq!(reconnector.poll_action(), Some(Action::GiveUp(Failure::Retry)));

    // After a success it waits for ever.
    let mut world = World::new(1, backoff, 7, at(0));
    world.run(at(20_000), |now, _| now >= at(20_000));
    world.run(at(29_000), |_, _| true);
    assert!(world.reconnector.is_connected());
    world.now = at(29_500);
    world.reconnector.handle_lost(at(29_500));
    world.run(at(4_000_000), |_, _| false);
    assert!(matches!(world.reconnector.state, State::Waiting { .. }));
}

#[test]
fn a_server_that_drops_every_connection_at_once_is_dialled_ever_more_slowly() {
    let mut world = World::new(1, Backoff::default(), 5, at(0));
    while world.now < at(3_600_000) {
        world.run(at(10_000_000), |_, _| true);
        world.now = world.now + Duration::from_millis(10);
        world.reconnector.handle_lost(world.now);
    }
    let dials = world.dials.len();
    assert!(dials < 1000, "{dials} dials in an hour");
    // One long life makes it a server to hurry for again.
    world.run(at(10_000_000), |_, _| true);
    let lost = world.now + Duration::from_secs(60);
    world.now = lost;
    world.reconnector.handle_lost(lost);
    world.run(at(20_000_000), |now, _| now >= lost + Duration::from_secs(20));
    assert!(world.now.since(lost + Duration::from_secs(20)) <= Duration::from_millis(600));
}

#[test]
fn calls_in_any_order_never_panic_and_never_stall() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let backoff = Backoff { exit_on_failure: seed % 3 == 0, ..Backoff::default() };
        let mut reconnector = Reconnector::new(rng.below(4) as u16, backoff, seed, at(0));
        let mut now = at(0);
        let mut last = 0;
        for _ in 0..300 {
            now = now + Duration::from_millis(rng.below(3000));
            let attempt = Attempt(last.max(1) - rng.below(2).min(last.max(1) - 1));
            match rng.below(6) {
                0 => reconnector.handle_connected(now, attempt),
                1 => reconnector.handle_failed(now, attempt, Failure::Retry),
                2 if rng.below(20) == 0 => reconnector.handle_failed(now, attempt, fatal()),
                3 => reconnector.handle_lost(now),
                _ => reconnector.handle_timeout(now),
            }
            if let Some(Action::Dial { attempt, target, .. }) = reconnector.poll_action() {
                assert!(attempt.0 > last && target < 3, "numbers grow");
                last = attempt.0;
            }
            match reconnector.state {
                State::Connected { .. } | State::GivenUp => assert_eq!(reconnector.poll_timeout(), None),
                State::Dialling { .. } | State::Waiting { .. } => {
                    assert!(reconnector.poll_timeout().is_some());
                }
            }
        }
    }
}

#[test]
fn what_cannot_succeed_is_not_tried_again() {
    let mut r = Reconnector::new(1, Backoff::default(), 1, Instant::ZERO);
    let Some(Action::Dial { attempt, .. }) = r.poll_action() else { panic!("no dial") };
    r.handle_failed(Instant::ZERO, attempt, Failure::Never);
    assert_eq!(r.poll_action(), Some(Action::GiveUp(Failure::Never)));
    assert_eq!(r.poll_timeout(), None);
}

#[test]
fn who_asks_for_long_waits_is_not_hurried() {
    let backoff = Backoff { min: Duration::from_secs(5), max: Duration::from_secs(60), ..Backoff::default() };
    let mut world = World::new(1, backoff, 7, at(0));
    world.run(at(25_000), |_, _| false);
    // Half of 5 s on average; at most 600 ms each they would be 80.
    assert!((4..20).contains(&world.dials.len()), "{:?}", world.dials);
    let backoff = Backoff { max: Duration::from_millis(50), ..Backoff::default() };
    let mut world = World::new(1, backoff, 7, at(0));
    world.run(at(1_000), |_, _| false);
    assert!(world.dials.windows(2).all(|two| two[1].0.since(two[0].0) <= Duration::from_millis(50)));
}
