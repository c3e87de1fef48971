//! Complaints about other nodes that requests would repeat without end.

use piko_core::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long nothing more is said of a node.
const EVERY: Duration = Duration::from_secs(60);
/// More nodes than a cluster has; whoever has more hears of some again.
const NODES_MAX: usize = 256;

/// When each node was complained about last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<BTreeMap<SocketAddr, Instant>>);

impl Seldom {
    /// Whether it is time to say something about the node at this address; then it is not for a while.
    pub(crate) fn is_due(&self, node: SocketAddr, now: Instant) -> bool {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if next.get(&node).is_some_and(|&next| now < next) {
            return false;
        }
        if next.len() >= NODES_MAX {
            next.clear();
        }
        next.insert(node, now + EVERY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_pause() {
        let [one, two] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (seldom, start) = (Seldom::default(), Instant::from_millis(0));
        assert!(seldom.is_due(one, start));
        assert!(!seldom.is_due(one, start + Duration::from_secs(59)));
        assert!(seldom.is_due(two, start + Duration::from_secs(59)));
        assert!(seldom.is_due(one, start + EVERY));
        assert!(!seldom.is_due(one, start + EVERY));
    }
}
