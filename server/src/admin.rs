//! The admin port: health, readiness, metrics, status, and what operators tell a node (wire protocol, section 8).
//!
//! | path | answer |
//! |---|---|
//! | `GET /health`, `GET /ready` | 200 or 503, empty |
//! | `GET /metrics` | Prometheus text |
//! | `GET /status/upstream/endpoints` | endpoints of this node with their listeners |
//! | `GET /status/cluster/nodes`, `…/local`, `…/<id>` | the nodes as routing sees them |
//! | `GET /status/gossip/nodes`, `…/<id>` | the nodes as gossip sees them, with their keys |
//! | `GET /status/upstreams` | every tunnel of this node (ours) |
//! | `GET /status/drain` | which nodes are about to go (ours) |
//! | `POST /status/drain` | takes this node down as SIGTERM does; 202 (ours) |
//! | `POST /status/upstreams/<n>/disconnect` | takes one tunnel down in order; 202 (ours) |
//!
//! A query `forward=<node id>` sends the request to the admin port of that node, whatever the path; one hop at most.

mod forward;
mod metrics;
mod status;

use crate::node::Node;
use crate::seldom::Seldom;
use crate::tls::NodeTls;
use crate::{answers, date, path};
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::id::{NodeId, TunnelId};
use piko_core::proxy::{Answer, Config, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::route::Hop;
use piko_core::time::Instant;
use piko_driver::tls::is_refusal;
use piko_driver::{
    Attempt, Clock, Connected, Decision, Gossip, IoInfo, MaybeTls, Runtime, Service, Shutdown, sleep_until,
};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long an agent has for its next tunnel before one that is disconnected ends.
const HINT_TIME: Duration = Duration::from_secs(1);
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Requests of the admin port.
pub(crate) struct AdminService<R> {
    rt: R,
    node: Arc<Node>,
    gossip: Gossip,
    id: NodeId,
    clock: Clock,
    config: Config,
    /// The files of all ports, and how the admin ports of other nodes are reached.
    tls: NodeTls,
    /// Nodes with which there is no agreement on TLS.
    tls_failures: Seldom,
    /// Takes the node down.
    drain: Shutdown,
    /// What the requests of a disconnected tunnel may take to end.
    grace: Duration,
}

impl<R: Runtime> AdminService<R> {
    pub(crate) fn new(
        rt: &R,
        node: &Arc<Node>,
        gossip: &Gossip,
        id: &NodeId,
        tls: &NodeTls,
        drain: &Shutdown,
        grace: Duration,
    ) -> Self {
        Self {
            rt: rt.clone(),
            node: node.clone(),
            gossip: gossip.clone(),
            id: id.clone(),
            clock: Clock::of(rt),
            config: Config::new(Place::Admin),
            tls: tls.clone(),
            tls_failures: Seldom::default(),
            drain: drain.clone(),
            grace,
        }
    }

    fn answer(&self, head: &RequestHead<'_>) -> Answer {
        let path = path::of(head.target);
        if let Some(shorter) = path.strip_suffix(b"/").filter(|shorter| is_path(head.method, shorter)) {
            // As Go's router does, with the query.
            let query = path::query(head.target);
            return answers::moved(&query.map_or(shorter.to_vec(), |query| [shorter, b"?", query].concat()));
        }
        match head.method {
            b"GET" => self.get(path),
            // A page of somebody else's that an operator looks at must not be able to drain a node.
            b"POST" if is_path(b"POST", path) && head.fields.first("origin").is_some() => answers::empty(403),
            b"POST" => self.post(path),
            _ => answers::not_found(),
        }
    }

    fn get(&self, path: &[u8]) -> Answer {
        match path {
            b"/health" => answers::empty(200),
            b"/ready" if self.node.is_ready() => answers::empty(200),
            b"/ready" => answers::empty(503),
            b"/metrics" => {
                let text = metrics::render(&self.node, &self.gossip, &self.id, &self.tls, self.clock.now());
                answers::body(200, METRICS_TYPE, text.into_bytes())
            }
            b"/status/upstream/endpoints" => answers::json(status::endpoints(&self.node)),
            b"/status/upstreams" => answers::json(status::upstreams(&self.node)),
            b"/status/drain" => answers::json(status::draining(&self.node, &self.gossip, &self.id)),
            b"/status/cluster/nodes" => {
                answers::json(status::cluster_nodes(&self.node, &self.gossip, &self.id))
            }
            b"/status/gossip/nodes" => answers::json(status::gossip_nodes(&self.gossip, self.clock.now())),
            _ => self.get_node(path).unwrap_or_else(answers::not_found),
        }
    }

    /// One node. An unknown one has an empty 404, unlike an unknown path.
    fn get_node(&self, path: &[u8]) -> Option<Answer> {
        let found = if let Some(id) = segment(path, CLUSTER_NODE) {
            let id = if id == b"local" { self.id.as_str().as_bytes().to_vec() } else { path::decode(id)? };
            status::cluster_node(&self.node, &self.gossip, &self.id, &id)
        } else {
            let id = path::decode(segment(path, GOSSIP_NODE)?)?;
            status::gossip_node(&self.gossip, self.clock.now(), &id)
        };
        Some(found.map_or_else(|| answers::empty(404), answers::json))
    }

    fn post(&self, path: &[u8]) -> Answer {
        if path == b"/status/drain" {
            tracing::info!(target: "admin", "asked to drain this node");
            // The port itself stays open until all else is done, so that this answer leaves.
            self.drain.trigger();
            return answers::json_of(202, "{\"draining\":true}".to_owned());
        }
        let Some(number) = disconnect(path) else { return answers::not_found() };
        let Some(id) = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).map(TunnelId)
        else {
            return answers::empty(404);
        };
        if !self.node.hint(id) {
            return answers::empty(404);
        }
        tracing::info!(target: "admin", upstream = id.0, "asked to disconnect an upstream");
        let (rt, node, grace) = (self.rt.clone(), self.node.clone(), self.grace);
        self.rt.spawn(async move {
            sleep_until(&rt, rt.now() + HINT_TIME).await;
            node.retire(id, grace);
        });
        answers::json_of(202, "{\"disconnecting\":true}".to_owned())
    }
}

const CLUSTER_NODE: &[u8] = b"/status/cluster/nodes/";
const GOSSIP_NODE: &[u8] = b"/status/gossip/nodes/";
const UPSTREAM: &[u8] = b"/status/upstreams/";

/// What stands behind `prefix`, if that is one segment.
fn segment<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(prefix).filter(|rest| !rest.is_empty() && !rest.contains(&b'/'))
}

/// The number in `/status/upstreams/<n>/disconnect`.
fn disconnect(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(UPSTREAM)?.strip_suffix(b"/disconnect").filter(|id| !id.contains(&b'/'))
}

/// Whether there is such a path for the method.
fn is_path(method: &[u8], path: &[u8]) -> bool {
    match method {
        b"GET" => {
            let whole: [&[u8]; 8] = [
                b"/health",
                b"/ready",
                b"/metrics",
                b"/status/upstream/endpoints",
                b"/status/upstreams",
                b"/status/drain",
                b"/status/cluster/nodes",
                b"/status/gossip/nodes",
            ];
            whole.contains(&path)
                || segment(path, CLUSTER_NODE).is_some()
                || segment(path, GOSSIP_NODE).is_some()
        }
        b"POST" => path == b"/status/drain" || disconnect(path).is_some(),
        _ => false,
    }
}

impl<R: Runtime> Service for AdminService<R> {
    type Up = MaybeTls<R::Tcp>;
    type Target = forward::Target;
    type Switched = Infallible;
    type Note = ();

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        _: Instant,
        step: Step,
        exchange: &mut Exchange,
        (): &(),
        head: &RequestHead<'_>,
    ) -> Decision<forward::Target, Infallible> {
        if let Step::Answer(answer) = step {
            return Decision::Answer(answer);
        }
        match path::parameter(head.target, b"forward") {
            Some(id) if id != self.id.as_str().as_bytes() => {
                // What was sent here was meant for this node; its name has another one.
                let target =
                    if exchange.hop() == Hop::First { forward::find(&self.gossip, &id) } else { None };
                match target {
                    Some(target) => Decision::Proxy { target, keep_alive: false, keep_head: false },
                    None => Decision::Answer(answers::empty(404)),
                }
            }
            _ => Decision::Answer(self.answer(head)),
        }
    }

    async fn connect(
        &self,
        target: &forward::Target,
        attempt: Attempt,
    ) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        forward::connect(&self.rt, self.tls.connector(), &self.tls_failures, target, attempt.until).await
    }

    fn unheard(&self, target: &forward::Target, error: &io::Error) -> Option<Failure> {
        is_refusal(error).then(|| forward::refused(&self.rt, &self.tls_failures, target, error))
    }

    fn again(&self, _: &mut forward::Target, _: Failure) -> bool {
        false
    }

    fn release(&self, _: forward::Target, _: Option<MaybeTls<R::Tcp>>) {}

    fn note(&self, _: &IoInfo, _: &RequestHead<'_>) {}

    fn note_response(&self, (): &mut (), _: &ResponseHead<'_>) {}

    fn record(&self, _: Record, (): ()) {}

    fn date(&self, now: Instant) -> Option<[u8; 29]> {
        Some(date::at(now))
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Admin, fault)
    }
}
