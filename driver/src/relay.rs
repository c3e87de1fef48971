//! Opaque bytes both ways, with half-close: what is left of an exchange after a switch.

use crate::buffer::with_read_buffer;
use crate::runtime::Io;
use crate::wire::{Out, room};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Rounds of one poll before the task wakes itself and lets others run.
const ROUNDS_MAX: usize = 16;

struct Way {
    out: Out,
    read_end: bool,
    closed: bool,
    bytes: u64,
}

impl Way {
    fn new(out: Out) -> Self {
        Self { out, read_end: false, closed: false, bytes: 0 }
    }

    /// One step from `from` to `to`. True when something moved.
    fn step<F: Io, T: Io>(&mut self, cx: &mut Context<'_>, from: &mut F, to: &mut T) -> io::Result<bool> {
        if self.closed {
            return Ok(false);
        }
        let mut progress = self.out.flush(to, cx)? > 0;
        if self.out.queue.is_empty() && !self.read_end {
            let Poll::Ready(room) = room(to, cx) else { return Ok(progress) };
            progress |= with_read_buffer(|buf| match Pin::new(from).poll_read(cx, room.of(buf)) {
                Poll::Pending => {
                    room.give_back(to);
                    Ok(false)
                }
                Poll::Ready(Ok(0)) => {
                    self.read_end = true;
                    Ok(true)
                }
                Poll::Ready(Ok(n)) => {
                    self.bytes += n as u64;
                    self.out.push(to, cx, &buf[..n], &[])?;
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
}

/// Copies until both directions have ended; the end of one is passed on as a half close. `a_out` and
/// `b_out` hold what already waits for `a` and `b`. An error of either aborts both. Gives the bytes
/// read from `a` and from `b`.
pub(crate) async fn relay<A: Io, B: Io>(
    a: &mut A,
    a_out: Out,
    b: &mut B,
    b_out: Out,
) -> (u64, u64, io::Result<()>) {
    let (mut up, mut down) = (Way::new(b_out), Way::new(a_out));
    let result = poll_fn(|cx| {
        for _ in 0..ROUNDS_MAX {
            let progress = match up.step(cx, a, b).and_then(|x| Ok(x | down.step(cx, b, a)?)) {
                Ok(progress) => progress,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if up.closed && down.closed {
                return Poll::Ready(Ok(()));
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    if result.is_err() {
        a.abort();
        b.abort();
    }
    (up.bytes, down.bytes, result)
}
