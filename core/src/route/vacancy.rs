//! Endpoints that were served a moment ago: a request for one may wait for a moment.
//!
//! When agents restart one after the other, an endpoint's last upstream on one node can go before the news of its next
//! one, on another node, has come: milliseconds in which nobody here knows whom to ask. A request is held for that long,
//! and is answered like any other when nobody came.

use crate::id::EndpointId;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// A request is held this long at most: news take a few milliseconds, and clients notice a tenth of a second.
pub const HOLD: Duration = Duration::from_millis(50);
/// An endpoint that nobody has served for longer is just not there.
const RECENT: Duration = Duration::from_secs(5);
/// Requests that are held at once; more are answered.
const HELD_MAX: usize = 1024;
/// Endpoints that are remembered, some hundred bytes and an id each; those that went first are forgotten first.
const VACANT_MAX: usize = 4096;

/// Which endpoints lost their last upstream, and how many requests wait.
///
/// # Contract
///
/// [`vacated`](Self::vacated) and [`served`](Self::served) follow the routing table. Each [`hold`](Self::hold) that gives
/// a time is ended by one [`release`](Self::release), whatever became of the request.
#[derive(Debug, Default)]
pub struct Vacancies {
    since: BTreeMap<EndpointId, Instant>,
    /// In the order of their times; what `since` contradicts is out of date.
    order: VecDeque<(Instant, EndpointId)>,
    held: usize,
}

impl Vacancies {
    /// Nobody serves the endpoint any more, and somebody did.
    pub fn vacated(&mut self, now: Instant, endpoint: EndpointId) {
        if self.since.insert(endpoint.clone(), now) == Some(now) {
            return;
        }
        self.order.push_back((now, endpoint));
        while let Some((at, endpoint)) = self.order.front() {
            if now.since(*at) <= RECENT && self.order.len() <= VACANT_MAX {
                break;
            }
            if self.since.get(endpoint) == Some(at) {
                self.since.remove(endpoint);
            }
            self.order.pop_front();
        }
    }

    /// Somebody serves the endpoint again.
    pub fn served(&mut self, endpoint: &EndpointId) {
        self.since.remove(endpoint);
    }

    /// Until when a request may wait that finds nobody; `None`: it is answered at once. `refused`: somebody is
    /// known, and said of itself a moment ago that it does not serve the endpoint any more.
    #[must_use]
    pub fn hold(&mut self, now: Instant, endpoint: &EndpointId, refused: bool) -> Option<Instant> {
        let recent = self.since.get(endpoint).is_some_and(|since| now.since(*since) <= RECENT);
        if !(recent || refused) || self.held >= HELD_MAX {
            return None;
        }
        self.held += 1;
        Some(now + HOLD)
    }

    /// A request does not wait any more.
    pub fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_millis(60_000);

    fn id(n: usize) -> EndpointId {
        EndpointId::new(alloc::format!("e{n}").as_bytes()).unwrap()
    }

    #[test]
    fn only_what_was_served_a_moment_ago_is_waited_for() {
        let mut vacancies = Vacancies::default();
        assert_eq!(vacancies.hold(T0, &id(0), false), None);
        vacancies.vacated(T0, id(0));
        assert_eq!(vacancies.hold(T0, &id(0), false), Some(T0 + HOLD));
        assert_eq!(vacancies.hold(T0 + RECENT, &id(0), false), Some(T0 + RECENT + HOLD));
        let late = T0 + RECENT + Duration::from_millis(1);
        assert_eq!(vacancies.hold(late, &id(0), false), None);
        assert_eq!(vacancies.hold(late, &id(0), true), Some(late + HOLD), "somebody spoke of it just now");
        vacancies.vacated(T0, id(1));
        vacancies.served(&id(1));
        assert_eq!(vacancies.hold(T0, &id(1), false), None);
    }

    #[test]
    fn waiting_requests_and_remembered_endpoints_are_bounded() {
        let mut vacancies = Vacancies::default();
        for n in 0..VACANT_MAX + 10 {
            vacancies.vacated(T0, id(n));
        }
        // Again and again the same one: its last time counts.
        for n in 0..2 * VACANT_MAX as u64 {
            vacancies.vacated(T0 + Duration::from_nanos(n / 2), id(VACANT_MAX));
        }
        assert!(vacancies.order.len() <= VACANT_MAX && vacancies.since.len() <= VACANT_MAX);
        assert_eq!(vacancies.hold(T0, &id(0), false), None, "the first ones are forgotten first");
        for _ in 0..HELD_MAX {
            assert!(vacancies.hold(T0, &id(VACANT_MAX), false).is_some());
        }
        assert_eq!(vacancies.hold(T0, &id(VACANT_MAX), false), None);
        vacancies.release();
        assert!(vacancies.hold(T0, &id(VACANT_MAX), false).is_some());
        // A later time takes the old ones along.
        vacancies.vacated(T0 + RECENT * 2, id(1));
        assert_eq!((vacancies.order.len(), vacancies.since.len()), (1, 1));
    }
}
