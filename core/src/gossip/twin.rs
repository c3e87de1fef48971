//! A second process with the id of this node: two voices under one name, of which the others hear one.
//!
//! Nobody is believed about it but the process itself, over a stream: an address that the cluster still remembers from
//! before a restart is silent, and a forged one leads nowhere.

use super::node::Node;
use super::peer;
use super::types::{GossipEvent, Refusal};
use crate::id::NodeId;
use crate::time::Instant;
use core::net::SocketAddr;
use core::time::Duration;

/// Between two questions, whatever others say.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Between two events.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What is known of a second process.
#[derive(Debug)]
pub(super) struct Twin {
    /// Where somebody says that the own id is too; the last word counts.
    suspect: Option<SocketAddr>,
    asking: bool,
    ask_at: Instant,
    /// Where it is, until that is told.
    found: Option<SocketAddr>,
    told_at: Option<Instant>,
}

impl Twin {
    pub(super) fn new(now: Instant) -> Self {
        Self { suspect: None, asking: false, ask_at: now, found: None, told_at: None }
    }

    /// Whom to ask, when that is due.
    pub(super) fn poll_ask(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.asking || now < self.ask_at {
            return None;
        }
        let to = self.suspect.take()?;
        (self.asking, self.ask_at) = (true, now + ASK_EVERY);
        Some(to)
    }

    /// The question was answered, or cannot be.
    pub(super) fn asked(&mut self) {
        self.asking = false;
    }
}

impl Node {
    /// Somebody says that the id of this node is at `addr`.
    pub(super) fn suspect_twin(&mut self, addr: &[u8]) {
        if let Some(addr) = peer::parse(addr).filter(|addr| *addr != self.addr) {
            self.twin.suspect = Some(addr);
        }
    }

    /// A node answered on a stream to `at`; true when it is another process with the id of this one.
    pub(super) fn meet_twin(&mut self, id: &NodeId, addr: &[u8], at: SocketAddr) -> bool {
        let found = *id == self.me && *addr != *self.addr_text && peer::parse(addr) != Some(self.addr);
        if found {
            self.refuse(Refusal::Impostor);
            self.twin_found(peer::parse(addr).unwrap_or(at));
        }
        found
    }

    /// A second process is at `addr`, without doubt.
    pub(super) fn twin_found(&mut self, addr: SocketAddr) {
        self.counters.twins += 1;
        self.twin.found = Some(addr);
    }

    pub(super) fn twin_event(&mut self) -> Option<GossipEvent> {
        let now = self.now;
        // One that is found so soon again is found later, too, if it stays.
        let other = self.twin.found.take()?;
        if self.twin.told_at.is_some_and(|at| now.since(at) < TELL_EVERY) {
            return None;
        }
        self.twin.told_at = Some(now);
        Some(GossipEvent::Twin { node: self.me.clone(), own: self.addr, other })
    }
}
