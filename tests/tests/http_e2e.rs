//! HTTP through the two programs: a server, an agent and a service as processes and sockets.

#[path = "http_e2e/bodies.rs"]
mod bodies;
#[path = "http_e2e/connections.rs"]
mod connections;
#[path = "http_e2e/cuts.rs"]
mod cuts;
#[path = "http_e2e/early.rs"]
mod early;
#[path = "http_e2e/errors.rs"]
mod errors;
#[path = "http_e2e/fields.rs"]
mod fields;
#[path = "http_e2e/heads.rs"]
mod heads;
#[path = "http_e2e/interim.rs"]
mod interim;
#[path = "http_e2e/records.rs"]
mod records;
#[path = "http_e2e/refusals.rs"]
mod refusals;
#[path = "http_e2e/selection.rs"]
mod selection;
#[path = "http_e2e/upgrades.rs"]
mod upgrades;
