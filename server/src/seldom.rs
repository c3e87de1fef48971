//! Complaints that requests, and whoever connects, would repeat without end.

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

/// So many complaints of a port are told one by one in each [`WINDOW`].
const BURST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// What connections to a port do wrong, which anybody can repeat as often as he likes.
#[derive(Debug, Default)]
pub(crate) struct Burst(Mutex<BurstState>);

#[derive(Debug, Default)]
struct BurstState {
    ends: Option<Instant>,
    told: u32,
    silent: u32,
}

impl Burst {
    /// One more: `Some` when it is to be told, with how many were not told since the last one that was.
    pub(crate) fn next(&self, now: Instant) -> Option<u32> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ends.is_none_or(|ends| now >= ends) {
            state.ends = Some(now + WINDOW);
            state.told = 0;
        }
        if state.told >= BURST {
            state.silent = state.silent.saturating_add(1);
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_twenty_lines_in_ten_seconds_and_a_number() {
        let burst = Burst::default();
        let flood =
            |at: u64| (0..1_000).filter_map(|_| burst.next(Instant::from_millis(at))).collect::<Vec<_>>();
        assert_eq!(flood(0), [0; 20]);
        assert_eq!(flood(9_999), []);
        let next = flood(10_000);
        assert_eq!((next.len(), next[0], next[1]), (20, 1_980, 0));
    }

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
