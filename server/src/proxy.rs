//! The proxy port: requests in, each through a tunnel of its endpoint, here or on another node.

use crate::date;
use crate::front;
use crate::leg::Leg;
use crate::link::{self, Accepted, STREAMS_MAX};
use crate::live::Live;
use crate::node::{Node, Via};
use crate::nodes::Nodes;
use crate::settings;
use crate::sign;
use crate::tcp::Upgrade;
use crate::watched::Watch;
use futures::io::AsyncWriteExt;
use piko_core::http1::{self, BodyLength, Fault, RequestHead, ResponseHead};
use piko_core::id::EndpointId;
use piko_core::mux::OpenError;
use piko_core::preface::{HeaderVersion, Source, write_header};
use piko_core::proxy::fields::forwarded_for;
use piko_core::proxy::{
    Answer, Exchange, Failure, Leg as Side, NODE_FIELD, Peer, Place, Record, RetryBudget, Sender, Step,
    cause, is_without_tls, load_of, trouble,
};
use piko_core::route::{Fault as Blame, Hop, Pick, Route};
use piko_core::time::Instant;
use piko_driver::tls::is_refusal;
use piko_driver::{
    Attempt, Clock, Connected, Decision, Io, IoInfo, MaybeTls, Members, Opaque, Proof, Relayed, Runtime,
    Service, Shutdown, Stream, TunnelHandle, relay_websocket, timeout_at,
};
use piko_observe::access::AccessNote;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Requests of the proxy port.
#[derive(Debug)]
pub(crate) struct ProxyService<R: Runtime> {
    pub(crate) node: Arc<Node>,
    pub(crate) nodes: Arc<Nodes<R>>,
    pub(crate) retries: Arc<RetryBudget>,
    /// Who may say that a request was forwarded, where not everybody may.
    pub(crate) members: Option<Arc<Members>>,
    pub(crate) entrance: Entrance,
    pub(crate) live: Arc<Live>,
    pub(crate) clock: Clock,
    /// Cuts what was switched and is still open when the grace period is over.
    pub(crate) cut: Shutdown,
}

/// How requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Over a link of another node, which has shown who it is.
    Link,
    /// Over the port, from anybody.
    Port,
}

/// Where one request is tried.
#[derive(Debug)]
pub(crate) struct Target {
    endpoint: EndpointId,
    hop: Hop,
    /// `None` while it is held.
    pick: Option<Pick>,
    via: Via,
    tried: Vec<Route>,
    /// It goes to other nodes over a connection of its own, not over a link.
    alone: bool,
    /// It was held; once is enough.
    waited: bool,
    /// A TCP connection is asked for rather than an answer.
    tcp: Option<Box<Upgrade>>,
    /// Whose request it is, where the agent that it went to first wants to know.
    client: Option<Box<Source>>,
}

/// What is remembered about a request.
#[derive(Debug)]
pub(crate) struct Note {
    access: Option<Box<AccessNote>>,
    /// Whose connection it came over, where some agent wants to know.
    client: Option<Box<Source>>,
}

impl Target {
    fn route(&self) -> Option<&Route> {
        self.pick.as_ref().map(Pick::route)
    }
}

/// Bodies from this size on, in bytes, go over a connection of their own: a link copies them twice more, which costs
/// more than the system calls that it saves. Measured at 64 KiB: 0.59 of the throughput of one node over links, 0.74
/// over connections; at 128 bytes 0.75 and 0.57.
const LARGE_BYTES: usize = 16 * 1024;

/// Whether a request goes to other nodes over a connection of its own: its body is large, or it asks for a connection
/// that stays.
fn goes_alone(head: &RequestHead<'_>) -> bool {
    let is_large = matches!(head.body, BodyLength::Known(bytes) if bytes >= LARGE_BYTES as u64);
    is_large || head.upgrade || head.method == b"CONNECT"
}

/// Failures behind which the endpoint's next upstream is probably about to be known: who was asked says that it lost
/// its own. What a service or a connection does wrong is no such sign.
fn is_absence(why: Failure) -> bool {
    let absent = [cause::NO_UPSTREAM, cause::UPSTREAM_GOING_AWAY];
    matches!(why, Failure::Refused(cause) | Failure::Connect(cause) if absent.contains(&cause))
}

impl<R: Runtime> ProxyService<R> {
    fn select(
        &self,
        now: Instant,
        endpoint: &EndpointId,
        hop: Hop,
        tried: &[Route],
        alone: bool,
    ) -> Option<(Pick, Via)> {
        let (pick, via) = self.node.select(now, endpoint, hop, tried)?;
        let via = self.count(&pick, via, alone);
        Some((pick, via))
    }

    /// Opens a TCP connection through a tunnel, once its agent has shown that it is there.
    async fn open(
        &self,
        tunnel: &TunnelHandle,
        header: Option<HeaderVersion>,
        target: &Target,
        until: Option<Instant>,
    ) -> Result<Connected<Leg<MaybeTls<R::Tcp>>>, Failure> {
        let endpoint = &target.endpoint;
        let has_other =
            || target.route().is_some_and(|now| self.node.has_other(endpoint, &target.tried, now));
        let io =
            sign::open(&self.nodes.rt, tunnel, endpoint, until, has_other).await.map_err(Failure::Connect)?;
        let io = match header {
            None => io,
            Some(version) => begin(io, version, target.client.as_deref()).await?,
        };
        Ok(Connected { io: Leg::Tunnel(io).watched(), pooled: false })
    }

    /// Whether a request that says so comes from a node of the cluster: by the secret, or else by its address.
    fn judge_sender(&self, ip: Option<IpAddr>, head: &RequestHead<'_>) -> Proof {
        let is_node = match (&self.members, head.fields.first(NODE_FIELD)) {
            (None, _) => ip.is_some_and(|ip| self.nodes.is_node(ip)),
            (Some(_), _) if self.entrance == Entrance::Link => true,
            (Some(members), Some(proof)) => return members.judge(proof, date::unix_secs()),
            (Some(_), None) => false,
        };
        if is_node { Proof::Good } else { Proof::Bad }
    }

    /// How far the request may go. Whoever is no node of the cluster gets the fields of a client, whatever it says; without
    /// a secret, which would show who is one, it is at least taken at its word that its request has come far enough. So is
    /// a node whose clock is wrong: two of them would send a request to and fro until nobody waits for it.
    fn judge_hop(&self, exchange: &mut Exchange, head: &RequestHead<'_>) -> Hop {
        let said = exchange.hop();
        if said == Hop::Forwarded {
            let proof = self.judge_sender(exchange.peer().ip, head);
            if proof != Proof::Good {
                exchange.distrust();
            }
            if let Proof::Old { minutes } = proof {
                self.node.complain_of_clock(minutes, "the fields of its requests are not believed");
                return said;
            }
        }
        let Some(members) = &self.members else { return said };
        let hop = exchange.hop();
        if hop == Hop::First && self.node.has_others() {
            exchange.set_proof(members.proof(date::unix_secs()));
        }
        hop
    }

    /// Counts where a request goes, and finds the link to another node.
    fn count(&self, pick: &Pick, via: Via, alone: bool) -> Via {
        match pick.route() {
            Route::Local(_) => {
                self.node.upstream_requests.inc();
                via
            }
            Route::Remote { node, proxy } => {
                self.node.remote_requests.with(node.as_str()).inc();
                let alone = alone || pick.body_bytes() >= LARGE_BYTES;
                let link = if alone { None } else { self.nodes.link(node, *proxy) };
                link.map_or(via, Via::Link)
            }
        }
    }
}

/// Tells an agent that asked for it whose stream this is.
async fn begin(mut io: Stream, version: HeaderVersion, client: Option<&Source>) -> Result<Stream, Failure> {
    let mut head = Vec::new();
    write_header(version, client.copied().unwrap_or(Source::Unknown), &mut head);
    match io.write_all(&head).await {
        Ok(()) => Ok(io),
        Err(_) => Err(Failure::Connect(cause::STREAM_RESET)),
    }
}

fn nobody(endpoint: &EndpointId) {
    tracing::warn!(target: "proxy.http", { "endpoint-id" = %endpoint }, "no available upstreams");
}

impl<R: Runtime> Service for ProxyService<R> {
    type Up = Leg<MaybeTls<R::Tcp>>;
    type Target = Target;
    type Switched = Accepted;
    type Note = Note;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        self.node.requests.begin();
        let peer = Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls };
        self.live.with_exchange(|config| Exchange::new(config, peer, now))
    }

    fn decide(
        &self,
        now: Instant,
        step: Step,
        exchange: &mut Exchange,
        note: &Self::Note,
        head: &RequestHead<'_>,
    ) -> Decision<Target, Accepted> {
        if self.entrance == Entrance::Port && link::is_asked(head) {
            return match link::judge(&self.node, self.members.as_deref(), head) {
                Ok((answer, accepted)) => Decision::Switch(answer, accepted),
                Err(answer) => Decision::Answer(answer),
            };
        }
        let is_tcp = matches!(step, Step::Switch);
        let endpoint = match (step, exchange.endpoint()) {
            (Step::Answer(answer), _) => return Decision::Answer(answer),
            (_, Some(endpoint)) => endpoint.clone(),
            (_, None) => return Decision::Answer(Answer::no_upstream(Place::Server)),
        };
        self.retries.earn();
        let hop = self.judge_hop(exchange, head);
        // What comes from another node stays here, and asks for nothing that this node alone does not need.
        let may_leave = hop == Hop::First && self.node.has_others();
        if may_leave {
            exchange.keep_request();
        }
        if exchange.asks_load() {
            exchange.set_load(self.node.outstanding(&endpoint));
        }
        let held = || match hop {
            // The node that sent it knows more, and may try others.
            Hop::Forwarded => None,
            Hop::First if is_tcp => None,
            Hop::First => self.node.waiting.hold(now, &endpoint, false),
        };
        let alone = is_tcp || goes_alone(head);
        match self.node.select(now, &endpoint, hop, &[]) {
            Some((pick, via)) => {
                let tcp = match is_tcp.then(|| Upgrade::judge(head)).transpose() {
                    Ok(tcp) => tcp.map(Box::new),
                    Err(answer) => return Decision::Answer(answer),
                };
                if !may_leave && !exchange.may_replay() && self.node.has_other(&endpoint, &[], pick.route()) {
                    // Another agent of this node may take what the first one does not act on.
                    exchange.keep_request();
                }
                let via = self.count(&pick, via, alone);
                let keep_alive = matches!(via, Via::Node);
                // What the service is told is what the fields say.
                let client = match (&via, exchange.hop()) {
                    // Wherever it goes first: the next attempt may go to another agent.
                    (_, Hop::First) => note.client.clone(),
                    (Via::Tunnel(_, Some(_)), Hop::Forwarded) => {
                        Some(Box::new(front::forwarded(forwarded_for(&head.fields))))
                    }
                    _ => None,
                };
                let (pick, tried) = (Some(pick), Vec::new());
                let target = Target { endpoint, hop, pick, via, tried, alone, waited: false, tcp, client };
                Decision::Proxy { target, keep_alive, keep_head: may_leave }
            }
            None => {
                if let Some(held) = held() {
                    let via = Via::Held(held);
                    let (pick, tried) = (None, Vec::new());
                    let (tcp, client) = (None, note.client.clone());
                    let target = Target { endpoint, hop, pick, via, tried, alone, waited: true, tcp, client };
                    return Decision::Proxy { target, keep_alive: false, keep_head: true };
                }
                nobody(&endpoint);
                match exchange.handle_failed(now, Side::Upstream, Failure::NoUpstream) {
                    Step::Answer(answer) => Decision::Answer(answer),
                    _ => Decision::Answer(Answer::no_upstream(Place::Server)),
                }
            }
        }
    }

    async fn connect(&self, target: &Target, attempt: Attempt) -> Result<Connected<Self::Up>, Failure> {
        let Via::Tunnel(tunnel, header) = &target.via else {
            let Some(Route::Remote { node, proxy }) = target.route() else {
                return Err(Failure::NoUpstream);
            };
            if let Via::Link(link) = &target.via
                && let Ok(Some(io)) = link.try_open(STREAMS_MAX)
            {
                self.node.link_requests.inc();
                return Ok(Connected { io: Leg::Tunnel(io), pooled: false });
            }
            // Apart, so that not every connection has the room for it.
            let Connected { io, pooled } = Box::pin(self.nodes.connect(node, *proxy, attempt)).await?;
            let io = Leg::Node(io);
            return Ok(Connected { io: if target.tcp.is_some() { io.watched() } else { io }, pooled });
        };
        if target.tcp.is_some() {
            return Box::pin(self.open(tunnel, *header, target, attempt.until)).await;
        }
        match poll_fn(|cx| tunnel.poll_open(cx)).await {
            Ok(io) => {
                let io = match header {
                    None => io,
                    // Apart, so that not every connection has the room for it.
                    Some(version) => Box::pin(begin(io, *version, target.client.as_deref())).await?,
                };
                Ok(Connected { io: Leg::Tunnel(io), pooled: false })
            }
            Err(OpenError::GoingAway) => Err(Failure::Connect(cause::UPSTREAM_GOING_AWAY)),
            Err(_) => Err(Failure::Connect(cause::STREAM_RESET)),
        }
    }

    fn failed(&self, target: &mut Target, why: Failure) {
        let blame = match why {
            Failure::Broken | Failure::Connect(_) | Failure::Cut => Blame::Broken,
            Failure::Protocol(_) | Failure::TimedOut => Blame::Slow,
            // A kept connection that was closed meanwhile says nothing about its node.
            _ => return,
        };
        if let Some(pick) = &mut target.pick {
            pick.fail(self.clock.now(), blame);
        }
    }

    fn unheard(&self, target: &Target, error: &io::Error) -> Option<Failure> {
        let Some(Route::Remote { node, proxy }) = target.route() else { return None };
        let is_no_tls = self.nodes.is_no_tls(node, *proxy, error);
        (is_no_tls && is_refusal(error)).then_some(Failure::Connect(cause::TLS_FAILED))
    }

    fn is_held(&self, target: &Target) -> bool {
        matches!(target.via, Via::Held(_))
    }

    async fn settle(&self, target: &mut Target) -> Result<(), Failure> {
        let Via::Held(held) = &target.via else { return Ok(()) };
        let (endpoint, hop, alone) = (&target.endpoint, target.hop, target.alone);
        let tried = &mut target.tried;
        let look = poll_fn(|cx| {
            // First, so that what comes in between is not missed.
            held.register(cx);
            if !self.node.is_served(endpoint) {
                // Who comes behind this has not been asked, also under the name of one that has.
                tried.clear();
            }
            match self.select(self.clock.now(), endpoint, hop, tried, alone) {
                Some(found) => Poll::Ready(found),
                None => Poll::Pending,
            }
        });
        let found = match timeout_at(&self.nodes.rt, Some(held.until), look).await {
            Ok(found) => Some(found),
            // An upstream that left and came back on one node may be no news to anybody else.
            Err(_) => self.select(self.clock.now(), endpoint, hop, &[], alone),
        };
        let Some((pick, via)) = found else {
            nobody(&target.endpoint);
            return Err(Failure::NoUpstream);
        };
        (target.pick, target.via) = (Some(pick), via);
        Ok(())
    }

    fn answered(&self, target: &mut Target, head: &ResponseHead<'_>, behind: &[u8]) -> Option<Failure> {
        let sender = if self.is_tunnel(target) { Sender::Tunnel } else { Sender::Node };
        let Some(pick) = &mut target.pick else { return None };
        if sender == Sender::Node {
            if let Some(load) = load_of(head) {
                pick.hint(self.clock.now(), load);
            }
            if let BodyLength::Known(bytes) = head.body {
                pick.note_body(bytes);
            }
        }
        match trouble(head, sender, behind) {
            // A node that has opened a TCP connection says nothing of the service: what comes of it does.
            None if target.tcp.is_some() && head.status == 101 && behind.is_empty() => None,
            None => {
                pick.answered();
                None
            }
            Some(trouble) => {
                if is_without_tls(head, sender)
                    && let Route::Remote { node, proxy } = pick.route()
                {
                    self.nodes.wants_tls(node, *proxy);
                }
                pick.heard();
                pick.fail(self.clock.now(), trouble.fault);
                trouble.failure
            }
        }
    }

    fn again(&self, target: &mut Target, why: Failure) -> bool {
        if why == Failure::Stale {
            return true;
        }
        let now = self.clock.now();
        // What reached nobody costs nobody anything.
        if !matches!(why, Failure::Connect(_)) && !self.retries.spend(now) {
            tracing::debug!(target: "proxy.http", { "endpoint-id" = %target.endpoint }, "too many retries");
            return false;
        }
        target.tried.extend(target.route().cloned());
        let found = self.select(now, &target.endpoint, target.hop, &target.tried, target.alone);
        let held = || {
            let may_wait = target.hop == Hop::First && !target.waited && is_absence(why);
            may_wait.then(|| self.node.waiting.hold(now, &target.endpoint, true)).flatten()
        };
        match found {
            Some((pick, via)) => (target.pick, target.via) = (Some(pick), via),
            None => match held() {
                Some(held) => {
                    (target.pick, target.via, target.waited) = (None, Via::Held(held), true);
                }
                None => return false,
            },
        }
        true
    }

    fn is_tunnel(&self, target: &Target) -> bool {
        // Without other nodes, whoever comes is a tunnel.
        matches!(target.via, Via::Tunnel(..)) || (self.is_held(target) && !self.node.has_others())
    }

    fn opaque(&self, target: &mut Target, up: &mut Self::Up) -> Option<Opaque> {
        let (Some(upgrade), Via::Tunnel(tunnel, _)) = (&target.tcp, &target.via) else { return None };
        if let Some(pick) = &mut target.pick {
            up.watch(|| Watch::begin(&self.node, &target.endpoint, pick));
        }
        self.node.tcp.opened();
        tracing::debug!(target: "proxy.tcp", { "endpoint-id" = %target.endpoint }, "connection opened");
        Some(upgrade.opaque(tunnel.has_half_close()))
    }

    fn switched(&self, target: &mut Target, up: &mut Self::Up) {
        if let Some(pick) = &mut target.pick {
            up.watch(|| Watch::begin(&self.node, &target.endpoint, pick));
        }
    }

    fn carry<Rt: Runtime, C: Io>(
        &self,
        rt: &Rt,
        (client, up): (C, &mut Self::Up),
        early: Vec<u8>,
        opaque: Opaque,
    ) -> impl Future<Output = Relayed> + Send {
        relay_websocket(rt, client, early, up, opaque)
    }

    fn cutter(&self) -> impl FnMut(&mut Context<'_>) -> Poll<()> + Send {
        let mut cut = self.cut.listener();
        move |cx| cut.poll(cx)
    }

    fn relayed(&self, target: &Target, relayed: &Relayed) {
        let Relayed { from_a, from_b, result } = relayed;
        self.node.tcp.closed(*from_a, *from_b);
        let cut = result.as_ref().err().map(tracing::field::display);
        tracing::debug!(
            target: "proxy.tcp",
            { "endpoint-id" = %target.endpoint, "bytes-in" = from_a, "bytes-out" = from_b, cut },
            "connection closed");
    }

    fn release(&self, target: Target, reusable: Option<Self::Up>) {
        match (reusable.map(Leg::bare), target.route()) {
            (Some(Leg::Node(io)), Some(Route::Remote { node, proxy })) => self.nodes.keep(node, *proxy, io),
            // A stream carries one request; this one was written for a connection that carries more.
            (Some(mut io), _) => io.finish_lazily(),
            (None, _) => {}
        }
    }

    fn note(&self, info: &IoInfo, head: &RequestHead<'_>) -> Self::Note {
        let client = self.node.names_clients().then(|| Box::new(front::source(info)));
        Note { access: self.live.access.note(info.peer.map(|peer| peer.ip()), head), client }
    }

    fn note_response(&self, note: &mut Self::Note, head: &ResponseHead<'_>) {
        if let Some(note) = &mut note.access {
            note.response(head);
        }
    }

    fn record(&self, record: Record, note: Self::Note) {
        self.node.requests.record(&record);
        self.node.retries.add(record.retries.into());
        if let Some(note) = note.access {
            self.live.access.write(note, &record);
        }
    }

    /// What another node has let in is not refused here.
    fn admits(&self, info: &IoInfo, head: &RequestHead<'_>, bytes: usize, limits: &http1::Config) -> bool {
        let is_forwarded = || head.fields.first("x-piko-forward") == Some(b"true");
        let is_from_node = || self.judge_sender(info.peer.map(|peer| peer.ip()), head) == Proof::Good;
        bytes <= settings::head_bytes_max(limits) || (is_forwarded() && is_from_node())
    }

    fn responses(&self) -> http1::Config {
        settings::responses()
    }

    fn date(&self, now: Instant) -> Option<[u8; 29]> {
        Some(date::at(now))
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        tracing::debug!(target: "proxy.http", %fault, "malformed request");
        Answer::for_fault(Place::Server, fault)
    }
}
