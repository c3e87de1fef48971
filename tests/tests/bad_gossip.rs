//! Bad input on the gossip port of real processes: the weaknesses of Go's gossip (wire protocol 9.1, G1 to G19), held
//! against ours on real sockets. `gossip_hostile.rs` and `gossip_cluster.rs` hold the same against the machine alone,
//! where an hour takes a second: G4 (the dead that rise), G8 and G9 (many nodes) are there.

#[path = "bad_gossip/common.rs"]
mod common;
#[path = "bad_gossip/datagrams.rs"]
mod datagrams;
#[path = "bad_gossip/ghosts.rs"]
mod ghosts;
#[path = "bad_gossip/members.rs"]
mod members;
#[path = "bad_gossip/secret.rs"]
mod secret;
#[path = "bad_gossip/streams.rs"]
mod streams;
