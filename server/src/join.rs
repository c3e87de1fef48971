//! Joining: the seeds' names, the first tries of a node, and the look-out for nodes that nobody has told of.

mod attempt;

use piko_config::Seed;
use piko_core::gossip::{JoinFault, PeerView, StreamError};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use piko_driver::{Gossip, Runtime, sleep_until};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    fn about(&self, faults: &BTreeMap<SocketAddr, JoinFault>) {
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
    /// The first try, which a node makes before it serves; over at `until`, or soon after somebody has answered.
    pub(crate) async fn first(&self, until: Instant) -> Result<(), String> {
        match self.attempt(true, Some(until)).await {
            Ok(_) => {
                self.tell();
                Ok(())
            }
            Err(error) => {
                tracing::warn!(target: "cluster", error, "failed to join cluster");
                Err(error)
            }
        }
    }

    fn tell(&self) {
        let others = |peer: PeerView<'_>| (*peer.id() != self.id).then(|| peer.id().to_string());
        let ids: Vec<String> = self.gossip.look(|node| node.peers().filter_map(others).collect());
        tracing::info!(target: "cluster", { "node-ids" = ?ids }, "joined cluster");
    }

    /// Tries again until somebody was joined or it is `until`; then the error is that of the last try, which was `last`
    /// so far.
    pub(crate) async fn again(&self, mut last: String, until: Instant) -> Result<(), String> {
        let mut wait = JOIN_WAIT;
        loop {
            let jitter = wait.mul_f64(fastrand::f64() / 10.0);
            let at = self.rt.now() + wait + jitter;
            sleep_until(&self.rt, at.min(until)).await;
            if self.rt.now() >= until {
                return Err(last);
            }
            match self.attempt(true, Some(until)).await {
                Ok(_) => {
                    self.tell();
                    return Ok(());
                }
                Err(error) => last = error,
            }
            if self.rt.now() < until {
                tracing::warn!(target: "cluster", error = last, "failed to join cluster");
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
            match self.attempt(false, None).await {
                Ok(false) => {}
                Ok(true) => self.tell(),
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
