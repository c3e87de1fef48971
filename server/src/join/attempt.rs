//! One try at all seeds: their names are looked up at the same time, and whatever is found is asked at once, so that
//! nobody waits for a seed that is mute or whose name hangs.

use super::Joiner;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use piko_config::Seed;
use piko_core::gossip::{JoinFault, NodeStatus, PeerView, StreamError};
use piko_core::time::Instant;
use piko_driver::{Joined, Runtime, timeout_at};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a join looks whether somebody is there, who may have come by another way than an answer.
const MEET_LOOK: Duration = Duration::from_millis(50);
/// How long the other seeds may take from then on. What they answer later is taken as well; this is for a log that
/// names all nodes, and for the endpoints of nodes that the first one does not know yet.
const MEET_REST: Duration = Duration::from_millis(250);
/// Names that are looked up at once. Each may hold a thread until the resolver gives up.
const NAMES_MAX: usize = 32;

/// The addresses of a seed, or why it has none.
type Found<'s> = (&'s Seed, io::Result<Vec<SocketAddr>>);

enum Step<'s> {
    Found(Found<'s>),
    Asked(Joined),
    /// Every seed was looked up, and everybody who was asked has answered or failed.
    Done,
}

/// What a try has come to so far.
#[derive(Default)]
struct Progress {
    /// Names that have neither addresses nor an error yet.
    open: Vec<String>,
    /// Names that have no address, and why.
    lost: Vec<String>,
    asked: BTreeSet<SocketAddr>,
    faults: BTreeMap<SocketAddr, JoinFault>,
    joined: bool,
}

impl Progress {
    /// What to tell an operator about a try that reached nobody. `is_cut`: its time was up.
    fn error(&self, is_cut: bool) -> String {
        const SHOWN: usize = 8;
        let mut errors = self.lost.clone();
        errors.extend(self.open.iter().map(|seed| format!("resolve {seed}: {}", StreamError::TimedOut)));
        for seed in &self.asked {
            match self.faults.get(seed) {
                Some(why) => errors.push(format!("{seed}: {why}")),
                None if is_cut => errors.push(format!("{seed}: {}", StreamError::TimedOut)),
                None => {}
            }
        }
        if errors.is_empty() {
            // The loop of gossip is over.
            return "no node answered".to_owned();
        }
        let mut text = errors[..errors.len().min(SHOWN)].join("; ");
        if errors.len() > SHOWN {
            text.push_str("; …");
        }
        text
    }
}

/// The next thing that happens.
fn step<'s>(
    cx: &mut Context<'_>,
    names: Pin<&mut impl Stream<Item = Found<'s>>>,
    joins: &mut FuturesUnordered<impl Future<Output = Joined>>,
) -> Poll<Step<'s>> {
    let is_found = match names.poll_next(cx) {
        Poll::Ready(Some(found)) => return Poll::Ready(Step::Found(found)),
        Poll::Ready(None) => true,
        Poll::Pending => false,
    };
    match joins.poll_next_unpin(cx) {
        Poll::Ready(Some(joined)) => Poll::Ready(Step::Asked(joined)),
        Poll::Ready(None) if is_found => Poll::Ready(Step::Done),
        _ => Poll::Pending,
    }
}

impl<R: Runtime> Joiner<R> {
    /// One try at all seeds, until `until` at most; says whether somebody was joined. `all`: also at nodes that are known
    /// already, and over soon after one of them is there; those that were asked by then may still answer.
    ///
    /// # Errors
    /// Nobody was reached, and why.
    pub(super) async fn attempt(&self, all: bool, until: Option<Instant>) -> Result<bool, String> {
        let open = self.seeds.iter().map(Seed::to_string).collect();
        let mut so_far = Progress { open, ..Progress::default() };
        let mut seeds: Vec<&Seed> = self.seeds.iter().collect();
        // Addresses need no look-up, and do not wait for those of others.
        seeds.sort_by_key(|seed| seed.host.parse::<IpAddr>().is_err());
        let resolve = |seed| async move { (seed, self.resolve(seed).await) };
        let mut names = std::pin::pin!(stream::iter(seeds).map(resolve).buffer_unordered(NAMES_MAX));
        let mut joins = FuturesUnordered::new();
        let mut rest = None;
        let is_cut = loop {
            let look = rest.unwrap_or_else(|| self.rt.now() + MEET_LOOK);
            let at = [until, all.then_some(look)].into_iter().flatten().min();
            let next = poll_fn(|cx| step(cx, names.as_mut(), &mut joins));
            match timeout_at(&self.rt, at, next).await {
                Ok(Step::Found((seed, found))) => {
                    let addrs = self.found(&mut so_far, seed, found, all);
                    joins.push(async move { self.gossip.join(&addrs).await });
                }
                Ok(Step::Asked(joined)) => {
                    so_far.joined |= joined.joined > 0;
                    so_far.faults.extend(joined.faults);
                }
                Ok(Step::Done) => break false,
                Err(_) => {}
            }
            let now = self.rt.now();
            if until.is_some_and(|until| now >= until) || rest.is_some_and(|rest| now >= rest) {
                break true;
            }
            if all && rest.is_none() && self.is_met() {
                rest = Some(now + MEET_REST);
            }
        };
        if is_cut {
            so_far.faults.extend(self.gossip.faults());
            so_far.faults.retain(|seed, _| so_far.asked.contains(seed));
        }
        self.complaints.about(&so_far.faults);
        if so_far.joined || (all && (self.is_met() || so_far.asked.contains(&self.own))) {
            return Ok(true);
        }
        // Nothing to do is no failure for a look-out.
        let is_idle = !all && so_far.asked.is_empty() && so_far.lost.is_empty();
        if is_idle { Ok(false) } else { Err(so_far.error(is_cut)) }
    }

    async fn resolve(&self, seed: &Seed) -> io::Result<Vec<SocketAddr>> {
        self.rt.resolve(&seed.host, seed.port.unwrap_or(self.port)).await
    }

    /// Those of a seed's addresses that nobody was asked at yet. The other seeds may be good where one is not (weakness
    /// G17).
    fn found(
        &self,
        so_far: &mut Progress,
        seed: &Seed,
        found: io::Result<Vec<SocketAddr>>,
        all: bool,
    ) -> Vec<SocketAddr> {
        let name = seed.to_string();
        if let Some(at) = so_far.open.iter().position(|open| *open == name) {
            so_far.open.swap_remove(at);
        }
        let mut addrs = match found {
            Ok(addrs) => addrs,
            Err(error) => {
                so_far.lost.push(format!("resolve {name}: {error}"));
                return Vec::new();
            }
        };
        if !all {
            let known = self.known();
            addrs.retain(|addr| *addr != self.own && !known.contains(addr));
        }
        addrs.retain(|addr| so_far.asked.insert(*addr));
        addrs
    }

    fn is_met(&self) -> bool {
        let is_met = |peer: PeerView<'_>| *peer.id() != self.id && peer.status() == NodeStatus::Active;
        self.gossip.look(|node| node.peers().any(is_met))
    }
}
