//! Sockets and timers: who waits for what, and the sleep of the thread that runs them.
//!
//! Each `block_on` has a reactor of its own, turned by its thread alone: no helper thread, and no wake-up
//! while nothing happens. A socket is announced to the kernel once, edge-triggered, for both directions
//! (async-io announces every single wait, which cost the agent two system calls per request).

use crate::alarms::{Alarms, Due};
use crate::clock;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use piko_core::time::Instant;
use slab::Slab;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The thread is at work, and looks at everything before it sleeps.
const AWAKE: u8 = 0;
/// The thread sleeps in the kernel, or is about to: a wake has to go through the kernel.
const ASLEEP: u8 = 1;
/// Somebody called: the thread does not sleep before it has looked again.
const CALLED: u8 = 2;

/// A token holds the place of a source and how often that place was given away before: an event that comes
/// late, for a source that is gone, finds nobody.
const PLACE_BITS: u32 = usize::BITS / 2;
const PLACES: usize = 1 << PLACE_BITS;
/// No source has it: the highest generation is never given away.
const CALL: Token = Token(usize::MAX);

/// What tasks and threads share with the thread that sleeps.
#[derive(Debug)]
pub(crate) struct Reactor {
    state: AtomicU8,
    /// Interrupts the kernel. `None` once `block_on` is over.
    bell: Mutex<Option<mio::Waker>>,
    sources: Mutex<Sources>,
    alarms: Mutex<Alarms>,
}

#[derive(Debug)]
struct Sources {
    /// `None` once `block_on` is over.
    registry: Option<Registry>,
    entries: Slab<Entry>,
    generation: usize,
}

#[derive(Debug)]
struct Entry {
    generation: usize,
    readiness: Arc<Readiness>,
}

/// A mutex whose poison is ignored: a panic ends the process in release builds.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reactor {
    /// What may be shared, and what belongs to the thread that sleeps.
    pub(crate) fn open() -> io::Result<(Self, Sleeper)> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let bell = mio::Waker::new(&registry, CALL)?;
        let reactor = Self {
            state: AtomicU8::new(AWAKE),
            bell: Mutex::new(Some(bell)),
            sources: Mutex::new(Sources { registry: Some(registry), entries: Slab::new(), generation: 0 }),
            alarms: Mutex::default(),
        };
        Ok((reactor, Sleeper { poll, events: Events::with_capacity(256), wakers: Vec::new() }))
    }

    /// Gives the kernel's objects back. Sockets that outlive this never become ready.
    pub(crate) fn close(&self) {
        lock(&self.bell).take();
        lock(&self.sources).registry.take();
    }

    /// Makes the thread look again before it sleeps. Costs a system call only when it sleeps already, and
    /// then once, however many call.
    pub(crate) fn call(&self) {
        if self.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            if let Some(bell) = &*lock(&self.bell) {
                // Fails only when the kernel is out of memory, and then there is nobody to tell.
                let _ = bell.wake();
            }
        }
    }

    /// As [`Self::call`], of a thread that has said that it is about to sleep; any other looks of its own accord.
    ///
    /// Who has added something under a lock calls this behind it. The thread [says so](Self::fall_asleep) first and
    /// takes that lock to look then, so either it finds what was added or it is seen asleep here.
    pub(crate) fn call_sleeper(&self) {
        if self.state.load(Ordering::Acquire) == ASLEEP {
            self.call();
        }
    }

    /// From here on every call counts for the next sleep.
    pub(crate) fn begin_turn(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Says that the thread is about to sleep, unless somebody has called since the turn began.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn register(&self, fd: RawFd) -> io::Result<(Token, Arc<Readiness>)> {
        let mut sources = lock(&self.sources);
        let Sources { registry, entries, generation } = &mut *sources;
        let Some(registry) = registry else { return Err(io::Error::other("block_on is over")) };
        let place = entries.vacant_key();
        if place >= PLACES {
            return Err(io::Error::other("too many sockets"));
        }
        *generation = (*generation + 1) % (PLACES - 1);
        let token = Token((*generation << PLACE_BITS) | place);
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)?;
        let readiness = Arc::new(Readiness::default());
        entries.insert(Entry { generation: *generation, readiness: readiness.clone() });
        Ok((token, readiness))
    }

    fn deregister(&self, fd: RawFd, token: Token) {
        let mut sources = lock(&self.sources);
        if let Some(registry) = &sources.registry {
            // Can only fail for a socket that the kernel has forgotten already.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
        sources.entries.try_remove(token.0 % PLACES);
    }

    /// Forgets the alarm `old`, and sets one for `at`.
    pub(crate) fn set_alarm(&self, old: Option<Due>, at: Instant, waker: &Waker) -> Due {
        let mut alarms = lock(&self.alarms);
        let forgotten = old.and_then(|old| alarms.clear(old));
        let (due, is_first) = alarms.set(at, waker);
        drop(alarms);
        drop(forgotten);
        // The thread asks for the next alarm once it has said that it sleeps.
        if is_first {
            self.call_sleeper();
        }
        due
    }

    /// Whether an alarm has not gone off yet; it will wake `waker`.
    pub(crate) fn alarm_pending(&self, due: Due, waker: &Waker) -> bool {
        lock(&self.alarms).get_mut(due).map(|waiting| waiting.clone_from(waker)).is_some()
    }

    /// Forgets an alarm.
    pub(crate) fn clear_alarm(&self, due: Due) {
        let forgotten = lock(&self.alarms).clear(due);
        drop(forgotten);
    }

    /// Takes the alarms whose time has come; the time until the next one.
    fn due(&self, wakers: &mut Vec<Waker>) -> Option<Duration> {
        let mut alarms = lock(&self.alarms);
        if alarms.is_empty() {
            return None;
        }
        let now = clock::now();
        alarms.take_due(now, wakers).map(|at| at.since(now))
    }

    fn deliver(&self, events: &Events, wakers: &mut Vec<Waker>) {
        let sources = lock(&self.sources);
        for event in events {
            let Token(token) = event.token();
            let entry = sources.entries.get(token % PLACES);
            if let Some(entry) = entry.filter(|entry| entry.generation == token >> PLACE_BITS) {
                entry.readiness.note(event, wakers);
            }
        }
    }
}

/// The part of a reactor that only its thread has.
#[derive(Debug)]
pub(crate) struct Sleeper {
    poll: mio::Poll,
    events: Events,
    wakers: Vec<Waker>,
}

impl Sleeper {
    /// Wakes those whose time has come or whose sockets are ready. Sleeps until there are some, or until a
    /// call, if it is said to [sleep](Reactor::fall_asleep).
    ///
    /// # Panics
    ///
    /// When the kernel refuses to wait at all.
    pub(crate) fn turn(&mut self, reactor: &Reactor, sleeps: bool) {
        let next = reactor.due(&mut self.wakers);
        let timeout = if sleeps && self.wakers.is_empty() { next } else { Some(Duration::ZERO) };
        let polled = self.poll.poll(&mut self.events, timeout);
        // Before anybody is woken: what is woken calls, and needs no bell for a thread that is here.
        reactor.begin_turn();
        match polled {
            Ok(()) => reactor.deliver(&self.events, &mut self.wakers),
            Err(cause) => assert_eq!(cause.kind(), io::ErrorKind::Interrupted, "waiting for events: {cause}"),
        }
        // Nobody is woken under a lock.
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}

/// What the kernel has told about a socket that nobody has used yet.
#[derive(Debug, Default)]
struct Readiness {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reads: Direction,
    writes: Direction,
    /// The peer's end has been announced. There will be no further event for it.
    ended: bool,
}

#[derive(Debug, Default)]
struct Direction {
    ready: bool,
    waker: Option<Waker>,
}

impl Direction {
    /// Hands the readiness out, once. It is gone *before* its taker tries the socket, so an event that comes
    /// after the attempt is never mistaken for the one before it.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.ready) {
            return Poll::Ready(());
        }
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn note(&mut self, wakers: &mut Vec<Waker>) {
        self.ready = true;
        wakers.extend(self.waker.take());
    }
}

impl Readiness {
    fn note(&self, event: &Event, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        state.ended |= event.is_read_closed();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            state.reads.note(wakers);
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            state.writes.note(wakers);
        }
    }
}

/// A socket that the reactor knows. It does not block.
///
/// Who uses it tries first. A direction that said "would block" (or that is known to) is waited for with
/// [`poll_readable`](Self::poll_readable) or [`poll_writable`](Self::poll_writable), and tried again after
/// that. There is room for one waiting task per direction.
#[derive(Debug)]
pub(crate) struct Source<S> {
    // Before the socket: fields are dropped in this order, and the kernel has to know the descriptor still.
    registration: Registration,
    socket: S,
}

#[derive(Debug)]
struct Registration {
    reactor: &'static Reactor,
    fd: RawFd,
    token: Token,
    readiness: Arc<Readiness>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.reactor.deregister(self.fd, self.token);
    }
}

impl<S: AsRawFd> Source<S> {
    /// `socket` must not block.
    pub(crate) fn new(reactor: &'static Reactor, socket: S) -> io::Result<Self> {
        let fd = socket.as_raw_fd();
        let (token, readiness) = reactor.register(fd)?;
        Ok(Self { registration: Registration { reactor, fd, token, readiness }, socket })
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.socket
    }

    /// The reactor that knows it.
    pub(crate) fn reactor(&self) -> &'static Reactor {
        self.registration.reactor
    }

    /// Takes it off the reactor.
    pub(crate) fn into_inner(self) -> S {
        drop(self.registration);
        self.socket
    }

    /// Ready once something has happened since it was last ready; then with whether the peer's end has been
    /// announced.
    pub(crate) fn poll_readable(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.registration.readiness.state);
        state.reads.poll(cx).map(|()| state.ended)
    }

    /// Ready once something has happened since it was last ready.
    pub(crate) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        lock(&self.registration.readiness.state).writes.poll(cx)
    }
}
