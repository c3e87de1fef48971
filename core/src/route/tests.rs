use super::*;
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const NOW: Instant = Instant::from_millis(5_000);

fn ep(name: &str) -> EndpointId {
    EndpointId::new(name.as_bytes()).unwrap()
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

fn pick(router: &Router, dice: u64, exclude: &[Route]) -> Option<Pick> {
    router.select(NOW, b"ep", Hop::First, dice, exclude)
}

/// A request that is over at once.
fn select(router: &Router, dice: u64, exclude: &[Route]) -> Option<Route> {
    let mut pick = pick(router, dice, exclude)?;
    pick.answered();
    Some(pick.route().clone())
}

/// Fails one request at `route`, which has to be the only one that is not in `others`.
fn fail(router: &Router, now: Instant, fault: Fault, others: &[Route]) {
    router.select(now, b"ep", Hop::First, 0, others).unwrap().fail(now, fault);
}

fn local(id: u64) -> Route {
    Route::Local(TunnelId(id))
}

fn remote(name: &str, port: u16) -> Route {
    Route::Remote { node: node(name), proxy: addr(port) }
}

fn with_locals(count: u64) -> Router {
    let mut router = Router::default();
    for id in 0..count {
        router.attach(ep("ep"), TunnelId(id));
    }
    router
}

#[test]
fn the_usual_body_follows_what_is_announced() {
    let mut router = Router::default();
    router.node_up(node("a"), addr(1));
    router.remote(&node("a"), ep("ep"), 1);
    let usual = || pick(&router, 0, &[]).unwrap().body_bytes();
    let note = |bytes| pick(&router, 0, &[]).unwrap().note_body(bytes);
    assert_eq!(usual(), 0);
    for _ in 0..50 {
        note(100_000);
    }
    assert!((90_000..=100_000).contains(&usual()), "{}", usual());
    // One download is soon forgotten, however large it was.
    note(u64::MAX);
    assert!(usual() < 300_000, "{}", usual());
    for _ in 0..30 {
        note(100);
    }
    assert!(usual() < 16 * 1024, "{}", usual());
}

#[test]
fn what_a_node_leaves_alone_is_what_nobody_else_serves() {
    let mut router = Router::default();
    for name in ["a", "b"] {
        router.node_up(node(name), addr(1));
    }
    router.attach(ep("here"), TunnelId(1));
    for (name, endpoint) in [("a", "ep"), ("a", "both"), ("b", "both"), ("a", "here")] {
        router.remote(&node(name), ep(endpoint), 1);
    }
    let left = |router: &Router, name| router.left_alone(&node(name)).cloned().collect::<Vec<_>>();
    assert_eq!(left(&router, "a"), []);
    router.node_down(&node("a"));
    assert_eq!(left(&router, "a"), [ep("ep")]);
    let served = |router: &Router| ["ep", "both", "here", "other"].map(|e| router.is_served(e.as_bytes()));
    assert_eq!(served(&router), [false, true, true, false]);
    router.node_down(&node("b"));
    assert_eq!(left(&router, "b"), [ep("both")]);
    router.detach(TunnelId(1));
    assert_eq!(served(&router), [false; 4]);
    router.node_up(node("a"), addr(1));
    assert_eq!(served(&router), [true, true, true, false]);
}

#[test]
fn others_are_those_that_were_not_tried() {
    let mut router = Router::new(Preference::Local);
    let here = |n| Route::Local(TunnelId(n));
    assert!(!router.has_other(b"ep", &[]));
    router.attach(ep("ep"), TunnelId(1));
    assert!(router.has_other(b"ep", &[]) && !router.has_other(b"ep", &[here(1)]));
    router.attach(ep("ep"), TunnelId(2));
    assert!(router.has_other(b"ep", &[here(1)]) && !router.has_other(b"ep", &[here(1), here(2)]));
    router.remote(&node("b"), ep("ep"), 1);
    assert!(!router.has_other(b"ep", &[here(1), here(2)]), "a node that is not up");
    router.node_up(node("b"), addr(1));
    assert!(router.has_other(b"ep", &[here(1), here(2)]));
    let there = Route::Remote { node: node("b"), proxy: addr(1) };
    assert!(!router.has_other(b"ep", &[here(1), here(2), there]));
}

#[test]
fn threads_can_share_a_router() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Router::default());
}

#[test]
fn an_unknown_endpoint_has_no_route() {
    assert_eq!(select(&Router::default(), 7, &[]), None);
    assert!(with_locals(1).select(NOW, b"EP", Hop::First, 7, &[]).is_none());
}

#[test]
fn adverts_count_tunnels_and_detaching_twice_counts_once() {
    let mut router = Router::default();
    let advert = |listeners| Advert { endpoint: ep("ep"), listeners };
    assert_eq!(router.attach(ep("ep"), TunnelId(1)), advert(1));
    assert_eq!(router.attach(ep("ep"), TunnelId(2)), advert(2));
    assert_eq!(router.attach(ep("ep"), TunnelId(2)), advert(2), "attached already");
    assert_eq!(router.attach(ep("other"), TunnelId(2)), advert(2), "a tunnel keeps its endpoint");
    assert_eq!(router.tunnels(), 2);
    assert_eq!(router.detach(TunnelId(1)), Some(advert(1)));
    assert_eq!(router.detach(TunnelId(1)), None);
    assert_eq!(router.local().collect::<Vec<_>>(), [(&ep("ep"), 1)]);
    assert_eq!(router.detach(TunnelId(2)), Some(advert(0)));
    assert_eq!(router.local().count(), 0);
    assert_eq!(router.tunnels(), 0);
    assert_eq!(select(&router, 0, &[]), None);
}

#[test]
fn idle_tunnels_are_served_in_turn_in_order_of_arrival() {
    for count in [4, 20] {
        let router = with_locals(count);
        let mut rng = Rng::new(3);
        let picks: Vec<_> = (0..2 * count).map(|_| select(&router, rng.next_u64(), &[]).unwrap()).collect();
        let expected: Vec<_> = (0..2 * count).map(|turn| local(turn % count)).collect();
        assert_eq!(picks, expected);
    }
}

#[test]
fn turns_go_on_over_the_rest_after_a_removal() {
    let mut router = with_locals(3);
    router.detach(TunnelId(1));
    let mut seen = BTreeMap::<u64, u32>::new();
    for _ in 0..10 {
        let Some(Route::Local(TunnelId(id))) = select(&router, 0, &[]) else { panic!("no route") };
        *seen.entry(id).or_default() += 1;
    }
    assert_eq!(seen, BTreeMap::from([(0, 5), (2, 5)]));
}

#[test]
fn a_tunnel_that_does_not_answer_gets_what_the_others_have_under_way() {
    for count in [2, 20] {
        let router = with_locals(count);
        let mut rng = Rng::new(11);
        let mut stuck = Vec::new();
        // Tunnel 0 never answers; the others answer at once.
        for _ in 0..1000 {
            let mut pick = pick(&router, rng.next_u64(), &[]).unwrap();
            if *pick.route() == local(0) {
                stuck.push(pick);
            } else {
                pick.answered();
            }
        }
        assert!(stuck.len() <= if count == 2 { 1 } else { 10 }, "{} of {count}", stuck.len());
    }
}

#[test]
fn what_was_tried_is_never_given_again() {
    let router = with_locals(3);
    let mut tried = Vec::new();
    for dice in 0..3 {
        tried.push(select(&router, dice, &tried).unwrap());
    }
    assert_eq!(select(&router, 9, &tried), None);
    let mut ids: Vec<_> = tried.iter().map(|route| alloc::format!("{route:?}")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_failed_tunnel_is_passed_over_for_a_second() {
    let router = with_locals(2);
    fail(&router, NOW, Fault::Broken, &[local(1)]);
    for dice in 0..20 {
        assert_eq!(select(&router, dice, &[]), Some(local(1)));
    }
    let later = NOW + Duration::from_millis(1_000);
    let again = (0..4).filter(|dice| {
        let pick = router.select(later, b"ep", Hop::First, *dice, &[]).unwrap();
        *pick.route() == local(0)
    });
    assert_eq!(again.count(), 2);
}

#[test]
fn the_only_choice_is_taken_although_suspected_or_set_aside() {
    let router = with_locals(1);
    for _ in 0..20 {
        fail(&router, NOW, Fault::Broken, &[]);
    }
    assert_eq!(pick(&router, 0, &[local(0)]).map(|_| ()), None, "but not twice for one request");
    assert_eq!(select(&router, 0, &[]), Some(local(0)));
}

#[test]
fn suspicion_starts_at_the_epoch_too() {
    let router = with_locals(2);
    fail(&router, Instant::ZERO, Fault::Broken, &[local(1)]);
    let picked = router.select(Instant::ZERO, b"ep", Hop::First, 0, &[]).unwrap();
    assert_eq!(*picked.route(), local(1));
}

#[test]
fn slow_answers_are_counted_and_not_suspected() {
    let router = with_locals(2);
    for _ in 0..4 {
        fail(&router, NOW, Fault::Slow, &[local(1)]);
    }
    let picks: Vec<_> = (0..2).map(|_| pick(&router, 0, &[]).unwrap()).collect();
    assert_ne!(picks[0].route(), picks[1].route());
    fail(&router, NOW, Fault::Slow, &[local(1)]);
    assert_eq!(select(&router, 0, &[]), Some(local(1)));
    assert_eq!(select(&router, 0, &[]), Some(local(1)), "five failures in a row");
}

#[test]
fn what_fails_five_times_is_set_aside_for_longer_and_longer_with_one_trial_at_a_time() {
    let router = with_locals(3);
    let bad = local(0);
    let others = [local(1), local(2)];
    for _ in 0..5 {
        fail(&router, NOW, Fault::Slow, &others);
    }
    let mut now = NOW;
    for span in [10, 20, 40, 60, 60] {
        let due = now + Duration::from_secs(span);
        let is_bad = |at: Instant| *router.select(at, b"ep", Hop::First, 1, &[]).unwrap().route() == bad;
        assert!(!(0..30).any(|_| is_bad(due - Duration::from_millis(2))), "{span} s have not passed");
        let mut trial = router.select(due, b"ep", Hop::First, 1, &[]).unwrap();
        assert_eq!(*trial.route(), bad, "{span} s have passed");
        assert!(!(0..30).any(|_| is_bad(due)), "one trial at a time");
        now = due + Duration::from_secs(1);
        trial.fail(now, Fault::Slow);
    }
    let due = now + Duration::from_secs(60);
    // A trial without a verdict, since its client left, makes room for the next one.
    drop(router.select(due, b"ep", Hop::First, 1, &[]).unwrap());
    let mut trial = router.select(due, b"ep", Hop::First, 1, &[]).unwrap();
    assert_eq!(*trial.route(), bad);
    trial.answered();
    drop(trial);
    let picks: Vec<_> = (0..3).map(|_| router.select(due, b"ep", Hop::First, 1, &[]).unwrap()).collect();
    assert!(picks.iter().any(|pick| *pick.route() == bad), "trusted again");
}

#[test]
fn an_answer_between_failures_starts_the_count_again() {
    let router = with_locals(2);
    for _ in 0..10 {
        for _ in 0..4 {
            fail(&router, NOW, Fault::Slow, &[local(1)]);
        }
        assert_eq!(select(&router, 0, &[local(1)]), Some(local(0)));
    }
}

#[test]
fn a_retry_is_no_trial() {
    let router = with_locals(3);
    for _ in 0..5 {
        fail(&router, NOW, Fault::Slow, &[local(1), local(2)]);
    }
    let due = NOW + Duration::from_secs(30);
    let again = router.select(due, b"ep", Hop::First, 0, &[local(1)]).unwrap();
    assert_eq!(*again.route(), local(2));
}

/// One of three hangs, under ever more clients: the others answer within a millisecond.
#[test]
fn few_requests_meet_an_upstream_that_hangs() {
    for clients in [1, 4, 24, 40] {
        let router = with_locals(3);
        let mut rng = Rng::new(clients);
        let mut met = Vec::new();
        let mut under_way = Vec::new();
        for request in 0..10_000 {
            // 2,000 requests per second.
            let now = NOW + Duration::from_micros(500 * request);
            if under_way.len() >= clients as usize {
                let at = rng.below(under_way.len() as u64) as usize;
                let mut done: Pick = under_way.swap_remove(at);
                done.answered();
            }
            let pick = router.select(now, b"ep", Hop::First, rng.next_u64(), &[]).unwrap();
            if *pick.route() == local(0) { met.push(pick) } else { under_way.push(pick) }
        }
        assert!(met.len() <= 20, "{} of 10,000 with {clients} clients", met.len());
    }
}

/// A node that stands still takes a few requests, not a few of each of its endpoints.
#[test]
fn a_silent_node_is_noticed_over_all_its_endpoints() {
    let mut router = Router::default();
    let names: Vec<_> = (0..100).map(|n| alloc::format!("endpoint-{n}")).collect();
    for (name, port) in [("b", 1), ("c", 2)] {
        router.node_up(node(name), addr(port));
        for endpoint in &names {
            router.remote(&node(name), ep(endpoint), 1);
        }
    }
    let mut rng = Rng::new(9);
    let mut met = Vec::new();
    for n in 0..5_000_u64 {
        // One request per millisecond.
        let (now, endpoint) = (NOW + Duration::from_millis(n), &names[(n % 100) as usize]);
        let mut pick = router.select(now, endpoint.as_bytes(), Hop::First, rng.next_u64(), &[]).unwrap();
        if *pick.route() == remote("b", 1) { met.push(n) } else { pick.answered() }
    }
    assert!(met.iter().all(|at| *at < 250), "{met:?}");
    let now = NOW + Duration::from_millis(10_300);
    let pick = router.select(now, names[0].as_bytes(), Hop::First, 0, &[]).unwrap();
    assert_eq!(*pick.route(), remote("b", 1), "one request finds out");
    let pick = router.select(now, names[1].as_bytes(), Hop::First, 0, &[]).unwrap();
    assert_eq!(*pick.route(), remote("c", 2), "and only one");
}

/// Long polls everywhere: that nobody answers says nothing about anybody.
#[test]
fn equals_that_are_all_silent_share_alike() {
    let router = with_locals(3);
    let picks: Vec<_> = (0..300)
        .map(|n| router.select(NOW + Duration::from_millis(50 * n), b"ep", Hop::First, n, &[]).unwrap())
        .collect();
    for id in 0..3 {
        let share = picks.iter().filter(|pick| *pick.route() == local(id)).count();
        assert!((95..=105).contains(&share), "{share}");
    }
}

#[test]
fn other_nodes_come_after_local_tunnels_and_before_suspected_ones() {
    let mut router = with_locals(1);
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 3);
    let there = remote("b", 1);
    for dice in 0..5 {
        assert_eq!(select(&router, dice, &[]), Some(local(0)));
    }
    assert_eq!(select(&router, 0, &[local(0)]), Some(there.clone()));
    fail(&router, NOW, Fault::Broken, core::slice::from_ref(&there));
    assert_eq!(*pick(&router, 0, &[]).unwrap().route(), there);
    fail(&router, NOW, Fault::Broken, &[local(0)]);
    assert_eq!(*pick(&router, 0, &[]).unwrap().route(), local(0));
    assert_eq!(*pick(&router, 0, &[local(0)]).unwrap().route(), there);
}

#[test]
fn a_draining_node_is_used_while_there_is_nothing_better() {
    let mut router = Router::default();
    router.node_draining(&node("b"), true);
    for (name, port) in [("b", 1), ("c", 2)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), 1);
    }
    for dice in 0..20 {
        assert_eq!(select(&router, dice << 31, &[]), Some(remote("c", 2)));
    }
    assert_eq!(select(&router, 0, &[remote("c", 2)]), Some(remote("b", 1)));
    fail(&router, NOW, Fault::Broken, &[remote("b", 1)]);
    assert_eq!(*pick(&router, 0, &[]).unwrap().route(), remote("b", 1), "before what is suspected");
    router.node_draining(&node("b"), false);
    router.node_down(&node("c"));
    assert_eq!(select(&router, 0, &[]), Some(remote("b", 1)));
}

#[test]
fn a_forwarded_request_never_leaves_the_node() {
    let mut router = with_locals(1);
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 3);
    let forwarded = |router: &Router, exclude: &[Route]| {
        Some(router.select(NOW, b"ep", Hop::Forwarded, 0, exclude)?.route().clone())
    };
    assert_eq!(forwarded(&router, &[]), Some(local(0)));
    assert_eq!(forwarded(&router, &[local(0)]), None);
    for _ in 0..20 {
        router.select(NOW, b"ep", Hop::Forwarded, 0, &[]).unwrap().fail(NOW, Fault::Broken);
    }
    assert_eq!(forwarded(&router, &[]), Some(local(0)));
    router.detach(TunnelId(0));
    assert_eq!(forwarded(&router, &[]), None);
    assert!(router.select(NOW, b"ep", Hop::First, 0, &[]).is_some());
}

#[test]
fn a_node_is_used_only_while_it_is_up_and_listens() {
    let mut router = Router::default();
    router.remote(&node("b"), ep("ep"), 1);
    assert_eq!(select(&router, 0, &[]), None, "counts before the address are kept, not used");
    router.node_up(node("b"), addr(1));
    assert_eq!(select(&router, 0, &[]), Some(remote("b", 1)));
    router.node_up(node("b"), addr(2));
    assert_eq!(select(&router, 0, &[]), Some(remote("b", 2)));
    router.node_down(&node("b"));
    assert_eq!(select(&router, 0, &[]), None);
    router.node_up(node("b"), addr(2));
    assert!(select(&router, 0, &[]).is_some(), "the counts survive a short absence");
    router.remote(&node("b"), ep("ep"), 0);
    assert_eq!(select(&router, 0, &[]), None);
    router.remote(&node("b"), ep("ep"), 1);
    router.node_forget(&node("b"));
    router.node_up(node("b"), addr(2));
    assert_eq!(select(&router, 0, &[]), None, "forgotten with its counts");
}

#[test]
fn a_moved_node_is_still_excluded() {
    let mut router = Router::default();
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 1);
    let tried = select(&router, 0, &[]).unwrap();
    router.node_up(node("b"), addr(2));
    assert_eq!(select(&router, 0, &[tried]), None);
}

fn two_nodes() -> Router {
    let mut router = Router::default();
    for (name, port) in [("b", 1), ("c", 2)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), 1);
        router.remote(&node(name), ep("other"), 1);
    }
    router
}

#[test]
fn a_broken_connection_is_held_against_all_endpoints_of_a_node_and_a_missing_upstream_against_one() {
    for (fault, of_both) in [(Fault::Broken, 20), (Fault::Down, 0)] {
        let router = two_nodes();
        fail(&router, NOW, fault, &[remote("c", 2)]);
        let avoided = |endpoint: &[u8]| {
            let away = (0..20u64).filter(|dice| {
                let pick = router.select(NOW, endpoint, Hop::First, dice << 32 | (dice & 1), &[]).unwrap();
                *pick.route() == remote("c", 2)
            });
            away.count()
        };
        assert_eq!(avoided(b"ep"), 20);
        assert!(avoided(b"other") >= of_both && (of_both == 20 || avoided(b"other") < 20), "{fault:?}");
    }
}

#[test]
fn a_node_that_is_back_or_elsewhere_starts_anew() {
    let mut router = two_nodes();
    for _ in 0..9 {
        fail(&router, NOW, Fault::Broken, &[remote("c", 2)]);
    }
    router.node_up(node("b"), addr(1));
    assert!((0..20).all(|dice| select(&router, dice << 32, &[]) == Some(remote("c", 2))));
    router.node_up(node("b"), addr(3));
    assert!((0..20).any(|dice| select(&router, dice << 32, &[]) == Some(remote("b", 3))));
}

#[test]
fn what_a_node_says_of_its_load_is_believed_for_two_seconds() {
    let router = two_nodes();
    pick(&router, 0, &[remote("c", 2)]).unwrap().hint(NOW, 9);
    let to_b = |now| {
        let mut rng = Rng::new(4);
        let picks = (0..100).filter(|_| {
            let pick = router.select(now, b"ep", Hop::First, rng.next_u64(), &[]).unwrap();
            *pick.route() == remote("b", 1)
        });
        picks.count()
    };
    assert!(to_b(NOW) < 40, "{}", to_b(NOW));
    assert!(to_b(NOW + Duration::from_secs(2)) > 40);
}

#[test]
fn a_local_tunnel_gives_way_to_a_node_with_clearly_fewer_requests() {
    let mut router = with_locals(1);
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 1);
    let picks: Vec<_> = (0..100).map(|dice| pick(&router, dice, &[]).unwrap()).collect();
    let here = picks.iter().filter(|pick| *pick.route() == local(0)).count();
    assert!(picks[..9].iter().all(|pick| *pick.route() == local(0)), "a few requests stay here");
    assert!((60..75).contains(&here), "{here} of 100 stay here");
}

/// `prefer-local=false`: one upstream here, two there, four elsewhere.
#[test]
fn without_preference_every_upstream_of_the_cluster_gets_the_same_share() {
    for at_once in [1, 8, 64] {
        let mut router = Router::new(Preference::Even);
        router.attach(ep("ep"), TunnelId(0));
        for (name, port, listeners) in [("b", 1, 2), ("c", 2, 4)] {
            router.node_up(node(name), addr(port));
            router.remote(&node(name), ep("ep"), listeners);
        }
        let mut rng = Rng::new(at_once);
        let mut shares = [0_u32; 3];
        let mut under_way = alloc::collections::VecDeque::new();
        for _ in 0..10_000 {
            let pick = pick(&router, rng.next_u64(), &[]).unwrap();
            match pick.route() {
                Route::Local(_) => shares[0] += 4,
                Route::Remote { proxy, .. } if proxy.port() == 1 => shares[1] += 2,
                Route::Remote { .. } => shares[2] += 1,
            }
            under_way.push_back(pick);
            if under_way.len() as u64 >= at_once {
                under_way.pop_front().unwrap().answered();
            }
        }
        let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
        assert!(most * 2 <= least * 3, "{shares:?} with {at_once} at once");
    }
}

/// However a node's numbers err, and whoever was passed over for a moment.
#[test]
fn without_preference_what_seems_busy_or_was_quiet_has_its_share() {
    let shares_of = |(here, there): (usize, usize), quiet: u64| {
        let mut router = Router::new(Preference::Even);
        router.attach(ep("ep"), TunnelId(0));
        for (name, port) in [("b", 1), ("c", 2)] {
            router.node_up(node(name), addr(port));
            router.remote(&node(name), ep("ep"), 1);
        }
        let mut rng = Rng::new(1);
        let mut shares = [0_u32; 3];
        let mut own = Vec::new();
        let mut waiting = Vec::new();
        for turn in 0..10_000 {
            let now = NOW + Duration::from_millis(turn);
            let mut pick = router.select(now, b"ep", Hop::First, rng.next_u64(), &[]).unwrap();
            let at = match pick.route() {
                Route::Local(_) => 0,
                Route::Remote { proxy, .. } => usize::from(proxy.port()),
            };
            shares[at] += 1;
            if at == 0 && own.len() < here {
                // Long bodies.
                pick.answered();
                own.push(pick);
                continue;
            }
            if at == 1 && there > 0 {
                pick.hint(now, there);
            }
            // Now and then one answers nobody for a while, and so looks quiet.
            if at == 2 && turn % 100 < quiet {
                waiting.push(pick);
            } else {
                waiting.drain(..).for_each(|mut pick| pick.answered());
                pick.answered();
            }
        }
        shares
    };
    for (busy, quiet) in [((0, 0), 0), ((0, 100), 0), ((100, 0), 0), ((0, 0), 40), ((0, 100), 40)] {
        let shares = shares_of(busy, quiet);
        let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
        assert!(most * 2 <= least * 3, "{shares:?} with {busy:?} and {quiet} quiet");
    }
}

#[test]
fn nodes_are_weighted_by_their_listeners() {
    let mut router = Router::default();
    for (name, port, listeners) in [("b", 1, 9), ("c", 2, 1)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), listeners);
    }
    let mut rng = Rng::new(5);
    let few = (0..1000).filter(|_| select(&router, rng.next_u64(), &[]) == Some(remote("c", 2))).count();
    assert!((60..150).contains(&few), "{few}");
}

#[test]
fn late_and_surplus_calls_do_nothing() {
    let mut router = with_locals(2);
    let mut old = pick(&router, 0, &[local(1)]).unwrap();
    router.detach(TunnelId(0));
    router.node_down(&node("x"));
    router.node_forget(&node("x"));
    router.node_draining(&node("x"), false);
    router.remote(&node("x"), ep("ep"), 0);
    // What the pick of a tunnel that is gone says meets nobody else, not even one of the same name.
    router.attach(ep("ep"), TunnelId(0));
    old.fail(NOW, Fault::Broken);
    drop(old);
    let picks: Vec<_> = (0..2).map(|dice| pick(&router, dice, &[]).unwrap()).collect();
    assert_ne!(picks[0].route(), picks[1].route());
    assert_eq!(router.outstanding(b"ep"), 2);
    drop(picks);
    assert_eq!(router.outstanding(b"ep"), 0);
    assert_eq!(router.outstanding(b"nobody"), 0);
}

#[test]
fn shedding_spares_the_last_tunnel_of_an_endpoint() {
    let mut router = Router::default();
    for (name, ids) in [("big", 0..5), ("mid", 10..12), ("one", 20..21)] {
        for id in ids {
            router.attach(ep(name), TunnelId(id));
        }
    }
    assert_eq!(router.shed(8), vec![]);
    assert_eq!(router.shed(100), vec![]);
    assert_eq!(router.shed(5), [4, 3, 2].map(TunnelId), "the youngest of the largest endpoint");
    let mut rest = router.shed(3);
    rest.sort();
    assert_eq!(rest, [1, 2, 3, 4, 11].map(TunnelId), "one of each endpoint is left");
    assert_eq!(router.shed(0).len(), 8);
}

#[test]
fn shedding_takes_idle_tunnels_before_busy_ones() {
    let router = with_locals(3);
    // Keep tunnels 0 and 2 busy.
    let _busy: Vec<_> = (0..30).map(|_| pick(&router, 0, &[local(1)]).unwrap()).collect();
    assert_eq!(router.shed(2), [TunnelId(1)]);
}

/// The table against a model that is obviously right: lists of tunnels and counts.
#[test]
fn random_histories_agree_with_a_plain_model() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut router = Router::default();
        let mut tunnels = BTreeMap::<u64, u8>::new();
        let mut counts = BTreeMap::<(u8, u8), u32>::new();
        let mut up = [false; 3];
        let (mut next, names) = (0, ["a", "b", "c"]);
        for _ in 0..60 {
            let (which, peer) = (rng.below(3) as u8, rng.below(3) as u8);
            let endpoint = ep(names[usize::from(which)]);
            match rng.below(7) {
                0 | 1 => {
                    let advert = router.attach(endpoint, TunnelId(next));
                    tunnels.insert(next, which);
                    next += 1;
                    let expected = tunnels.values().filter(|at| **at == which).count();
                    assert_eq!(advert.listeners as usize, expected);
                }
                2 => {
                    let id = rng.below(next + 1);
                    let was = tunnels.remove(&id);
                    let advert = router.detach(TunnelId(id));
                    assert_eq!(advert.is_some(), was.is_some());
                    let left = tunnels.values().filter(|at| Some(**at) == was).count();
                    assert_eq!(advert.map(|advert| advert.listeners as usize), was.map(|_| left));
                }
                3 => {
                    up[usize::from(peer)] = true;
                    router.node_up(node(names[usize::from(peer)]), addr(u16::from(peer)));
                }
                4 => {
                    up[usize::from(peer)] = false;
                    router.node_down(&node(names[usize::from(peer)]));
                }
                5 if rng.below(4) == 0 => {
                    up[usize::from(peer)] = false;
                    counts.retain(|(_, at), _| *at != peer);
                    router.node_forget(&node(names[usize::from(peer)]));
                }
                _ => {
                    let listeners = rng.below(3) as u32;
                    counts.insert((which, peer), listeners);
                    router.remote(&node(names[usize::from(peer)]), endpoint, listeners);
                }
            }
            for (which, name) in (0u8..).zip(names) {
                let has_local = tunnels.values().any(|at| *at == which);
                let has_remote = counts
                    .iter()
                    .any(|((at, peer), count)| *at == which && *count > 0 && up[usize::from(*peer)]);
                let mut pick = router.select(NOW, name.as_bytes(), Hop::First, rng.next_u64(), &[]);
                pick.iter_mut().for_each(Pick::answered);
                match pick.as_ref().map(Pick::route) {
                    Some(Route::Local(TunnelId(id))) => assert_eq!(tunnels.get(id), Some(&which)),
                    Some(Route::Remote { proxy, .. }) => {
                        assert!(!has_local && up[usize::from(proxy.port())]);
                        assert!(counts[&(which, proxy.port() as u8)] > 0);
                    }
                    None => assert!(!has_local && !has_remote),
                }
                let mut forwarded = router.select(NOW, name.as_bytes(), Hop::Forwarded, rng.next_u64(), &[]);
                forwarded.iter_mut().for_each(Pick::answered);
                assert_eq!(forwarded.is_some(), has_local);
            }
        }
        assert_eq!(router.tunnels(), tunnels.len());
    }
}

#[test]
fn nodes_that_go_do_not_count_elsewhere() {
    let mut router = with_locals(3);
    let elsewhere = |nodes, listeners| Elsewhere { nodes, listeners };
    assert_eq!(router.elsewhere(), elsewhere(0, 0));
    for (name, port, listeners) in [("b", 1, 5), ("c", 2, 7), ("d", 3, 11)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), listeners);
    }
    router.remote(&node("b"), ep("other"), 1);
    router.remote(&node("ghost"), ep("ep"), 100);
    assert_eq!(router.elsewhere(), elsewhere(3, 24), "one that is not up is not there");
    router.node_draining(&node("c"), true);
    router.node_down(&node("d"));
    assert_eq!(router.elsewhere(), elsewhere(1, 6));
    router.node_draining(&node("c"), false);
    assert_eq!(router.elsewhere(), elsewhere(2, 13));
}

#[test]
fn what_is_set_aside_is_counted_until_it_answers() {
    let router = with_locals(2);
    assert_eq!(router.set_aside(NOW), 0);
    for _ in 0..5 {
        fail(&router, NOW, Fault::Slow, &[local(1)]);
    }
    assert_eq!(router.set_aside(NOW), 1);
    let later = NOW + Duration::from_secs(11);
    assert_eq!(router.set_aside(later), 1, "due for a trial");
    router.select(later, b"ep", Hop::First, 0, &[]).unwrap().answered();
    assert_eq!(router.set_aside(later), 0);
}
