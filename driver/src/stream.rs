//! One stream of a tunnel as a byte stream.

#[cfg(feature = "shared-reads")]
use crate::runtime::Fetched;
use crate::runtime::{CHUNK_BYTES, Io, IoInfo, Probe};
use crate::tunnel::{Shared, SlotTable, TunnelHandle};
use futures::io::{AsyncRead, AsyncWrite};
use piko_core::id::StreamId;
use piko_core::mux::{Finish, ReadError, RecvStream, WriteError};
use piko_core::preface::HeaderVersion;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A frame of this size leaves no room for another one like it in the same turn.
const LARGE_BYTES: usize = 16 * 1024;

/// A stream: reads, writes and closes like a socket.
///
/// An operation happened or only a waker was stored, so dropping a future loses nothing. Dropping a
/// stream that was not closed resets it; one that was closed but not read to its end is drained by
/// the session for a bounded while, so that an early answer is not overtaken by its own reset.
pub struct Stream {
    tunnel: TunnelHandle,
    id: StreamId,
    /// Room was asked for in vain, and may have been set aside since: it is asked for again, so that it can be given
    /// back when there is nothing to write. Left alone it would keep others out for 2 ms.
    asked: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.id).finish()
    }
}

impl Stream {
    pub(crate) fn new(tunnel: TunnelHandle, id: StreamId) -> Self {
        Self { tunnel, id, asked: false }
    }

    /// The PROXY header that it begins with, where it comes from a server that was asked for one.
    pub fn proxy_header(&self) -> Option<HeaderVersion> {
        self.tunnel.proxy_header()
    }

    /// Its number within the tunnel.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The tunnel it belongs to.
    pub fn tunnel(&self) -> &TunnelHandle {
        &self.tunnel
    }

    /// Of a stream that was opened here: ready once the peer has shown that it took it, which opening it says nothing of.
    /// One that was reset was taken, or refused by somebody who is there.
    ///
    /// # Errors
    /// The tunnel is over.
    pub fn poll_acknowledged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let id = self.id;
        self.tunnel.with_last(|shared, _| {
            if shared.closed.is_some() {
                return Poll::Ready(Err(reset(true)));
            }
            if shared.tunnel.is_acknowledged(id) {
                return Poll::Ready(Ok(()));
            }
            // It is told together with the slot that it frees.
            if !shared.openers.iter().any(|waker| waker.will_wake(cx.waker())) {
                shared.openers.push_back(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    fn poll_write_parts(&self, cx: &mut Context<'_>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        let id = self.id;
        self.tunnel.with_last(|shared, now| match shared.tunnel.send(now, id).write_vectored(parts) {
            Ok(n) => {
                if n >= LARGE_BYTES {
                    self.tunnel.set_crowded(true);
                }
                Poll::Ready(Ok(n))
            }
            Err(WriteError::Blocked) => {
                self.tunnel.set_crowded(true);
                store(&mut shared.slots.entry(id).writer, cx);
                Poll::Pending
            }
            Err(WriteError::Finished) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Err(WriteError::Reset | WriteError::Unknown) => Poll::Ready(Err(reset(shared.closed.is_some()))),
        })
    }

    fn finish(&self, when: Finish) -> io::Result<()> {
        self.tunnel.with_last(|shared, now| match shared.tunnel.send(now, self.id).finish(when) {
            Ok(()) | Err(WriteError::Finished | WriteError::Blocked) => Ok(()),
            Err(WriteError::Reset | WriteError::Unknown) => Err(reset(shared.closed.is_some())),
        })
    }
}

/// The error that tells a reset of one stream from the end of its tunnel.
fn reset(tunnel_closed: bool) -> io::Error {
    if tunnel_closed {
        io::Error::new(io::ErrorKind::ConnectionAborted, "tunnel closed")
    } else {
        io::Error::new(io::ErrorKind::ConnectionReset, "stream reset")
    }
}

fn store(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

/// Copies what can be read.
fn read(
    mut recv: RecvStream<'_>,
    slots: &mut SlotTable,
    is_closed: bool,
    id: StreamId,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut filled = 0;
    loop {
        match recv.chunk() {
            Ok(Some(chunk)) => {
                let n = chunk.len().min(buf.len() - filled);
                buf[filled..filled + n].copy_from_slice(&chunk[..n]);
                recv.consume(n);
                filled += n;
                if filled == buf.len() {
                    return Poll::Ready(Ok(filled));
                }
            }
            _ if filled > 0 => return Poll::Ready(Ok(filled)),
            Ok(None) => return Poll::Ready(Ok(0)),
            Err(ReadError::Blocked) => {
                store(&mut slots.entry(id).reader, cx);
                return Poll::Pending;
            }
            Err(ReadError::Reset | ReadError::Unknown) => return Poll::Ready(Err(reset(is_closed))),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let id = self.id;
        self.tunnel.with_last(|Shared { tunnel, slots, closed, .. }, now| {
            read(tunnel.recv(now, id), slots, closed.is_some(), id, cx, buf)
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, &[buf])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut parts: [&[u8]; 4] = [&[]; 4];
        let n = bufs.len().min(parts.len());
        for (part, buf) in parts.iter_mut().zip(bufs) {
            *part = buf;
        }
        self.poll_write_parts(cx, &parts[..n])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish(Finish::Now))
    }
}

impl Io for Stream {
    fn info(&self) -> &IoInfo {
        self.tunnel.info()
    }

    #[cfg(feature = "shared-reads")]
    fn poll_fetch(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Fetched>> {
        let id = self.id;
        self.tunnel.with_last(|Shared { tunnel, slots, closed, .. }, now| {
            let mut recv = tunnel.recv(now, id);
            match recv.take_shared(buf.len()) {
                Some(bytes) => Poll::Ready(Ok(Fetched::There(bytes))),
                None => read(recv, slots, closed.is_some(), id, cx, buf).map_ok(Fetched::Here),
            }
        })
    }

    fn abort(&mut self) {
        self.tunnel.with_last(|shared, now| shared.tunnel.send(now, self.id).reset());
    }

    fn probe(&mut self) -> Probe {
        self.tunnel.with_last(|shared, now| match shared.tunnel.recv(now, self.id).chunk() {
            Err(ReadError::Blocked) => Probe::Quiet,
            _ => Probe::Spoilt,
        })
    }

    fn is_broken(&mut self) -> bool {
        self.tunnel.with_last(|shared, now| shared.tunnel.recv(now, self.id).is_reset())
    }

    fn write_hint(&self) -> usize {
        if self.asked || self.tunnel.is_crowded() { 0 } else { CHUNK_BYTES }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let id = self.id;
        let room = self.tunnel.with_last(|shared, now| match shared.tunnel.send(now, id).ask(CHUNK_BYTES) {
            Ok(n) => Poll::Ready(n),
            Err(WriteError::Blocked) => {
                self.tunnel.set_crowded(true);
                store(&mut shared.slots.entry(id).writer, cx);
                Poll::Pending
            }
            Err(_) => Poll::Ready(CHUNK_BYTES),
        });
        self.asked = room.is_pending();
        room
    }

    fn give_back(&mut self) {
        let id = self.id;
        self.tunnel.with_events(|shared, now| shared.tunnel.send(now, id).give_back());
    }

    fn finish_lazily(&mut self) {
        // A stream that is gone needs no end.
        let _ = self.finish(Finish::Lazy);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let id = self.id;
        self.tunnel.with_last(|shared, now| {
            shared.slots.remove(id);
            shared.tunnel.release(now, id);
        });
    }
}
