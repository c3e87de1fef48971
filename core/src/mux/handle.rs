//! The borrowed views of one stream: [`SendStream`] and [`RecvStream`].

use super::error::{ReadError, WriteError};
use super::session::{Phase, Session, Urgency};
use super::stream::{RecvHalf, SendHalf};
use super::table::List;
use bytes::buf::{BufMut, Limit};
use bytes::{Bytes, BytesMut};

/// Memory that a begun frame asks for at first, in bytes: a head; more comes as it is written.
const BEGIN_BYTES: usize = 1024;

/// How soon a FIN has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With the next transmission, at the latest after [`super::Config::lazy_time`]: nobody waits for it.
    Lazy,
    /// The peer waits for the end: [`Session::wants_transmit`] becomes true.
    Now,
}

/// The sending side of a stream, borrowed from its session.
#[derive(Debug)]
pub struct SendStream<'a> {
    session: &'a mut Session,
    at: Option<u32>,
}

impl<'a> SendStream<'a> {
    pub(super) fn new(session: &'a mut Session, at: Option<u32>) -> Self {
        Self { session, at }
    }

    /// How many of `wanted` bytes a write would take at this moment: credit, quantum and outbox taken together.
    /// Less than half a quantum is no room for a stream that has more to write.
    pub fn room(&self, wanted: usize) -> usize {
        self.at.map_or(0, |at| self.session.write_room(at, wanted))
    }

    /// Asks for room before there is anything to write, and says how much there is, at most `wanted` bytes. It may
    /// be set aside for this stream; who does not write it gives it back with [`Self::give_back`].
    ///
    /// # Errors
    /// As [`Self::write`]: the stream stands in the line of writers.
    pub fn ask(&mut self, wanted: usize) -> Result<usize, WriteError> {
        let at = self.writable()?;
        let n = self.session.write_room(at, wanted);
        if n == 0 && wanted > 0 {
            self.session.refuse(at, wanted);
            return Err(WriteError::Blocked);
        }
        Ok(n)
    }

    /// Leaves room that was set aside for this stream to others: it has nothing to write at this moment.
    pub fn give_back(&mut self) {
        if let Some(at) = self.at {
            self.session.give_back(at);
        }
    }

    /// Appends one frame with a prefix of `data` to the outbox and says how many bytes it took.
    ///
    /// # Errors
    /// Nothing was taken; after [`WriteError::Blocked`] comes [`super::Event::Writable`].
    pub fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.write_vectored(&[data])
    }

    /// As [`Self::write`]; gathers the slices into one frame.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_vectored(&mut self, parts: &[&[u8]]) -> Result<usize, WriteError> {
        let at = self.writable()?;
        let total = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        if total == 0 {
            return Ok(0);
        }
        let n = self.session.write_room(at, total);
        if n == 0 {
            self.session.refuse(at, total);
            return Err(WriteError::Blocked);
        }
        self.session.put_data(at, parts, n);
        Ok(n)
    }

    /// Room for one frame of at most `max` bytes, maybe less: serialise into [`FrameWriter::buf`], then
    /// [`FrameWriter::commit`]. Dropped uncommitted it is cut off again.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn reserve(&mut self, max: usize) -> Result<FrameWriter<'_>, WriteError> {
        let at = self.writable()?;
        let n = self.session.write_room(at, max);
        if n == 0 && max > 0 {
            self.session.refuse(at, max);
            return Err(WriteError::Blocked);
        }
        let start = self.session.begin_data(at, n.min(BEGIN_BYTES));
        Ok(FrameWriter { session: self.session, at, start, max: n, done: false })
    }

    /// Ends this direction; the FIN is a frame of its own behind the data.
    ///
    /// # Errors
    /// [`WriteError::Finished`] when it had been called before, which changes nothing.
    pub fn finish(&mut self, when: Finish) -> Result<(), WriteError> {
        let at = self.writable()?;
        let session = &mut *self.session;
        session.give_back(at);
        session.table.leave_line(at);
        if let Some(stream) = session.table.get_mut(at) {
            stream.finish();
            stream.refused = false;
        }
        session.owe(
            at,
            match when {
                Finish::Lazy => Urgency::Lazy,
                Finish::Now => Urgency::Now,
            },
        );
        session.update_discard(at);
        Ok(())
    }

    /// Ends both directions at once: unread bytes are lost here, unwritten ones at the peer. Without effect on a
    /// stream that is over.
    pub fn reset(&mut self) {
        let Some(at) = self.at else { return };
        let live = self.session.table.get(at).is_some_and(|s| s.is_live() && !s.is_complete());
        if live && self.session.phase == Phase::Open {
            self.session.kill(at);
        }
    }

    /// The stream, when it may still be written.
    fn writable(&self) -> Result<u32, WriteError> {
        let at = self.at.ok_or(WriteError::Unknown)?;
        let stream = self.session.table.get(at).ok_or(WriteError::Unknown)?;
        if stream.reset || self.session.phase != Phase::Open {
            Err(WriteError::Reset)
        } else if stream.send != SendHalf::Open {
            Err(WriteError::Finished)
        } else {
            Ok(at)
        }
    }
}

/// A frame that is being written into the outbox.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    session: &'a mut Session,
    at: u32,
    start: usize,
    max: usize,
    done: bool,
}

impl FrameWriter<'_> {
    /// Where to write; takes what the room allows and no byte more. May be called again to go on.
    pub fn buf(&mut self) -> Limit<&mut BytesMut> {
        let left = self.max.saturating_sub(self.session.outbox.written(self.start));
        self.session.outbox.tail().limit(left)
    }

    /// Completes the frame and says how many body bytes it has; an empty one leaves no trace.
    pub fn commit(mut self) -> usize {
        self.done = true;
        self.session.end_data(self.at, self.start, self.max)
    }
}

impl Drop for FrameWriter<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.session.outbox.cancel(self.start);
        }
    }
}

/// The receiving side of a stream, borrowed from its session.
#[derive(Debug)]
pub struct RecvStream<'a> {
    session: &'a mut Session,
    at: Option<u32>,
}

impl<'a> RecvStream<'a> {
    pub(super) fn new(session: &'a mut Session, at: Option<u32>) -> Self {
        Self { session, at }
    }

    /// What can be read at this moment, never an empty slice. `Ok(None)` is a clean end.
    ///
    /// # Errors
    /// [`ReadError::Reset`] comes after the bytes that arrived before the reset; after [`ReadError::Blocked`]
    /// comes [`super::Event::Readable`].
    pub fn chunk(&self) -> Result<Option<&[u8]>, ReadError> {
        let stream = self.at.and_then(|at| self.session.table.get(at)).ok_or(ReadError::Unknown)?;
        if !stream.queue.is_empty() {
            Ok(Some(self.session.blocks.front(&stream.queue)))
        } else if stream.recv == RecvHalf::Ended && !stream.stopped {
            Ok(None)
        } else if stream.reset || stream.stopped || self.session.phase != Phase::Open {
            Err(ReadError::Reset)
        } else {
            Err(ReadError::Blocked)
        }
    }

    /// Takes what [`Self::chunk`] shows away, `most` bytes at most, without a copy; `None` when it does not lie in memory
    /// that can be shared ([`Session::handle_shared_input`]).
    pub fn take_shared(&mut self, most: usize) -> Option<Bytes> {
        let session = &mut *self.session;
        let stream = session.table.get_mut(self.at?)?;
        let bytes = session.blocks.front_shared(&stream.queue, most)?;
        self.consume(bytes.len());
        Some(bytes)
    }

    /// True when [`ReadError::Reset`] comes next or behind the bytes that arrived before it.
    pub fn is_reset(&self) -> bool {
        let stream = self.at.and_then(|at| self.session.table.get(at));
        stream.is_none_or(|stream| stream.reset) || self.session.phase != Phase::Open
    }

    /// Takes `n` bytes of what [`Self::chunk`] showed away (more: as many as there are); credit goes back to the
    /// peer from half a window on.
    pub fn consume(&mut self, n: usize) {
        let Some(at) = self.at else { return };
        let session = &mut *self.session;
        let Some(stream) = session.table.get_mut(at) else { return };
        let consumed = session.blocks.consume(&mut stream.queue, n);
        if consumed == 0 {
            return;
        }
        let empty = stream.queue.is_empty();
        stream.unread_since = session.now;
        session.table.leave(List::Unread, at);
        if !empty {
            session.table.join(List::Unread, at);
        }
        session.restart_closing(at);
        session.relieve(consumed);
        session.offer_credit(at);
    }

    /// Copies up to `into.len()` bytes over the borders of blocks and takes them away. `Ok(None)` is a clean end;
    /// with an empty `into` the answer is `Ok(Some(0))` where there would be bytes.
    ///
    /// # Errors
    /// As [`Self::chunk`], only when no byte was copied.
    pub fn read_into(&mut self, into: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let mut done = 0;
        loop {
            match self.chunk() {
                Ok(Some(bytes)) => {
                    let n = bytes.len().min(into.len() - done);
                    into[done..done + n].copy_from_slice(&bytes[..n]);
                    done += n;
                    self.consume(n);
                    if done == into.len() {
                        return Ok(Some(done));
                    }
                }
                _ if done > 0 => return Ok(Some(done)),
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Nobody will read the rest, which is dropped as it arrives; yamux cannot say "stop sending". Up to 1 MiB
    /// is credited to the peer, so that it comes to read our answer; from [`SendStream::finish`] on the stream
    /// is in discard mode and reset after 1 MiB or 10 s. Reading gives [`ReadError::Reset`] afterwards, unless
    /// the clean end had been reached.
    pub fn stop(&mut self) {
        let Some(at) = self.at else { return };
        let live = self.session.table.get(at).is_some_and(|s| s.is_live() && !s.stopped);
        if live && self.session.phase == Phase::Open {
            self.session.stop_reading(at);
        }
    }
}
