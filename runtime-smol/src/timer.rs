//! A one-shot timer in async-io's queue.

use crate::clock;
use async_io::Timer as Alarm;
use piko_core::time::Instant;
use piko_driver::Timer;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A [`Timer`]. Arming costs system calls (the reactor is told, and sets its timer descriptor); waiting for
/// what is armed already costs none.
#[derive(Debug)]
pub struct SmolTimer {
    alarm: Alarm,
    /// What `alarm` waits for. `None` once it has fired.
    armed: Option<Instant>,
}

impl SmolTimer {
    pub(crate) fn new() -> Self {
        Self { alarm: Alarm::never(), armed: None }
    }
}

impl Timer for SmolTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        loop {
            if self.armed.is_none_or(|armed| at < armed) {
                let Some(deadline) = clock::to_std(at) else { return Poll::Pending };
                self.alarm.set_at(deadline);
                self.armed = Some(at);
            }
            ready!(Pin::new(&mut self.alarm).poll(cx));
            // It fired for a deadline that has moved away since, unless the time has really come.
            self.armed = None;
            if clock::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}
