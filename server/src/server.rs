//! Wires the ports of a node, and takes them down in order.

use crate::admin::AdminService;
use crate::cluster::{self, unless};
use crate::front::Front;
use crate::join::{Complaints, Joiner};
use crate::link::Owner;
use crate::live::{Live, LivePart};
use crate::node::Node;
use crate::nodes::Nodes;
use crate::peers::Peers;
use crate::proxy::{Entrance, ProxyService};
use crate::raw::{Raw, RawPart, RawPorts};
use crate::reload::{SecretPart, configuration};
use crate::settings::{generate_id, gossip};
use crate::tls::{NodeTls, TlsPart};
use crate::{ports, rebalance};
use piko_config::reload::Part;
use piko_config::{NodeIdRule, ServerOptions, ServerTlsOptions};
use piko_core::gossip::{Key, Node as GossipNode, NodeInfo, Value};
use piko_core::http1;
use piko_core::id::NodeId;
use piko_core::mux::GoAway;
use piko_core::proxy::RetryBudget;
use piko_core::route::Preference;
use piko_core::time::Instant;
use piko_driver::tls::Crypto;
use piko_driver::{
    Clock, Gossip, Members, Port, Reloader, RequestBudget, Runtime, Seal, Setting, Shutdown, Tasks,
    sleep_until, timeout_at,
};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What requests may keep for another try elsewhere, in bytes: 128 of the largest.
const COPY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Once its streams are done, a tunnel's last frames and its FIN take at most this.
const TUNNEL_LAST_WORDS: Duration = Duration::from_secs(2);
/// What connections that were cut at the end of the grace period may take to be gone.
const CUT_LAST_WORDS: Duration = Duration::from_secs(1);
/// Saying good-bye to the other nodes takes at most this, however many of them are mute.
const LEAVE_TIME: Duration = Duration::from_secs(6);

/// Why a node did not start: which port, which address, which error.
#[derive(Debug)]
pub struct StartError {
    what: String,
    error: io::Error,
}

impl StartError {
    pub(crate) fn new(port: &str, addr: String, error: io::Error) -> Self {
        Self::of(&format!("{port} listen: {addr}"), error)
    }

    /// `what` is the part that does not work.
    pub(crate) fn of(what: &str, error: io::Error) -> Self {
        Self { what: what.to_owned(), error }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl std::error::Error for StartError {}

/// Why a node ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinError(String);

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster join: {}", self.0)
    }
}

impl std::error::Error for JoinError {}

/// The addresses really bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Where requests come in.
    pub proxy: SocketAddr,
    /// Where agents come in.
    pub upstream: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// Where other nodes talk to this one.
    pub gossip: SocketAddr,
}

/// A node whose ports are open.
pub struct Server<R: Runtime> {
    rt: R,
    node: Arc<Node>,
    nodes: Arc<Nodes<R>>,
    gossip: Gossip,
    gossip_addr: SocketAddr,
    id: NodeId,
    bound: Bound,
    listeners: [R::Listener; 4],
    raw: Arc<RawPorts<R>>,
    udp: R::Udp,
    members: Option<Arc<Members>>,
    live: Arc<Live>,
    tls: NodeTls,
    options: ServerOptions,
}

/// One line that says how each port tells who may come in, so that an open one is never a surprise.
fn tell_who_is_let_in(options: &ServerOptions, has_secret: bool) {
    let by = |tls: Option<&ServerTlsOptions>| match tls {
        Some(tls) if tls.client_cas.is_some() => "client certificates",
        _ => "none",
    };
    tracing::info!(
        target: "server",
        proxy = by(options.proxy.tls.as_ref()),
        upstream = by(options.upstream.tls.as_ref()),
        admin = by(options.admin.tls.as_ref()),
        gossip = if has_secret { "secret" } else { "none" },
        "authentication"
    );
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("id", &self.id).field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl<R: Runtime> Server<R> {
    /// Opens the ports. Connections queue in the kernel until [`Self::run`].
    ///
    /// # Errors
    /// Which port could not be opened, or why the cluster's secret could not be read. Options that ask for TLS need
    /// [`Self::bind_with`].
    pub async fn bind(rt: R, options: ServerOptions) -> Result<Self, StartError> {
        Self::bind_with(rt, options, None).await
    }

    /// As [`Self::bind`], with the cryptography for ports that speak TLS.
    ///
    /// # Errors
    /// Also: which file of certificates cannot be used, and why.
    pub async fn bind_with(
        rt: R,
        options: ServerOptions,
        crypto: Option<Crypto>,
    ) -> Result<Self, StartError> {
        let tls = NodeTls::load(&options, crypto.as_ref())?;
        let (proxy, proxy_addr) = ports::listen(&rt, "proxy", &options.proxy.bind).await?;
        let raw = RawPorts::bind(&rt, &options).await?;
        let (upstream, upstream_addr) = ports::listen(&rt, "upstream", &options.upstream.bind).await?;
        let (admin, admin_addr) = ports::listen(&rt, "admin", &options.admin.bind).await?;
        let (gossip_port, udp, gossip_bound) =
            ports::listen_gossip(&rt, &options.cluster.gossip.bind).await?;
        let bound =
            Bound { proxy: proxy_addr, upstream: upstream_addr, admin: admin_addr, gossip: gossip_bound };
        let id = match &options.cluster.node_id {
            NodeIdRule::Given(id) => id.clone(),
            NodeIdRule::Generate { prefix } => generate_id(prefix),
        };
        let id = NodeId::new(&id);
        let secret = options
            .cluster
            .secret_bytes()
            .map_err(|reason| StartError::of("config", io::Error::new(io::ErrorKind::InvalidData, reason)))?;
        let gossip_text = ports::advertised(options.cluster.gossip.advertise.as_ref(), gossip_bound);
        let gossip_addr = find(&rt, &gossip_text, gossip_bound).await.map_err(|error| StartError {
            what: format!("cluster: gossip: advertise addr: {gossip_text}"),
            error,
        })?;
        let first =
            |key: &str, asked, bound| (Key::from(key), Value::from(ports::advertised(asked, bound).as_str()));
        let info = NodeInfo {
            id: id.clone(),
            addr: gossip_addr,
            wall_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            first: vec![
                first(cluster::PROXY_ADDR, options.proxy.advertise.as_ref(), proxy_addr),
                first(cluster::ADMIN_ADDR, options.admin.advertise.as_ref(), admin_addr),
            ],
        };
        let seal = secret.as_deref().map(Seal::new);
        let members = secret.as_deref().map(Members::new).map(Arc::new);
        let config = gossip(&options, seal.is_some());
        let stream_bytes_max = config.stream_bytes_max;
        let gossip_node = GossipNode::new(info, config, fastrand::u64(..), rt.now());
        let gossip = Gossip::new(&rt, gossip_node, seal, stream_bytes_max);
        // Refused only when the key is too long, which it is not.
        let _ = gossip.set_internal(&Key::from(cluster::LINKS), &Value::from("1"));
        let preference =
            if options.proxy.routing.prefer_local { Preference::Local } else { Preference::Even };
        let node = Node::new(preference, Clock::of(&rt));
        let live = Live::new(&options);
        let parts: [Arc<dyn Part<ServerOptions>>; 4] = [
            Arc::new(LivePart(live.clone())),
            Arc::new(TlsPart::new(&tls)),
            Arc::new(RawPart(raw.clone())),
            Arc::new(SecretPart::new(&options, secret.clone())),
        ];
        tls.reloader.add("configuration".to_owned(), configuration(&options, parts));
        let nodes = Arc::new(Nodes::new(
            rt.clone(),
            tls.to_proxy.clone(),
            members.clone(),
            node.remote_dials.clone(),
        ));
        let listeners = [proxy, upstream, admin, gossip_port];
        Ok(Self {
            rt,
            node,
            nodes,
            gossip,
            gossip_addr,
            id,
            bound,
            listeners,
            raw,
            udp,
            members,
            live,
            tls,
            options,
        })
    }

    /// The addresses really bound.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// The other nodes, to be told about them by whoever knows them otherwise than by gossip.
    pub fn peers(&self) -> Peers {
        Peers::new(self.node.clone(), self.nodes.clone())
    }

    /// What reads the configuration and the files of certificates again.
    pub fn reloader(&self) -> Reloader {
        self.tls.reloader.clone()
    }

    /// The name of this node.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Serves until `stop` is given, then takes the node down: not ready and drained of agents and clients for the
    /// drain delay, then no new requests, those in flight end within the grace period, agents are told to go
    /// elsewhere once their streams are done, and the cluster is told good-bye.
    ///
    /// # Errors
    /// No node of the cluster could be joined in time; the node was taken down.
    pub async fn run(self, stop: Shutdown) -> Result<(), JoinError> {
        let peers = self.peers();
        let Self {
            rt,
            node,
            nodes,
            gossip,
            gossip_addr,
            id,
            bound,
            listeners,
            raw,
            udp,
            members,
            live,
            tls,
            options,
        } = self;
        let [proxy, upstream, admin, gossip_port] = listeners;
        let memory = Arc::new(RequestBudget::new(COPY_BYTES_MAX));
        // An operator asks for what a signal asks for.
        let asked = Shutdown::new();
        let (leaving, gossip_stop) = (Shutdown::new(), Shutdown::new());
        let (proxy_stop, upstream_stop, admin_stop) = (Shutdown::new(), Shutdown::new(), Shutdown::new());
        let (requests, agents, operators) = (Tasks::new(), Tasks::new(), Tasks::new());
        let port = |http: Setting<http1::Config>, shutdown: &Shutdown| Port {
            http,
            leaving: leaving.clone(),
            shutdown: shutdown.clone(),
            memory: memory.clone(),
        };

        tracing::info!(target: "server", { "node-id" = %id, version = env!("CARGO_PKG_VERSION") }, "starting piko server");
        tell_who_is_let_in(&options, members.is_some());
        ports::start(
            &rt,
            "admin",
            bound.admin,
            admin,
            tls.admin.clone(),
            &admin_stop,
            &operators,
            port(http1::Config::default().into(), &admin_stop),
            AdminService::new(&rt, &node, &gossip, &id, &tls, &asked, options.grace_period),
        );
        tracing::info!(
            target: "gossip",
            { "node-id" = %id, "bind-addr" = %bound.gossip, "advertise-addr" = %gossip_addr },
            "starting gossip"
        );
        if members.is_none() && !bound.gossip.ip().is_loopback() {
            tracing::warn!(
                target: "gossip",
                "gossip is open to everybody who reaches its port; --cluster.secret-file closes it"
            );
        }
        let told = cluster::hear(&rt, &gossip, peers.clone(), &gossip_stop);
        rt.spawn(gossip.clone().run(rt.clone(), udp, gossip_port, gossip_stop.clone(), told));
        rt.spawn(tls.reloader.clone().watch(rt.clone(), gossip_stop.clone()));
        rt.spawn(cluster::publish(peers, gossip.clone(), gossip_stop.clone()));
        let joiner = Joiner {
            rt: rt.clone(),
            gossip: gossip.clone(),
            id: id.clone(),
            seeds: options.cluster.join.clone(),
            port: bound.gossip.port(),
            own: gossip_addr,
            complaints: Complaints::default(),
        };
        let until = rt.now() + options.cluster.join_timeout;
        let first = async { if joiner.seeds.is_empty() { Ok(()) } else { joiner.first(until).await } };
        let joined = 'first: {
            let ended = match unless(&asked, unless(&stop, first)).await.flatten() {
                None => Ok(()),
                // The time was up before anybody was served.
                Some(Err(error)) if options.cluster.abort_if_join_fails && rt.now() >= until => {
                    Err(JoinError(error))
                }
                Some(joined) => break 'first joined,
            };
            tracing::info!(target: "server", "starting shutdown");
            // It never was ready: nobody sends it anything, and whoever waits in the queues of its ports goes on.
            drop((upstream, proxy));
            raw.stop();
            end(&rt, &gossip, &gossip_stop, &admin_stop, &operators).await;
            return ended;
        };
        ports::start_upstream(
            &rt,
            &node,
            bound.upstream,
            upstream,
            tls.upstream.clone(),
            &upstream_stop,
            &agents,
            port(http1::Config::default().into(), &upstream_stop),
        );
        let retries = Arc::new(RetryBudget::default());
        let cut = Shutdown::new();
        let service = |entrance| ProxyService {
            node: node.clone(),
            nodes: nodes.clone(),
            retries: retries.clone(),
            members: members.clone(),
            entrance,
            live: live.clone(),
            clock: Clock::of(&rt),
            cut: cut.clone(),
        };
        let owner = Owner {
            service: service(Entrance::Link),
            port: port(live.http.clone(), &proxy_stop),
            limits: nodes.links.clone(),
            tasks: requests.clone(),
        };
        let tls = tls.proxy.clone();
        let trusted = &options.proxy.proxy_protocol_trusted;
        let front = (!trusted.is_empty()).then(|| Front::new(trusted, node.proxy_headers_refused.clone()));
        let entrance = ports::Entrance { tls, front: front.clone(), service: service(Entrance::Port), owner };
        ports::start_proxy(&rt, bound.proxy, proxy, &proxy_stop, entrance);
        let patience = ports::head_max(options.proxy.http.read_header_timeout);
        let carrier =
            Raw::new(rt.clone(), node.clone(), nodes.clone(), live.clone(), front, patience, cut.clone());
        raw.start(Arc::new(carrier), &requests);
        node.set_ready(true);
        rt.spawn(rebalance::run(rt.clone(), node.clone(), live.clone(), leaving.clone()));

        let failed = unless(&asked, unless(&stop, stay(&joiner, joined, until, &options))).await.flatten();
        let (drain_delay, grace_period) = (live.drain_delay(), live.grace_period());
        let until = rt.now() + drain_delay + grace_period;
        tracing::info!(target: "server", "starting shutdown");
        node.set_ready(false);
        node.set_draining();
        // No agent comes in any more, and those of ours open their next tunnel elsewhere while this one serves on.
        leaving.trigger();
        upstream_stop.trigger();
        // Refused only when the key is too long, which it is not.
        let _ = gossip.set_internal(&Key::from(cluster::DRAINING), &Value::from("1"));
        for tunnel in node.tunnels() {
            tunnel.hint();
        }
        if !is_unknown(&node, &options) {
            sleep_until(&rt, rt.now() + drain_delay).await;
        }
        proxy_stop.trigger();
        raw.stop();
        if timeout_at(&rt, Some(until), requests.idle()).await.is_err() {
            tracing::warn!(target: "server", requests = requests.running(), "failed to shutdown proxy server in time");
        } else {
            tracing::info!(target: "proxy", "shutdown proxy server");
        }
        cut.trigger();
        nodes.close_links();
        // What still runs in a tunnel (nothing, unless the time is up) is cut; agents reconnect elsewhere.
        for tunnel in node.tunnels() {
            tunnel.drain(until.since(rt.now()));
        }
        let last = rt.now().max(until) + TUNNEL_LAST_WORDS;
        if timeout_at(&rt, Some(last), agents.idle()).await.is_err() {
            for tunnel in node.tunnels() {
                tunnel.abort(GoAway::InternalError);
            }
        }
        // What was cut is told to its clients, and logged: the end of the process says neither.
        let last = rt.now() + CUT_LAST_WORDS;
        let _ = timeout_at(&rt, Some(last), requests.idle()).await;
        tracing::info!(target: "upstream", "shutdown upstream server");
        end(&rt, &gossip, &gossip_stop, &admin_stop, &operators).await;
        failed.map_or(Ok(()), Err)
    }
}

/// The last steps of a node: good-bye to the others, then to operators.
async fn end<R: Runtime>(
    rt: &R,
    gossip: &Gossip,
    gossip_stop: &Shutdown,
    admin_stop: &Shutdown,
    operators: &Tasks,
) {
    match timeout_at(rt, Some(rt.now() + LEAVE_TIME), gossip.leave()).await {
        Ok(told) => tracing::info!(target: "cluster", told, "left cluster"),
        Err(_) => tracing::warn!(target: "cluster", "failed to leave cluster"),
    }
    gossip_stop.trigger();
    admin_stop.trigger();
    let last = rt.now() + Duration::from_secs(1);
    let _ = timeout_at(rt, Some(last), operators.idle()).await;
    tracing::info!(target: "server", "shutdown complete");
}

/// The node's part in the cluster while it serves; `joined` is how its first try ended, and `until` when they all end.
/// Ends with the reason to end the node.
async fn stay<R: Runtime>(
    joiner: &Joiner<R>,
    joined: Result<(), String>,
    until: Instant,
    options: &ServerOptions,
) -> JoinError {
    if let Err(error) = joined
        && let Err(error) = joiner.again(error, until).await
    {
        if options.cluster.abort_if_join_fails {
            tracing::error!(target: "cluster", error, "failed to join cluster");
            return JoinError(error);
        }
        tracing::warn!(target: "cluster", error, "failed to join cluster; trying on");
    }
    match joiner.look().await {}
}

/// Whether a node that looks for others has neither met one nor got an agent: all that it can answer is an error, so that
/// nobody gains by the time to notice its end. (One without `--cluster.join` is waited for by its load balancer alone.)
fn is_unknown(node: &Node, options: &ServerOptions) -> bool {
    !options.cluster.join.is_empty() && !node.has_others() && node.tunnels().is_empty()
}

/// The address behind `host:port`: of several one at which this node can be, bound as it is.
async fn find<R: Runtime>(rt: &R, text: &str, bound: SocketAddr) -> io::Result<SocketAddr> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let missing = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
    let port = port.parse().map_err(|_| missing())?;
    let addrs = rt.resolve(host, port).await?;
    let is_bound = |addr: &&SocketAddr| addr.ip() == bound.ip();
    // `[::]` is every address of both kinds.
    let is_alike = |addr: &&SocketAddr| addr.is_ipv4() == bound.is_ipv4() || bound.ip().is_unspecified();
    let best = addrs.iter().find(is_bound).or_else(|| addrs.iter().find(is_alike)).or(addrs.first());
    best.copied().ok_or_else(missing)
}
