//! Rebalancing: a node with clearly more agents than the others sends some of them away (behaviour, server 7).
//!
//! Go closes what it sheds. Here an agent is asked for its next tunnel first, and the old one goes once that had a
//! second to come: no request is lost.

use crate::live::Live;
use crate::node::Node;
use piko_config::RebalanceOptions;
use piko_core::id::TunnelId;
use piko_core::route::Elsewhere;
use piko_driver::{Runtime, Shutdown, sleep_until};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, as in Go; and how long an agent has for its next tunnel before the old one goes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks once per second until `stop`. A shed tunnel's requests have the grace period to end.
pub(crate) async fn run<R: Runtime>(rt: R, node: Arc<Node>, live: Arc<Live>, stop: Shutdown) {
    let mut leaving: Vec<TunnelId> = Vec::new();
    loop {
        let wait = sleep_until(&rt, rt.now() + INTERVAL);
        if crate::cluster::unless(&stop, wait).await.is_none() {
            return;
        }
        for id in leaving.drain(..) {
            node.retire(id, live.grace_period());
        }
        // Whoever goes sends all of its agents away.
        if node.is_draining() {
            return;
        }
        let options = live.rebalance();
        let Some(threshold) = options.threshold else { continue };
        let Some(plan) = plan(node.routable(), node.elsewhere(), threshold, &options) else { continue };
        leaving = node.choose_shed(plan.target);
        leaving.retain(|id| node.hint(*id));
        if leaving.is_empty() {
            continue;
        }
        node.shed.add(leaving.len() as u64);
        let shown = |value: f64| format!("{value:.2}");
        tracing::info!(
            target: "upstream",
            {
                shedding = leaving.len(),
                balance = shown(plan.balance),
                threshold = shown(threshold),
                local_conns = plan.local,
                avg_conns = shown(plan.average)
            },
            "rebalance; shedding connections"
        );
    }
}

/// What is to be shed at once.
#[derive(Debug, PartialEq)]
struct Plan {
    local: usize,
    average: f64,
    /// How far above the average this node is, as a share of it.
    balance: f64,
    /// How many tunnels stay.
    target: usize,
}

/// Never more than the excess, and per look at most a share of the average, rounded up. The average is not rounded,
/// so that a handful of agents on many nodes have one too (Go divides whole numbers, and by zero).
fn plan(local: usize, others: Elsewhere, threshold: f64, options: &RebalanceOptions) -> Option<Plan> {
    if others.nodes == 0 {
        tracing::debug!(target: "upstream", "rebalance; skip; no other nodes");
        return None;
    }
    if local == 0 || local < options.min_conns {
        tracing::debug!(target: "upstream", local_conns = local, "rebalance; skip; too few conns");
        return None;
    }
    // Counts of tunnels are far below 2^53.
    let average = (local as f64 + others.listeners as f64) / (others.nodes as f64 + 1.0);
    let balance = (local as f64 - average) / average;
    if balance < threshold {
        tracing::debug!(target: "upstream", local_conns = local, "rebalance; skip; below threshold");
        return None;
    }
    let excess = (local as f64 - average).floor();
    let shed = excess.min((average * options.shed_rate).ceil());
    // A number between zero and `local`.
    let shed = if shed >= 1.0 { shed as usize } else { return None };
    Some(Plan { local, average, balance, target: local.saturating_sub(shed) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use piko_config::ServerOptions;

    fn shed(local: usize, nodes: usize, listeners: u64, shed_rate: f64) -> usize {
        let mut options = ServerOptions::default().upstream.rebalance;
        (options.min_conns, options.shed_rate) = (0, shed_rate);
        let plan = plan(local, Elsewhere { nodes, listeners }, 0.2, &options);
        plan.map_or(0, |plan| local - plan.target)
    }

    #[test]
    fn at_most_the_excess_is_shed_and_at_most_the_rate() {
        // 60 here, none there: 30 is fair.
        assert_eq!(shed(60, 1, 0, 1.0), 30);
        assert_eq!(shed(60, 1, 0, 0.1), 3);
        assert_eq!(shed(60, 1, 0, 0.005), 1, "a rate of less than one is one");
        assert_eq!(shed(60, 1, 0, 0.0), 0);
        // Go sheds local × balance: 60 × 1 of 60.
        assert_eq!(shed(100, 2, 20, 1.0), 40, "60 above the average, of which the rate allows 40");
        assert_eq!(shed(33, 1, 27, 1.0), 0, "a tenth above the average is below the threshold");
    }

    #[test]
    fn averages_below_one_are_averages() {
        assert_eq!(shed(1, 2, 0, 1.0), 0, "to move the only one changes nothing");
        assert_eq!(shed(2, 2, 0, 1.0), 1, "two agents, three nodes");
        assert_eq!(shed(5, 9, 0, 1.0), 1, "the rate of an average of one half, rounded up");
    }

    #[test]
    fn few_agents_and_lonely_nodes_are_left_alone() {
        let options = ServerOptions::default().upstream.rebalance;
        assert_eq!(plan(49, Elsewhere { nodes: 1, listeners: 0 }, 0.2, &options), None);
        assert!(plan(50, Elsewhere { nodes: 1, listeners: 0 }, 0.2, &options).is_some());
        assert_eq!(plan(1000, Elsewhere { nodes: 0, listeners: 0 }, 0.2, &options), None);
        assert_eq!(shed(0, 1, 10, 1.0), 0);
    }
}
