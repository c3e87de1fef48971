//! Three nodes under the requests of many clients, simulated: how many meet an upstream that hangs, and how evenly the
//! rest is spread.

use super::*;
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const NODES: usize = 3;
/// After which a node gives up on an upstream.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a node looks at its connections: answers that came meanwhile are read in any order.
const TURN_NANOS: u64 = 500_000;

/// How clients come to the nodes.
#[derive(Clone, Copy, Debug)]
enum Front {
    /// All to this node.
    One(usize),
    /// A load balancer spreads the requests.
    Spread,
    /// Each has its node.
    Sticky,
}

/// A run to be made.
#[derive(Clone, Copy, Debug)]
struct Run {
    preference: Preference,
    front: Front,
    clients: usize,
    latency: Duration,
    /// Upstreams by node.
    upstreams: [usize; NODES],
    /// The node whose upstreams never answer.
    hanging: Option<usize>,
    /// After which a client gives up, and for how long it is idle after each request.
    patience: Duration,
    idle: Duration,
    requests: usize,
}

const RUN: Run = Run {
    preference: Preference::Local,
    front: Front::Spread,
    clients: 32,
    latency: Duration::from_millis(5),
    upstreams: [1; NODES],
    hanging: None,
    patience: Duration::from_secs(60),
    idle: Duration::ZERO,
    requests: 10_000,
};

#[derive(Debug, Default)]
struct Outcome {
    /// Requests by upstream.
    served: BTreeMap<(usize, u64), usize>,
    /// Requests that took two hops.
    hops: usize,
    /// Requests that met one that hangs.
    met: usize,
    minutes: usize,
}

/// One request on its way: the places that it takes at the nodes that it passes.
struct UnderWay {
    client: usize,
    first: Pick,
    second: Option<(usize, Pick)>,
    /// How many the second node said were under way there.
    total: Option<usize>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answer,
    /// The client leaves.
    Leave,
    TimeOut,
}

fn node(at: usize) -> NodeId {
    NodeId::new(&alloc::format!("node-{at}"))
}

fn cluster(run: &Run) -> Vec<Router> {
    let ep = EndpointId::new(b"ep").unwrap();
    let router = |own: usize| {
        let mut router = Router::new(run.preference);
        for tunnel in 0..run.upstreams[own] {
            router.attach(ep.clone(), TunnelId(tunnel as u64));
        }
        for other in (0..NODES).filter(|other| *other != own) {
            router.node_up(node(other), SocketAddr::from(([127, 0, 0, 1], other as u16)));
            router.remote(&node(other), ep.clone(), run.upstreams[other] as u32);
        }
        router
    };
    (0..NODES).map(router).collect()
}

impl Run {
    fn go(&self) -> Outcome {
        let routers = cluster(self);
        let mut rng = Rng::new(self.clients as u64);
        let mut outcome = Outcome::default();
        let start = Instant::from_millis(5_000);
        let mut now = start;
        let mut begun = 0;
        // By the time at which something happens; chance decides about what is at the same time.
        let mut ahead: BTreeMap<(Instant, u64), UnderWay> = BTreeMap::new();
        let mut idle: BTreeMap<(Instant, usize), ()> = (0..self.clients).map(|n| ((now, n), ())).collect();
        while begun < self.requests {
            let next = ahead.first_key_value().map(|((at, _), _)| *at);
            let client = idle.first_key_value().map(|(key, ())| *key);
            if let Some((at, client)) = client.filter(|(at, _)| next.is_none_or(|next| *at <= next)) {
                idle.remove(&(at, client));
                now = now.max(at);
                begun += 1;
                let (under_way, takes) = self.begin(&routers, &mut rng, now, client, &mut outcome);
                ahead.insert((now + takes, rng.next_u64()), under_way);
                continue;
            }
            let Some(((at, _), mut under_way)) = ahead.pop_first() else { break };
            now = at;
            let read_at = Instant::from_nanos(now.as_nanos().next_multiple_of(TURN_NANOS));
            if let Some((there, second)) = under_way.second.as_mut().filter(|_| under_way.total.is_none()) {
                // The answer leaves the second node, which writes its count into it.
                match under_way.end {
                    End::Answer => second.answered(),
                    End::TimeOut => second.fail(now, Fault::Slow),
                    End::Leave => {}
                }
                under_way.total = Some(routers[*there].outstanding(b"ep"));
                under_way.second = None;
                ahead.insert((read_at, rng.next_u64()), under_way);
                continue;
            }
            match under_way.end {
                End::Answer => {
                    if let Some(total) = under_way.total {
                        under_way.first.hint(now, total);
                    }
                    under_way.first.answered();
                }
                End::TimeOut => under_way.first.fail(now, Fault::Slow),
                End::Leave => {}
            }
            idle.insert((now + self.idle, under_way.client), ());
        }
        outcome.minutes = now.since(start).as_secs() as usize / 60;
        outcome
    }

    /// A request, and when its service has answered or somebody has given up.
    fn begin(
        &self,
        routers: &[Router],
        rng: &mut Rng,
        now: Instant,
        client: usize,
        outcome: &mut Outcome,
    ) -> (UnderWay, Duration) {
        let at = match self.front {
            Front::One(at) => at,
            Front::Spread => rng.below(NODES as u64) as usize,
            Front::Sticky => client % NODES,
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
        outcome.hops += usize::from(second.is_some());
        let owner = second.as_ref().map_or(at, |(there, _)| *there);
        let Route::Local(tunnel) = second.as_ref().map_or(&first, |(_, pick)| pick).route() else {
            panic!("two hops at most");
        };
        *outcome.served.entry((owner, tunnel.0)).or_default() += 1;
        let hangs = self.hanging == Some(owner);
        outcome.met += usize::from(hangs);
        // Half of it up to one and a half.
        let takes = self.latency / 2 + self.latency * rng.below(1_000) as u32 / 1_000;
        let (end, takes) = match (hangs, self.patience < TIMEOUT) {
            (false, _) => (End::Answer, takes),
            (true, true) => (End::Leave, self.patience),
            (true, false) => (End::TimeOut, TIMEOUT),
        };
        (UnderWay { client, first, second, total: None, end }, takes)
    }
}

#[test]
fn few_of_ten_thousand_meet_what_hangs_from_any_node_and_with_any_number_of_clients() {
    for preference in [Preference::Local, Preference::Even] {
        for front in [Front::Sticky, Front::Spread, Front::One(0), Front::One(2)] {
            for clients in [1, 3, 8, 16, 32, 64, 128] {
                for latency in [1, 5, 20].map(Duration::from_millis) {
                    let run = Run { preference, front, clients, latency, hanging: Some(2), ..RUN };
                    let Outcome { met, minutes, .. } = run.go();
                    // Those that come before anybody could have answered are spread over all three; and each node
                    // asks again once a minute.
                    let limit = if clients <= 32 { 20 } else { clients * 2 / 3 } + NODES * minutes;
                    assert!(met <= limit, "{met} of {limit}: {run:?}");
                }
            }
        }
    }
}

/// Clients that give up before the node does leave no failure behind.
#[test]
fn few_meet_what_hangs_although_their_clients_give_up_first() {
    let patience = Duration::from_millis(300);
    for preference in [Preference::Local, Preference::Even] {
        // About 100, 300 and 3,000 requests per second, for 100, 33 and 3 s.
        for idle in [300, 100, 5].map(Duration::from_millis) {
            let run = Run { preference, hanging: Some(2), patience, idle, ..RUN };
            let Outcome { met, minutes, .. } = run.go();
            assert!(met <= 20 && minutes < 2, "{met}, {minutes} min: {run:?}");
        }
    }
}

/// That a tunnel has not answered for a moment is no reason for a detour as long as it is not behind.
#[test]
fn nobody_takes_a_detour_while_all_is_well() {
    for clients in [3, 24, 48, 96, 192] {
        let hops = Run { clients, ..RUN }.go().hops;
        assert!(hops * 50 <= RUN.requests, "{hops} of {} with {clients} clients", RUN.requests);
    }
}

#[test]
fn without_preference_the_busiest_gets_at_most_half_more_than_the_idlest() {
    for upstreams in [[1, 1, 1], [3, 1, 1], [1, 1, 3], [1, 2, 3]] {
        for front in [Front::One(0), Front::One(2), Front::Spread, Front::Sticky] {
            for clients in [8, 32, 100] {
                for latency in [100, 1_000, 10_000].map(Duration::from_micros) {
                    let preference = Preference::Even;
                    let run = Run { preference, front, clients, latency, upstreams, ..RUN };
                    let served: Vec<usize> = run.go().served.into_values().collect();
                    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
                    assert_eq!(served.len(), upstreams.iter().sum::<usize>());
                    assert!(most * 2 <= least * 3, "{served:?}: {run:?}");
                }
            }
        }
    }
}
