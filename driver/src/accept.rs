//! Accepts connections and gives each a task of its own.

use crate::runtime::{Listener, Runtime, Timer};
use crate::shutdown::{Shutdown, TaskGuard, Tasks};
use piko_core::time::Instant;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

/// After a failed accept (out of descriptors) the listener rests, so that it does not spin.
const REST: Duration = Duration::from_millis(50);
/// How often a port tells that it cannot accept: out of descriptors it fails after every rest, for hours.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);

/// How long handshakes that are under way take to end before a listener is closed: a round trip to a load balancer.
/// Whoever begins one meanwhile is not heard, asks again after a second and is refused then, which loses nothing.
const LAST_HANDSHAKES: Duration = Duration::from_millis(20);
/// What is still taken from a listener that is about to be closed: more than a full queue of a busy port holds.
const LAST_MAX: usize = 4096;

/// Accepts until `stop` is given, then takes what waits already and closes the listener. `serve` makes the task of a
/// connection.
///
/// Closing a listener resets the connections that the kernel has opened on its behalf: their clients believe in them,
/// and may have sent a request that nobody may send again. It counts as one of `tasks` until then.
pub async fn accept<R, L, F, T>(rt: R, mut listener: L, stop: Shutdown, tasks: Tasks, serve: F)
where
    R: Runtime,
    L: Listener,
    F: Fn(L::Io, TaskGuard) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    // Counted too: whoever waits for the end of all tasks waits for those that are still to be accepted.
    let guard = tasks.enter();
    let mut stopped = stop.listener();
    let mut timer = rt.timer();
    let mut complaints = Complaints::default();
    loop {
        let accepted = poll_fn(|cx| {
            if stopped.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        })
        .await;
        match accepted {
            None => {
                if listener.stop_handshakes() {
                    rest(&rt, &mut timer, LAST_HANDSHAKES).await;
                }
                for _ in 0..LAST_MAX {
                    let Some(io) = listener.accept_waiting() else { break };
                    rt.spawn(serve(io, tasks.enter()));
                }
                drop(listener);
                drop(guard);
                return;
            }
            Some(Ok(io)) => rt.spawn(serve(io, tasks.enter())),
            Some(Err(error)) => {
                if let Some(silent) = complaints.next(rt.now()) {
                    tracing::warn!(%error, silent, "accept failed");
                }
                rest(&rt, &mut timer, REST).await;
            }
        }
    }
}

/// When the next failure may be told, and how many were not.
#[derive(Debug, Default)]
struct Complaints {
    not_before: Option<Instant>,
    silent: u32,
}

impl Complaints {
    /// A failure: `Some` when it is to be told, with how many were not told since the last one that was.
    fn next(&mut self, now: Instant) -> Option<u32> {
        if self.not_before.is_some_and(|at| now < at) {
            self.silent = self.silent.wrapping_add(1);
            return None;
        }
        self.not_before = Some(now + COMPLAINT_EVERY);
        Some(std::mem::take(&mut self.silent))
    }
}

async fn rest<R: Runtime>(rt: &R, timer: &mut R::Timer, time: Duration) {
    let until = rt.now() + time;
    poll_fn(|cx| {
        while timer.poll_until(cx, Some(until)).is_ready() {
            if rt.now() >= until {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_accept_says_so_every_ten_seconds() {
        let start = Instant::from_nanos(0);
        let mut complaints = Complaints::default();
        let failures = (0..).map(|n| start + REST * n).take_while(|at| *at <= start + COMPLAINT_EVERY * 2);
        let told: Vec<_> = failures.filter_map(|at| complaints.next(at).map(|silent| (at, silent))).collect();
        let between = 10_000 / 50 - 1;
        let expected = [0, 1, 2].map(|n| (start + COMPLAINT_EVERY * n, if n == 0 { 0 } else { between }));
        assert_eq!(told, expected);
    }
}
