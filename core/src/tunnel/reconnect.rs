//! When to dial again.

use super::backoff::{Backoff, Waits};
use crate::rng::Rng;
use crate::time::{Deadline, Instant};
use core::time::Duration;

/// A connection that lasted less than this does not prove that the server is well.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// How many such connections in a row still count as an outage to hurry for. A server that takes every
/// connection and drops it at once is then dialled at the slow pace.
const SHORT_LIVES_MAX: u8 = 10;

/// How long after its limit an attempt is given up when the driver, who holds the limit, says nothing.
const ATTEMPT_SLACK: Duration = Duration::from_secs(1);

/// Names one dial. Numbers are never used twice, so an answer that comes late hits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);

/// What the driver is to do.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect, and answer with [`Reconnector::handle_connected`] or [`Reconnector::handle_failed`].
    Dial {
        /// To be given back with the answer.
        attempt: Attempt,
        /// Which of the targets, counted from zero.
        target: u16,
        /// How long it may last before it counts as failed; held by the driver.
        limit: Option<Duration>,
    },
    /// Nothing will be dialled any more; the last failure.
    GiveUp(Failure),
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Any other status. It ends everything before the first success of the process; afterwards a load
    /// balancer's 401 or 404 is one more thing to wait out.
    Fatal {
        /// Of the answer.
        status: u16,
    },
    /// No attempt of this program can succeed. Ends everything, whenever it comes.
    Never,
    /// No HTTP response, or 408, 429, 500, 502 to 504 (wire protocol 3.4).
    Retry,
}

impl Failure {
    /// What the answer `status` to an upgrade request means (wire protocol 3.4).
    pub fn from_status(status: u16) -> Self {
        match status {
            408 | 429 | 500 | 502 | 503 | 504 => Self::Retry,
            status => Self::Fatal { status },
        }
    }
}

/// The agent's supervisor: says when to dial, never dials.
///
/// ```text
///            ┌──────── wait over ────────┐
///            │                           ▼
///   new ───► Waiting ◄─── failed ─── Dialling ── connected ──► Connected
///              ▲                         │                          │
///              └──────────────── lost ───┼──────────────────────────┘
///                                        └─ fatal, before the first success ─► GivenUp
/// ```
///
/// # Driving it
///
/// After every `handle_*` take [`poll_action`](Self::poll_action) until it is `None`, and arm
/// [`poll_timeout`](Self::poll_timeout). Every [`Action::Dial`] wants one answer. Answers to attempts that are not
/// current are ignored: [`is_connected`](Self::is_connected) says whether one counted.
///
/// It reconnects after every loss that it is told of (wire protocol 3.5); whoever wants the end drops it. When
/// the next tunnel shall be opened before the old one ends (the peer goes away), tell `handle_lost` at once, and
/// not again when the old one really ends.
///
/// Several targets are tried in order, without a wait between them; every round begins with the first. Before the
/// first success a fatal answer ends everything only once all targets of a round have given one.
/// The waits are described at [`Backoff`].
#[derive(Debug)]
pub struct Reconnector {
    targets: u16,
    target: u16,
    /// Targets of the round that is under way whose answers were fatal.
    fatal: u16,
    backoff: Backoff,
    waits: Waits,
    rng: Rng,
    attempts: u64,
    state: State,
    action: Option<Action>,
    hurry_until: Instant,
    /// Set until the first success, when the process is to end without one.
    give_up_at: Option<Instant>,
    ever_connected: bool,
    short_lives: u8,
    last_failure: Failure,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connected { since: Instant },
    Dialling { attempt: Attempt, until: Instant },
    GivenUp,
    Waiting { until: Instant },
}

impl Reconnector {
    /// Dials the first of `targets` addresses at once (zero counts as one). `seed` decides the jitter.
    pub fn new(targets: u16, backoff: Backoff, seed: u64, now: Instant) -> Self {
        let mut this = Self {
            targets: targets.max(1),
            target: 0,
            fatal: 0,
            waits: Waits::new(backoff.min),
            rng: Rng::new(seed),
            attempts: 0,
            state: State::Waiting { until: now },
            action: None,
            hurry_until: now + backoff.hurry,
            give_up_at: backoff.exit_on_failure.then_some(now + backoff.first_connect),
            ever_connected: false,
            short_lives: 0,
            last_failure: Failure::Retry,
            backoff,
        };
        this.dial(now);
        this
    }

    /// What to do, once.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// The tunnel of `attempt` is up.
    pub fn handle_connected(&mut self, now: Instant, attempt: Attempt) {
        if self.is_current(attempt) {
            self.action = None;
            self.state = State::Connected { since: now };
            self.ever_connected = true;
            self.give_up_at = None;
        }
    }

    /// `attempt` came to nothing. The next target is dialled at once, or, after the last one, the first after a wait.
    pub fn handle_failed(&mut self, now: Instant, attempt: Attempt, failure: Failure) {
        if !self.is_current(attempt) {
            return;
        }
        let is_fatal = match failure {
            Failure::Fatal { .. } => {
                self.fatal += 1;
                !self.ever_connected && self.fatal == self.targets
            }
            Failure::Never => true,
            Failure::Retry => false,
        };
        self.last_failure = failure;
        if is_fatal || self.give_up_at.is_some_and(|at| at <= now) {
            return self.give_up();
        }
        self.target += 1;
        if self.target < self.targets {
            self.dial(now);
        } else {
            self.wait(now);
        }
    }

    /// The tunnel that was up has ended, or is about to. Ignored when none is up.
    pub fn handle_lost(&mut self, now: Instant) {
        let State::Connected { since } = self.state else {
            return;
        };
        if now.since(since) >= STABLE_AFTER {
            self.short_lives = 0;
        } else {
            self.short_lives = self.short_lives.saturating_add(1);
        }
        // Short lives in a row are one outage: its waits go on growing.
        if self.short_lives <= 1 {
            self.waits.reset();
        }
        if self.short_lives <= SHORT_LIVES_MAX {
            self.hurry_until = now + self.backoff.hurry;
        }
        self.wait(now);
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) has passed; harmless at other times.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.give_up_at.is_some_and(|at| at <= now) {
            return self.give_up();
        }
        match self.state {
            State::Waiting { until } if until <= now => self.dial(now),
            State::Dialling { attempt, until } if until <= now => {
                self.handle_failed(now, attempt, Failure::Retry);
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let next = match self.state {
            State::Connected { .. } | State::GivenUp => return None,
            State::Dialling { until, .. } => Deadline::new(until, "attempt unanswered"),
            State::Waiting { until } => Deadline::new(until, "dial again"),
        };
        let give_up = self.give_up_at.map(|at| Deadline::new(at, "first connect"));
        Deadline::earliest(Some(next), give_up)
    }

    /// How long it is until the next dial, which is nothing when one is due; `None` when there will be none.
    pub fn poll_wait(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Waiting { until } => Some(until.since(now)),
            State::Dialling { .. } => Some(Duration::ZERO),
            State::Connected { .. } | State::GivenUp => None,
        }
    }

    /// Whether the last answer that counted was a success, and no loss came after it.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    fn is_current(&self, answered: Attempt) -> bool {
        matches!(self.state, State::Dialling { attempt, .. } if attempt == answered)
    }

    fn is_hurried(&self, now: Instant) -> bool {
        now < self.hurry_until
    }

    fn dial(&mut self, now: Instant) {
        self.attempts += 1;
        let attempt = Attempt(self.attempts);
        let mut limit = self.backoff.attempt;
        if self.is_hurried(now) {
            limit = limit.min(self.backoff.hurried_attempt);
        }
        if let Some(at) = self.give_up_at {
            limit = limit.min(at.since(now));
        }
        self.state = State::Dialling { attempt, until: now + limit + ATTEMPT_SLACK };
        self.action = Some(Action::Dial { attempt, target: self.target, limit: Some(limit) });
        tracing::debug!(
            attempt = attempt.0,
            target_index = self.target,
            limit_ms = limit.as_millis() as u64,
            "dial"
        );
    }

    fn wait(&mut self, now: Instant) {
        let hurried = self.is_hurried(now);
        let Backoff { min, max, max_after_loss, .. } = self.backoff;
        // Whoever asks for longer waits than those of a hurry has no wish to hurry.
        let cap = if hurried { max_after_loss.max(min).min(max) } else { max };
        let wait = self.waits.next(cap, &mut self.rng);
        self.state = State::Waiting { until: now + wait };
        self.action = None;
        (self.target, self.fatal) = (0, 0);
        tracing::debug!(wait_ms = wait.as_millis() as u64, hurried, "wait before the next dial");
    }

    fn give_up(&mut self) {
        self.state = State::GivenUp;
        self.give_up_at = None;
        self.action = Some(Action::GiveUp(self.last_failure.clone()));
    }
}

#[cfg(test)]
#[path = "reconnect_tests.rs"]
mod tests;
