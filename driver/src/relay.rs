//! Opaque bytes both ways, with half-close: TCP connections, and what is left of an exchange after a switch.

use crate::buffer::with_read_buffer;
use crate::runtime::{Fetched, Io, Runtime, Timer};
use crate::serve::Opaque;
use crate::shutdown::Shutdown;
use crate::wait::timeout_at;
use crate::wire::{Out, room};
use crate::ws_stream::WsStream;
use piko_core::ws::Role;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Rounds of one poll before the task wakes itself and lets others run.
const ROUNDS_MAX: usize = 16;
/// How often TCP asks a client that has a connection to a target whether it is still there.
pub(crate) const CLIENT_PROBES: Duration = Duration::from_secs(30);
/// How often a relay that cannot read a side, because the other takes nothing, looks whether that side still stands: a
/// reset is not read then, and the target of a client that gave up would be held for as long as it does not read.
const STALL_CHECK: Duration = Duration::from_secs(2);
/// What a side still says that nobody wants to hear any more is read for at most this long, and up to this much, so that
/// the last bytes sent to it are not overtaken by a reset (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Why a relay that was told to stop has cut both sides.
const STOPPED: &str = "this program ended";

/// What the end of a side means. By default it ends one direction only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// When `b` ends, it is over in both directions: it is a Go agent's, which knows no half close.
    pub b_is_whole: bool,
}

/// What became of a relayed connection.
#[derive(Debug)]
#[must_use]
pub struct Relayed {
    /// Bytes read from `a`.
    pub from_a: u64,
    /// Bytes read from `b`.
    pub from_b: u64,
    /// How it ended: in order, or with the error of one side that cut both.
    pub result: io::Result<()>,
}

/// What a relay that ended in order leaves to do.
enum Last {
    Nothing,
    /// Hear out `a`, which nobody listens to any more.
    LingerA,
    LingerB,
}

struct Way {
    out: Out,
    read_end: bool,
    closed: bool,
    /// There was no room to read for.
    waits: bool,
    /// The end of what is read from is that of both directions.
    whole: bool,
    bytes: u64,
}

impl Way {
    fn new(out: Out, whole: bool) -> Self {
        Self { out, read_end: false, closed: false, waits: false, whole, bytes: 0 }
    }

    /// One step from `from` to `to`. True when something moved.
    fn step<F: Io, T: Io>(&mut self, cx: &mut Context<'_>, from: &mut F, to: &mut T) -> io::Result<bool> {
        if self.closed {
            return Ok(false);
        }
        let mut progress = self.out.flush(to, cx)? > 0;
        if self.out.queue.is_empty() && !self.read_end {
            let room = room(to, cx);
            self.waits = room.is_pending();
            let Poll::Ready(room) = room else { return Ok(progress) };
            progress |= with_read_buffer(|buf| match from.poll_fetch(cx, room.of(buf)) {
                Poll::Pending => {
                    room.give_back(to);
                    Ok(false)
                }
                Poll::Ready(Ok(Fetched::Here(0))) => {
                    room.give_back(to);
                    self.read_end = true;
                    Ok(true)
                }
                Poll::Ready(Ok(fetched)) => {
                    let bytes = fetched.bytes(buf);
                    self.bytes += bytes.len() as u64;
                    self.out.push(to, cx, bytes, &[])?;
                    self.out.flush(to, cx)?;
                    Ok(true)
                }
                Poll::Ready(Err(error)) => Err(error),
            })?;
        }
        if self.read_end && self.out.queue.is_empty() {
            match Pin::new(to).poll_close(cx) {
                Poll::Ready(result) => {
                    result?;
                    self.closed = true;
                    progress = true;
                }
                Poll::Pending => {}
            }
        }
        Ok(progress)
    }

    /// What was read is not taken, or there is no room to read for: what becomes of the side read from goes unseen.
    fn stalls(&self) -> bool {
        !self.read_end && (self.waits || !self.out.queue.is_empty())
    }

    /// Everything from `from` has been delivered, and nothing can be written to it any more.
    fn is_over<F: Io>(&self, cx: &mut Context<'_>, from: &mut F) -> bool {
        self.closed && (self.whole || from.poll_over(cx).is_ready())
    }
}

/// Copies until both directions have ended; the end of one is passed on as a half close, or ends both, as `ends` and
/// the sides themselves say. An error of either aborts both.
pub async fn relay<R: Runtime, A: Io, B: Io>(rt: &R, a: &mut A, b: &mut B, ends: Ends) -> Relayed {
    relay_from(rt, a, Out::default(), b, Out::default(), ends, never).await
}

/// As [`relay`], until `stop` is given: both sides are aborted then, as at an error of one of them, and what was carried
/// up to there is told.
pub async fn relay_until<R: Runtime, A: Io, B: Io>(
    rt: &R,
    a: &mut A,
    b: &mut B,
    ends: Ends,
    stop: &Shutdown,
) -> Relayed {
    relay_early(rt, a, &[], b, ends, stop).await
}

/// As [`relay_until`], of a side `a` of which `early` has been read already: it goes to `b` first, and counts as read.
pub async fn relay_early<R: Runtime, A: Io, B: Io>(
    rt: &R,
    a: &mut A,
    early: &[u8],
    b: &mut B,
    ends: Ends,
    stop: &Shutdown,
) -> Relayed {
    let mut b_out = Out::default();
    b_out.queue.extend(early);
    let mut stopped = stop.listener();
    let mut relayed = relay_from(rt, a, Out::default(), b, b_out, ends, |cx| stopped.poll(cx)).await;
    relayed.from_a += early.len() as u64;
    relayed
}

/// Carries a connection between a client that speaks WebSocket from here on, of which `early` has come, and a `target`
/// that gets the bytes inside.
pub async fn relay_websocket<R: Runtime, C: Io, T: Io>(
    rt: &R,
    client: C,
    early: Vec<u8>,
    target: &mut T,
    opaque: Opaque,
) -> Relayed {
    // Nobody else would notice that a client is gone which owes nothing.
    client.keep_alive(Some(CLIENT_PROBES));
    let mut ws = WsStream::new(client, Role::Server, early, opaque.client_half_close);
    relay(rt, &mut ws, target, Ends { b_is_whole: !opaque.target_half_close }).await
}

/// For relays that nobody cuts.
pub(crate) fn never(_: &mut Context<'_>) -> Poll<()> {
    Poll::Pending
}

/// As [`relay`]; `a_out` and `b_out` hold what already waits for `a` and `b`. Both are cut once `cut` is ready.
pub(crate) async fn relay_from<R: Runtime, A: Io, B: Io>(
    rt: &R,
    a: &mut A,
    a_out: Out,
    b: &mut B,
    b_out: Out,
    ends: Ends,
    mut cut: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> Relayed {
    let (mut up, mut down) = (Way::new(b_out, false), Way::new(a_out, ends.b_is_whole));
    let (mut timer, mut check_at) = (rt.timer(), None);
    // Nobody takes the end of the process for that of what is carried.
    a.cut_at_end(true);
    b.cut_at_end(true);
    let result = poll_fn(|cx| {
        if cut(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, STOPPED)));
        }
        for _ in 0..ROUNDS_MAX {
            let moved = up.step(cx, a, b).and_then(|moved| Ok(moved | down.step(cx, b, a)?));
            match moved {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) if up.closed && down.closed => return Poll::Ready(Ok(Last::Nothing)),
                Ok(_) if up.is_over(cx, a) => return Poll::Ready(Ok(Last::LingerB)),
                Ok(_) if down.is_over(cx, b) => return Poll::Ready(Ok(Last::LingerA)),
                Ok(true) => {}
                Ok(false) => {
                    if check_at.is_none() && (up.stalls() || down.stalls()) {
                        check_at = Some(rt.now() + STALL_CHECK);
                    }
                    if timer.poll_until(cx, check_at).is_pending() {
                        return Poll::Pending;
                    }
                    if (up.stalls() && a.is_broken()) || (down.stalls() && b.is_broken()) {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    check_at = None;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    if result.is_ok() {
        a.cut_at_end(false);
        b.cut_at_end(false);
    }
    match &result {
        Err(_) => {
            a.abort();
            b.abort();
        }
        Ok(Last::Nothing) => {}
        Ok(Last::LingerA) => linger(rt, a, cut).await,
        Ok(Last::LingerB) => linger(rt, b, cut).await,
    }
    Relayed { from_a: up.bytes, from_b: down.bytes, result: result.map(|_| ()) }
}

/// Passes over what still comes, for a bounded while. All has been delivered: one that is cut here is none the worse.
async fn linger<R: Runtime, I: Io>(rt: &R, io: &mut I, mut cut: impl FnMut(&mut Context<'_>) -> Poll<()>) {
    let mut left = LINGER_BYTES;
    let read_on = poll_fn(|cx| {
        while left > 0 && cut(cx).is_pending() {
            match with_read_buffer(|buf| Pin::new(&mut *io).poll_read(cx, buf)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => left = left.saturating_sub(n),
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    });
    let _ = timeout_at(rt, Some(rt.now() + LINGER), read_on).await;
}
