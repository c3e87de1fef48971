//! The tasks that serve the streams of one listener.

use super::slot::Service;
use piko_driver::{Port, Runtime, Stream, TaskGuard, serve};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// How many wait for another stream at most: some 2 KB each, for as long as the listener is there.
const IDLE_MAX: usize = 32;

/// A stream and what it gets.
pub(super) struct Job<R: Runtime> {
    pub(super) stream: Stream,
    pub(super) service: Arc<Service<R>>,
    pub(super) guard: TaskGuard,
}

/// Gives streams to tasks. One that is done with its stream waits for another: a task of its own for each costs a small
/// request more than all that its bytes do on their way through the tunnel, most of it for the memory.
pub(super) struct Workers<R: Runtime> {
    rt: R,
    port: Arc<Port>,
    idle: Arc<Idle<R>>,
}

impl<R: Runtime> Workers<R> {
    pub(super) fn new(rt: R, port: Arc<Port>) -> Self {
        Self { rt, port, idle: Arc::new(Idle(Mutex::new(Some(Vec::new())))) }
    }

    /// Has a stream served.
    pub(super) fn serve(&self, job: Job<R>) {
        let seat = lock(&self.idle.0).as_mut().and_then(Vec::pop);
        match seat {
            Some(seat) => seat.call(Call::Job(job)),
            None => self.rt.spawn(work(self.rt.clone(), self.port.clone(), self.idle.clone(), job)),
        }
    }
}

impl<R: Runtime> Drop for Workers<R> {
    /// Those that wait end; those at work end behind their streams.
    fn drop(&mut self) {
        let seats = lock(&self.idle.0).take();
        for seat in seats.into_iter().flatten() {
            seat.call(Call::Over);
        }
    }
}

/// Tasks that wait; `None` once nothing comes any more.
struct Idle<R: Runtime>(Mutex<Option<Vec<Arc<Seat<R>>>>>);

impl<R: Runtime> Idle<R> {
    /// One more, unless there are enough.
    fn join(&self, seat: &Arc<Seat<R>>) -> bool {
        match &mut *lock(&self.0) {
            Some(seats) if seats.len() < IDLE_MAX => {
                seats.push(seat.clone());
                true
            }
            _ => false,
        }
    }
}

/// What a task that waits is told.
enum Call<R: Runtime> {
    Job(Job<R>),
    Over,
}

/// Where one task is told.
struct Seat<R: Runtime>(Mutex<(Option<Call<R>>, Option<Waker>)>);

impl<R: Runtime> Seat<R> {
    fn call(&self, call: Call<R>) {
        let waker = {
            let mut seat = lock(&self.0);
            seat.0 = Some(call);
            seat.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self) -> Call<R> {
        poll_fn(|cx| {
            let mut seat = lock(&self.0);
            match seat.0.take() {
                Some(call) => Poll::Ready(call),
                None => {
                    seat.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

async fn work<R: Runtime>(rt: R, port: Arc<Port>, idle: Arc<Idle<R>>, mut job: Job<R>) {
    let seat = Arc::new(Seat(Mutex::new((None, None))));
    loop {
        let Job { stream, service, guard } = job;
        match &*service {
            Service::Http(service) => {
                let _ = serve::<R, Stream, _>(&rt, stream, service, &port).await;
            }
            Service::Tcp(service) => service.serve(stream).await,
        }
        // Nothing is held while it waits that somebody else may wait for the end of.
        drop((service, guard));
        if !idle.join(&seat) {
            return;
        }
        match seat.wait().await {
            Call::Job(next) => job = next,
            Call::Over => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
