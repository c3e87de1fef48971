//! Connections that an upstream has taken, watched until its service shows that it is there.
//!
//! An agent takes a connection before it has one to its service, and resets it when it gets none. A service that resets
//! what it has accepted looks the same, and serves as little. A Go agent ends such a connection in order, which a service
//! may do as well, so that nothing is held against it.

use crate::node::Node;
use futures::io::{AsyncRead, AsyncWrite};
use piko_core::id::EndpointId;
use piko_core::proxy::cause;
use piko_core::route::{Pick, Probation, Route};
use piko_core::time::Instant;
use piko_driver::{Fetched, Io, IoInfo, Probe};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A connection that stands for this long has a service, also when that only listens: agents give up reaching theirs much
/// earlier.
const LISTENS: Duration = Duration::from_secs(30);

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Watched<I> {
    io: I,
    watch: Option<Box<Watch>>,
    has_failed: bool,
}

/// What is known of it before its service has said anything.
#[derive(Debug)]
pub(crate) struct Watch {
    probation: Probation,
    node: Arc<Node>,
    endpoint: EndpointId,
    /// Its agent is connected to this node.
    is_local: bool,
    listens_at: Instant,
    /// The client has nothing more to say, and may be gone: what comes of that is not held against anybody.
    client_ended: bool,
}

impl Watch {
    /// Watches a connection that was taken just now.
    pub(crate) fn begin(node: &Arc<Node>, endpoint: &EndpointId, pick: &mut Pick) -> Box<Self> {
        let is_local = matches!(pick.route(), Route::Local(_));
        let listens_at = node.now() + LISTENS;
        Box::new(Self {
            probation: pick.taken(),
            node: node.clone(),
            endpoint: endpoint.clone(),
            is_local,
            listens_at,
            client_ended: false,
        })
    }

    /// It has stood for long enough to have a service.
    fn is_old(&self) -> bool {
        self.node.now() >= self.listens_at
    }

    fn broke(self) {
        let Self { probation, node, endpoint, is_local, .. } = self;
        probation.broke(node.now());
        if is_local {
            node.tcp.failed(cause::STREAM_RESET);
        }
        tracing::warn!(
            target: "proxy.tcp",
            { "endpoint-id" = %endpoint, cause = cause::STREAM_RESET }, "upstream reset a connection before it said anything");
    }
}

impl<I: Io> Watched<I> {
    /// A connection that was not taken yet: see [`Self::watch`].
    pub(crate) fn new(io: I) -> Self {
        Self { io, watch: None, has_failed: false }
    }

    /// A connection that was taken just now.
    pub(crate) fn begin(io: I, node: &Arc<Node>, endpoint: &EndpointId, pick: &mut Pick) -> Self {
        Self { io, watch: Some(Watch::begin(node, endpoint, pick)), has_failed: false }
    }

    /// The connection itself, of which nothing more is wanted.
    pub(crate) fn into_inner(self) -> I {
        self.io
    }

    /// It was taken.
    pub(crate) fn watch(&mut self, watch: Box<Watch>) {
        self.watch = Some(watch);
    }

    /// It was reset before its service said anything, and not because its client had left.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn end(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.client_ended = true;
        }
    }

    fn served(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.probation.served();
        }
    }

    fn broken(&mut self, error: &io::Error) {
        let Some(watch) = self.watch.take() else { return };
        // The end of a whole tunnel is told by itself.
        let is_reset = error.kind() == ErrorKind::ConnectionReset;
        if is_reset && !watch.client_ended && !watch.is_old() {
            self.has_failed = true;
            watch.broke();
        }
    }

    fn judge_read<T>(&mut self, read: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.watch.is_some() {
            match &read {
                Poll::Ready(Ok(_)) => self.served(),
                Poll::Ready(Err(error)) => self.broken(error),
                Poll::Pending => {}
            }
        }
        read
    }

    fn judge_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(watch) = &self.watch else { return written };
        match &written {
            Poll::Ready(Ok(_)) if watch.is_old() => self.served(),
            // Nobody goes on with it; what came before the reset is still there to be read. Behind it a socket that has told
            // of the reset once reads as one that has ended.
            Poll::Ready(Err(error)) => match Pin::new(&mut self.io).poll_read(cx, &mut [0]) {
                Poll::Ready(Ok(1..)) => self.served(),
                _ => self.broken(error),
            },
            _ => {}
        }
        written
    }
}

impl<I: Io> AsyncRead for Watched<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.judge_read(read)
    }
}

impl<I: Io> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.judge_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.judge_write(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.end();
        Pin::new(&mut this.io).poll_close(cx)
    }
}

impl<I: Io> Io for Watched<I> {
    fn info(&self) -> &IoInfo {
        self.io.info()
    }

    fn poll_fetch(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Fetched>> {
        let read = self.io.poll_fetch(cx, buf);
        self.judge_read(read)
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
        self.io.write_hint()
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.io.poll_room(cx)
    }

    fn give_back(&mut self) {
        self.io.give_back();
    }

    fn finish_lazily(&mut self) {
        self.end();
        self.io.finish_lazily();
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_over(cx)
    }

    fn limit_unsent(&self, bytes_max: u32) {
        self.io.limit_unsent(bytes_max);
    }

    fn cut_at_end(&self, yes: bool) {
        self.io.cut_at_end(yes);
    }

    fn keep_alive(&self, interval: Option<Duration>) {
        self.io.keep_alive(interval);
    }
}
