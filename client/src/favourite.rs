//! Which of several servers a dialer begins with, and what each of them may take.

use piko_core::time::Instant;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What one of several servers may take of a connection in the first round; twice as much in each further one, so that
/// a slow one is reached in the end. The hurried attempt of a tunnel has as much.
const SERVER_TIME: Duration = Duration::from_secs(5);
/// Servers that fail within this cost too little to be passed over.
pub(crate) const DEAR: Duration = Duration::from_millis(250);
/// After this one connection begins with the first server again.
pub(crate) const FAVOURITE_FOR: Duration = Duration::from_secs(30);

/// The server behind those that swallowed connections: dials begin with it for a while.
#[derive(Debug, Default)]
pub(crate) struct Favourite(Mutex<Option<(usize, Instant)>>);

impl Favourite {
    /// With which of `among` servers a round begins at `now`: the first one unless it has cost time lately. When that
    /// was long ago, this round asks it again, and those beside it do not.
    pub(crate) fn begin(&self, now: Instant, among: usize) -> usize {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, until)) if now < *until => *at % among.max(1),
            Some((_, until)) => {
                *until = now + FAVOURITE_FOR;
                0
            }
            None => 0,
        }
    }

    /// The server `at` has answered, in a round that had begun with `first` and taken `took` before it was asked.
    pub(crate) fn answered(&self, at: usize, first: usize, took: Duration, now: Instant) {
        let mut favourite = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at == 0 && (first == 0 || took >= DEAR) {
            *favourite = None;
        } else if at != first && took >= DEAR {
            *favourite = Some((at, now + FAVOURITE_FOR));
        }
    }
}

/// What one server may take of the time `left`, with `among` that are still to be asked in this round, out of `all`. The
/// only server has all of it.
pub(crate) fn server_share(left: Duration, among: usize, all: usize, round: u32) -> Duration {
    if all <= 1 {
        return left;
    }
    let even = left / u32::try_from(among.max(1)).unwrap_or(u32::MAX);
    even.min(SERVER_TIME.saturating_mul(1 << round.min(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn one_of_several_servers_does_not_take_the_time_of_all() {
        assert_eq!(server_share(S(30), 1, 1, 0), S(30));
        assert_eq!(server_share(S(30), 2, 2, 0), S(5));
        assert_eq!(server_share(S(25), 1, 2, 0), S(5), "the other one may be back meanwhile");
        assert_eq!(server_share(S(20), 2, 2, 1), S(10), "a slow one has more in the next round");
        assert_eq!(server_share(S(2), 2, 2, 0), S(1));
        assert_eq!(server_share(S(3600), 1, 2, u32::MAX), S(3600));
    }

    #[test]
    fn dials_begin_behind_a_server_that_cost_time() {
        let favourite = Favourite::default();
        let now = Instant::from_nanos(0);
        assert_eq!(favourite.begin(now, 3), 0);
        favourite.answered(2, 0, S(0), now);
        assert_eq!(favourite.begin(now, 3), 0, "who refuses at once costs nothing");
        favourite.answered(1, 0, S(5), now);
        assert_eq!(favourite.begin(now + S(29), 3), 1);
        assert_eq!((favourite.begin(now + S(30), 3), favourite.begin(now + S(30), 3)), (0, 1), "one asks");
        assert_eq!(favourite.begin(now + S(60), 3), 0);
        favourite.answered(0, 0, S(0), now + S(60));
        assert_eq!(favourite.begin(now + S(60), 3), 0, "it is back");
        favourite.answered(2, 0, S(5), now);
        favourite.answered(0, 2, S(0), now);
        assert_eq!(favourite.begin(now, 3), 2, "one refusal is no reason to go back");
        favourite.answered(0, 2, S(5), now);
        assert_eq!(favourite.begin(now, 3), 0);
    }
}
