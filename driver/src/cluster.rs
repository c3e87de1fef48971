//! The gossip loop: a node of `piko_core::gossip` on real sockets (design guide A.4, A.6).
//!
//! One task owns the datagram socket and the timer; every stream, ours or a peer's, is a task of its own with a
//! deadline. Whoever publishes keys or looks at the cluster holds a [`Gossip`] handle.

use crate::accept::accept;
use crate::clock::Clock;
use crate::hearing::{Buffered, Heard, give_notice, hear};
use crate::runtime::{Addr, Datagram, Io, Runtime, Timer};
use crate::seal::{self, Seal};
use crate::shutdown::{Shutdown, Tasks};
use crate::sync::Mutex;
use crate::wait::timeout_at;
use futures::channel::oneshot;
use futures::io::AsyncWriteExt;
use piko_core::gossip::{
    Channel, Exchanged, GossipEvent, JoinFault, Key, Node, SetError, StreamError, StreamKind, StreamReader,
    Transmit, Value,
};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Datagrams of one poll before others run.
const PACKETS_MAX: usize = 64;
/// Rounds of one poll before the task wakes itself and lets others run.
const ROUNDS_MAX: usize = 8;
/// Larger than any datagram.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// A join in all, on both sides (wire protocol 7.11).
const JOIN_TIME: Duration = Duration::from_secs(10);
/// A leave in all: a node that goes does not wait for a mute peer.
const LEAVE_TIME: Duration = Duration::from_secs(5);
/// Streams of others at once (weakness G2); more are closed as they come.
const INCOMING_MAX: usize = 64;
/// A node's gossip: publishes keys, joins, leaves, looks. Cheap to clone; the loop is [`Gossip::run`].
#[derive(Clone)]
pub struct Gossip {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    clock: Clock,
    seal: Option<Seal>,
    /// The longest message of a stream, in bytes.
    stream_bytes_max: usize,
    incoming: AtomicUsize,
    incoming_bytes: AtomicUsize,
}

struct State {
    node: Node,
    waker: Option<Waker>,
    joins: Vec<oneshot::Sender<Joined>>,
    /// Of the joins that go on.
    faults: Vec<(SocketAddr, JoinFault)>,
    leaves: Vec<oneshot::Sender<usize>>,
}

/// How a join ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// Addresses at which a node answered.
    pub joined: usize,
    /// Addresses at which none did.
    pub failed: usize,
    /// What was wrong at those, as far as they were tried.
    pub faults: Vec<(SocketAddr, JoinFault)>,
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip").field("sealed", &self.inner.seal.is_some()).finish_non_exhaustive()
    }
}

impl Gossip {
    /// A handle of `node`, whose datagrams and streams are sealed when there is a `seal`: then
    /// [`Seal::OVERHEAD_BYTES`] must be left free in its datagrams.
    pub fn new<R: Runtime>(rt: &R, node: Node, seal: Option<Seal>, stream_bytes_max: usize) -> Self {
        let state = State { node, waker: None, joins: Vec::new(), faults: Vec::new(), leaves: Vec::new() };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                clock: Clock::of(rt),
                seal,
                stream_bytes_max,
                incoming: AtomicUsize::new(0),
                incoming_bytes: AtomicUsize::new(0),
            }),
        }
    }

    /// Runs `f` on the node and then wakes the loop, which sends and tells what follows.
    fn with<T>(&self, f: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = self.inner.clock.now();
        let (result, waker) = {
            let mut state = self.inner.state.lock();
            (f(&mut state, now), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Looks at the node. Nothing that takes long belongs into `f`: gossip waits for it.
    pub fn look<T>(&self, f: impl FnOnce(&Node) -> T) -> T {
        f(&self.inner.state.lock().node)
    }

    /// Publishes a key; peers of ours hear of it at once.
    ///
    /// # Errors
    /// Why it was not published; nothing changed.
    pub fn set(&self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.with(|state, _| state.node.set(key, value))
    }

    /// Publishes a key that only our own nodes understand, see [`Node::set_internal`].
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_internal(&self, key: &Key, value: &Value) -> Result<(), SetError> {
        self.with(|state, _| state.node.set_internal(key, value))
    }

    /// Withdraws a key.
    pub fn unset(&self, key: &Key) {
        self.with(|state, _| state.node.unset(key));
    }

    /// Several changes as one, for which the loop wakes once.
    pub fn change(&self, f: impl FnOnce(&mut Node)) {
        self.with(|state, _| f(&mut state.node));
    }

    /// Asks the nodes at `seeds` for what they know. Resolves once all of them have answered or failed.
    pub async fn join(&self, seeds: &[SocketAddr]) -> Joined {
        if seeds.is_empty() {
            return Joined::default();
        }
        let (done, wait) = oneshot::channel();
        self.with(|state, now| {
            state.joins.push(done);
            state.node.join(now, seeds);
        });
        // The loop is over: nobody was joined.
        wait.await.unwrap_or_else(|_| Joined { failed: seeds.len(), ..Joined::default() })
    }

    /// What was wrong at the seeds that have failed so far, of the joins that are under way: for whoever does not wait
    /// for their end.
    pub fn faults(&self) -> Vec<(SocketAddr, JoinFault)> {
        self.inner.state.lock().faults.clone()
    }

    /// Says good-bye to all and resolves once some were told or could not be; says how many. The loop has to run.
    pub async fn leave(&self) -> usize {
        let (done, wait) = oneshot::channel();
        self.with(|state, now| {
            state.leaves.push(done);
            state.node.leave(now);
        });
        wait.await.unwrap_or(0)
    }

    /// The addresses of a node that advertises a name, as [`GossipEvent::Resolve`] asked for.
    pub fn resolved(&self, node: &NodeId, addrs: &[SocketAddr]) {
        self.with(|state, now| state.node.handle_resolved(now, node, addrs));
    }

    /// Moves datagrams and streams until `stop` is given. `told` hears every event, in order, under no lock.
    pub async fn run<R: Runtime>(
        self,
        rt: R,
        udp: R::Udp,
        listener: R::Listener,
        stop: Shutdown,
        told: impl FnMut(GossipEvent) + Send,
    ) {
        let tasks = Tasks::new();
        let (gossip, on) = (self.clone(), rt.clone());
        rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks, move |io, guard| {
            let (gossip, rt) = (gossip.clone(), on.clone());
            async move {
                gossip.serve(&rt, io).await;
                drop(guard);
            }
        }));
        let mut work = Loop {
            udp,
            timer: rt.timer(),
            told,
            packet: vec![0; PACKET_BYTES_MAX],
            plain: Vec::new(),
            out: Vec::new(),
            waiting: None,
            events: Vec::new(),
            gossip: self,
            rt,
        };
        let mut stopped = stop.listener();
        poll_fn(|cx| if stopped.poll(cx).is_ready() { Poll::Ready(()) } else { work.poll(cx) }).await;
    }

    /// A stream that somebody opened: one message, one answer.
    async fn serve<R: Runtime>(&self, rt: &R, mut io: R::Tcp) {
        let Some(_place) = Place::take(&self.inner) else {
            tracing::debug!(target: "gossip", "too many connections");
            return;
        };
        let Some(from) = io.info().peer else { return };
        let (seal, max) = (self.inner.seal.as_ref(), self.inner.stream_bytes_max);
        let work = async {
            let mut buffered = Buffered::of(&self.inner.incoming_bytes);
            let heard = hear(&mut io, seal, StreamReader::request(max), max, &mut buffered).await;
            let (request, notice) = match heard {
                Heard::Message(message) => (message, None),
                // No byte is refused, and counted, by the node.
                Heard::Alien(begin) => (Vec::new(), seal::notice(seal, &begin)),
                Heard::Nothing => return None,
            };
            let mut reply = Vec::new();
            let taken = self.with(|state, now| state.node.handle_request(now, from, &request, &mut reply));
            if let Some(notice) = notice {
                return give_notice(rt, &mut io, &notice).await;
            }
            taken.ok()?;
            self.write_message(&mut io, reply).await?;
            io.close().await.ok()
        };
        let until = rt.now() + JOIN_TIME;
        if !matches!(timeout_at(rt, Some(until), work).await, Ok(Some(()))) {
            io.abort();
        }
    }

    /// A stream of ours: connects, asks, and gives the answer to the node.
    async fn exchange<R: Runtime>(
        self,
        rt: R,
        to: SocketAddr,
        id: Exchanged,
        kind: StreamKind,
        message: Vec<u8>,
    ) {
        let time = match kind {
            StreamKind::Join => JOIN_TIME,
            StreamKind::Leave => LEAVE_TIME,
        };
        let until = rt.now() + time;
        let (seal, max) = (self.inner.seal.as_ref(), self.inner.stream_bytes_max);
        let work = async {
            let mut io = rt.connect(&Addr::Ip(to)).await.map_err(|_| StreamError::Connect)?;
            let mut buffered = Buffered::of(&self.inner.incoming_bytes);
            // Who refuses a request says so before it has read all of it.
            let _ = self.write_message(&mut io, message).await;
            match hear(&mut io, seal, StreamReader::reply(kind, max), max, &mut buffered).await {
                Heard::Message(message) => Ok(message),
                Heard::Alien(begin) => {
                    // Counted there, when nobody knows what it is.
                    seal::noticed(seal, &begin).map_or(Ok(Vec::new()), Err)
                }
                Heard::Nothing => Err(StreamError::NoReply),
            }
        };
        let outcome = timeout_at(&rt, Some(until), work).await.unwrap_or(Err(StreamError::TimedOut));
        let outcome = outcome.as_deref().map_err(|error| *error);
        // What is wrong with an answer is told as an event.
        let _ = self.with(|state, now| state.node.handle_reply(now, id, outcome));
    }

    async fn write_message<I: Io>(&self, io: &mut I, message: Vec<u8>) -> Option<()> {
        let message = match &self.inner.seal {
            Some(seal) => seal.record(&message)?,
            None => message,
        };
        io.write_all(&message).await.ok()?;
        io.flush().await.ok()
    }
}

/// A stream of somebody else, counted.
struct Place<'i>(&'i Inner);

impl<'i> Place<'i> {
    fn take(inner: &'i Inner) -> Option<Self> {
        let place = Self(inner);
        // Given back by the drop also when there is no room.
        (inner.incoming.fetch_add(1, Ordering::Relaxed) < INCOMING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.incoming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the gossip task owns.
struct Loop<R: Runtime, F> {
    rt: R,
    gossip: Gossip,
    udp: R::Udp,
    timer: R::Timer,
    told: F,
    /// The datagram that comes in, and what its seal held.
    packet: Vec<u8>,
    plain: Vec<u8>,
    /// A message that goes out, plain.
    out: Vec<u8>,
    /// A datagram that the socket did not take yet.
    waiting: Option<(SocketAddr, Vec<u8>)>,
    events: Vec<GossipEvent>,
}

impl<R: Runtime, F: FnMut(GossipEvent) + Send> Loop<R, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_MAX {
            let mut progress = self.receive(cx);
            let at = self.turn(cx);
            progress |= self.send(cx);
            progress |= self.tell();
            if self.timer.poll_until(cx, at).is_ready() {
                progress = true;
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes datagrams. True when there were any.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let inner = &self.gossip.inner;
        for n in 0..PACKETS_MAX {
            let (len, from) = match self.udp.poll_recv_from(cx, &mut self.packet) {
                Poll::Pending => return n > 0,
                Poll::Ready(Ok(received)) => received,
                Poll::Ready(Err(error)) => {
                    // An ICMP answer to an earlier datagram, which nobody waits for.
                    tracing::trace!(target: "gossip", %error, "receive failed");
                    continue;
                }
            };
            let mut data = &self.packet[..len];
            if let Some(seal) = &inner.seal {
                self.plain.clear();
                // Bytes without our seal are refused like bytes that are no message, and counted there.
                data = match seal.open(data, &mut self.plain) {
                    Some(()) => &self.plain,
                    None => &[],
                };
            }
            let now = self.rt.now();
            // Counted and told by the node.
            let _ = inner.state.lock().node.handle_packet(now, from, data);
        }
        true
    }

    /// The timer, the events, and when to come back.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let now = self.rt.now();
        let mut state = self.gossip.inner.state.lock();
        if state.node.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            state.node.handle_timeout(now);
        }
        while let Some(event) = state.node.poll_event() {
            match event {
                GossipEvent::JoinFailed { seed, why } => state.faults.push((seed, why)),
                GossipEvent::JoinEnded { joined, failed } => {
                    let faults = std::mem::take(&mut state.faults);
                    for waiter in state.joins.drain(..) {
                        // Whoever gave up waiting needs no answer.
                        let _ = waiter.send(Joined { joined, failed, faults: faults.clone() });
                    }
                }
                GossipEvent::LeaveEnded { told } => {
                    for waiter in state.leaves.drain(..) {
                        let _ = waiter.send(told);
                    }
                }
                event => self.events.push(event),
            }
        }
        match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => state.waker = Some(cx.waker().clone()),
        }
        state.node.poll_timeout().map(|deadline| deadline.at)
    }

    /// Sends what the node has to say. True when something went out.
    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        for _ in 0..PACKETS_MAX {
            if let Some((to, data)) = &self.waiting {
                if self.udp.poll_send_to(cx, data, *to).is_pending() {
                    return progress;
                }
                // A datagram that cannot be sent is lost like any other.
                self.waiting = None;
            }
            self.out.clear();
            let now = self.rt.now();
            let transmit = self.gossip.inner.state.lock().node.poll_transmit(now, &mut self.out);
            let Some(Transmit { to, channel }) = transmit else { return progress };
            progress = true;
            match channel {
                Channel::Datagram => {
                    let data = match &self.gossip.inner.seal {
                        Some(seal) => seal.seal(&self.out),
                        None => Some(self.out.clone()),
                    };
                    self.waiting = data.map(|data| (to, data));
                }
                Channel::Stream(id, kind) => {
                    let message = std::mem::take(&mut self.out);
                    self.rt.spawn(self.gossip.clone().exchange(self.rt.clone(), to, id, kind, message));
                }
            }
        }
        progress
    }

    fn tell(&mut self) -> bool {
        let any = !self.events.is_empty();
        for event in self.events.drain(..) {
            (self.told)(event);
        }
        any
    }
}
