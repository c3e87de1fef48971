//! Three nodes with an upstream each, one of which takes requests and never answers: how many meet it.

use super::*;
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const NODES: usize = 3;
const HANGING: usize = NODES - 1;
const REQUESTS: usize = 10_000;
/// After which a node gives up on an upstream.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How clients come to the nodes.
#[derive(Clone, Copy, Debug)]
enum Front {
    /// Each has its node.
    Sticky,
    /// A load balancer spreads the requests.
    Spread,
}

/// One request on its way: the places that it takes at the nodes that it passes.
struct UnderWay {
    client: usize,
    first: Pick,
    second: Option<(usize, Pick)>,
    is_lost: bool,
}

fn node(at: usize) -> NodeId {
    NodeId::new(&alloc::format!("node-{at}"))
}

fn cluster(preference: Preference) -> Vec<Router> {
    let ep = EndpointId::new(b"ep").unwrap();
    let router = |own: usize| {
        let mut router = Router::new(preference);
        router.attach(ep.clone(), TunnelId(own as u64));
        for other in (0..NODES).filter(|other| *other != own) {
            router.node_up(node(other), SocketAddr::from(([127, 0, 0, 1], other as u16)));
            router.remote(&node(other), ep.clone(), 1);
        }
        router
    };
    (0..NODES).map(router).collect()
}

/// How many of [`REQUESTS`] met `hanging`, and how many took two hops.
fn met(
    preference: Preference,
    front: Front,
    clients: usize,
    latency: Duration,
    hanging: usize,
) -> (usize, usize) {
    let routers = cluster(preference);
    let mut rng = Rng::new(clients as u64);
    let mut now = Instant::from_millis(5_000);
    let (mut begun, mut met, mut hops) = (0, 0, 0);
    // By the time at which they end; the second number keeps apart those of the same time.
    let mut ends: BTreeMap<(Instant, usize), UnderWay> = BTreeMap::new();
    let mut idle: Vec<usize> = (0..clients).collect();
    while begun < REQUESTS {
        while let Some(client) = idle.pop().filter(|_| begun < REQUESTS) {
            begun += 1;
            let at = match front {
                Front::Sticky => client % NODES,
                Front::Spread => rng.below(NODES as u64) as usize,
            };
            let first = routers[at].select(now, b"ep", Hop::First, rng.next_u64(), &[]).unwrap();
            let second = match first.route() {
                Route::Local(_) => None,
                Route::Remote { proxy, .. } => {
                    let there = usize::from(proxy.port());
                    let pick = routers[there].select(now, b"ep", Hop::Forwarded, rng.next_u64(), &[]);
                    Some((there, pick.unwrap()))
                }
            };
            let is_lost = second.as_ref().map_or(at, |(there, _)| *there) == hanging;
            hops += usize::from(second.is_some());
            met += usize::from(is_lost);
            // Half of it up to one and a half.
            let takes = latency / 2 + latency * rng.below(1_000) as u32 / 1_000;
            let end = now + if is_lost { TIMEOUT } else { takes };
            ends.insert((end, begun), UnderWay { client, first, second, is_lost });
        }
        let Some(((at, _), mut over)) = ends.pop_first() else { break };
        now = at;
        if over.is_lost {
            for pick in over.second.iter_mut().map(|(_, pick)| pick).chain([&mut over.first]) {
                pick.fail(now, Fault::Slow);
            }
        } else {
            if let Some((there, pick)) = &mut over.second {
                pick.answered();
                over.first.hint(now, routers[*there].outstanding(b"ep"));
            }
            over.first.answered();
        }
        idle.push(over.client);
    }
    (met, hops)
}

#[test]
fn few_of_ten_thousand_meet_it_from_any_node_and_with_any_number_of_clients() {
    for preference in [Preference::Local, Preference::Even] {
        for front in [Front::Sticky, Front::Spread] {
            for clients in [1, 3, 8, 16, 32, 64, 128] {
                for latency in [1, 5, 20] {
                    let (met, _) = met(preference, front, clients, Duration::from_millis(latency), HANGING);
                    // Those that come before anybody could have answered are spread over all three.
                    let limit = 20.max(clients / 2);
                    assert!(
                        met <= limit,
                        "{met}: {preference:?}, {front:?}, {clients} clients, {latency} ms"
                    );
                }
            }
        }
    }
}

/// That a tunnel has not answered for a moment is no reason for a detour as long as it is not behind.
#[test]
fn nobody_takes_a_detour_while_all_is_well() {
    for clients in [3, 24, 48, 96, 192] {
        let (_, hops) = met(Preference::Local, Front::Spread, clients, Duration::from_millis(5), NODES);
        assert!(hops * 50 <= REQUESTS, "{hops} of {REQUESTS} with {clients} clients");
    }
}
