//! Bytes towards one leg: write at once what can be written, queue the rest.

use crate::buffer::{Queue, gather};
use crate::runtime::Io;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

/// Payload from this size on is written from where it lies; smaller pieces are gathered in the queue
/// first, since a system call costs more than copying them.
const DIRECT_BYTES: usize = 8 * 1024;

/// While much of what was read is not taken, a read for a leg takes this much at most: of a receiver that stops, what is
/// left of one read stays here.
const SHORT_BYTES: usize = 16 * 1024;
/// How much that is, unless the program says less.
const UNTAKEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What receivers do not take of what was read for them, in the whole process.
static UNTAKEN: Untaken = Untaken::new();

/// A count of bytes, and the one from which on less is read.
#[derive(Debug)]
struct Untaken {
    bytes: AtomicUsize,
    most: AtomicUsize,
}

impl Untaken {
    const fn new() -> Self {
        Self { bytes: AtomicUsize::new(0), most: AtomicUsize::new(UNTAKEN_BYTES_MAX) }
    }

    /// What is worth reading at once where `bytes` would be taken.
    fn worth(&self, bytes: usize) -> usize {
        if self.bytes.load(Relaxed) > self.most.load(Relaxed) { bytes.min(SHORT_BYTES) } else { bytes }
    }

    /// One holds `now` bytes in place of `before`.
    fn note(&self, before: usize, now: usize) {
        // What wraps comes out right: the count is a sum.
        self.bytes.fetch_add(now.wrapping_sub(before), Relaxed);
    }
}

/// From so many bytes on that were read and are not taken, in the whole process, less is read at once: pieces of 16 KiB and
/// not of [`crate::CHUNK_BYTES`]. 16 MiB, and never more; a program with little memory has less to spare.
pub fn limit_untaken(bytes: usize) {
    UNTAKEN.most.fetch_min(bytes, Relaxed);
}

/// What is worth reading for a leg at once.
pub(crate) struct Room {
    bytes: usize,
    asked: bool,
}

/// How much `to` would take; pending while it takes nothing.
pub(crate) fn room<I: Io>(to: &mut I, cx: &mut Context<'_>) -> Poll<Room> {
    match to.write_hint() {
        0 => to.poll_room(cx).map(|bytes| Room { bytes: UNTAKEN.worth(bytes), asked: true }),
        bytes => Poll::Ready(Room { bytes: UNTAKEN.worth(bytes), asked: false }),
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
    /// What it has noted in [`UNTAKEN`].
    untaken: u32,
}

impl Out {
    /// Notes what was left by a write.
    fn settle(&mut self) {
        let left = if self.blocked { u32::try_from(self.queue.len()).unwrap_or(u32::MAX) } else { 0 };
        if left != self.untaken {
            UNTAKEN.note(self.untaken as usize, left as usize);
            self.untaken = left;
        }
    }

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
        self.settle();
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
        self.settle();
        Ok(written)
    }
}

impl Drop for Out {
    #[inline]
    fn drop(&mut self) {
        if self.untaken > 0 {
            UNTAKEN.note(self.untaken as usize, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_read_at_once_while_much_is_not_taken() {
        let untaken = Untaken::new();
        let chunk = crate::CHUNK_BYTES;
        for _ in 0..UNTAKEN_BYTES_MAX / chunk {
            untaken.note(0, chunk);
        }
        assert_eq!(untaken.worth(chunk), chunk);
        untaken.note(0, 1);
        assert_eq!(untaken.worth(chunk), SHORT_BYTES);
        assert_eq!(untaken.worth(100), 100);
        untaken.note(chunk, 0);
        assert_eq!(untaken.worth(chunk), chunk);
        assert_eq!(untaken.bytes.load(Relaxed), UNTAKEN_BYTES_MAX - chunk + 1);
    }
}
