//! The agent's metrics port: `GET /metrics` and nothing else.

use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::proxy::{Answer, Config, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::time::Instant;
use piko_driver::{Attempt, Connected, Decision, IoInfo, Runtime, Service};
use piko_observe::metrics::{HttpMetrics, render_all, render_build_info, render_process};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

/// Shows the counters of every listener.
pub(crate) struct MetricsService<R> {
    config: Config,
    listeners: Vec<Arc<HttpMetrics>>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> MetricsService<R> {
    pub(crate) fn new(listeners: Vec<Arc<HttpMetrics>>) -> Self {
        Self { config: Config::new(Place::Agent), listeners, runtime: PhantomData }
    }

    fn render(&self) -> Vec<u8> {
        let mut text = String::new();
        let listeners: Vec<&HttpMetrics> = self.listeners.iter().map(|metrics| &**metrics).collect();
        render_all(&listeners, &mut text);
        render_build_info(env!("CARGO_PKG_VERSION"), &mut text);
        render_process(&mut text);
        text.into_bytes()
    }
}

fn answer(status: u16, reason: &'static str, content_type: &str, body: Vec<u8>) -> Answer {
    Answer {
        status,
        reason,
        fields: format!("Content-Type: {content_type}\r\n").into_bytes(),
        body,
        close: false,
    }
}

impl<R: Runtime> Service for MetricsService<R> {
    type Up = R::Tcp;
    type Target = Infallible;
    type Switched = Infallible;
    type Note = ();

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        _: Instant,
        _: Step,
        _: &mut Exchange,
        (): &(),
        head: &RequestHead<'_>,
    ) -> Decision<Infallible, Infallible> {
        let path = head.target.split(|&b| b == b'?').next().unwrap_or_default();
        Decision::Answer(if head.method == b"GET" && path == b"/metrics" {
            answer(200, "OK", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", self.render())
        } else {
            answer(404, "Not Found", "text/plain", b"404 page not found".to_vec())
        })
    }

    async fn connect(&self, target: &Infallible, _: Attempt) -> Result<Connected<R::Tcp>, Failure> {
        match *target {}
    }

    fn again(&self, failed: Infallible, _: Failure) -> Option<Infallible> {
        match failed {}
    }

    fn release(&self, target: Infallible, _: Option<R::Tcp>) {
        match target {}
    }

    fn note(&self, _: &IoInfo, _: &RequestHead<'_>) {}

    fn note_response(&self, (): &mut (), _: &ResponseHead<'_>) {}

    fn record(&self, _: Record, (): ()) {}

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Agent, fault)
    }
}
