//! Links: one connection between two nodes of ours that carries many requests.
//!
//! The node at which a request came in (the *entry*) opens a WebSocket at [`PATH`] of the proxy port of the node that
//! has the agent (the *owner*), shows there once that it belongs to the cluster, and opens a stream for each request.
//! The owner serves a stream as it serves a connection of its proxy port. Inside is the mux of the tunnels (wire
//! protocol 4) with the parts turned round: who opens streams plays the server's part and who serves them the agent's,
//! so that both ends are drained as a tunnel is.
//!
//! Requests that are under way together share the system calls of a turn, where each costs two on a connection of its
//! own. Whatever is wrong with a link, requests go over plain HTTP/1.1 ([`crate::nodes`]), as they do to nodes that do
//! not advertise links: Go's, and older ones of ours.

mod accept;
mod dial;
#[cfg(test)]
mod tests;

pub(crate) use accept::{Accepted, Owner, carry, is_asked, judge};
pub(crate) use dial::{Found, Link, dial};

use crate::upstream::WINDOW_BYTES_MAX;
use piko_core::id::EndpointId;
use piko_core::mux;
use piko_core::ws::FRONT_ROOM;
use std::sync::Arc;

/// Where a link is asked for. The version of what is spoken inside is part of it.
pub(crate) const PATH: &[u8] = b"/_piko/v1/nodes";
/// Requests under way over one link; more go over connections of their own. Between two nodes 1,024 requests are more
/// than one processor keeps busy, unless they wait, and those that wait cost the same everywhere.
pub(crate) const STREAMS_MAX: usize = 1024;
/// Streams that an owner has at most. The entry forgets a stream that was reset before the owner hears of it, hence
/// more than it opens.
const INCOMING_MAX: usize = 4 * STREAMS_MAX;
/// Received bytes that wait for their readers, in all links of a process together.
const BUDGET_BYTES: usize = 32 * 1024 * 1024;

/// The limits of all links, which share them.
pub(crate) fn limits() -> Arc<mux::Config> {
    let mut config = mux::Config::default();
    config.window_max = WINDOW_BYTES_MAX;
    config.budget = Arc::new(mux::Budget::new(BUDGET_BYTES));
    config.front_room = FRONT_ROOM;
    config.lazy_time = mux::LAZY_TIME_CALM;
    config.incoming_max = INCOMING_MAX;
    config.accept_backlog = INCOMING_MAX;
    config.unacked_max = STREAMS_MAX;
    Arc::new(config)
}

/// What stands in the log where a tunnel has its endpoint.
fn label() -> EndpointId {
    EndpointId::new(b"_nodes").expect("a short id without a slash")
}
