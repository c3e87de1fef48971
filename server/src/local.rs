//! Requests that a port answers itself: nothing is proxied.

use crate::date;
use futures::io::{AsyncRead, AsyncWrite};
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::proxy::{Answer, Config, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::time::Instant;
use piko_driver::{Attempt, Connected, Decision, Io, IoInfo, Probe, Service};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a local answer is made of.
pub(crate) enum Local<S> {
    Answer(Answer),
    Switch(Answer, S),
}

/// A port whose every request is answered by a function of its head.
pub(crate) struct LocalService<F> {
    config: Config,
    handle: F,
}

impl<F> LocalService<F> {
    pub(crate) fn new(handle: F) -> Self {
        Self { config: Config::new(Place::Server), handle }
    }
}

/// A connection that a request is sent on to: there is none. Of no size, so that no connection of the port has room for
/// one: what an agent's needs before it is a tunnel has to be small (see the test below).
#[derive(Debug)]
pub(crate) enum NoUp {}

impl AsyncRead for NoUp {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl AsyncWrite for NoUp {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl Io for NoUp {
    fn info(&self) -> &IoInfo {
        match *self {}
    }

    fn abort(&mut self) {
        match *self {}
    }

    fn probe(&mut self) -> Probe {
        match *self {}
    }
}

impl<S, F> Service for LocalService<F>
where
    S: Send + 'static,
    F: Fn(Instant, &IoInfo, &RequestHead<'_>) -> Local<S> + Send + Sync + 'static,
{
    type Up = NoUp;
    type Target = Infallible;
    type Switched = S;
    type Note = IoInfo;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        now: Instant,
        _: Step,
        _: &mut Exchange,
        note: &IoInfo,
        head: &RequestHead<'_>,
    ) -> Decision<Infallible, S> {
        match (self.handle)(now, note, head) {
            Local::Answer(answer) => Decision::Answer(answer),
            Local::Switch(answer, switched) => Decision::Switch(answer, switched),
        }
    }

    async fn connect(&self, target: &Infallible, _: Attempt) -> Result<Connected<NoUp>, Failure> {
        match *target {}
    }

    fn again(&self, failed: &mut Infallible, _: Failure) -> bool {
        match *failed {}
    }

    fn release(&self, target: Infallible, _: Option<NoUp>) {
        match target {}
    }

    fn note(&self, info: &IoInfo, _: &RequestHead<'_>) -> IoInfo {
        *info
    }

    fn note_response(&self, _: &mut IoInfo, _: &ResponseHead<'_>) {}

    fn record(&self, _: Record, _: IoInfo) {}

    fn date(&self, now: Instant) -> Option<[u8; 29]> {
        Some(date::at(now))
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Server, fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use piko_core::http1;
    use piko_driver::{MaybeTls, Port, RequestBudget, Runtime, Setting, Shutdown, serve};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    /// The largest block that glibc's allocator keeps for the next one of its size. A larger one is given back when the
    /// tunnel stands, is divided among small things that live as long as the tunnel, and leaves a hole beside each:
    /// 400 bytes of 3,400 (`soak tunnels`).
    const KEPT_BYTES_MAX: usize = 1032;

    #[test]
    fn what_an_agent_needs_before_it_is_a_tunnel_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tcp = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        piko_runtime_tokio::block_on(|rt| async move {
            let service = LocalService::new(|_: Instant, _: &IoInfo, _: &RequestHead<'_>| {
                Local::<crate::node::Registration>::Answer(crate::answers::not_found())
            });
            let port = Port {
                http: Setting::from(http1::Config::default()),
                leaving: Shutdown::new(),
                shutdown: Shutdown::new(),
                memory: Arc::new(RequestBudget::new(0)),
            };
            let io = MaybeTls::Plain(rt.adopt(tcp).expect("a connection"));
            let bytes = size_of_val(&serve(&rt, io, &service, &port));
            assert!(bytes <= KEPT_BYTES_MAX, "{bytes} bytes");
        });
    }
}
