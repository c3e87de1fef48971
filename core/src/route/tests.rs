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

fn select(router: &Router, dice: u64, exclude: &[Route]) -> Option<Route> {
    router.select(NOW, b"ep", Hop::First, dice, exclude)
}

fn with_locals(count: u64) -> Router {
    let mut router = Router::new();
    for id in 0..count {
        router.attach(ep("ep"), TunnelId(id));
    }
    router
}

#[test]
fn threads_can_share_a_router() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Router::new());
}

#[test]
fn an_unknown_endpoint_has_no_route() {
    assert_eq!(select(&Router::new(), 7, &[]), None);
    assert_eq!(with_locals(1).select(NOW, b"EP", Hop::First, 7, &[]), None);
}

#[test]
fn adverts_count_tunnels_and_detaching_twice_counts_once() {
    let mut router = Router::new();
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
    let router = with_locals(4);
    let mut rng = Rng::new(3);
    let picks: Vec<_> = (0..8)
        .map(|_| {
            let route = select(&router, rng.next_u64(), &[]).unwrap();
            router.release(&route);
            route
        })
        .collect();
    let expected: Vec<_> = [0, 1, 2, 3, 0, 1, 2, 3].map(|id| Route::Local(TunnelId(id))).to_vec();
    assert_eq!(picks, expected);
}

#[test]
fn turns_go_on_over_the_rest_after_a_removal() {
    let mut router = with_locals(3);
    router.detach(TunnelId(1));
    let mut seen = BTreeMap::<u64, u32>::new();
    for _ in 0..10 {
        let Some(Route::Local(TunnelId(id))) = select(&router, 0, &[]) else { panic!("no route") };
        *seen.entry(id).or_default() += 1;
        router.release(&Route::Local(TunnelId(id)));
    }
    assert_eq!(seen, BTreeMap::from([(0, 5), (2, 5)]));
}

#[test]
fn a_slow_tunnel_gets_less_than_its_share() {
    let router = with_locals(2);
    let mut rng = Rng::new(11);
    let mut slow = 0;
    // Tunnel 0 never answers; tunnel 1 answers at once.
    for _ in 0..1000 {
        match select(&router, rng.next_u64(), &[]).unwrap() {
            Route::Local(TunnelId(0)) => slow += 1,
            route => router.release(&route),
        }
    }
    // Turns alone would be 500; the random second look avoids it in half of its turns.
    assert!((150..350).contains(&slow), "{slow}");
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
    let bad = Route::Local(TunnelId(0));
    router.fail(NOW, &bad);
    for dice in 0..20 {
        assert_eq!(select(&router, dice, &[]), Some(Route::Local(TunnelId(1))));
        router.release(&Route::Local(TunnelId(1)));
    }
    let later = NOW + Duration::from_millis(1_000);
    let again = (0..4).filter(|dice| {
        let route = router.select(later, b"ep", Hop::First, *dice, &[]).unwrap();
        router.release(&route);
        route == bad
    });
    assert_eq!(again.count(), 2);
}

#[test]
fn the_only_choice_is_taken_although_suspected() {
    let router = with_locals(1);
    let only = Route::Local(TunnelId(0));
    router.fail(NOW, &only);
    assert_eq!(select(&router, 0, &[]), Some(only.clone()));
    assert_eq!(select(&router, 0, &[only]), None, "but not twice for one request");
}

#[test]
fn suspicion_starts_at_the_epoch_too() {
    let router = with_locals(2);
    router.fail(Instant::ZERO, &Route::Local(TunnelId(0)));
    let picked = router.select(Instant::ZERO, b"ep", Hop::First, 0, &[]);
    assert_eq!(picked, Some(Route::Local(TunnelId(1))));
}

#[test]
fn other_nodes_come_after_local_tunnels_and_before_suspected_ones() {
    let mut router = with_locals(1);
    let (local, there) = (Route::Local(TunnelId(0)), Route::Remote { node: node("b"), proxy: addr(1) });
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 3);
    for dice in 0..5 {
        assert_eq!(select(&router, dice, &[]), Some(local.clone()));
    }
    assert_eq!(select(&router, 0, core::slice::from_ref(&local)), Some(there.clone()));
    router.fail(NOW, &local);
    assert_eq!(select(&router, 0, &[]), Some(there.clone()));
    router.fail(NOW, &there);
    assert_eq!(select(&router, 0, &[]), Some(local.clone()));
    assert_eq!(select(&router, 0, &[local]), Some(there));
}

#[test]
fn a_forwarded_request_never_leaves_the_node() {
    let mut router = with_locals(1);
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 3);
    let local = Route::Local(TunnelId(0));
    assert_eq!(router.select(NOW, b"ep", Hop::Forwarded, 0, &[]), Some(local.clone()));
    assert_eq!(router.select(NOW, b"ep", Hop::Forwarded, 0, core::slice::from_ref(&local)), None);
    router.detach(TunnelId(0));
    assert_eq!(router.select(NOW, b"ep", Hop::Forwarded, 0, &[]), None);
    assert!(router.select(NOW, b"ep", Hop::First, 0, &[]).is_some());
}

#[test]
fn a_node_is_used_only_while_it_is_up_and_listens() {
    let mut router = Router::new();
    router.remote(&node("b"), ep("ep"), 1);
    assert_eq!(select(&router, 0, &[]), None, "counts before the address are kept, not used");
    router.node_up(node("b"), addr(1));
    assert_eq!(select(&router, 0, &[]), Some(Route::Remote { node: node("b"), proxy: addr(1) }));
    router.node_up(node("b"), addr(2));
    assert_eq!(select(&router, 0, &[]), Some(Route::Remote { node: node("b"), proxy: addr(2) }));
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
    let mut router = Router::new();
    router.node_up(node("b"), addr(1));
    router.remote(&node("b"), ep("ep"), 1);
    let tried = select(&router, 0, &[]).unwrap();
    router.node_up(node("b"), addr(2));
    assert_eq!(select(&router, 0, &[tried]), None);
}

#[test]
fn suspicion_of_a_node_holds_for_all_its_endpoints() {
    let mut router = Router::new();
    for (name, port) in [("b", 1), ("c", 2)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), 1);
        router.remote(&node(name), ep("other"), 1);
    }
    router.fail(NOW, &Route::Remote { node: node("b"), proxy: addr(1) });
    for dice in 0..20 {
        let picked = router.select(NOW, b"other", Hop::First, dice, &[]);
        assert_eq!(picked, Some(Route::Remote { node: node("c"), proxy: addr(2) }));
    }
}

#[test]
fn nodes_are_weighted_by_their_listeners() {
    let mut router = Router::new();
    for (name, port, listeners) in [("b", 1, 9), ("c", 2, 1)] {
        router.node_up(node(name), addr(port));
        router.remote(&node(name), ep("ep"), listeners);
    }
    let mut rng = Rng::new(5);
    let few = (0..1000)
        .filter(|_| {
            let route = select(&router, rng.next_u64(), &[]).unwrap();
            router.release(&route);
            matches!(route, Route::Remote { proxy, .. } if proxy == addr(2))
        })
        .count();
    assert!((60..150).contains(&few), "{few}");
}

#[test]
fn late_and_surplus_calls_do_nothing() {
    let mut router = with_locals(2);
    let route = select(&router, 0, &[]).unwrap();
    router.detach(TunnelId(0));
    router.release(&route);
    router.fail(NOW, &route);
    let gone = Route::Remote { node: node("x"), proxy: addr(9) };
    router.release(&gone);
    router.fail(NOW, &gone);
    router.node_down(&node("x"));
    router.node_forget(&node("x"));
    router.remote(&node("x"), ep("ep"), 0);
    // A release too many must not wrap round and make the tunnel look busy for ever.
    router.attach(ep("ep"), TunnelId(7));
    router.release(&Route::Local(TunnelId(7)));
    let picks: Vec<_> = (0..2).map(|dice| select(&router, dice, &[]).unwrap()).collect();
    assert!(picks.contains(&Route::Local(TunnelId(7))));
}

#[test]
fn shedding_spares_the_last_tunnel_of_an_endpoint() {
    let mut router = Router::new();
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
    for _ in 0..30 {
        let route = select(&router, 0, &[Route::Local(TunnelId(1))]).unwrap();
        assert_ne!(route, Route::Local(TunnelId(1)));
    }
    assert_eq!(router.shed(2), [TunnelId(1)]);
}

/// The table against a model that is obviously right: lists of tunnels and counts.
#[test]
fn random_histories_agree_with_a_plain_model() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut router = Router::new();
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
                let route = router.select(NOW, name.as_bytes(), Hop::First, rng.next_u64(), &[]);
                match &route {
                    Some(Route::Local(TunnelId(id))) => assert_eq!(tunnels.get(id), Some(&which)),
                    Some(Route::Remote { proxy, .. }) => {
                        assert!(!has_local && up[usize::from(proxy.port())]);
                        assert!(counts[&(which, proxy.port() as u8)] > 0);
                    }
                    None => assert!(!has_local && !has_remote),
                }
                let forwarded = router.select(NOW, name.as_bytes(), Hop::Forwarded, rng.next_u64(), &[]);
                assert_eq!(forwarded.is_some(), has_local);
            }
        }
        assert_eq!(router.tunnels(), tunnels.len());
    }
}
