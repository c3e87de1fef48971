//! A one-shot timer on tokio's wheel, which counts in milliseconds.

use crate::clock;
use piko_core::time::Instant;
use piko_driver::Timer;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::time::Sleep;

/// A [`Timer`]. Owns no wheel entry until its first deadline; up to a millisecond late, as tokio rounds up.
#[derive(Debug)]
pub struct TokioTimer {
    handle: Handle,
    /// Boxed because it must not move, and kept for the next deadline once it is made.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What `sleep` waits for. `None` once it has fired.
    armed: Option<Instant>,
    /// Whom it will wake then.
    waker: Option<Waker>,
}

impl TokioTimer {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, sleep: None, armed: None, waker: None }
    }

    /// Whether it is armed for `at` or earlier already and wakes this task then: to ask tokio again costs ten times the look.
    fn will_wake(&self, waker: &Waker, at: Instant) -> bool {
        self.armed.is_some_and(|armed| armed <= at)
            && self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
            && self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed())
    }

    /// Waits for `at` from here on. `None` when `at` never comes.
    fn arm(&mut self, at: Instant) -> Option<&mut Pin<Box<Sleep>>> {
        let deadline = tokio::time::Instant::from_std(clock::to_std(at)?);
        self.armed = Some(at);
        self.waker = None;
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(deadline);
        } else {
            let _on_this_runtime = self.handle.enter();
            self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline)));
        }
        self.sleep.as_mut()
    }
}

impl Timer for TokioTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        if self.will_wake(cx.waker(), at) {
            return Poll::Pending;
        }
        loop {
            let sleep = match self.armed {
                Some(armed) if armed <= at => self.sleep.as_mut(),
                _ => self.arm(at),
            };
            let Some(sleep) = sleep else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            // It fired for a deadline that has moved away since, unless the time has really come.
            self.armed = None;
            if clock::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}
