//! One request's place at an upstream.

use super::load::{Health, Load, Rank, Silence, Trial};
use super::router::Route;
use crate::time::Instant;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// The part of a node that a choice reads for each candidate without a look-up.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    pub(super) up: AtomicBool,
    pub(super) draining: AtomicBool,
    pub(super) health: Health,
    pub(super) silence: Silence,
}

impl NodeState {
    pub(super) fn rank(&self, now: Instant) -> Rank {
        let draining = if self.draining.load(Ordering::Relaxed) { Rank::Draining } else { Rank::Good };
        self.health.rank(now).max(self.silence.rank(now)).max(draining)
    }

    /// True for one caller when this node, which is passed over, is due for a trial.
    pub(super) fn claim_trial(&self, now: Instant) -> Option<Trial> {
        if self.health.claim(now) {
            Some(Trial::Node)
        } else if self.health.rank(now) == Rank::Good && self.silence.claim(now) {
            Some(Trial::Stalled)
        } else {
            None
        }
    }

    pub(super) fn answered(&self) {
        self.silence.answer();
        self.health.succeed();
    }

    /// Nothing is held against it.
    pub(super) fn forgive(&self) {
        self.answered();
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

/// What went wrong with a request at its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke before the answer. Of a node this is held against all its endpoints.
    Broken,
    /// It answers that it cannot serve this endpoint: a node without an upstream, an agent whose service is
    /// down. Held against this endpoint only.
    Down,
    /// What is behind it did not answer in time, or broke off. It is counted, and no more: the request may be
    /// to blame.
    Slow,
}

/// A request counted in at the upstream that was chosen for it; counted out when this is dropped, once.
///
/// It works on the entry that was chosen, also when the table has another tunnel or node of the same name
/// meanwhile. Say what became of the request with [`answered`](Self::answered) or [`fail`](Self::fail), or
/// say nothing when that is not known, such as when the client left.
pub struct Pick {
    route: Route,
    load: Arc<Load>,
    node: Option<Arc<NodeState>>,
    trial: Option<Trial>,
}

impl Pick {
    pub(super) fn new(
        now: Instant,
        route: Route,
        load: &Arc<Load>,
        node: Option<&Arc<NodeState>>,
        trial: Option<Trial>,
    ) -> Self {
        // An endpoint that is slow (long polls, a service that hangs) tells of its node only so much.
        if let Some(node) = node.filter(|_| load.tells_of_node()) {
            node.silence.request(now);
        }
        load.count_in(now);
        Self { route, load: Arc::clone(load), node: node.cloned(), trial }
    }

    /// Counts it for an even spread: see [`Load::take`].
    pub(super) fn take(&self) -> bool {
        self.load.take()
    }

    /// Where the request goes.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The response head came: the upstream is well, whatever the status.
    pub fn answered(&mut self) {
        self.trial = None;
        self.load.answered();
        if let Some(node) = &self.node {
            node.answered();
        }
    }

    /// The upstream has taken a connection, without a word of whoever is behind it: an agent's ACK, or a node's 101. Whether
    /// it serves shows later.
    pub fn taken(&mut self) -> Probation {
        self.load.accepted();
        if let Some(node) = &self.node {
            node.answered();
        }
        // What was to be found out of the node, or of a tunnel that is silent, has been.
        let trial = self.trial.take() == Some(Trial::Upstream);
        Probation { load: Arc::clone(&self.load), trial }
    }

    /// A response head came that says what is wrong with the upstream: its node is well. Comes before [`Self::fail`].
    pub fn heard(&mut self) {
        if let Some(node) = &self.node {
            node.answered();
        }
        self.trial = self.trial.filter(|trial| *trial != Trial::Node);
    }

    /// The upstream failed. After 5 failures in a row it is set aside for 10 s, then for longer, up to 60 s,
    /// with one trial request at a time; what is broken or down is passed over for a second at once.
    pub fn fail(&mut self, now: Instant, fault: Fault) {
        let trial = self.trial.take();
        if fault != Fault::Slow {
            self.load.refused();
        }
        match (&self.node, fault) {
            (Some(node), Fault::Broken) => {
                node.health.suspect(now);
                node.health.fail(now, trial == Some(Trial::Node));
                if trial == Some(Trial::Upstream) {
                    self.load.health.give_back();
                }
            }
            (node, fault) => {
                if let Some(node) = node {
                    // It took the request, or it would not have answered or fallen silent.
                    if fault == Fault::Down {
                        node.answered();
                    } else if trial == Some(Trial::Node) {
                        node.health.give_back();
                    }
                }
                if fault != Fault::Slow {
                    self.load.health.suspect(now);
                }
                self.load.health.fail(now, trial == Some(Trial::Upstream));
            }
        }
    }

    /// The node says how many requests for the endpoint are under way there, from all nodes together.
    /// Believed for two seconds; of no meaning for a tunnel.
    pub fn hint(&self, now: Instant, outstanding: usize) {
        self.load.hint(now, outstanding);
    }

    /// The response announces a body of so many bytes.
    pub fn note_body(&self, bytes: u64) {
        self.load.note_body(bytes);
    }

    /// How large the bodies of the responses usually are, in bytes: a moving average of what [`Self::note_body`] was
    /// told of this tunnel, or of this endpoint at this node. One of more than 1 MiB counts as 1 MiB; zero as long as
    /// nothing is known.
    pub fn body_bytes(&self) -> usize {
        self.load.body_bytes()
    }
}

/// A connection that an upstream [has taken](Pick::taken), until it shows whether there is a service behind.
///
/// Dropped without a word it says nothing, such as when the client left first.
pub struct Probation {
    load: Arc<Load>,
    /// It is what an upstream that was set aside is tried with.
    trial: bool,
}

impl Probation {
    /// The service has spoken, or ended in order: the upstream is well.
    pub fn served(mut self) {
        self.trial = false;
        self.load.answered();
    }

    /// The connection broke before the service said anything: as [`Pick::fail`] with [`Fault::Down`].
    pub fn broke(mut self, now: Instant) {
        self.load.health.suspect(now);
        self.load.health.fail(now, core::mem::take(&mut self.trial));
    }
}

impl fmt::Debug for Probation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probation").field("trial", &self.trial).finish_non_exhaustive()
    }
}

impl Drop for Probation {
    fn drop(&mut self) {
        if self.trial {
            self.load.health.give_back();
        }
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pick").field(&self.route).finish()
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.load.count_out();
        match (self.trial, &self.node) {
            (Some(Trial::Upstream), _) => self.load.health.give_back(),
            (Some(Trial::Node), Some(node)) => node.health.give_back(),
            _ => {}
        }
    }
}
