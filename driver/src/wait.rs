//! Waiting, on any runtime.

use crate::runtime::{Runtime, Timer};
use piko_core::time::Instant;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Ready once `at` has passed.
pub async fn sleep_until<R: Runtime>(rt: &R, at: Instant) {
    let mut timer = rt.timer();
    poll_fn(|cx| {
        while rt.now() < at {
            if timer.poll_until(cx, Some(at)).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Runs `work` until `at`; it is dropped when the time is up. `None` sets no limit.
pub async fn timeout_at<R: Runtime, T>(
    rt: &R,
    at: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let mut timer = rt.timer();
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            if at.is_some_and(|at| rt.now() >= at) {
                return Poll::Ready(Err(Elapsed));
            }
            if timer.poll_until(cx, at).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}
