//! Requests that wait for an upstream to come back, and who wakes them.

use piko_core::id::EndpointId;
use piko_core::route::Vacancies;
use piko_core::time::Instant;
use piko_observe::metrics::Counter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Shared by the table's changes and the requests that wait. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Requests that were held.
    held: Counter,
}

#[derive(Debug, Default)]
struct State {
    vacancies: Vacancies,
    /// Few, for a moment, and each change may be theirs: no need to sort them by endpoint.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests were held.
    pub(crate) fn held_total(&self) -> &Counter {
        &self.0.held
    }

    /// These endpoints lost their last upstream.
    pub(crate) fn vacated(&self, now: Instant, endpoints: impl IntoIterator<Item = EndpointId>) {
        let mut endpoints = endpoints.into_iter().peekable();
        if endpoints.peek().is_some() {
            let mut state = self.state();
            endpoints.for_each(|endpoint| state.vacancies.vacated(now, endpoint));
        }
    }

    /// Somebody serves the endpoint: those who wait look again.
    pub(crate) fn served(&self, endpoint: &EndpointId) {
        self.state().vacancies.served(endpoint);
        self.wake();
    }

    /// Everybody who waits looks again.
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut self.state().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// A place for a request, if it may wait: see [`Vacancies::hold`].
    pub(crate) fn hold(&self, now: Instant, endpoint: &EndpointId, refused: bool) -> Option<Held> {
        let mut state = self.state();
        let until = state.vacancies.hold(now, endpoint, refused)?;
        state.next += 1;
        let key = state.next;
        drop(state);
        self.0.held.inc();
        Some(Held { waiting: self.clone(), key, until })
    }
}

/// The place of a request that waits; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    waiting: Waiting,
    key: u64,
    /// When the wait is over.
    pub(crate) until: Instant,
}

impl Held {
    /// Wakes the task at the next change of the routes. Look at them behind this, not before.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waiting.state().wakers.insert(self.key, cx.waker().clone());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.waiting.state();
        state.wakers.remove(&self.key);
        state.vacancies.release();
    }
}
