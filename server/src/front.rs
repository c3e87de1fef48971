//! What may stand in front of a connection's own bytes: a PROXY protocol header of a load balancer that is trusted.

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use piko_config::IpNet;
use piko_core::preface::{HeaderFault, Judged, Source, parse_header};
use piko_core::time::Instant;
use piko_driver::{Io, IoInfo, Probe, Runtime, timeout_at};
use piko_observe::metrics::CounterVec;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// One read while a header is waited for. Most are shorter than this; what follows is kept.
const READ_BYTES: usize = 512;

/// A connection that may have begun with a header: what it says takes the place of the addresses.
///
/// The plain one costs a branch beside the bare connection.
#[derive(Debug)]
pub(crate) enum Fronted<I> {
    Plain(I),
    Told(Box<Told<I>>),
}

/// Behind a header.
#[derive(Debug)]
pub(crate) struct Told<I> {
    io: I,
    info: IoInfo,
    /// What came with the header and has not been read yet.
    early: Vec<u8>,
}

macro_rules! each {
    ($conn:expr, $io:ident => $work:expr) => {
        match $conn {
            Fronted::Plain($io) => $work,
            Fronted::Told(told) => {
                let $io = &mut told.io;
                $work
            }
        }
    };
}

impl<I: Io> AsyncRead for Fronted<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Told(told) if told.early.is_empty() => Pin::new(&mut told.io).poll_read(cx, buf),
            Self::Told(told) => {
                let n = told.early.len().min(buf.len());
                buf[..n].copy_from_slice(&told.early[..n]);
                told.early.drain(..n);
                if told.early.is_empty() {
                    // It lives as long as the connection.
                    told.early = Vec::new();
                }
                Poll::Ready(Ok(n))
            }
        }
    }
}

impl<I: Io> AsyncWrite for Fronted<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_close(cx))
    }
}

impl<I: Io> Io for Fronted<I> {
    fn info(&self) -> &IoInfo {
        match self {
            Self::Plain(io) => io.info(),
            Self::Told(told) => &told.info,
        }
    }

    fn abort(&mut self) {
        each!(self, io => io.abort());
    }

    fn probe(&mut self) -> Probe {
        each!(self, io => io.probe())
    }

    fn is_broken(&mut self) -> bool {
        each!(self, io => io.is_broken())
    }

    fn write_hint(&self) -> usize {
        match self {
            Self::Plain(io) => io.write_hint(),
            Self::Told(told) => told.io.write_hint(),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        each!(self, io => io.poll_room(cx))
    }

    fn give_back(&mut self) {
        each!(self, io => io.give_back());
    }

    fn finish_lazily(&mut self) {
        each!(self, io => io.finish_lazily());
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        each!(self, io => io.poll_over(cx))
    }

    fn limit_unsent(&self, bytes_max: u32) {
        match self {
            Self::Plain(io) => io.limit_unsent(bytes_max),
            Self::Told(told) => told.io.limit_unsent(bytes_max),
        }
    }

    fn cut_at_end(&self, yes: bool) {
        match self {
            Self::Plain(io) => io.cut_at_end(yes),
            Self::Told(told) => told.io.cut_at_end(yes),
        }
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        match self {
            Self::Plain(io) => io.keep_alive(interval),
            Self::Told(told) => told.io.keep_alive(interval),
        }
    }
}

/// Whose a connection is, for the header in front of a stream.
pub(crate) fn source(info: &IoInfo) -> Source {
    match (info.peer, info.local) {
        (Some(peer), Some(local)) => Source::Client { peer, local },
        _ => Source::Unknown,
    }
}

/// As [`source`], of a client that another hop saw: of its address, and nothing else, is known.
pub(crate) fn forwarded(ip: Option<IpAddr>) -> Source {
    let Some(ip) = ip.map(|ip| ip.to_canonical()) else { return Source::Unknown };
    let any = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Source::Client { peer: SocketAddr::new(ip, 0), local: SocketAddr::new(any, 0) }
}

/// Whether a connection from a trusted network has to begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It has to: no byte of the protocol behind it tells whether there is one.
    Always,
    /// It may: nothing else that the port speaks begins like one, and other nodes come from such networks too.
    Maybe,
}

/// Who may say whose a connection is.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    trusted: Arc<[IpNet]>,
    refused: Arc<CounterVec>,
}

impl Front {
    /// `refused` counts connections from trusted networks whose header is none.
    pub(crate) fn new(trusted: &[IpNet], refused: Arc<CounterVec>) -> Self {
        Self { trusted: trusted.into(), refused }
    }

    /// The connection as its client made it; `None` when its header did not come, or is none.
    pub(crate) async fn enter<R: Runtime, I: Io>(
        &self,
        rt: &R,
        io: I,
        wanted: Wanted,
        until: Instant,
    ) -> Option<Fronted<I>> {
        let from = io.info().peer.map(|peer| peer.ip().to_canonical());
        if !from.is_some_and(|ip| self.trusted.iter().any(|net| net.contains(ip))) {
            return Some(Fronted::Plain(io));
        }
        // Boxed: its state is gone while the connection lives.
        let cause = match Box::pin(timeout_at(rt, Some(until), read(io, wanted))).await {
            Ok(Ok(io)) => return Some(io),
            // Nothing was said, as by a load balancer that looks whether the port is open.
            Ok(Err(Failed::Silent)) => return None,
            Ok(Err(Failed::Cut)) => "cut",
            Ok(Err(Failed::Fault(HeaderFault::Missing))) => "missing",
            Ok(Err(Failed::Fault(_))) => "malformed",
            Err(_) => "timeout",
        };
        self.refused.with(cause).inc();
        let peer = from.map(|ip| ip.to_string()).unwrap_or_default();
        tracing::debug!(target: "proxy", { peer, cause }, "no PROXY header");
        None
    }
}

/// Why there is no header.
enum Failed {
    /// The connection ended in the middle of it.
    Cut,
    Fault(HeaderFault),
    /// The connection ended before it began.
    Silent,
}

async fn read<I: Io>(mut io: I, wanted: Wanted) -> Result<Fronted<I>, Failed> {
    let mut early = Vec::new();
    let mut chunk = [0; READ_BYTES];
    loop {
        let n = io.read(&mut chunk).await.map_err(|_| Failed::Cut)?;
        if n == 0 {
            return Err(if early.is_empty() { Failed::Silent } else { Failed::Cut });
        }
        early.extend_from_slice(&chunk[..n]);
        let mut info = *io.info();
        match parse_header(&early) {
            Judged::Partial => continue,
            Judged::Done((bytes, source)) => {
                early.drain(..bytes);
                if let Source::Client { peer, local } = source {
                    info = IoInfo::new(Some(local), Some(peer));
                }
            }
            Judged::Bad(HeaderFault::Missing) if wanted == Wanted::Maybe => {}
            Judged::Bad(fault) => return Err(Failed::Fault(fault)),
        }
        return Ok(Fronted::Told(Box::new(Told { io, info, early })));
    }
}
