//! One message of gossip over a stream: sealed or open, whole, and within what all of them together may take.

use crate::runtime::{Io, Runtime};
use crate::seal::Seal;
use crate::wait::timeout_at;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::gossip::{Progress, StreamReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of unfinished messages on all streams of others together: two of the longest.
const INCOMING_BYTES_MAX: usize = 32 << 20;
/// One read of a stream.
const READ_BYTES: usize = 16 * 1024;
/// So much of what cannot be a message says what it is.
const BEGIN_BYTES: usize = 8;
/// For how long, and how far, the rest of a request is read that was refused.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

/// What came over a stream.
pub(crate) enum Heard {
    /// Bytes that are no message, or are not sealed like ours: the first of them.
    Alien(Vec<u8>),
    /// One message.
    Message(Vec<u8>),
    /// The end, before either.
    Nothing,
}

impl Heard {
    fn alien(bytes: &[u8]) -> Self {
        Self::Alien(bytes.iter().copied().take(BEGIN_BYTES).collect())
    }
}

/// Takes one message; `max` is how long it may be, in bytes.
pub(crate) async fn hear<I: Io>(
    io: &mut I,
    seal: Option<&Seal>,
    reader: StreamReader,
    max: usize,
    buffered: &mut Buffered<'_>,
) -> Heard {
    let heard = match seal {
        None => read_open(io, reader, buffered).await,
        Some(seal) => read_sealed(io, seal, reader, max, buffered).await,
    };
    heard.unwrap_or(Heard::Nothing)
}

async fn read_open<I: Io>(
    io: &mut I,
    mut reader: StreamReader,
    buffered: &mut Buffered<'_>,
) -> Option<Heard> {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let n = io.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        buffered.charge(n)?;
        // No message begins with it, but the notices and the records of those who have a secret.
        if reader.message().is_empty() && chunk[0] == 0 {
            return Some(Heard::alien(&chunk[..n]));
        }
        match reader.push(&chunk[..n]) {
            Ok(Progress::Complete) => return Some(Heard::Message(reader.message().to_vec())),
            Ok(_) => {}
            Err(_) => return Some(Heard::alien(&chunk[..n])),
        }
    }
}

async fn read_sealed<I: Io>(
    io: &mut I,
    seal: &Seal,
    mut reader: StreamReader,
    max: usize,
    buffered: &mut Buffered<'_>,
) -> Option<Heard> {
    let mut head = [0; 4];
    io.read_exact(&mut head).await.ok()?;
    let length = usize::try_from(u32::from_be_bytes(head)).ok()?;
    if length > max + Seal::OVERHEAD_BYTES {
        return Some(Heard::alien(&head));
    }
    let mut sealed = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    while sealed.len() < length {
        let want = (length - sealed.len()).min(READ_BYTES);
        let n = io.read(&mut chunk[..want]).await.ok().filter(|n| *n > 0)?;
        buffered.charge(n)?;
        sealed.extend_from_slice(&chunk[..n]);
    }
    let mut plain = Vec::new();
    match seal.open(&sealed, &mut plain).map(|()| reader.push(&plain)) {
        Some(Ok(Progress::Complete)) => Some(Heard::Message(plain)),
        _ => Some(Heard::alien(&[&head, &sealed[..sealed.len().min(BEGIN_BYTES)]].concat())),
    }
}

/// Says why there is no answer, and reads on for a while: a connection that is closed over unread bytes is reset,
/// which can overtake what was said.
pub(crate) async fn give_notice<R: Runtime>(rt: &R, io: &mut R::Tcp, notice: &[u8]) -> Option<()> {
    io.write_all(notice).await.ok()?;
    io.flush().await.ok()?;
    io.close().await.ok()?;
    let drained = async {
        let mut chunk = vec![0; READ_BYTES];
        let mut left = LINGER_BYTES;
        while let Ok(n @ 1..) = io.read(&mut chunk).await {
            left = left.checked_sub(n)?;
        }
        Some(())
    };
    timeout_at(rt, Some(rt.now() + LINGER), drained).await.ok()?
}

/// Bytes of an unfinished message, counted.
pub(crate) struct Buffered<'i> {
    /// Of all streams.
    sum: &'i AtomicUsize,
    bytes: usize,
}

impl<'i> Buffered<'i> {
    pub(crate) fn of(sum: &'i AtomicUsize) -> Self {
        Self { sum, bytes: 0 }
    }

    fn charge(&mut self, bytes: usize) -> Option<()> {
        self.bytes += bytes;
        let before = self.sum.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= INCOMING_BYTES_MAX).then_some(())
    }
}

impl Drop for Buffered<'_> {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
