//! What nodes say of themselves and of each other, and what operators tell them, on the built programs.

#[path = "status/cli.rs"]
mod cli;
#[path = "status/nodes.rs"]
mod nodes;
#[path = "status/operate.rs"]
mod operate;
#[path = "status/paths.rs"]
mod paths;
#[path = "status/rebalance.rs"]
mod rebalance;
#[path = "status/test_cluster.rs"]
mod test_cluster;
