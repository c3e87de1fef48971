//! A byte stream inside a WebSocket: the proxy port's TCP path (wire protocol 5), seen from both ends.

use crate::buffer::Queue;
use crate::entropy::random_bytes;
use crate::runtime::{Io, IoInfo, Probe};
use bytes::BytesMut;
use futures::io::{AsyncRead, AsyncWrite};
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// The longest message that one write makes, in bytes; what a socket does not take of it is kept here.
const MESSAGE_BYTES_MAX: usize = 68 * 1024;
/// The close code of an orderly end (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;

/// How our direction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// More may come.
    Open,
    /// Nothing more comes; what is queued, with the close frame behind it, is on its way.
    Ending,
    /// The end is with the kernel.
    Ended,
}

/// One WebSocket connection as a byte stream. Message borders mean nothing: each write is a binary message, reads
/// give whatever has come.
///
/// # The end of one direction
///
/// Where both sides stated `half-close` in `x-piko-caps`, a close frame ends the direction that it travels in, and its
/// echo is the other side's own end, whenever that comes (RFC 6455 5.5.1 lets a peer delay its answer while it has data to
/// send). The connection below is not half closed, which proxies in between would take for its end. One that ends
/// without a close frame was cut: reading fails.
///
/// A Go peer knows no half close. Its close frame ends both directions. A client of ours ends its own by half closing
/// the connection below, behind which Go's server still delivers what comes from the upstream; a server of ours
/// sends a close frame and half closes.
///
/// Dropping it without [`close`](AsyncWrite::poll_close) cuts it.
#[derive(Debug)]
pub struct WsStream<I> {
    io: I,
    conn: Conn,
    /// Bytes that came behind the handshake, in the segment of its last line.
    early: Vec<u8>,
    /// Frames, or the rest of one, that the connection below has not taken.
    out: Queue,
    role: Role,
    half_close: bool,
    /// The peer's direction has ended.
    ended: bool,
    sending: Sending,
    /// Who waits for room, since a reader flushes too.
    writer: Option<Waker>,
}

impl<I: Io> WsStream<I> {
    /// After the handshake; `early` are the bytes behind it. `half_close`: both sides stated it.
    pub fn new(io: I, role: Role, early: Vec<u8>, half_close: bool) -> Self {
        Self {
            io,
            conn: Conn::new(role),
            early,
            out: Queue::new(),
            role,
            half_close,
            ended: false,
            sending: Sending::Open,
            writer: None,
        }
    }

    /// The connection below.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Both sides stated that one direction may end before the other.
    pub fn has_half_close(&self) -> bool {
        self.half_close
    }

    /// Writes what is queued, and the control frames that are owed. Ready when nothing is left.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.out.is_empty() {
                match ready!(Pin::new(&mut self.io).poll_write(cx, self.out.pending()))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    n => self.out.consume(n),
                }
            }
            if !self.owes_control() {
                if let Some(writer) = self.writer.take() {
                    writer.wake();
                }
                return Poll::Ready(Ok(()));
            }
            let mut control = BytesMut::new();
            self.conn.poll_transmit(&mut control, random_bytes()?);
            self.out.extend(&control);
        }
    }

    /// A pong, or a close frame whose time has come: with half close the echo waits for our own end.
    fn owes_control(&self) -> bool {
        let waits = self.half_close && self.ended && self.sending == Sending::Open;
        self.conn.wants_send() && !(waits && self.conn.is_closing())
    }

    /// As [`Self::poll_out`], for who writes.
    fn poll_room_for_one(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.poll_out(cx);
        if done.is_pending() {
            self.writer = Some(cx.waker().clone());
        }
        done
    }

    /// Sends one message that begins with what is in `parts`, and says how much of them.
    fn poll_message(&mut self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room_for_one(cx))?;
        // Behind a close frame no message may follow (RFC 6455 5.5.1). The peer's own leaves our direction open
        // where both know half closes.
        if self.sending != Sending::Open || (self.conn.is_closing() && !self.half_close) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let parts = &cut(parts, MESSAGE_BYTES_MAX)[..parts.len().min(PARTS_MAX)];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes == 0 {
            return Poll::Ready(Ok(0));
        }
        match self.conn.header(bytes) {
            Some((header, start)) => self.send_as_it_is(cx, &header[start..], parts)?,
            None => self.send_masked(cx, parts)?,
        }
        // Taken whole: what the connection below has no room for goes out before the next message.
        Poll::Ready(Ok(bytes))
    }

    fn send_as_it_is(&mut self, cx: &mut Context<'_>, header: &[u8], parts: &[&[u8]]) -> io::Result<()> {
        let mut slices = [IoSlice::new(header); PARTS_MAX + 1];
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let slices = &slices[..=parts.len()];
        let mut written = match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => 0,
        };
        for slice in slices {
            let done = written.min(slice.len());
            self.out.extend(&slice[done..]);
            written -= done;
        }
        Ok(())
    }

    fn send_masked(&mut self, cx: &mut Context<'_>, parts: &[&[u8]]) -> io::Result<()> {
        let frame = self.out.tail();
        frame.extend_from_slice(&[0; FRONT_ROOM]);
        for part in parts {
            frame.extend_from_slice(part);
        }
        // RFC 6455 10.3: a fresh key of strong entropy per frame.
        let start = self.conn.frame(frame, random_bytes()?);
        self.out.consume(start);
        match Pin::new(&mut self.io).poll_write(cx, self.out.pending()) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => {
                self.out.consume(n);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    /// The bytes below, those of the handshake's last segment first.
    fn poll_below(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.early.len().min(buf.len());
        buf[..n].copy_from_slice(&self.early[..n]);
        self.early.drain(..n);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(n))
    }

    /// The connection below has ended.
    fn end_below(&mut self) -> io::Result<usize> {
        self.ended = true;
        if self.half_close {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut without a close frame"));
        }
        Ok(0)
    }
}

/// Slices that one message is made of.
const PARTS_MAX: usize = 3;

/// The first `left` bytes of `parts`.
fn cut<'a>(parts: &[&'a [u8]], mut left: usize) -> [&'a [u8]; PARTS_MAX] {
    let mut first: [&[u8]; PARTS_MAX] = [&[]; PARTS_MAX];
    for (to, part) in first.iter_mut().zip(parts) {
        *to = &part[..part.len().min(left)];
        left -= to.len();
    }
    first
}

impl<I: Io> AsyncRead for WsStream<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while !this.ended && !buf.is_empty() {
            let n = match this.poll_below(cx, buf) {
                Poll::Ready(n) => n?,
                Poll::Pending => {
                    // A pong is nobody else's business, and a writer that does not flush is helped along.
                    if let Poll::Ready(Err(error)) = this.poll_out(cx) {
                        return Poll::Ready(Err(error));
                    }
                    return Poll::Pending;
                }
            };
            if n == 0 {
                return Poll::Ready(this.end_below());
            }
            let input = this.conn.handle_input(&mut buf[..n]);
            this.ended = input.end.is_some();
            if let Some(End::Violation(why)) = input.end {
                // Says so to the peer, if there is room; the connection ends in any case.
                let _ = this.poll_out(cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            let bytes = input.payload.len();
            if bytes > 0 {
                buf.copy_within(input.payload, 0);
                return Poll::Ready(Ok(bytes));
            }
        }
        // A peer that has closed everything takes no echo, and its end is as clean without.
        let _ = this.poll_out(cx);
        Poll::Ready(Ok(0))
    }
}

impl<I: Io> AsyncWrite for WsStream<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_message(cx, &[buf])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut parts: [&[u8]; PARTS_MAX] = [&[]; PARTS_MAX];
        let n = bufs.len().min(PARTS_MAX);
        for (part, buf) in parts.iter_mut().zip(bufs) {
            *part = buf;
        }
        self.get_mut().poll_message(cx, &parts[..n])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_room_for_one(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sending == Sending::Open {
            this.sending = Sending::Ending;
            if this.half_close || this.role == Role::Server {
                this.conn.close(Some(NORMAL));
            }
        }
        if this.sending == Sending::Ending {
            ready!(this.poll_room_for_one(cx))?;
            if !this.half_close {
                ready!(Pin::new(&mut this.io).poll_close(cx))?;
            }
            this.sending = Sending::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Io> Io for WsStream<I> {
    fn info(&self) -> &IoInfo {
        self.io.info()
    }

    fn abort(&mut self) {
        self.io.abort();
    }

    fn probe(&mut self) -> Probe {
        self.io.probe()
    }

    fn is_broken(&mut self) -> bool {
        self.io.is_broken()
    }

    fn write_hint(&self) -> usize {
        if self.out.is_empty() { MESSAGE_BYTES_MAX } else { 0 }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        // An error is left for the write to tell.
        self.poll_room_for_one(cx).map(|_| MESSAGE_BYTES_MAX)
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closed_by_frame = self.conn.is_closing();
        match (self.half_close, self.role) {
            _ if !self.ended => Poll::Pending,
            // A Go peer that ends, ends both directions, but for the half close of the connection below, behind
            // which a server goes on.
            (false, Role::Server) if !closed_by_frame => Poll::Pending,
            (false, _) => Poll::Ready(()),
            (true, _) => {
                // Behind its close frame the peer sends nothing, so that whatever comes is the end.
                let mut byte = [0];
                self.poll_below(cx, &mut byte).map(|_| ())
            }
        }
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        self.io.keep_alive(interval);
    }
}
