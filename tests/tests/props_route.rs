//! The router against a model that is obviously right: who exists, who was tried, who never failed.

use piko_core::id::{EndpointId, NodeId, TunnelId};
use piko_core::route::{Advert, Fault, Hop, Pick, Preference, Route, Router};
use piko_core::time::Instant;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

const ENDPOINTS: u8 = 3;
const NODES: u8 = 3;
/// Fewer unanswered requests than make an upstream look stalled.
const UNANSWERED_FEW: u32 = 3;

/// One step; numbers choose among what there is.
type Op = (u8, u8, u8, u64);

fn endpoint(n: u8) -> EndpointId {
    EndpointId::new(format!("endpoint-{}", n % ENDPOINTS).as_bytes()).unwrap()
}

fn node(n: u8) -> NodeId {
    NodeId::new(&format!("node-{}", n % NODES))
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1 + u16::from(n)))
}

/// Somebody who can be chosen: a tunnel, or a node's listeners of one endpoint.
type Who = (u8, Result<u64, u8>);

#[derive(Default)]
struct Model {
    tunnels: BTreeMap<u64, u8>,
    up: BTreeMap<u8, SocketAddr>,
    draining: BTreeSet<u8>,
    listeners: BTreeMap<(u8, u8), u32>,
    /// Who has ever failed, or was left without an answer.
    doubtful: BTreeSet<Who>,
    doubtful_nodes: BTreeSet<u8>,
    unanswered: BTreeMap<Who, u32>,
}

impl Model {
    fn candidates(&self, endpoint: u8, hop: Hop, exclude: &[Route]) -> Vec<Who> {
        let tried_tunnel = |id: u64| exclude.contains(&Route::Local(TunnelId(id)));
        let tried_node =
            |n: u8| exclude.iter().any(|r| matches!(r, Route::Remote { node: id, .. } if *id == node(n)));
        let locals = self
            .tunnels
            .iter()
            .filter(|(id, of)| **of == endpoint && !tried_tunnel(**id))
            .map(|(id, _)| Ok(*id));
        let remotes = self.listeners.iter().filter(|((of, n), count)| {
            hop == Hop::First && *of == endpoint && **count > 0 && self.up.contains_key(n) && !tried_node(*n)
        });
        locals.chain(remotes.map(|((_, n), _)| Err(*n))).map(|who| (endpoint, who)).collect()
    }

    fn is_clean(&self, who: &Who) -> bool {
        let few = |count: u32| count <= UNANSWERED_FEW;
        let of_node =
            |n: u8| self.unanswered.iter().filter(|((_, at), _)| *at == Err(n)).map(|(_, count)| count).sum();
        let node_is_fine = who.1.err().is_none_or(|n| !self.doubtful_nodes.contains(&n) && few(of_node(n)));
        !self.doubtful.contains(who)
            && node_is_fine
            && self.unanswered.get(who).is_none_or(|count| few(*count))
    }

    fn is_draining(&self, who: &Who) -> bool {
        who.1.err().is_some_and(|n| self.draining.contains(&n))
    }
}

struct World {
    router: Router,
    model: Model,
    picks: Vec<(Who, Pick)>,
    now: Instant,
    next: u64,
}

impl World {
    fn step(&mut self, (op, a, b, dice): Op) -> Result<(), TestCaseError> {
        let (e, n) = (a % ENDPOINTS, b % NODES);
        match op % 12 {
            0 => {
                let advert = self.router.attach(endpoint(e), TunnelId(self.next));
                self.model.tunnels.insert(self.next, e);
                self.next += 1;
                prop_assert_eq!(advert, self.advert(e));
            }
            1 => {
                let id = dice % (self.next + 1);
                let advert = self.router.detach(TunnelId(id));
                let was = self.model.tunnels.remove(&id);
                prop_assert_eq!(advert, was.map(|e| self.advert(e)));
            }
            2 => {
                self.router.node_up(node(n), addr(a));
                self.model.up.insert(n, addr(a));
            }
            3 => {
                self.router.node_down(&node(n));
                self.model.up.remove(&n);
                if !self.model.listeners.iter().any(|((_, at), count)| *at == n && *count > 0) {
                    self.model.draining.remove(&n);
                }
            }
            4 => {
                // The mark of a node of which nothing else is known is not worth a memory.
                let known = self.model.up.contains_key(&n)
                    || self.model.listeners.iter().any(|((_, at), count)| *at == n && *count > 0);
                if known {
                    self.router.node_draining(&node(n), a % 2 == 0);
                    if a % 2 == 0 {
                        self.model.draining.insert(n)
                    } else {
                        self.model.draining.remove(&n)
                    };
                }
            }
            5 if a % 4 == 0 => {
                self.router.node_forget(&node(n));
                self.model.up.remove(&n);
                self.model.draining.remove(&n);
                self.model.listeners.retain(|(_, at), _| *at != n);
            }
            5 | 6 => {
                let count = (dice % 4) as u32;
                self.router.remote(&node(n), endpoint(e), count);
                self.model.listeners.insert((e, n), count);
                if !self.model.up.contains_key(&n)
                    && !self.model.listeners.iter().any(|((_, at), count)| *at == n && *count > 0)
                {
                    self.model.draining.remove(&n);
                }
            }
            7 => self.now = self.now + Duration::from_millis(dice % 15_000),
            8 => self.end(dice),
            _ => self.select(e, b, dice)?,
        }
        self.counts()
    }

    fn advert(&self, e: u8) -> Advert {
        let listeners = self.model.tunnels.values().filter(|of| **of == e).count() as u32;
        Advert { endpoint: endpoint(e), listeners }
    }

    fn end(&mut self, dice: u64) {
        if self.picks.is_empty() {
            return;
        }
        let (who, mut pick) = self.picks.swap_remove((dice >> 8) as usize % self.picks.len());
        let fault = match dice % 6 {
            0 => Fault::Broken,
            1 => Fault::Down,
            2 => Fault::Slow,
            3 => return,
            _ => {
                pick.answered();
                self.model.unanswered.remove(&who);
                return;
            }
        };
        pick.fail(self.now, fault);
        self.model.doubtful.insert(who);
        if let Err(n) = who.1 {
            self.model.doubtful_nodes.insert(n);
        }
    }

    fn select(&mut self, e: u8, b: u8, dice: u64) -> Result<(), TestCaseError> {
        let hop = if b.is_multiple_of(4) { Hop::Forwarded } else { Hop::First };
        let tried = self.picks.iter().filter(|(who, _)| who.0 == e).take(usize::from(b % 3));
        let exclude: Vec<Route> = tried.map(|(_, pick)| pick.route().clone()).collect();
        let candidates = self.model.candidates(e, hop, &exclude);
        let Some(pick) = self.router.select(self.now, endpoint(e).as_bytes(), hop, dice, &exclude) else {
            prop_assert!(candidates.is_empty(), "nobody of {candidates:?}");
            return Ok(());
        };
        let who = match pick.route() {
            Route::Local(TunnelId(id)) => (e, Ok(*id)),
            Route::Remote { node: id, proxy } => {
                let n = (0..NODES).find(|n| node(*n) == *id).unwrap();
                prop_assert_eq!(Some(proxy), self.model.up.get(&n));
                (e, Err(n))
            }
        };
        prop_assert!(candidates.contains(&who), "{who:?} is none of {candidates:?}");
        let better =
            candidates.iter().find(|other| self.model.is_clean(other) && !self.model.is_draining(other));
        if self.model.is_draining(&who) && self.model.is_clean(&who) {
            prop_assert!(better.is_none(), "{who:?} is draining, {better:?} is not");
        }
        *self.model.unanswered.entry(who).or_default() += 1;
        self.picks.push((who, pick));
        Ok(())
    }

    /// What is under way is counted by whoever holds it, and by nobody else.
    fn counts(&self) -> Result<(), TestCaseError> {
        for e in 0..ENDPOINTS {
            let alive = |who: &Who| who.1.is_ok_and(|id| self.model.tunnels.get(&id) == Some(&e));
            let expected = self.picks.iter().filter(|(who, _)| who.0 == e && alive(who)).count();
            prop_assert_eq!(self.router.outstanding(endpoint(e).as_bytes()), expected);
        }
        prop_assert_eq!(self.router.tunnels(), self.model.tunnels.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(
        even in any::<bool>(),
        ops in prop::collection::vec(any::<Op>(), 20..160),
    ) {
        let preference = if even { Preference::Even } else { Preference::Local };
        let (router, model) = (Router::new(preference), Model::default());
        let mut world =
            World { router, model, picks: Vec::new(), now: Instant::from_millis(5_000), next: 0 };
        for op in ops {
            world.step(op)?;
        }
    }
}

/// A table with this many endpoints, four tunnels each, half of them with listeners on two other nodes.
fn table(endpoints: u64) -> Router {
    let mut router = Router::new(Preference::Local);
    for n in 0..2 {
        router.node_up(node(n), addr(n));
    }
    for at in 0..endpoints {
        let name = EndpointId::new(format!("my-endpoint-{at}").as_bytes()).unwrap();
        for tunnel in 0..4 {
            router.attach(name.clone(), TunnelId(at * 4 + tunnel));
        }
        for n in 0..2 {
            router.remote(&node(n), name.clone(), 2);
        }
    }
    router
}

fn nanos_per_choice(router: &Router, endpoints: u64) -> u64 {
    let names: Vec<_> = (0..endpoints).map(|at| format!("my-endpoint-{at}")).collect();
    let round = || {
        let begun = std::time::Instant::now();
        for n in 0..20_000_u64 {
            let name = &names[(n.wrapping_mul(7_919) % endpoints) as usize];
            let mut pick =
                router.select(Instant::from_millis(n), name.as_bytes(), Hop::First, n, &[]).unwrap();
            pick.answered();
            black_box(pick);
        }
        begun.elapsed().as_nanos() as u64 / 20_000
    };
    // The best of several rounds: others share the machine.
    (0..10).map(|_| round()).min().unwrap()
}

/// A proxied request costs some 30 µs of processor time, and 5 % of that is what a large table may add. How far
/// apart the entries lie shows when all are asked for in turn; that depends on the caches, and on who else uses
/// them, so it is printed and not judged.
#[test]
fn ten_thousand_endpoints_cost_a_request_less_than_a_twentieth() {
    let large = table(10_000);
    let one = nanos_per_choice(&table(1), 1);
    let (same, many) = (nanos_per_choice(&large, 1), nanos_per_choice(&large, 10_000));
    println!("a choice among 1 endpoint: {one} ns, of the same among 10,000: {same} ns, of all: {many} ns");
    assert!(same < one + 1_000, "{one} ns and {same} ns");
}
