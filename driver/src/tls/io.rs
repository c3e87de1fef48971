//! A byte stream under TLS.

use super::alert;
use super::session::{Session, Sinks};
use crate::buffer::Queue;
use crate::runtime::{Io, IoInfo, Probe};
use futures::io::{AsyncRead, AsyncWrite};
use futures::task::noop_waker_ref;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What one write takes, in bytes of plaintext: four full records (RFC 8446 5.1), which leave in one system call.
const WRITE_BYTES: usize = 64 * 1024;
/// What that becomes at most: a header, a tag and an explicit nonce for each record, and messages that waited.
const SCRATCH_BYTES: usize = WRITE_BYTES + 4 * 1024;
/// The memory for one read, with an unfinished record in front of it.
const INPUT_BYTES: usize = 96 * 1024;
/// One read of a caller with little room still takes a small record with its overhead.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Looks of [`Io::probe`] at what lies between a peer's messages: two session tickets and a new key.
const PROBES_MAX: usize = 4;

/// Memory of a thread, lent to one call: an idle connection owns none (performance guide 4.1).
struct Lent {
    input: Vec<u8>,
    scratch: Vec<u8>,
    /// Where a vectored write becomes one piece, so that head and body share a record.
    gathered: Vec<u8>,
}

thread_local! {
    static LENT: Cell<Option<Box<Lent>>> = const { Cell::new(None) };
}

fn with_lent<T>(f: impl FnOnce(&mut Lent) -> T) -> T {
    let mut lent = LENT.take().unwrap_or_else(|| {
        let (input, scratch) = (vec![0; INPUT_BYTES], vec![0; SCRATCH_BYTES]);
        Box::new(Lent { input, scratch, gathered: Vec::new() })
    });
    let result = f(&mut lent);
    LENT.set(Some(lent));
    result
}

/// TLS over `I`, either side. Made by [`Acceptor`](super::Acceptor) and [`Connector`](super::Connector).
///
/// A write that the stream below takes only in part is pending until the rest has left, and then says that it took
/// its data: whoever is told `Pending` comes again with the same bytes in front, as for every [`Io`]. So nobody has to
/// flush. Reading to a clean end needs the peer's `close_notify`; a connection that just stops is an error, so that no
/// cut body passes for a whole one (RFC 8446 6.1).
///
/// While nothing is under way it owns no buffer.
pub struct TlsIo<I> {
    io: I,
    info: IoInfo,
    session: Session,
    /// The unfinished record that has arrived.
    input: Queue,
    /// Plaintext for which a reader had no room.
    plain: Queue,
    /// Records that the stream below has not taken yet.
    out: Queue,
    /// So many bytes of the caller's next write are in `out` or have left already.
    held: usize,
    /// The peer has said that no data follows.
    ended: bool,
    /// So have we.
    finished: bool,
    /// Reading is over, not cleanly.
    broken: bool,
    /// The connector's when it was opened.
    pub(super) version: u32,
}

impl<I> fmt::Debug for TlsIo<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIo").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<I> TlsIo<I> {
    /// The stream below.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// The [version](super::Connector::version) of what its peer was judged by; 0 for one that was accepted.
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl<I: Io> TlsIo<I> {
    /// `early` has been read from `io` already.
    pub(super) fn new(io: I, session: Session, early: &[u8]) -> Self {
        let mut info = *io.info();
        info.tls = true;
        let mut input = Queue::new();
        input.extend(early);
        Self {
            io,
            info,
            session,
            input,
            plain: Queue::new(),
            out: Queue::new(),
            held: 0,
            ended: false,
            finished: false,
            broken: false,
            version: 0,
        }
    }

    /// The stream below.
    pub(super) fn inner(&mut self) -> &mut I {
        &mut self.io
    }

    /// Ready once both sides may send data. After an error what can be told to the
    /// peer has been tried.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The first words of a client, and what came with the connection.
        let mut taken = self.digest();
        loop {
            if let Err(error) = taken {
                let _ = self.poll_out(cx);
                return Poll::Ready(Err(error));
            }
            let sent = self.poll_out(cx)?;
            let over = !self.session.is_handshaking();
            if over && self.session.is_server() {
                // Its tickets are left, which go out with the next read or write: the peer need not take them now. A
                // client's last message is what its server waits for.
                return Poll::Ready(Ok(()));
            }
            if over {
                return sent.map(Ok);
            }
            // Also while something is left to send: both sides may be in the middle of their words.
            taken = ready!(self.poll_pull(cx, &mut [])).map(drop);
        }
    }

    /// Lets the session look at what is in `input`.
    fn digest(&mut self) -> io::Result<()> {
        with_lent(|lent| {
            let kept = self.input.len();
            lent.input[..kept].copy_from_slice(self.input.pending());
            self.take_in(lent, kept, &mut []).map(drop)
        })
    }

    /// Reads once from the stream below. Gives how much of `buf` was filled, which may be nothing although it read.
    fn poll_pull(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        with_lent(|lent| {
            let kept = self.input.len();
            let limit = (kept + buf.len() + buf.len() / 64).max(kept + READ_BYTES_MIN).min(lent.input.len());
            let n = ready!(Pin::new(&mut self.io).poll_read(cx, &mut lent.input[kept..limit]))?;
            if n == 0 {
                self.broken = true;
                return Poll::Ready(if self.ended {
                    Ok(0)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                });
            }
            lent.input[..kept].copy_from_slice(self.input.pending());
            Poll::Ready(self.take_in(lent, kept + n, buf))
        })
    }

    /// Gives the first `len` bytes of the lent input to the session, and keeps what it has no use for yet.
    fn take_in(&mut self, lent: &mut Lent, len: usize, buf: &mut [u8]) -> io::Result<usize> {
        let Self { session, input, plain, out, ended, .. } = self;
        let mut sinks = Sinks { into: buf, filled: 0, plain, out, ended, scratch: &mut lent.scratch };
        let taken = session.receive(&mut lent.input[..len], &mut sinks);
        let filled = sinks.filled;
        input.clear();
        match taken {
            // What follows the end of the data means nothing.
            Ok(_) if self.ended => Ok(filled),
            Ok(used) => {
                input.extend(&lent.input[used..len]);
                Ok(filled)
            }
            Err(error) => {
                self.broken = true;
                Err(alert::in_words(error, session.is_server(), session.is_handshaking()))
            }
        }
    }

    /// Encrypts into `out`: `data`, or the announcement that there is no more.
    fn put_out(&mut self, data: Option<&[u8]>) -> io::Result<()> {
        let Self { session, input, plain, out, ended, .. } = self;
        with_lent(|lent| {
            let mut sinks = Sinks { into: &mut [], filled: 0, plain, out, ended, scratch: &mut lent.scratch };
            let used = match data {
                Some(data) => session.send(data, input.pending_mut(), &mut sinks),
                None => session.finish(input.pending_mut(), &mut sinks),
            };
            input.consume(used.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
            Ok(())
        })
    }

    /// Ready once the stream below has taken all records.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, self.out.pending()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.consume(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Says of `len` bytes how many were written, once those that were encrypted have left.
    fn poll_held(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let n = self.held.min(len);
        self.held -= n;
        Poll::Ready(Ok(n))
    }
}

impl<I: Io> AsyncRead for TlsIo<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if !this.plain.is_empty() {
                let n = this.plain.len().min(buf.len());
                buf[..n].copy_from_slice(&this.plain.pending()[..n]);
                this.plain.consume(n);
                return Poll::Ready(Ok(n));
            }
            if this.ended {
                return Poll::Ready(Ok(0));
            }
            if this.broken {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let pulled = this.poll_pull(cx, buf);
            if !this.out.is_empty() && this.held == 0 {
                // An answer to a message of the peer's (a new key, an alert). Writing tells of its troubles.
                let _ = this.poll_out(cx);
            }
            match ready!(pulled)? {
                0 => {}
                n => return Poll::Ready(Ok(n)),
            }
        }
    }
}

impl<I: Io> AsyncWrite for TlsIo<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held == 0 && !buf.is_empty() {
            let data = &buf[..buf.len().min(WRITE_BYTES)];
            this.put_out(Some(data))?;
            this.held = data.len();
        }
        this.poll_held(cx, buf.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if this.held == 0 && len > 0 {
            let mut gathered = with_lent(|lent| std::mem::take(&mut lent.gathered));
            gathered.clear();
            for buf in bufs {
                let n = buf.len().min(WRITE_BYTES - gathered.len());
                gathered.extend_from_slice(&buf[..n]);
            }
            let put = this.put_out(Some(&gathered));
            this.held = gathered.len();
            with_lent(|lent| lent.gathered = gathered);
            put?;
        }
        this.poll_held(cx, len)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.finished {
            this.finished = true;
            // A connection whose handshake failed has nothing to announce.
            let _ = this.put_out(None);
        }
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.io).poll_close(cx)
    }
}

impl<I: Io> Io for TlsIo<I> {
    fn info(&self) -> &IoInfo {
        &self.info
    }

    fn abort(&mut self) {
        self.io.abort();
        self.out.clear();
        self.broken = true;
    }

    /// Messages between the data, such as session tickets, are taken and do not spoil a connection.
    fn probe(&mut self) -> Probe {
        for _ in 0..PROBES_MAX {
            if !self.plain.is_empty() || self.ended || self.broken {
                return Probe::Spoilt;
            }
            if self.io.probe() == Probe::Quiet {
                return Probe::Quiet;
            }
            let mut cx = Context::from_waker(noop_waker_ref());
            if !matches!(self.poll_pull(&mut cx, &mut []), Poll::Ready(Ok(_))) {
                return Probe::Spoilt;
            }
        }
        Probe::Spoilt
    }

    fn is_broken(&mut self) -> bool {
        self.broken || self.io.is_broken()
    }

    fn limit_unsent(&self, bytes_max: u32) {
        self.io.limit_unsent(bytes_max);
    }

    fn unpaced_if_near(&self) {
        self.io.unpaced_if_near();
    }

    fn cut_at_end(&self, yes: bool) {
        self.io.cut_at_end(yes);
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        self.io.keep_alive(interval);
    }
}
