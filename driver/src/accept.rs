//! Accepts connections and gives each a task of its own.

use crate::runtime::{Listener, Runtime, Timer};
use crate::shutdown::{Shutdown, TaskGuard, Tasks};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

/// After a failed accept (out of descriptors) the listener rests, so that it does not spin.
const REST: Duration = Duration::from_millis(50);

/// Accepts until `stop` is given, then closes the listener. `serve` makes the task of a connection.
pub async fn accept<R, L, F, T>(rt: R, mut listener: L, stop: Shutdown, tasks: Tasks, serve: F)
where
    R: Runtime,
    L: Listener,
    F: Fn(L::Io, TaskGuard) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut stopped = stop.listener();
    let mut timer = rt.timer();
    loop {
        let accepted = poll_fn(|cx| {
            if stopped.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        })
        .await;
        match accepted {
            None => return,
            Some(Ok(io)) => rt.spawn(serve(io, tasks.enter())),
            Some(Err(error)) => {
                tracing::warn!(%error, "accept failed");
                let until = rt.now() + REST;
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
        }
    }
}
