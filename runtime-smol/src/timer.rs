//! A one-shot timer in the reactor's queue.

use crate::alarms::Due;
use crate::clock;
use crate::reactor::Reactor;
use piko_core::time::Instant;
use piko_driver::Timer;
use std::task::{Context, Poll};

/// A [`Timer`]. No system call belongs to one: the reactor sleeps no longer than until the earliest.
#[derive(Debug)]
pub struct SmolTimer {
    reactor: &'static Reactor,
    /// What the reactor will wake us for. `None` once it has.
    armed: Option<Due>,
}

impl SmolTimer {
    pub(crate) fn new(reactor: &'static Reactor) -> Self {
        Self { reactor, armed: None }
    }
}

impl Timer for SmolTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at.filter(|&at| at != Instant::FAR) else { return Poll::Pending };
        if let Some(armed) = self.armed.filter(|armed| armed.at <= at) {
            if self.reactor.alarm_pending(armed, cx.waker()) {
                return Poll::Pending;
            }
            // It went off, perhaps for a deadline that has moved away since.
            self.armed = None;
            if clock::now() >= at {
                return Poll::Ready(());
            }
        }
        // A time that has passed already is found out in this turn's look at the alarms, which looks at the clock anyway.
        self.armed = Some(self.reactor.set_alarm(self.armed, at, cx.waker()));
        Poll::Pending
    }
}

impl Drop for SmolTimer {
    fn drop(&mut self) {
        if let Some(armed) = self.armed {
            self.reactor.clear_alarm(armed);
        }
    }
}
