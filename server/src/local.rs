//! Requests that a port answers itself: nothing is proxied.

use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::proxy::{Answer, Config, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::time::Instant;
use piko_driver::{Attempt, Connected, Decision, IoInfo, Runtime, Service};
use std::convert::Infallible;
use std::marker::PhantomData;

/// What a local answer is made of.
pub(crate) enum Local<S> {
    Answer(Answer),
    Switch(Answer, S),
}

/// A port whose every request is answered by a function of its head.
pub(crate) struct LocalService<R, F> {
    config: Config,
    handle: F,
    runtime: PhantomData<fn() -> R>,
}

impl<R, F> LocalService<R, F> {
    pub(crate) fn new(handle: F) -> Self {
        Self { config: Config::new(Place::Server), handle, runtime: PhantomData }
    }
}

impl<R, S, F> Service for LocalService<R, F>
where
    R: Runtime,
    S: Send + 'static,
    F: Fn(Instant, &IoInfo, &RequestHead<'_>) -> Local<S> + Send + Sync + 'static,
{
    type Up = R::Tcp;
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

    async fn connect(&self, target: &Infallible, _: Attempt) -> Result<Connected<R::Tcp>, Failure> {
        match *target {}
    }

    fn again(&self, failed: &mut Infallible, _: Failure) -> bool {
        match *failed {}
    }

    fn release(&self, target: Infallible, _: Option<R::Tcp>) {
        match target {}
    }

    fn note(&self, info: &IoInfo, _: &RequestHead<'_>) -> IoInfo {
        *info
    }

    fn note_response(&self, _: &mut IoInfo, _: &ResponseHead<'_>) {}

    fn record(&self, _: Record, _: IoInfo) {}

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Server, fault)
    }
}
