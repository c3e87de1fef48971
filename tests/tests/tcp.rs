//! TCP through the product: `piko forward` or any WebSocket client, the server's TCP path, `piko-agent tcp`, a service.

#[path = "tcp/clients.rs"]
mod clients;
#[path = "tcp/common.rs"]
mod common;
#[path = "tcp/cuts.rs"]
mod cuts;
#[path = "tcp/ends.rs"]
mod ends;
#[path = "tcp/failures.rs"]
mod failures;
#[path = "tcp/forward.rs"]
mod forward;
#[path = "tcp/front.rs"]
mod front;
#[path = "tcp/load.rs"]
mod load;
// The timers of sockets are read from `/proc`.
#[cfg(target_os = "linux")]
#[path = "tcp/probes.rs"]
mod probes;
#[path = "tcp/raw.rs"]
mod raw;
#[path = "tcp/refused.rs"]
mod refused;
#[path = "tcp/silent.rs"]
mod silent;
#[path = "tcp/sni.rs"]
mod sni;
#[path = "tcp/stalled.rs"]
mod stalled;
#[path = "tcp/unix.rs"]
mod unix;
#[path = "tcp/upgrade.rs"]
mod upgrade;
