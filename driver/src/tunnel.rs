//! One tunnel behind one lock: what its loop and its streams share.

use crate::clock::Clock;
use crate::runtime::IoInfo;
use crate::slab::Slab;
use crate::stream::Stream;
use crate::sync::Mutex;
use piko_core::id::{EndpointId, StreamId};
use piko_core::mux::{CloseReason, GoAway, OpenError, StreamIndex};
use piko_core::preface::HeaderVersion;
use piko_core::time::Instant;
use piko_core::tunnel::{TransportEnd, Tunnel, TunnelEvent};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The two tasks that may wait on a stream: split halves live on different ones.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// The slots of all streams.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    index: StreamIndex,
    slots: Slab<Slots>,
}

impl SlotTable {
    /// The slots of a stream, made where there are none.
    pub(crate) fn entry(&mut self, id: StreamId) -> &mut Slots {
        let Self { index, slots } = self;
        let at = index.get(id).unwrap_or_else(|| {
            let at = slots.insert(Slots::default());
            index.insert(id, at);
            at
        });
        slots.get_mut(at).expect("the index holds places that exist, and both change together")
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Slots> {
        self.slots.get_mut(self.index.get(id)?)
    }

    pub(crate) fn remove(&mut self, id: StreamId) {
        if let Some(at) = self.index.remove(id) {
            self.slots.remove(at);
        }
    }

    /// Gives memory back that nobody uses.
    pub(crate) fn rest(&mut self) {
        if self.index.is_empty() {
            *self = Self::default();
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slots> {
        self.slots.iter_mut()
    }
}

/// Everything under the lock. Nothing here touches a socket, and wakers are called after unlocking.
pub(crate) struct Shared {
    pub(crate) tunnel: Tunnel,
    /// When somebody last looked at the clock.
    pub(crate) now: Instant,
    pub(crate) slots: SlotTable,
    /// The loop's waker, always the newest.
    pub(crate) driver: Option<Waker>,
    /// The loop holds output that the socket does not take: new output alone need not wake it.
    pub(crate) output_waits: bool,
    /// What the loop's timer is armed for; [`Instant::FAR`] is nothing.
    pub(crate) armed: Instant,
    /// The loop does not read because received bytes are not consumed, or refusals not sent.
    pub(crate) paused: bool,
    /// Tasks that wait for a stream of the peer. All look when one comes: one of them may have given up.
    pub(crate) acceptors: Vec<Waker>,
    pub(crate) openers: VecDeque<Waker>,
    pub(crate) going_away: Option<GoAway>,
    /// Tasks that want to hear of going-away and the end.
    pub(crate) watchers: Vec<Waker>,
    pub(crate) closed: Option<CloseReason>,
}

impl Shared {
    /// Moves the tunnel's events into wakers. A terminal state wakes everyone, always.
    pub(crate) fn drain_events(&mut self, wake: &mut Vec<Waker>) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                TunnelEvent::Readable(id) => {
                    wake.extend(self.slots.get_mut(id).and_then(|s| s.reader.take()));
                }
                TunnelEvent::Writable(id) => {
                    wake.extend(self.slots.get_mut(id).and_then(|s| s.writer.take()));
                }
                TunnelEvent::Incoming => wake.append(&mut self.acceptors),
                // One event may stand for many slots, and an opener may have given up: all look again.
                TunnelEvent::Slot => wake.extend(self.openers.drain(..)),
                TunnelEvent::GoingAway(code) => {
                    self.going_away = Some(code);
                    wake.append(&mut self.watchers);
                    wake.extend(self.openers.drain(..));
                }
                TunnelEvent::Closed(reason) => self.end(reason, wake),
                _ => {}
            }
        }
    }

    /// The tunnel is over: everybody who waits has to look again.
    pub(crate) fn end(&mut self, reason: CloseReason, wake: &mut Vec<Waker>) {
        self.closed.get_or_insert(reason);
        for slots in self.slots.iter_mut() {
            wake.extend(slots.reader.take());
            wake.extend(slots.writer.take());
        }
        wake.append(&mut self.acceptors);
        wake.extend(self.openers.drain(..));
        wake.append(&mut self.watchers);
    }

    /// The loop's waker when a change made by a handle needs it: output that somebody waits for and
    /// that does not already wait for the socket, a deadline before the armed one, room after a pause.
    pub(crate) fn loop_waker(&mut self) -> Option<Waker> {
        self.driver.as_ref()?;
        let output = !self.output_waits && self.tunnel.wants_transmit();
        let is_sooner = || self.tunnel.timeout_at() < self.armed;
        let wanted = output || (self.paused && self.tunnel.wants_input()) || is_sooner();
        if wanted { self.driver.take() } else { None }
    }
}

/// A tunnel's handle: opens and accepts streams. Cheap to clone; the loop is [`crate::TunnelLoop`].
#[derive(Clone)]
pub struct TunnelHandle {
    pub(crate) shared: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) state: Mutex<Shared>,
    pub(crate) clock: Clock,
    pub(crate) info: IoInfo,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Writers wait, or one has just taken a good part of the outbox: whoever has much to write asks before it
    /// reads. A hint, so it stands beside the lock.
    pub(crate) crowded: AtomicBool,
}

impl std::fmt::Debug for TunnelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelHandle").field("peer", &self.shared.info.peer).finish_non_exhaustive()
    }
}

impl TunnelHandle {
    /// Both sides stated that a stream's directions end one by one. A Go peer's end is that of both.
    pub fn has_half_close(&self) -> bool {
        self.shared.state.lock().tunnel.caps().half_close
    }

    /// What both sides stated that each stream from the server begins with.
    pub fn proxy_header(&self) -> Option<HeaderVersion> {
        self.shared.state.lock().tunnel.caps().proxy_header
    }

    /// A tunnel without its transport yet: streams can be opened and wait. [`crate::TunnelLoop::with_handle`]
    /// brings it to life, [`Self::fail`] ends it. Tunnels of one process may share a clock.
    pub fn detached(clock: Clock, tunnel: Tunnel, info: IoInfo) -> Self {
        Self::new(tunnel, clock, info)
    }

    /// Ends a tunnel whose transport is gone or never came; all streams fail. Nothing when it is over.
    pub fn fail(&self) {
        let mut wake = Vec::new();
        {
            let mut shared = self.shared.state.lock();
            if shared.closed.is_none() {
                let now = self.shared.clock.now();
                shared.tunnel.handle_end(now, TransportEnd::Failed);
                shared.drain_events(&mut wake);
                shared.end(CloseReason::Transport, &mut wake);
            }
        }
        for waker in wake {
            waker.wake();
        }
    }

    pub(crate) fn new(tunnel: Tunnel, clock: Clock, info: IoInfo) -> Self {
        let shared = Shared {
            tunnel,
            now: clock.now(),
            slots: SlotTable::default(),
            driver: None,
            output_waits: false,
            armed: Instant::FAR,
            paused: false,
            acceptors: Vec::new(),
            openers: VecDeque::new(),
            going_away: None,
            watchers: Vec::new(),
            closed: None,
        };
        let inner = Inner {
            state: Mutex::new(shared),
            clock,
            info,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
        };
        Self { shared: Arc::new(inner) }
    }

    /// Runs `f` under the lock and then wakes the loop if the change needs it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Shared, Instant) -> T) -> T {
        let now = self.shared.clock.now();
        self.with_last(|shared, _| {
            shared.now = shared.now.max(now);
            f(shared, now)
        })
    }

    /// As [`Self::with`], at the time of the last look at the clock, for what streams do many times in a turn
    /// (performance guide 6). That time is at most a keep-alive's silence ago: what is timed from then on, a lazy
    /// frame or a share of the outbox, falls due earlier, which is harmless.
    pub(crate) fn with_last<T>(&self, f: impl FnOnce(&mut Shared, Instant) -> T) -> T {
        let (result, waker) = {
            let mut shared = self.shared.state.lock();
            let now = shared.now;
            let result = f(&mut shared, now);
            (result, shared.loop_waker())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// As [`Self::with`], for a change that lets others go on though it brings no output about.
    pub(crate) fn with_events(&self, f: impl FnOnce(&mut Shared, Instant)) {
        let mut wake = Vec::new();
        self.with(|shared, now| {
            f(shared, now);
            shared.drain_events(&mut wake);
        });
        for waker in wake {
            waker.wake();
        }
    }

    pub(crate) fn set_crowded(&self, crowded: bool) {
        self.shared.crowded.store(crowded, Ordering::Relaxed);
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::Relaxed)
    }

    /// The endpoint this tunnel serves.
    pub fn endpoint(&self) -> EndpointId {
        self.shared.state.lock().tunnel.endpoint().clone()
    }

    /// Opens a stream. Pending while 256 opened ones wait for their ACK.
    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Result<Stream, OpenError>> {
        let opened = self.with_last(|shared, now| match shared.tunnel.open(now) {
            Err(OpenError::Blocked) => {
                shared.openers.push_back(cx.waker().clone());
                None
            }
            other => Some(other),
        });
        match opened {
            None => Poll::Pending,
            Some(result) => Poll::Ready(result.map(|id| Stream::new(self.clone(), id))),
        }
    }

    /// Opens a stream where that needs no waiting and fewer than `streams_max` are open; `None` says that it does, or
    /// that there are as many.
    ///
    /// # Errors
    /// The tunnel takes no more streams, or is over.
    pub fn try_open(&self, streams_max: usize) -> Result<Option<Stream>, OpenError> {
        let opened = self.with_last(|shared, now| {
            if shared.tunnel.streams() >= streams_max {
                return Err(OpenError::Blocked);
            }
            shared.tunnel.open(now)
        });
        match opened {
            Ok(id) => Ok(Some(Stream::new(self.clone(), id))),
            Err(OpenError::Blocked) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next stream of the peer; `None` when the tunnel is over.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        let accepted = self.with_last(|shared, _| match shared.tunnel.accept() {
            Some(id) => Some(Some(id)),
            None if shared.closed.is_some() => Some(None),
            None => {
                if !shared.acceptors.iter().any(|waker| waker.will_wake(cx.waker())) {
                    shared.acceptors.push(cx.waker().clone());
                }
                None
            }
        });
        match accepted {
            None => Poll::Pending,
            Some(id) => Poll::Ready(id.map(|id| Stream::new(self.clone(), id))),
        }
    }

    /// Ready once the peer takes no new streams, or the tunnel is over.
    pub fn poll_going_away(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch(cx, |shared| shared.going_away.is_some() || shared.closed.is_some())
    }

    /// Ready once the tunnel is over.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch(cx, |shared| shared.closed.is_some())
    }

    fn watch(&self, cx: &mut Context<'_>, done: impl Fn(&Shared) -> bool) -> Poll<()> {
        let mut shared = self.shared.state.lock();
        if done(&shared) {
            return Poll::Ready(());
        }
        if !shared.watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
            if shared.watchers.is_empty() {
                // Nearly always there is one, as long as the tunnel lives.
                shared.watchers.reserve_exact(1);
            }
            shared.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends gently: no new streams, the open ones finish within `grace` (design guide A.2, Drain).
    pub fn drain(&self, grace: Duration) {
        self.with(|shared, now| shared.tunnel.drain(now, grace));
    }

    /// Asks an agent of ours for its next tunnel elsewhere; nothing else changes (design guide A.2).
    pub fn hint(&self) {
        self.with(|shared, now| shared.tunnel.hint(now));
    }

    /// Ends at once with this code; open streams fail.
    pub fn abort(&self, code: GoAway) {
        self.with(|shared, now| shared.tunnel.abort(now, code));
    }

    /// True once it is being taken down by this side: no new streams.
    pub fn is_draining(&self) -> bool {
        self.shared.state.lock().tunnel.is_draining()
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.shared.state.lock().tunnel.streams()
    }

    /// Why it ended, once it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.state.lock().closed.clone()
    }

    /// Addresses of the connection below.
    pub fn info(&self) -> &IoInfo {
        &self.shared.info
    }

    /// (bytes sent, bytes received, writes) of the transport so far.
    pub fn traffic(&self) -> (u64, u64, u64) {
        let inner = &self.shared;
        (
            inner.sent.load(Ordering::Relaxed),
            inner.received.load(Ordering::Relaxed),
            inner.writes.load(Ordering::Relaxed),
        )
    }
}
