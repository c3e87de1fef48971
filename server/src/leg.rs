//! What a request is proxied over: a stream of a tunnel, or a connection to another node.

use crate::watched::{Watch, Watched};
use futures::io::{AsyncRead, AsyncWrite};
use piko_driver::{Fetched, Io, IoInfo, Probe, Stream};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The upstream side of one request.
#[derive(Debug)]
pub(crate) enum Leg<T> {
    Node(T),
    Tunnel(Stream),
    /// Either, for a TCP connection.
    Watched(Box<Watched<Leg<T>>>),
}

impl<T: Io> Leg<T> {
    /// For a TCP connection, which is [watched](Self::watch) once it was taken.
    pub(crate) fn watched(self) -> Self {
        Self::Watched(Box::new(Watched::new(self)))
    }

    /// Without what [`Self::watched`] has put around it.
    pub(crate) fn bare(self) -> Self {
        match self {
            Self::Watched(io) => io.into_inner(),
            bare => bare,
        }
    }

    /// A connection of [`Self::watched`] was taken.
    pub(crate) fn watch(&mut self, watch: impl FnOnce() -> Box<Watch>) {
        if let Self::Watched(io) = self {
            io.watch(watch());
        }
    }
}

macro_rules! each {
    ($leg:expr, $io:ident => $work:expr) => {
        match $leg {
            Leg::Node($io) => $work,
            Leg::Tunnel($io) => $work,
            Leg::Watched($io) => $work,
        }
    };
}

impl<T: Io> AsyncRead for Leg<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl<T: Io> AsyncWrite for Leg<T> {
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

impl<T: Io> Io for Leg<T> {
    fn info(&self) -> &IoInfo {
        each!(self, io => io.info())
    }

    fn abort(&mut self) {
        each!(self, io => io.abort());
    }

    fn poll_fetch(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Fetched>> {
        each!(self, io => io.poll_fetch(cx, buf))
    }

    fn probe(&mut self) -> Probe {
        each!(self, io => io.probe())
    }

    fn is_broken(&mut self) -> bool {
        each!(self, io => io.is_broken())
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        each!(self, io => io.poll_room(cx))
    }

    fn give_back(&mut self) {
        each!(self, io => io.give_back());
    }

    fn write_hint(&self) -> usize {
        each!(self, io => io.write_hint())
    }

    fn finish_lazily(&mut self) {
        each!(self, io => io.finish_lazily());
    }

    fn limit_unsent(&self, bytes_max: u32) {
        each!(self, io => io.limit_unsent(bytes_max));
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        each!(self, io => io.keep_alive(interval));
    }
}
