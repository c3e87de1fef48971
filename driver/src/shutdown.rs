//! One signal, everybody hears it; and the count of those who are still at work.

use crate::slab::Slab;
use crate::sync::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
struct Inner {
    done: AtomicBool,
    /// Nobody joins once the signal was given, so that a place that was emptied then is never given again.
    waiters: Mutex<Slab<Waker>>,
}

/// A signal that is given once and stays given.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Inner>);

impl Shutdown {
    /// Not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal and wakes every listener.
    pub fn trigger(&self) {
        let wakers = {
            let mut waiters = self.0.waiters.lock();
            self.0.done.store(true, Ordering::Release);
            std::mem::take(&mut *waiters)
        };
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// True once it was given.
    pub fn is_triggered(&self) -> bool {
        self.0.done.load(Ordering::Acquire)
    }

    /// Somebody who waits for it.
    pub fn listener(&self) -> ShutdownListener {
        ShutdownListener { inner: self.0.clone(), key: None, waker: None }
    }

    /// Ready once it was given.
    pub async fn wait(&self) {
        let mut listener = self.listener();
        poll_fn(|cx| listener.poll(cx)).await;
    }
}

/// One waiter; its place in the list goes away with it.
#[derive(Debug)]
pub struct ShutdownListener {
    inner: Arc<Inner>,
    key: Option<u32>,
    waker: Option<Waker>,
}

impl ShutdownListener {
    /// Ready once the signal was given. A task that polls again costs one atomic load.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.done.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let mut waiters = self.inner.waiters.lock();
        // Under the lock: the signal is either seen here or sees this waker.
        if self.inner.done.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        match self.key.and_then(|key| waiters.get_mut(key)) {
            Some(place) => place.clone_from(cx.waker()),
            None => self.key = Some(waiters.insert(cx.waker().clone())),
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ShutdownListener {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.inner.waiters.lock().remove(key);
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    running: AtomicUsize,
    idle: Mutex<Vec<Waker>>,
}

/// How many are at work, and a way to wait until nobody is.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Count>);

impl Tasks {
    /// Nobody at work.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, until the guard is dropped.
    pub fn enter(&self) -> TaskGuard {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        TaskGuard(self.0.clone())
    }

    /// How many are at work.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Acquire)
    }

    /// Ready once nobody is at work.
    pub async fn idle(&self) {
        poll_fn(|cx| {
            if self.running() == 0 {
                return Poll::Ready(());
            }
            self.0.idle.lock().push(cx.waker().clone());
            // The last one may have left between the look and the push.
            if self.running() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// One at work.
#[derive(Debug)]
pub struct TaskGuard(Arc<Count>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let wakers = std::mem::take(&mut *self.0.idle.lock());
            for waker in wakers {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;
    use std::pin::pin;

    #[test]
    fn listeners_hear_a_signal_given_before_and_after_they_look() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let signal = Shutdown::new();
        let mut early = signal.listener();
        assert!(early.poll(&mut cx).is_pending());
        signal.trigger();
        assert!(early.poll(&mut cx).is_ready());
        assert!(signal.listener().poll(&mut cx).is_ready());
        assert!(signal.is_triggered());
    }

    #[test]
    fn a_dropped_listener_leaves_nothing_behind() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let signal = Shutdown::new();
        let mut listener = signal.listener();
        assert!(listener.poll(&mut cx).is_pending());
        drop(listener);
        assert!(signal.0.waiters.lock().is_empty());
    }

    #[test]
    fn idle_waits_for_the_last_guard() {
        use std::future::Future;
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let tasks = Tasks::new();
        let (a, b) = (tasks.enter(), tasks.enter());
        let mut idle = pin!(tasks.idle());
        assert!(idle.as_mut().poll(&mut cx).is_pending());
        drop(a);
        assert!(idle.as_mut().poll(&mut cx).is_pending());
        drop(b);
        assert!(idle.as_mut().poll(&mut cx).is_ready());
    }
}
