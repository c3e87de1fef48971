//! "It survives": the built programs under restarts, kills, drains and silence.

#[path = "survive/common.rs"]
mod common;
#[path = "survive/drain.rs"]
mod drain;
#[path = "survive/failover.rs"]
mod failover;
#[path = "survive/refused.rs"]
mod refused;
#[path = "survive/restart.rs"]
mod restart;
#[path = "survive/routable.rs"]
mod routable;
#[path = "survive/server_stop.rs"]
mod server_stop;
#[path = "survive/silence.rs"]
mod silence;
