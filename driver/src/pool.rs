//! Kept connections to one service or node: last used first, bounded in number and age.

use crate::maybe_tls::MaybeTls;
use crate::runtime::{Io, Probe, Runtime};
use crate::wait::sleep_until;
use piko_core::time::Instant;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A request that is not idempotent takes a kept connection only if it was idle for less than this:
/// services close at 5 s in the wild, and such a request cannot be sent twice (RFC 9110 9.2.2).
const UNSAFE_IDLE_MAX: Duration = Duration::from_secs(1);
/// A connection that was idle for less than this is taken without a look: the look costs a system
/// call, and a request that may be repeated survives a wrong guess.
const UNCHECKED_IDLE_MAX: Duration = Duration::from_millis(20);

struct Kept<I> {
    io: I,
    since: Instant,
}

struct Inner<I> {
    kept: Vec<Kept<I>>,
    sweeping: bool,
    closed: bool,
    /// What older connections were opened with counts no more.
    #[cfg(feature = "tls")]
    version: u32,
}

/// Connections that wait for another request. All share one bound in number and one in age.
pub struct Pool<R: Runtime> {
    rt: R,
    inner: Arc<Mutex<Inner<MaybeTls<R::Tcp>>>>,
    idle_max: usize,
    idle_timeout: Duration,
}

impl<R: Runtime> Pool<R> {
    /// Keeps at most `idle_max` connections, each for at most `idle_timeout`.
    pub fn new(rt: R, idle_max: usize, idle_timeout: Duration) -> Self {
        let inner = Inner {
            kept: Vec::new(),
            sweeping: false,
            closed: false,
            #[cfg(feature = "tls")]
            version: 0,
        };
        Self { rt, inner: Arc::new(Mutex::new(inner)), idle_max, idle_timeout }
    }

    fn lock(inner: &Mutex<Inner<MaybeTls<R::Tcp>>>) -> MutexGuard<'_, Inner<MaybeTls<R::Tcp>>> {
        inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last that is still good for such a request: not too old, and neither ended nor
    /// spoilt by bytes that nobody asked for. One that is not idempotent gets it only fresh from use, since it
    /// cannot be sent twice.
    pub fn take(&self, idempotent: bool) -> Option<MaybeTls<R::Tcp>> {
        let now = self.rt.now();
        loop {
            let Kept { mut io, since } = Self::lock(&self.inner).kept.pop()?;
            let idle = now.since(since);
            if idle >= self.idle_timeout {
                continue;
            }
            if !idempotent && idle >= UNSAFE_IDLE_MAX {
                // Those below were idle for longer; they stay for requests that may be repeated.
                Self::lock(&self.inner).kept.push(Kept { io, since });
                return None;
            }
            if (idempotent && idle < UNCHECKED_IDLE_MAX) || io.probe() == Probe::Quiet {
                return Some(io);
            }
        }
    }

    /// Closes what waits and was opened with an older [version](crate::tls::Connector::version) of the one connector that
    /// connections here come from, and from here on whatever such is put back. To be called in front of [`Self::take`].
    #[cfg(feature = "tls")]
    pub fn only_since(&self, version: u32) {
        let mut inner = Self::lock(&self.inner);
        if inner.version < version {
            inner.version = version;
            inner.kept.retain(|kept| kept.io.version() >= version);
        }
    }

    /// Connections that wait.
    pub fn len(&self) -> usize {
        Self::lock(&self.inner).kept.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes what waits, and whatever is put back from here on.
    pub fn close(&self) {
        let kept = {
            let mut inner = Self::lock(&self.inner);
            inner.closed = true;
            std::mem::take(&mut inner.kept)
        };
        drop(kept);
    }

    /// Keeps `io` for another request; the oldest has to go when there are too many.
    pub fn put(&self, io: MaybeTls<R::Tcp>) {
        if self.idle_max == 0 {
            return;
        }
        let mut inner = Self::lock(&self.inner);
        if inner.closed {
            return;
        }
        #[cfg(feature = "tls")]
        if io.version() < inner.version {
            return;
        }
        if inner.kept.len() >= self.idle_max {
            // The oldest is the likeliest to be closed by the service next.
            inner.kept.remove(0);
        }
        inner.kept.push(Kept { io, since: self.rt.now() });
        if !std::mem::replace(&mut inner.sweeping, true) {
            drop(inner);
            self.rt.spawn(sweep(self.rt.clone(), self.inner.clone(), self.idle_timeout));
        }
    }
}

impl<R: Runtime> fmt::Debug for Pool<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("kept", &self.len()).finish_non_exhaustive()
    }
}

/// Closes connections whose time is over; ends when none is left.
async fn sweep<R: Runtime>(rt: R, inner: Arc<Mutex<Inner<MaybeTls<R::Tcp>>>>, idle_timeout: Duration) {
    loop {
        let next = {
            let mut inner = Pool::<R>::lock(&inner);
            let now = rt.now();
            inner.kept.retain(|kept| now.since(kept.since) < idle_timeout);
            match inner.kept.iter().map(|kept| kept.since).min() {
                Some(oldest) => oldest + idle_timeout,
                None => {
                    inner.sweeping = false;
                    inner.kept = Vec::new();
                    return;
                }
            }
        };
        sleep_until(&rt, next).await;
    }
}
