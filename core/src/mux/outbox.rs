//! The bounded outbox: frames, room, and what is set aside for the line of refused writers.

use super::config::{CONTROL_BYTES, FRONT_BYTES_MAX, OUTBOX_BYTES_FAST, OUTBOX_BYTES_MAX, OUTBOX_BYTES_SLOW};
use super::frame::{HEADER_BYTES, Header};
use bytes::BytesMut;

/// The first allocation, in bytes.
const FIRST_BYTES: usize = 2 * 1024;

/// How soon the transport takes an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    Crawling,
    Slow,
    Fast,
    Rushing,
}

/// Frames that wait for the wire, behind the room that the transport's header needs.
#[derive(Debug)]
pub(super) struct Outbox {
    buf: BytesMut,
    front_room: usize,
    /// Counts transmissions from 1, so that no stream was granted room in turn 0.
    turn: u32,
    /// Bytes set aside in this turn for writers that were called from the line.
    reserved: usize,
    /// How long it may become.
    limit: usize,
}

impl Outbox {
    pub(super) fn new(front_room: usize) -> Self {
        Self { buf: BytesMut::new(), front_room, turn: 1, reserved: 0, limit: OUTBOX_BYTES_SLOW }
    }

    /// Whether no frame waits.
    pub(super) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    pub(super) fn turn(&self) -> u32 {
        self.turn
    }

    /// Payload bytes that one data frame may carry, behind `before` bytes of other frames. What is set aside for
    /// the line is not there, apart from the `share` of whoever asks.
    pub(super) fn room(&self, share: usize, before: usize) -> usize {
        let set_aside = self.reserved.saturating_sub(share);
        self.free().saturating_sub(set_aside + before + HEADER_BYTES)
    }

    /// Data bytes and headers that are free and not set aside.
    pub(super) fn unreserved(&self) -> usize {
        self.free().saturating_sub(self.reserved)
    }

    /// Sets `bytes` aside until they are written, given back, or the turn ends.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.reserved += bytes;
    }

    /// Whether something is set aside.
    pub(super) fn has_reserved(&self) -> bool {
        self.reserved > 0
    }

    /// Gives back what was set aside.
    pub(super) fn unreserve(&mut self, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Whether `frames` more control frames fit.
    pub(super) fn fits_control(&self, frames: usize) -> bool {
        self.len() + frames * HEADER_BYTES <= self.limit
    }

    /// How many more control frames fit.
    pub(super) fn control_frames(&self) -> usize {
        self.limit.saturating_sub(self.len()) / HEADER_BYTES
    }

    /// Appends a frame without body; the caller has asked for the room.
    pub(super) fn put(&mut self, header: Header) {
        debug_assert!(self.fits_control(1), "the caller asked for room");
        self.prepare(HEADER_BYTES);
        self.buf.extend_from_slice(&header.encode());
    }

    /// Appends a data frame with the first `n` bytes of `parts`; the caller has asked for the room.
    pub(super) fn put_data(&mut self, header: Header, parts: &[&[u8]], n: usize) {
        self.prepare(HEADER_BYTES + n);
        self.buf.extend_from_slice(&header.encode());
        let mut left = n;
        for part in parts {
            let take = part.len().min(left);
            self.buf.extend_from_slice(&part[..take]);
            left -= take;
        }
        debug_assert!(left == 0, "the parts held n bytes");
    }

    /// Starts a frame of at most `n` body bytes whose length is not known yet; says where it begins.
    pub(super) fn begin(&mut self, n: usize) -> usize {
        self.prepare(HEADER_BYTES + n);
        let at = self.buf.len();
        self.buf.extend_from_slice(&[0; HEADER_BYTES]);
        at
    }

    /// The memory behind a begun frame.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Body bytes of the frame that began at `at`.
    pub(super) fn written(&self, at: usize) -> usize {
        self.buf.len().saturating_sub(at + HEADER_BYTES)
    }

    /// Completes the frame that began at `at`.
    pub(super) fn end(&mut self, at: usize, header: Header) {
        if let Some(place) = self.buf.get_mut(at..at + HEADER_BYTES) {
            place.copy_from_slice(&header.encode());
        }
    }

    /// Cuts the frame that began at `at` off again.
    pub(super) fn cancel(&mut self, at: usize) {
        // The front room alone is no frame.
        self.buf.truncate(if at <= self.front_room { 0 } else { at });
    }

    /// Shortens the frame that began at `at` to `n` body bytes.
    pub(super) fn shorten(&mut self, at: usize, n: usize) {
        self.buf.truncate(at + HEADER_BYTES + n);
    }

    /// Hands the frames out against an empty buffer, which becomes the next outbox; says how many bytes of
    /// frames there are.
    pub(super) fn swap(&mut self, out: &mut BytesMut) -> usize {
        core::mem::swap(&mut self.buf, out);
        self.next_turn();
        out.len().saturating_sub(self.front_room)
    }

    /// Begins a turn: every stream has its quantum again and nothing is set aside.
    pub(super) fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1).max(1);
        self.reserved = 0;
    }

    /// How long it may become: shorter unless the transport is very fast, and as long as a frame of the `quantum` and a
    /// small answer, with their headers and ACKs, while it crawls.
    pub(super) fn set_speed(&mut self, speed: Speed, quantum: usize) {
        let short = CONTROL_BYTES + self.front_room + quantum + FRONT_BYTES_MAX + 4 * HEADER_BYTES;
        self.limit = match speed {
            Speed::Crawling => short.min(OUTBOX_BYTES_SLOW),
            Speed::Slow => OUTBOX_BYTES_SLOW,
            Speed::Fast => OUTBOX_BYTES_FAST,
            Speed::Rushing => OUTBOX_BYTES_MAX,
        };
    }

    /// Drops the frames and the memory.
    pub(super) fn clear(&mut self) {
        self.buf = BytesMut::new();
        self.reserved = 0;
    }

    fn len(&self) -> usize {
        self.buf.len().max(self.front_room)
    }

    fn free(&self) -> usize {
        (self.limit - CONTROL_BYTES).saturating_sub(self.len())
    }

    /// Lays the front room down and makes sure that `more` bytes fit without a second copy.
    #[inline]
    fn prepare(&mut self, more: usize) {
        if self.buf.is_empty() || self.buf.capacity() - self.buf.len() < more {
            self.make_room(more);
        }
    }

    fn make_room(&mut self, more: usize) {
        let need = self.len() + more;
        let missing = need - self.buf.len();
        // A buffer that the transport has drained from the front is whole again after `try_reclaim`.
        if self.buf.capacity() < need && !self.buf.try_reclaim(missing) {
            let size = need.next_power_of_two().clamp(FIRST_BYTES, need.max(OUTBOX_BYTES_MAX));
            let mut larger = BytesMut::with_capacity(size);
            larger.extend_from_slice(&self.buf);
            self.buf = larger;
        }
        if self.buf.is_empty() {
            self.buf.resize(self.front_room, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Flags, Kind};
    use super::*;

    const FRAME: Header = Header::new(Kind::WindowUpdate, Flags::NONE, 2, 7);

    #[test]
    fn grows_from_two_kibibytes_to_the_limit_and_no_further() {
        let mut outbox = Outbox::new(14);
        outbox.set_speed(Speed::Rushing, 0);
        outbox.put(FRAME);
        assert_eq!(outbox.buf.capacity(), FIRST_BYTES);
        let body = [1; 1000];
        while outbox.room(0, 0) > 0 {
            outbox.put_data(FRAME, &[&body], body.len().min(outbox.room(0, 0)));
        }
        assert!(outbox.fits_control(CONTROL_BYTES / HEADER_BYTES), "control frames have room of their own");
        let left = outbox.control_frames();
        assert!(outbox.fits_control(left) && !outbox.fits_control(left + 1));
        while outbox.fits_control(1) {
            outbox.put(FRAME);
        }
        assert_eq!(outbox.control_frames(), 0);
        assert!(outbox.buf.len() <= OUTBOX_BYTES_MAX);
        assert_eq!(outbox.buf.capacity(), OUTBOX_BYTES_MAX);
    }

    #[test]
    fn a_swapped_in_buffer_is_used_again() {
        let mut outbox = Outbox::new(14);
        let mut out = BytesMut::new();
        outbox.put(FRAME);
        assert_eq!(outbox.swap(&mut out), 12);
        assert_eq!(out.len(), 26);
        let memory = out.as_ptr();
        let all = out.capacity();
        out.resize(all, 0);
        bytes::Buf::advance(&mut out, all);
        let mut second = core::mem::take(&mut out);
        assert_eq!(outbox.swap(&mut second), 0);
        outbox.put(FRAME);
        assert_eq!(outbox.buf.as_ptr(), memory);
        assert_eq!(&outbox.buf[14..], FRAME.encode());
    }

    #[test]
    fn a_cancelled_first_frame_leaves_nothing() {
        let mut outbox = Outbox::new(14);
        let at = outbox.begin(100);
        outbox.tail().extend_from_slice(b"abc");
        assert_eq!(outbox.written(at), 3);
        outbox.cancel(at);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_set_aside_is_there_only_for_the_granted() {
        let mut outbox = Outbox::new(0);
        let all = outbox.room(0, 0);
        outbox.reserve(1000);
        assert_eq!(outbox.room(1000, 0), all);
        assert_eq!(outbox.room(0, 0), all - 1000);
        outbox.next_turn();
        assert_eq!(outbox.room(0, 0), all);
    }
}
