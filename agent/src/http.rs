//! The HTTP listener: each stream of the tunnel carries requests for one service.

use crate::dial::Dial;
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::proxy::{self, Answer, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::time::Instant;
use piko_driver::{Attempt, Connected, Decision, IoInfo, MaybeTls, Pool, Runtime, Service};
use piko_observe::access::{AccessLog, AccessNote};
use piko_observe::metrics::HttpMetrics;
use std::sync::Arc;
use std::time::Duration;

/// One service behind one endpoint.
pub(crate) struct HttpService<R: Runtime> {
    dial: Dial<R>,
    config: proxy::Config,
    pool: Pool<R>,
    access: Arc<AccessLog>,
    metrics: Arc<HttpMetrics>,
}

impl<R: Runtime> HttpService<R> {
    pub(crate) fn new(
        dial: Dial<R>,
        timeout: Option<Duration>,
        pool: Pool<R>,
        access: Arc<AccessLog>,
        metrics: Arc<HttpMetrics>,
    ) -> Self {
        let mut config = proxy::Config::new(Place::Agent);
        config.response_timeout = timeout;
        config.base_path = (!dial.addr.path.is_empty()).then(|| Arc::from(dial.addr.path.as_bytes()));
        config.base_query = dial.addr.query.as_ref().map(|query| Arc::from(query.as_bytes()));
        Self { dial, config, pool, access, metrics }
    }
}

impl<R: Runtime> Service for HttpService<R> {
    type Up = MaybeTls<R::Tcp>;
    type Target = ();
    type Switched = ();
    type Note = Option<Box<AccessNote>>;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        self.metrics.begin();
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        _: Instant,
        step: Step,
        _: &mut Exchange,
        _: &Self::Note,
        _: &RequestHead<'_>,
    ) -> Decision<(), ()> {
        match step {
            Step::Answer(answer) => Decision::Answer(answer),
            _ => Decision::Proxy { target: (), keep_alive: true, keep_head: false },
        }
    }

    async fn connect(&self, (): &(), attempt: Attempt) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        if !attempt.fresh {
            if let Some(io) = self.pool.take(attempt.idempotent) {
                return Ok(Connected { io, pooled: true });
            }
        }
        // Apart, so that not every stream has the room for it.
        Ok(Connected { io: Box::pin(self.dial.dial(attempt.until)).await?, pooled: false })
    }

    /// There is one service; a stale connection to it is worth a fresh one.
    fn again(&self, (): &mut (), why: Failure) -> bool {
        why == Failure::Stale
    }

    fn release(&self, (): (), reusable: Option<MaybeTls<R::Tcp>>) {
        if let Some(io) = reusable {
            self.pool.put(io);
        }
    }

    fn note(&self, info: &IoInfo, head: &RequestHead<'_>) -> Self::Note {
        self.access.note(info.peer.map(|peer| peer.ip()), head)
    }

    fn note_response(&self, note: &mut Self::Note, head: &ResponseHead<'_>) {
        if let Some(note) = note {
            note.response(head);
        }
    }

    fn record(&self, record: Record, note: Self::Note) {
        self.metrics.record(&record);
        if let Some(note) = note {
            self.access.write(note, &record);
        }
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Agent, fault)
    }
}
