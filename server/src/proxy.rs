//! The proxy port: requests in, each through a tunnel of its endpoint.

use crate::date;
use crate::node::Node;
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::id::EndpointId;
use piko_core::mux::OpenError;
use piko_core::proxy::{Answer, Config, Exchange, Failure, Leg, Peer, Place, Record, Step, cause};
use piko_core::route::{Fault as Blame, Hop, Pick, Route};
use piko_core::time::Instant;
use piko_driver::{Attempt, Clock, Connected, Decision, IoInfo, Service, Stream, TunnelHandle};
use piko_observe::access::{AccessLog, AccessNote};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;

/// Requests of the proxy port.
#[derive(Debug)]
pub(crate) struct ProxyService {
    pub(crate) node: Arc<Node>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) access: AccessLog,
}

/// Where one request is tried.
#[derive(Debug)]
pub(crate) struct Target {
    endpoint: EndpointId,
    hop: Hop,
    pick: Pick,
    tunnel: TunnelHandle,
    tried: Vec<Route>,
}

impl Service for ProxyService {
    type Up = Stream;
    type Target = Target;
    type Switched = Infallible;
    type Note = Option<Box<AccessNote>>;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        self.node.requests.begin();
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        now: Instant,
        step: Step,
        exchange: &mut Exchange,
        _: &Self::Note,
        _: &RequestHead<'_>,
    ) -> Decision<Target, Infallible> {
        let endpoint = match (step, exchange.endpoint()) {
            (Step::Answer(answer), _) => return Decision::Answer(answer),
            (Step::Forward, Some(endpoint)) => endpoint.clone(),
            _ => {
                let answer =
                    Answer::request_error(Place::Server, 501, "tcp is not supported yet", "not-implemented");
                return Decision::Answer(answer);
            }
        };
        let hop = exchange.hop();
        match self.node.select(now, &endpoint, hop, &[]) {
            Some((pick, tunnel)) => {
                self.node.upstream_requests.inc();
                let target = Target { endpoint, hop, pick, tunnel, tried: Vec::new() };
                Decision::Proxy { target, to_tunnel: true, keep_alive: false }
            }
            None => {
                tracing::warn!(target: "proxy.http", { "endpoint-id" = %endpoint }, "no available upstreams");
                match exchange.handle_failed(now, Leg::Upstream, Failure::NoUpstream) {
                    Step::Answer(answer) => Decision::Answer(answer),
                    _ => Decision::Answer(Answer::no_upstream(Place::Server)),
                }
            }
        }
    }

    async fn connect(&self, target: &Target, _: Attempt) -> Result<Connected<Stream>, Failure> {
        match poll_fn(|cx| target.tunnel.poll_open(cx)).await {
            Ok(io) => Ok(Connected { io, pooled: false }),
            Err(OpenError::GoingAway) => Err(Failure::Connect(cause::UPSTREAM_GOING_AWAY)),
            Err(_) => Err(Failure::Connect(cause::STREAM_RESET)),
        }
    }

    fn again(&self, failed: Target, _: Failure) -> Option<Target> {
        let now = self.clock.now();
        let Target { endpoint, hop, mut pick, mut tried, .. } = failed;
        pick.fail(now, Blame::Broken);
        tried.push(pick.route().clone());
        drop(pick);
        let (pick, tunnel) = self.node.select(now, &endpoint, hop, &tried)?;
        Some(Target { endpoint, hop, pick, tunnel, tried })
    }

    fn release(&self, target: Target, _: Option<Stream>) {
        drop(target);
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
        self.node.requests.record(&record);
        if let Some(note) = note {
            self.access.write(note, &record);
        }
    }

    fn date(&self) -> Option<[u8; 29]> {
        Some(date::now())
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        tracing::debug!(target: "proxy.http", %fault, "malformed request");
        Answer::for_fault(Place::Server, fault)
    }
}
