//! A one-shot timer in the reactor's queue.

use crate::clock;
use crate::reactor::Reactor;
use piko_core::time::Instant;
use piko_driver::Timer;
use std::task::{Context, Poll};

/// A [`Timer`]. No system call belongs to one: the reactor sleeps no longer than until the earliest.
#[derive(Debug)]
pub struct SmolTimer {
    reactor: &'static Reactor,
    id: u64,
    /// What the reactor will wake us for. `None` once it has.
    armed: Option<Instant>,
}

impl SmolTimer {
    pub(crate) fn new(reactor: &'static Reactor) -> Self {
        Self { reactor, id: reactor.timer_id(), armed: None }
    }
}

impl Timer for SmolTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at.filter(|&at| at != Instant::FAR) else { return Poll::Pending };
        if let Some(armed) = self.armed.filter(|&armed| armed <= at) {
            if self.reactor.alarm_pending(self.id, armed, cx.waker()) {
                return Poll::Pending;
            }
            // It went off, perhaps for a deadline that has moved away since.
            self.armed = None;
        }
        if clock::now() >= at {
            return Poll::Ready(());
        }
        self.reactor.set_alarm(self.id, self.armed, at, cx.waker());
        self.armed = Some(at);
        Poll::Pending
    }
}

impl Drop for SmolTimer {
    fn drop(&mut self) {
        if let Some(armed) = self.armed {
            self.reactor.clear_alarm(self.id, armed);
        }
    }
}
