//! Bytes towards one leg: write at once what can be written, queue the rest.

use crate::buffer::{Queue, gather};
use crate::runtime::Io;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Payload from this size on is written from where it lies; smaller pieces are gathered in the queue
/// first, since a system call costs more than copying them.
const DIRECT_BYTES: usize = 8 * 1024;

/// What is worth reading for a leg at once.
pub(crate) struct Room {
    bytes: usize,
    asked: bool,
}

/// How much `to` would take; pending while it takes nothing.
pub(crate) fn room<I: Io>(to: &mut I, cx: &mut Context<'_>) -> Poll<Room> {
    match to.write_hint() {
        0 => to.poll_room(cx).map(|bytes| Room { bytes, asked: true }),
        bytes => Poll::Ready(Room { bytes, asked: false }),
    }
}

impl Room {
    /// The part of a buffer that may be filled.
    pub(crate) fn of<'a>(&self, buf: &'a mut [u8]) -> &'a mut [u8] {
        let n = self.bytes.min(buf.len());
        &mut buf[..n]
    }

    /// Nothing was read.
    pub(crate) fn give_back<I: Io>(&self, to: &mut I) {
        if self.asked {
            to.give_back();
        }
    }
}

/// One leg's sending direction.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) queue: Queue,
    /// The last write was refused: nothing more goes out until the socket takes some.
    pub(crate) blocked: bool,
}

impl Out {
    /// Writes what is queued. Gives the bytes that moved; `blocked` tells whether some stayed.
    pub(crate) fn flush<I: Io>(&mut self, io: &mut I, cx: &mut Context<'_>) -> io::Result<usize> {
        let mut moved = 0;
        self.blocked = false;
        while !self.queue.is_empty() {
            match Pin::new(&mut *io).poll_write(cx, self.queue.pending()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.queue.consume(n);
                    moved += n;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.blocked = true;
                    break;
                }
            }
        }
        Ok(moved)
    }

    /// Adds `data` and `suffix` behind what is queued; large data goes out at once, together with
    /// what stands before it, in one system call. Gives the bytes that moved.
    pub(crate) fn push<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        data: &[u8],
        suffix: &[u8],
    ) -> io::Result<usize> {
        if data.len() < DIRECT_BYTES || self.blocked || self.queue.keeps() {
            self.queue.extend(data);
            self.queue.extend(suffix);
            return Ok(0);
        }
        let queued = self.queue.len();
        let (slices, n) = gather([self.queue.pending(), data, suffix]);
        let written = match Pin::new(io).poll_write_vectored(cx, &slices[..n]) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                self.blocked = true;
                0
            }
        };
        self.queue.consume(written.min(queued));
        let beyond = written.saturating_sub(queued);
        self.queue.extend(&data[beyond.min(data.len())..]);
        self.queue.extend(&suffix[beyond.saturating_sub(data.len()).min(suffix.len())..]);
        Ok(written)
    }
}
