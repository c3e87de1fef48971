//! Which address of a name has answered where others did not.

#[cfg(any(feature = "smol", feature = "tls", feature = "tokio"))]
pub(crate) use memory::Known;

/// The smallest agent has no room for a memory: it connects to its server seldom.
#[cfg(not(any(feature = "smol", feature = "tls", feature = "tokio")))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {}

#[cfg(not(any(feature = "smol", feature = "tls", feature = "tokio")))]
impl Known {
    pub(crate) fn order(&self, _: &mut [std::net::SocketAddr], _: piko_core::time::Instant) {}

    pub(crate) fn answered(
        &self,
        _: std::net::SocketAddr,
        _: usize,
        _: std::time::Duration,
        _: piko_core::time::Instant,
    ) {
    }
}

#[cfg(any(feature = "smol", feature = "tls", feature = "tokio"))]
mod memory {
    use crate::favourite::{DEAR, FAVOURITE_FOR};
    use piko_core::time::Instant;
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    /// The address behind those that cost time: it comes first for a while, as a server does
    /// ([`Favourite`](crate::favourite::Favourite)). By its value, since the order of a name's addresses may change.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Known(Arc<Mutex<Option<(SocketAddr, Instant)>>>);

    impl Known {
        /// Brings what has answered to the front. When that was long ago, this connection asks in order again, and those
        /// beside it do not.
        pub(crate) fn order(&self, addrs: &mut [SocketAddr], now: Instant) {
            match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
                Some((known, until)) if now < *until => {
                    if let Some(at) = addrs.iter().position(|addr| addr == known) {
                        addrs[..=at].rotate_right(1);
                    }
                }
                Some((_, until)) => *until = now + FAVOURITE_FOR,
                None => {}
            }
        }

        /// `addr`, the `n`th that was asked, has answered behind others that took `took`.
        pub(crate) fn answered(&self, addr: SocketAddr, n: usize, took: Duration, now: Instant) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if n > 0 && took >= DEAR {
                *known = Some((addr, now + FAVOURITE_FOR));
            } else if n == 0 && known.is_some_and(|(known, _)| known != addr) {
                *known = None;
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_has_answered_behind_others_comes_first_for_a_while() {
            let all = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 80)));
            let [one, two, three] = all;
            let s = |secs| Instant::from_nanos(0) + Duration::from_secs(secs);
            let known = Known::default();
            let order = |now| {
                let mut addrs = all;
                known.order(&mut addrs, now);
                addrs
            };
            known.answered(three, 2, Duration::ZERO, s(0));
            assert_eq!(order(s(0)), all, "who refuses at once costs nothing");
            known.answered(three, 2, Duration::from_secs(4), s(0));
            assert_eq!(order(s(29)), [three, one, two]);
            known.answered(three, 0, Duration::ZERO, s(29));
            assert_eq!((order(s(30)), order(s(30))), (all, [three, one, two]), "one asks");
            known.answered(one, 0, Duration::ZERO, s(31));
            assert_eq!(order(s(31)), all, "it is back");
            known.order(&mut [], s(31));
        }
    }
}
