//! Tasks that are ready, run on the thread of their `block_on` in the order in which they became so.

use crate::reactor::{Reactor, lock};
use async_task::Runnable;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

/// What every thread may add to, and the thread of the `block_on` takes from.
#[derive(Debug)]
pub(crate) struct Executor {
    reactor: &'static Reactor,
    ready: Mutex<VecDeque<Runnable>>,
}

impl Executor {
    pub(crate) fn new(reactor: &'static Reactor) -> Self {
        Self { reactor, ready: Mutex::default() }
    }

    /// A task that runs to its end whether or not anybody waits for it.
    pub(crate) fn spawn(&'static self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let (runnable, task) = async_task::spawn(task, |runnable| self.add(runnable));
        runnable.schedule();
        task.detach();
    }

    fn add(&self, runnable: Runnable) {
        lock(&self.ready).push_back(runnable);
        self.reactor.call_sleeper();
    }

    /// Whether no task is ready. A thread that is about to sleep asks when it has said so: see
    /// [`Reactor::call_sleeper`].
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.ready).is_empty()
    }
}

/// The part of an executor that only its thread has: the tasks that are next, for which it needs no lock.
#[derive(Debug)]
pub(crate) struct Runner {
    executor: &'static Executor,
    next: VecDeque<Runnable>,
}

impl Runner {
    pub(crate) fn new(executor: &'static Executor) -> Self {
        Self { executor, next: VecDeque::new() }
    }

    /// Runs up to `tasks_max` tasks, those that become ready meanwhile behind the others. True when none is left.
    pub(crate) fn run(&mut self, tasks_max: usize) -> bool {
        for _ in 0..tasks_max {
            if self.next.is_empty() {
                std::mem::swap(&mut self.next, &mut lock(&self.executor.ready));
            }
            match self.next.pop_front() {
                Some(task) => task.run(),
                None => return true,
            };
        }
        false
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // To drop it would drop its tasks, which nobody expects at the end of a `block_on`.
        std::mem::forget(std::mem::take(&mut self.next));
    }
}
