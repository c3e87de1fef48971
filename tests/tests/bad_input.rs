//! Bad input on every port and every wire: a clear error, nothing else disturbed, memory within bounds.

#[path = "bad_input/agent.rs"]
mod agent;
#[path = "bad_input/command_line.rs"]
mod command_line;
#[path = "bad_input/hostile.rs"]
mod hostile;
#[path = "bad_input/ports.rs"]
mod ports;
#[path = "bad_input/stalled.rs"]
mod stalled;
#[path = "bad_input/upstream.rs"]
mod upstream;
