//! Several nodes as one: which upstream a request gets, what happens when one fails, and what that costs.
//!
//! The nodes run in this process and are told about each other as gossip would tell them: each one's changes
//! are handed to all others. What has to die goes through a relay that can be cut.

#[path = "routing/again.rs"]
mod again;
#[path = "routing/balance.rs"]
mod balance;
#[path = "routing/clock.rs"]
mod clock;
#[path = "routing/cluster.rs"]
mod cluster;
#[path = "routing/delay.rs"]
mod delay;
#[path = "routing/failure.rs"]
mod failure;
#[path = "routing/forward.rs"]
mod forward;
#[path = "routing/held.rs"]
mod held;
#[path = "routing/links.rs"]
mod links;
#[path = "routing/pool.rs"]
mod pool;
#[path = "routing/relay.rs"]
mod relay;
