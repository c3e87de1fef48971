//! [`Node`]: rounds, joins, leaves.

use super::config::Config;
use super::state::Keys;
use super::types::{
    Counters, Exchanged, GossipEvent, Key, NodeInfo, NodeStatus, PacketError, PeerView, SetError,
    StreamError, Transmit, Value,
};
use crate::id::NodeId;
use crate::rng::Rng;
use crate::time::{Deadline, Instant};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// One member of the cluster: the machine.
///
/// # Contract
///
/// See the [module](super). After every call that takes something in, take out all that
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) have, then look at
/// [`poll_timeout`](Self::poll_timeout), which any of the calls may have changed. Nothing is lost when that is
/// done later or in another order: what is owed is state of the peers it is owed to, and never grows beyond that.
#[derive(Debug)]
pub struct Node {
    me: NodeId,
    addr_text: Vec<u8>,
    own: Keys,
    config: Config,
    rng: Rng,
    counters: Counters,
}

impl Node {
    /// A node that knows nobody. The same `seed` makes the same choices.
    pub fn new(me: NodeInfo, config: Config, seed: u64, now: Instant) -> Self {
        let _ = now;
        let own = Keys::above(me.wall_ms);
        let addr_text = alloc::format!("{}", me.addr).into_bytes();
        Self {
            me: me.id,
            addr_text,
            own,
            config: config.clamped(),
            rng: Rng::new(seed),
            counters: Counters::default(),
        }
    }

    /// Takes one datagram. An error is counted and told as [`GossipEvent::Refused`] too; the caller may ignore it.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> Result<(), PacketError> {
        let _ = (now, from, data);
        Ok(())
    }

    /// Takes a complete join or leave that came in on a stream and appends the answer to `reply`. On an error the
    /// stream is to be closed without one.
    pub fn handle_request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), PacketError> {
        let _ = (now, from, message, reply);
        Ok(())
    }

    /// What became of a stream that `poll_transmit` asked for.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        stream: Exchanged,
        outcome: Result<&[u8], StreamError>,
    ) -> Result<(), PacketError> {
        let _ = (now, stream, outcome);
        Ok(())
    }

    /// What the name of a [`GossipEvent::Resolve`] stands for.
    pub fn handle_resolved(&mut self, now: Instant, node: &NodeId, addr: SocketAddr) {
        let _ = (now, node, addr);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Asks the nodes at these addresses for what they know; ends in [`GossipEvent::JoinEnded`]. May be called
    /// at any time, for instance whenever the names of the seeds were resolved again.
    pub fn join(&mut self, now: Instant, seeds: &[SocketAddr]) {
        let _ = (now, seeds);
    }

    /// Says good-bye; ends in [`GossipEvent::LeaveEnded`]. The node goes on answering until it is dropped.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// Publishes a key, or changes its value.
    pub fn set(&mut self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.own.set(key.as_bytes(), value.as_bytes(), false);
        Ok(())
    }

    /// The same for a key that only our own nodes understand: its name begins with `_internal:`, and Go stores it
    /// silently.
    pub fn set_internal(&mut self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.own.set(key.as_bytes(), value.as_bytes(), true);
        Ok(())
    }

    /// Withdraws a key.
    pub fn unset(&mut self, key: &Key) {
        self.own.unset(key.as_bytes());
    }

    /// Appends one message to `out`, which the caller empties between calls, and says where it goes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let _ = (now, out);
        None
    }

    /// What was learnt.
    pub fn poll_event(&mut self) -> Option<GossipEvent> {
        None
    }

    /// When `handle_timeout` is wanted next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    /// All known nodes by id, the local one among them.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        core::iter::once(self.view())
    }

    /// One known node.
    pub fn peer(&self, id: &NodeId) -> Option<PeerView<'_>> {
        (*id == self.me).then(|| self.view())
    }

    fn view(&self) -> PeerView<'_> {
        PeerView {
            id: &self.me,
            addr: &self.addr_text,
            status: NodeStatus::Active,
            left: false,
            unreachable: false,
            ours: true,
            expiry: None,
            keys: &self.own,
        }
    }

    /// Totals for metrics.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
