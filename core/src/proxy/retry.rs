//! Whether a request may be sent once more (RFC 9110 9.2.2: a proxy must not repeat one that is not
//! idempotent, unless it knows that the first was never acted on).

use super::config::{Config, Place};
use super::step::Failure;

/// The retry state of one exchange.
#[derive(Debug)]
pub(super) struct Retry {
    place: Place,
    idempotent: bool,
    /// A copy is kept of requests that are not idempotent too, for upstreams that say that they did not act.
    keep_all: bool,
    bytes_max: u64,
    /// No copy is kept, whatever the request is.
    forgone: bool,
    retries_max: u32,
    retries: u32,
    /// Bytes of the request that this try has handed to the upstream.
    sent_this_try: u64,
    /// The most that any try has handed over.
    sent_max: u64,
    /// A byte of a response came: the upstream is acting on the request, and the client may have seen it.
    response_seen: bool,
    /// Why the try before failed: said when there is no upstream left for another.
    last_cause: Option<&'static str>,
}

impl Retry {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            place: config.place,
            idempotent: false,
            keep_all: false,
            bytes_max: config.replay_bytes_max,
            forgone: false,
            // An agent has one service and nobody else to turn to: only a pooled connection is worth a
            // second try, and that one is made on a fresh connection.
            retries_max: match config.place {
                Place::Agent => config.retries_max.min(1),
                Place::Admin | Place::Server => config.retries_max,
            },
            retries: 0,
            sent_this_try: 0,
            sent_max: 0,
            response_seen: false,
            last_cause: None,
        }
    }

    pub(super) fn set_method(&mut self, method: &[u8]) {
        self.idempotent = is_idempotent(method);
    }

    /// Counts bytes handed to the upstream. True when bytes were among them that no try sent before.
    pub(super) fn handle_sent(&mut self, bytes: u64) -> bool {
        self.sent_this_try = self.sent_this_try.saturating_add(bytes);
        let new = self.sent_this_try > self.sent_max;
        self.sent_max = self.sent_max.max(self.sent_this_try);
        new
    }

    pub(super) fn handle_response_seen(&mut self) {
        self.response_seen = true;
    }

    pub(super) fn keep_all(&mut self) {
        self.keep_all = true;
    }

    /// What is sent from here on is not kept, nor what was sent before.
    pub(super) fn forgo(&mut self) {
        self.forgone = true;
    }

    /// There is a connection. An agent repeats only what a pooled one may have swallowed.
    pub(super) fn handle_connected(&mut self, pooled: bool) {
        self.forgone |= self.place == Place::Agent && !pooled;
    }

    /// What was sent is kept.
    pub(super) fn is_kept(&self) -> bool {
        let kept = !self.forgone && self.sent_max <= self.bytes_max;
        kept && (self.idempotent || self.keep_all) && self.is_open()
    }

    /// A request that may have been acted on may be sent again.
    fn may_replay(&self) -> bool {
        self.idempotent && self.is_kept()
    }

    /// Whether a request that failed so may be sent once more.
    pub(super) fn allows(&self, why: Failure) -> bool {
        match why {
            // Nothing of this try reached anybody, and what earlier ones sent is still kept, or there would
            // not have been this one.
            Failure::Connect(_) if self.place == Place::Server => {
                (self.sent_this_try == 0 && self.is_open()) || self.may_replay()
            }
            Failure::Broken | Failure::ClientGone if self.place == Place::Server => self.may_replay(),
            // Nobody acted on it.
            Failure::Refused(_) => self.place == Place::Server && self.is_kept(),
            Failure::Stale => self.may_replay(),
            _ => false,
        }
    }

    /// The upstream failed: true when the request is to be sent once more, which is counted.
    pub(super) fn handle_failed(&mut self, why: Failure, cause: &'static str) -> bool {
        let allowed = self.allows(why);
        if allowed {
            self.retries += 1;
            self.sent_this_try = 0;
            self.last_cause = Some(cause);
        }
        allowed
    }

    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    pub(super) fn last_cause(&self) -> Option<&'static str> {
        self.last_cause
    }

    fn is_open(&self) -> bool {
        !self.response_seen && self.retries < self.retries_max
    }
}

/// RFC 9110 9.2.2. Methods are case-sensitive, and unknown ones are taken for not idempotent.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"DELETE" | b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"TRACE")
}
