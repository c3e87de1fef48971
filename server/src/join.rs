//! Joining: the seeds' names, the first tries of a node, and the look-out for nodes that nobody has told of.

use piko_config::{ClusterOptions, Seed};
use piko_core::gossip::{JoinFault, NodeStatus, PeerView, StreamError};
use piko_core::id::NodeId;
use piko_driver::{Gossip, Joined, Runtime, sleep_until, timeout_at};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a join looks whether somebody has answered, and how long the others may take from then on.
const MEET_LOOK: Duration = Duration::from_millis(50);
const MEET_REST: Duration = Duration::from_secs(1);
/// The first wait after a join that reached nobody; it doubles (behaviour, server 3.10).
const JOIN_WAIT: Duration = Duration::from_secs(1);
const JOIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the names of the seeds are resolved anew, for nodes that nobody has heard of: two halves of a cluster
/// that started apart find each other (weakness G17). Soon at first, since nodes often start together.
const LOOK_WAIT: Duration = Duration::from_millis(250);
const LOOK_WAIT_MAX: Duration = Duration::from_secs(15);

/// Finds the nodes to join and joins them.
#[derive(Clone, Debug)]
pub(crate) struct Joiner<R> {
    pub(crate) rt: R,
    pub(crate) gossip: Gossip,
    /// The own name.
    pub(crate) id: NodeId,
    pub(crate) seeds: Vec<Seed>,
    /// The port of seeds that name none.
    pub(crate) port: u16,
    /// The own gossip address.
    pub(crate) own: SocketAddr,
    pub(crate) complaints: Complaints,
}

/// What was said about seeds that no wait will cure, so that it is said once. Shared by the copies of a joiner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints(Arc<Mutex<BTreeMap<SocketAddr, JoinFault>>>);

impl Complaints {
    /// More seeds than a cluster has; whoever has more hears of some again.
    const MAX: usize = 256;

    /// Warns of seeds at which somebody answered who is none of this cluster.
    fn about(&self, faults: &[(SocketAddr, JoinFault)]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (seed, why) in faults {
            let is_lasting = match why {
                JoinFault::SameId => true,
                JoinFault::Stream(why) => matches!(
                    why,
                    StreamError::SecretDiffers | StreamError::SecretHere | StreamError::SecretThere
                ),
                _ => false,
            };
            if !is_lasting || said.get(seed) == Some(why) {
                continue;
            }
            if said.len() >= Self::MAX {
                said.clear();
            }
            said.insert(*seed, *why);
            tracing::warn!(target: "cluster", { addr = %seed, error = %why }, "a seed is not of this cluster");
        }
    }
}

impl<R: Runtime> Joiner<R> {
    /// One try at all seeds; `all`: also at nodes that are known already.
    pub(crate) async fn attempt(&self, all: bool) -> Result<Joined, String> {
        let mut addrs: Vec<SocketAddr> = Vec::new();
        let mut last = None;
        for seed in &self.seeds {
            match self.rt.resolve(&seed.host, seed.port.unwrap_or(self.port)).await {
                Ok(found) => addrs.extend(found),
                // The other seeds may be good (weakness G17).
                Err(error) => last = Some(format!("resolve {seed}: {error}")),
            }
        }
        addrs.sort_unstable();
        addrs.dedup();
        if !all {
            let known = self.known();
            addrs.retain(|addr| *addr != self.own && !known.contains(addr));
        }
        if addrs.is_empty() {
            return match last {
                Some(error) => Err(error),
                None => Ok(Joined::default()),
            };
        }
        let joined = if all { self.join_some(&addrs).await } else { self.gossip.join(&addrs).await };
        self.complaints.about(&joined.faults);
        if joined.joined > 0 {
            return Ok(joined);
        }
        let mut errors: Vec<String> = last.into_iter().collect();
        errors.extend(joined.faults.iter().map(|(seed, why)| format!("{seed}: {why}")));
        Err(list(&errors))
    }

    /// Joins, and waits a moment only for the rest once somebody is there: of the addresses that a name has, one may
    /// be dead, and swallow what is sent to it for ten seconds.
    async fn join_some(&self, addrs: &[SocketAddr]) -> Joined {
        let mut join = std::pin::pin!(self.gossip.join(addrs));
        let mut wait = MEET_LOOK;
        loop {
            if let Ok(joined) = timeout_at(&self.rt, Some(self.rt.now() + wait), join.as_mut()).await {
                return joined;
            }
            if wait == MEET_REST {
                let mut joined = Joined::default();
                joined.joined = 1;
                return joined;
            }
            let is_met = |peer: PeerView<'_>| *peer.id() != self.id && peer.status() == NodeStatus::Active;
            if self.gossip.look(|node| node.peers().any(is_met)) {
                wait = MEET_REST;
            }
        }
    }

    /// The first try, which a node makes before it serves.
    pub(crate) async fn first(&self) -> bool {
        match self.attempt(true).await {
            Ok(_) => {
                self.tell();
                true
            }
            Err(error) => {
                tracing::warn!(target: "cluster", error, "failed to join cluster");
                false
            }
        }
    }

    fn tell(&self) {
        let others = |peer: PeerView<'_>| (*peer.id() != self.id).then(|| peer.id().to_string());
        let ids: Vec<String> = self.gossip.look(|node| node.peers().filter_map(others).collect());
        tracing::info!(target: "cluster", { "node-ids" = ?ids }, "joined cluster");
    }

    /// Tries again until somebody was joined or the time is up; an error says that it is.
    pub(crate) async fn again(&self, options: &ClusterOptions) -> Result<(), String> {
        let until = self.rt.now() + options.join_timeout;
        let mut wait = JOIN_WAIT;
        loop {
            let jitter = wait.mul_f64(fastrand::f64() / 10.0);
            let at = self.rt.now() + wait + jitter;
            sleep_until(&self.rt, at.min(until)).await;
            let outcome = self.attempt(true).await;
            match outcome {
                Ok(_) => {
                    self.tell();
                    return Ok(());
                }
                Err(error) if self.rt.now() >= until => return Err(error),
                Err(error) => tracing::warn!(target: "cluster", error, "failed to join cluster"),
            }
            wait = (wait * 2).min(JOIN_WAIT_MAX);
        }
    }

    /// Looks for nodes that nobody has told of, for ever.
    pub(crate) async fn look(&self) -> Infallible {
        let mut wait = LOOK_WAIT;
        loop {
            sleep_until(&self.rt, self.rt.now() + wait).await;
            wait = (wait * 2).min(LOOK_WAIT_MAX);
            match self.attempt(false).await {
                Ok(Joined { joined: 0, .. }) => {}
                Ok(_) => self.tell(),
                Err(error) => tracing::debug!(target: "cluster", error, "no further node"),
            }
        }
    }

    /// Gossip addresses of the nodes that are alive.
    fn known(&self) -> Vec<SocketAddr> {
        let alive = |peer: &PeerView<'_>| !peer.left() && !peer.unreachable();
        let addr = |peer: PeerView<'_>| std::str::from_utf8(peer.addr()).ok()?.parse().ok();
        self.gossip.look(|node| node.peers().filter(alive).filter_map(addr).collect())
    }
}

fn list(errors: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = errors.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if errors.len() > SHOWN {
        text.push_str("; …");
    }
    if text.is_empty() {
        // The loop of gossip is over.
        text.push_str("no node answered");
    }
    text
}
