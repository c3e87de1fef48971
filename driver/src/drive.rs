//! The loop that owns a transport (design guide A.6): one task per tunnel.

use crate::buffer::{Slot, borrow, give_back, give_back_unused, with_read_buffer};
use crate::clock::Clock;
use crate::runtime::{IoInfo, Runtime, Timer, Turn};
use crate::transport::{Received, Transport};
use crate::tunnel::TunnelHandle;
use bytes::BytesMut;
use piko_core::mux::CloseReason;
use piko_core::time::Instant;
use piko_core::tunnel::{TransportEnd, Tunnel};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Rounds of one poll before the loop wakes itself and lets others run. A second full read would push
/// the first one out of the processor's cache before its readers have run: at 16 rounds, 1 MiB bodies
/// cost twice the CPU.
const ROUNDS_MAX: usize = 2;
/// An outbox whose memory is above this is kept between turns only by the tunnels that have a [`Slot`]; none is kept
/// behind a keep-alive, because thousands of idle tunnels would each hold one.
const OUTBOX_KEEP_BYTES: usize = 2 * 1024;
/// What the kernel may hold back unsent, in bytes, before it calls a tunnel full (design guide A.6): all of it stands in
/// front of every ping and small answer. At bodies of 1 MiB over loopback, 32 KiB cost a fifth of the throughput.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// The same on a tunnel that crawls, where 128 KiB are 105 ms at 10 Mbit/s.
const UNSENT_BYTES_CRAWLING: u32 = 16 * 1024;
/// How long the last frames (a go-away) may take once the tunnel is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a paused loop looks whether memory became free in *another* session. (What leaves for the wire ends a pause
/// by itself.)
const PAUSE_CHECK: Duration = Duration::from_millis(50);

/// What a transport took of the outbox.
struct Sent {
    bytes: usize,
    drained: bool,
}

/// A look at all that may have to be done; some follow each other in one poll.
struct Round {
    is_first: bool,
    /// When something came in, if it did.
    came: Option<Instant>,
    /// The loop stood at the end of the line: output is collected.
    collects: bool,
}

/// Moves bytes between a transport and a tunnel until the tunnel is over; resolves with the reason.
pub struct TunnelLoop<R: Runtime, T> {
    rt: R,
    transport: T,
    handle: TunnelHandle,
    outbox: BytesMut,
    /// Taken when a large outbox is to be kept: the one here and the one in the session, which change places.
    slot: Option<Slot>,
    timer: R::Timer,
    turn: Turn,
    /// Standing at the end of the line: the next turn collects output.
    ending_turn: bool,
    wake: Vec<Waker>,
    /// The transport has ended or failed: neither read nor write again.
    dead: bool,
    reading: bool,
    /// A deadline passed while no stream was open: what goes out is a keep-alive, and silence follows.
    resting: bool,
    /// The kernel was told to hold little back.
    crawling: bool,
    /// The tunnel is over; set to the time until which the last frames may go out.
    last_words: Option<Instant>,
}

impl<R: Runtime, T: Transport> TunnelLoop<R, T> {
    /// Joins a tunnel and a transport. Nothing happens until the loop is polled.
    pub fn new(rt: R, transport: T, tunnel: Tunnel, info: IoInfo) -> (TunnelHandle, Self) {
        let handle = TunnelHandle::new(tunnel, Clock::of(&rt), info);
        let this = Self::with_handle(rt, transport, handle.clone());
        (handle, this)
    }

    /// As [`Self::new`], for a handle that was made (and made routable) before its transport.
    pub fn with_handle(rt: R, transport: T, handle: TunnelHandle) -> Self {
        let timer = rt.timer();
        transport.limit_unsent(UNSENT_BYTES_MAX);
        transport.unpaced_if_near();
        Self {
            rt,
            transport,
            handle,
            outbox: BytesMut::new(),
            slot: None,
            timer,
            turn: Turn::default(),
            ending_turn: false,
            wake: Vec::new(),
            dead: false,
            reading: true,
            resting: false,
            crawling: false,
            last_words: None,
        }
    }

    /// Reads once. The time when something came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.dead || !self.reading {
            return None;
        }
        let mut taken = None;
        let outcome = if cfg!(feature = "shared-reads") {
            let mut buf = borrow();
            let outcome = self.transport.poll_recv(cx, &mut buf);
            if let Poll::Ready(Ok(Received::Payload(range))) = &outcome {
                let buf = buf.freeze();
                let payload = buf.slice(range.clone());
                taken =
                    Some(self.take(payload.len(), |tunnel, now| tunnel.handle_shared_chunk(now, &payload)));
                drop(payload);
                give_back(buf);
            } else {
                give_back_unused(buf);
            }
            outcome
        } else {
            with_read_buffer(|buf| {
                let outcome = self.transport.poll_recv(cx, buf);
                if let Poll::Ready(Ok(Received::Payload(range))) = &outcome {
                    let payload = &buf[range.clone()];
                    taken = Some(self.take(payload.len(), |tunnel, now| tunnel.handle_chunk(now, payload)));
                }
                outcome
            })
        };
        match outcome {
            Poll::Pending => return None,
            Poll::Ready(Ok(Received::Payload(_) | Received::Nothing)) => {}
            Poll::Ready(Ok(Received::End(end))) => self.lost(end),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "tunnel read failed");
                self.lost(TransportEnd::Failed);
            }
        }
        Some(taken.unwrap_or_else(|| self.rt.now()))
    }

    /// Gives a payload of so many bytes to the tunnel, and tells when.
    fn take(
        &mut self,
        bytes: usize,
        give: impl FnOnce(&mut Tunnel, Instant) -> Result<(), CloseReason>,
    ) -> Instant {
        self.handle.shared.received.fetch_add(bytes as u64, Relaxed);
        let now = self.rt.now();
        let mut shared = self.handle.shared.state.lock();
        shared.now = now;
        // The reason arrives as an event too.
        let _ = give(&mut shared.tunnel, now);
        shared.drain_events(&mut self.wake);
        now
    }

    fn lost(&mut self, end: TransportEnd) {
        self.dead = true;
        let now = self.rt.now();
        let mut shared = self.handle.shared.state.lock();
        shared.tunnel.handle_end(now, end);
        shared.drain_events(&mut self.wake);
        drop(shared);
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for waker in self.wake.drain(..) {
            waker.wake();
        }
    }

    /// Sends what is in the outbox.
    fn send(&mut self, cx: &mut Context<'_>) -> Option<Sent> {
        if self.dead || (self.outbox.is_empty() && !self.transport.wants_send()) {
            return None;
        }
        let before = self.outbox.len();
        let result = self.transport.poll_send(cx, &mut self.outbox);
        let bytes = before - self.outbox.len().min(before);
        if before > 0 {
            self.handle.shared.writes.fetch_add(1, Relaxed);
            self.handle.shared.sent.fetch_add(bytes as u64, Relaxed);
        }
        match result {
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "tunnel write failed");
                self.lost(TransportEnd::Failed);
                Some(Sent { bytes: 0, drained: true })
            }
            Poll::Ready(Ok(())) => Some(Sent { bytes, drained: true }),
            // Also that it took nothing: what it takes next is a sign of life.
            Poll::Pending => Some(Sent { bytes, drained: false }),
        }
    }

    fn note_sent(&mut self, sent: Sent) {
        let now = self.rt.now();
        self.handle.shared.state.lock().tunnel.handle_sent(now, sent.bytes, sent.drained);
    }

    /// The critical section of a round: notes what was sent since the last one, and collects output, which the loop
    /// holds from then on. True when output waits that was not collected; gives the next deadline.
    fn exchange(&mut self, cx: &mut Context<'_>, round: &Round, sent: Option<Sent>) -> (bool, Instant) {
        let now = round.came.unwrap_or_else(|| self.rt.now());
        let mut shared = self.handle.shared.state.lock();
        shared.now = now;
        if let Some(Sent { bytes, drained }) = sent {
            shared.tunnel.handle_sent(now, bytes, drained);
        }
        if shared.tunnel.timeout_at() <= now {
            shared.tunnel.handle_timeout(now);
            self.resting = shared.tunnel.streams() == 0;
            shared.slots.rest();
        }
        // Called by a writer, and by nothing else: then it stands behind all that were ready with that writer.
        let called =
            shared.driver.is_none() && round.is_first && round.came.is_none() && self.rt.wakes_in_order();
        if (round.collects || (called && shared.tunnel.wants_transmit())) && self.outbox.is_empty() {
            shared.tunnel.poll_transmit(now, &mut self.outbox);
        }
        shared.drain_events(&mut self.wake);
        if let Some(reason) = shared.tunnel.close_reason().cloned() {
            // However it ended, nobody may wait for it.
            shared.end(reason, &mut self.wake);
        }
        match &shared.driver {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => shared.driver = Some(cx.waker().clone()),
        }
        shared.output_waits = !self.outbox.is_empty();
        self.handle.set_crowded(shared.tunnel.is_crowded());
        self.reading = shared.tunnel.wants_input();
        shared.paused = !self.reading;
        let closed = shared.closed.is_some();
        let mut at = shared.tunnel.timeout_at();
        if shared.paused {
            at = at.min(now + PAUSE_CHECK);
        }
        if closed {
            at = at.min(*self.last_words.get_or_insert(now + LAST_WORDS));
        }
        if round.came.is_some() {
            // Who reads what came ends its stream soon, or owes credit: frames that may wait so long for company. The
            // timer is armed for them now, so that the first one need not wake this loop for that alone.
            at = at.min(now + shared.tunnel.lazy_time());
        }
        shared.armed = at;
        let wanted = !shared.output_waits && shared.tunnel.wants_transmit();
        let crawling = shared.tunnel.is_crawling();
        drop(shared);
        if self.crawling != crawling {
            self.crawling = crawling;
            self.transport.limit_unsent(if crawling { UNSENT_BYTES_CRAWLING } else { UNSENT_BYTES_MAX });
        }
        self.wake_all();
        (wanted, at)
    }

    /// Nothing moves any more in this turn: decides whether the outbox keeps its memory.
    fn shrink(&mut self) {
        if !self.outbox.is_empty() {
            return;
        }
        if std::mem::take(&mut self.resting) {
            self.slot = None;
            self.outbox = BytesMut::new();
        } else if self.slot.is_none() && self.outbox.try_reclaim(OUTBOX_KEEP_BYTES + 1) {
            self.slot = Slot::take();
            if self.slot.is_none() {
                self.outbox = BytesMut::new();
            }
        }
    }

    fn over(&mut self, cx: &mut Context<'_>) -> Option<CloseReason> {
        let until = self.last_words?;
        let waiting = !self.dead && (!self.outbox.is_empty() || self.transport.wants_send());
        if waiting && self.rt.now() < until {
            return None;
        }
        if !self.dead {
            // Best effort: the FIN leaves with the last bytes; dropping the socket closes it anyway.
            let _ = self.transport.poll_close(cx);
        }
        let reason = self.handle.close_reason().unwrap_or(CloseReason::Local);
        Some(reason)
    }
}

/// Nothing in it is pinned.
impl<R: Runtime, T> Unpin for TunnelLoop<R, T> {}

impl<R: Runtime, T: Transport> Future for TunnelLoop<R, T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = &mut *self;
        let mut collect = false;
        if this.ending_turn {
            if this.rt.poll_end_of_turn(cx, &mut this.turn).is_pending() {
                return Poll::Pending;
            }
            this.ending_turn = false;
            collect = true;
        }
        // There was nothing to read in this poll.
        let mut dry = false;
        let mut sent = None;
        let mut is_due = false;
        let mut at = Instant::FAR;
        for number in 0..ROUNDS_MAX {
            let reads = this.reading && !dry;
            let came = if reads { this.receive(cx) } else { None };
            dry |= reads && came.is_none();
            let round = Round { is_first: number == 0, came, collects: collect };
            let mut progress = came.is_some();
            // Otherwise all is as the last round left it.
            let unchanged = !(round.is_first || progress || collect || is_due || sent.is_some());
            if !unchanged || this.transport.wants_send() {
                let wanted;
                let paused = !this.reading;
                (wanted, at) = this.exchange(cx, &round, sent.take());
                (collect, is_due) = (false, false);
                if wanted && !this.dead {
                    // Let the tasks that are ready add their frames first, then send once (performance guide 2.1).
                    if this.rt.poll_end_of_turn(cx, &mut this.turn).is_pending() {
                        this.ending_turn = true;
                        return Poll::Pending;
                    }
                    collect = true;
                    continue;
                }
                sent = this.send(cx);
                // Who begins to read again has yet to ask the transport for it.
                progress |= sent.as_ref().is_some_and(|sent| sent.drained) || (paused && this.reading);
            }
            if let Some(reason) = this.over(cx) {
                return Poll::Ready(reason);
            }
            if !progress {
                if this.timer.poll_until(cx, Some(at)).is_pending() {
                    if let Some(sent) = sent {
                        this.note_sent(sent);
                    }
                    this.shrink();
                    return Poll::Pending;
                }
                is_due = true;
            }
        }
        if let Some(sent) = sent {
            this.note_sent(sent);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime, T> Drop for TunnelLoop<R, T> {
    /// A loop that is dropped before its tunnel is over must not leave streams waiting for ever.
    fn drop(&mut self) {
        self.handle.fail();
    }
}
