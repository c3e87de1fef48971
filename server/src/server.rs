//! Wires the ports of a node, and takes them down in order.

use crate::local::LocalService;
use crate::node::Node;
use crate::proxy::ProxyService;
use crate::{admin, upstream};
use piko_config::{BindAddr, BindHost, NodeIdRule, ServerOptions};
use piko_core::http1::RequestHead;
use piko_core::mux::GoAway;
use piko_core::time::Instant;
use piko_core::{http1, mux, proxy as core_proxy};
use piko_driver::{
    Addr, Clock, HeadBudget, IoInfo, ListenOptions, Listener, Port, Runtime, Served, Service, Shutdown,
    TaskGuard, Tasks, accept, serve, timeout_at,
};
use piko_observe::access::{AccessLog, AccessOptions};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Once its streams are done, a tunnel's last frames and its FIN take at most this.
const TUNNEL_LAST_WORDS: Duration = Duration::from_secs(2);
/// Received bytes that wait for their readers, in all tunnels together.
const TUNNEL_BUDGET_BYTES: usize = 32 * 1024 * 1024;

/// Go reads this much beyond `--proxy.http.max-header-bytes` before it refuses a head (behaviour of HTTP, 9).
const HEAD_SLACK_BYTES: usize = 4096;

/// Why a node did not start: which port, which address, which error.
#[derive(Debug)]
pub struct StartError {
    port: &'static str,
    addr: String,
    error: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listen: {}: {}", self.port, self.addr, self.error)
    }
}

impl std::error::Error for StartError {}

/// The addresses really bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Where requests come in.
    pub proxy: SocketAddr,
    /// Where agents come in.
    pub upstream: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
}

/// A node whose ports are open.
pub struct Server<R: Runtime> {
    rt: R,
    node: Arc<Node>,
    id: String,
    bound: Bound,
    listeners: [R::Listener; 3],
    options: ServerOptions,
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("id", &self.id).field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl<R: Runtime> Server<R> {
    /// Opens the ports. Connections queue in the kernel until [`Self::run`].
    pub async fn bind(rt: R, options: ServerOptions) -> Result<Self, StartError> {
        let (proxy, proxy_addr) = listen(&rt, "proxy", &options.proxy.bind).await?;
        let (upstream, upstream_addr) = listen(&rt, "upstream", &options.upstream.bind).await?;
        let (admin, admin_addr) = listen(&rt, "admin", &options.admin.bind).await?;
        let id = match &options.cluster.node_id {
            NodeIdRule::Given(id) => id.clone(),
            NodeIdRule::Generate { prefix } => generate_id(prefix),
        };
        let bound = Bound { proxy: proxy_addr, upstream: upstream_addr, admin: admin_addr };
        let listeners = [proxy, upstream, admin];
        Ok(Self { rt, node: Node::new(), id, bound, listeners, options })
    }

    /// The addresses really bound.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// The name of this node.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Serves until `stop` is given, then takes the node down: not ready, no new requests, those in
    /// flight end within the grace period, agents are told to go elsewhere once their streams are done.
    pub async fn run(self, stop: Shutdown) {
        let Self { rt, node, bound, listeners: [proxy, upstream, admin], options, id } = self;
        let heads = Arc::new(HeadBudget::default());
        let (proxy_stop, upstream_stop, admin_stop) = (Shutdown::new(), Shutdown::new(), Shutdown::new());
        let (requests, agents, operators) = (Tasks::new(), Tasks::new(), Tasks::new());
        let port =
            |http, shutdown: &Shutdown| Port { http, shutdown: shutdown.clone(), heads: heads.clone() };

        tracing::info!(target: "server", { "node-id" = id, version = env!("CARGO_PKG_VERSION") }, "starting piko server");
        start(
            &rt,
            "admin",
            bound.admin,
            admin,
            &admin_stop,
            &operators,
            port(http1::Config::default(), &admin_stop),
            {
                let node = node.clone();
                LocalService::<R, _>::new(move |_: Instant, _: &IoInfo, head: &RequestHead<'_>| {
                    admin::answer(&node, head)
                })
            },
        );
        start_upstream(
            &rt,
            &node,
            bound.upstream,
            upstream,
            &upstream_stop,
            &agents,
            port(http1::Config::default(), &upstream_stop),
        );
        start(
            &rt,
            "proxy",
            bound.proxy,
            proxy,
            &proxy_stop,
            &requests,
            port(proxy_http(&options), &proxy_stop),
            ProxyService {
                node: node.clone(),
                config: exchange_config(&options),
                clock: Clock::of(&rt),
                access: AccessLog::new(AccessOptions::configured(
                    "proxy.access",
                    &options.proxy.access_log,
                    &options.log,
                )),
            },
        );
        node.set_ready(true);

        stop.wait().await;
        let until = rt.now() + options.grace_period;
        tracing::info!(target: "server", "starting shutdown");
        node.set_ready(false);
        upstream_stop.trigger();
        proxy_stop.trigger();
        if timeout_at(&rt, Some(until), requests.idle()).await.is_err() {
            tracing::warn!(target: "server", requests = requests.running(), "failed to shutdown proxy server in time");
        } else {
            tracing::info!(target: "proxy", "shutdown proxy server");
        }
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
        tracing::info!(target: "upstream", "shutdown upstream server");
        admin_stop.trigger();
        let last = rt.now() + Duration::from_secs(1);
        let _ = timeout_at(&rt, Some(last), operators.idle()).await;
        tracing::info!(target: "server", "shutdown complete");
    }
}

/// Accepts on one port until `stop`, and serves each connection.
#[expect(clippy::too_many_arguments, reason = "one port's parts, named once")]
fn start<R: Runtime, S: Service>(
    rt: &R,
    name: &'static str,
    addr: SocketAddr,
    listener: R::Listener,
    stop: &Shutdown,
    tasks: &Tasks,
    port: Port,
    service: S,
) {
    announce(name, addr);
    let shared = Arc::new((service, port));
    let serving = rt.clone();
    rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks.clone(), move |io, guard: TaskGuard| {
        let (shared, rt) = (shared.clone(), serving.clone());
        async move {
            let _ = serve(&rt, io, &shared.0, &shared.1).await;
            drop(guard);
        }
    }));
}

fn announce(name: &'static str, addr: SocketAddr) {
    // The subsystem is part of a record's static description, hence one call site for each.
    match name {
        "admin" => tracing::info!(target: "admin", %addr, "starting admin server"),
        "upstream" => tracing::info!(target: "upstream", %addr, "starting upstream server"),
        _ => tracing::info!(target: "proxy", %addr, "starting proxy server"),
    }
}

fn start_upstream<R: Runtime>(
    rt: &R,
    node: &Arc<Node>,
    addr: SocketAddr,
    listener: R::Listener,
    stop: &Shutdown,
    tasks: &Tasks,
    port: Port,
) {
    announce("upstream", addr);
    let mut config = mux::Config::default();
    config.budget = Arc::new(mux::Budget::new(TUNNEL_BUDGET_BYTES));
    let service = {
        let (rt, node) = (rt.clone(), node.clone());
        LocalService::<R, _>::new(move |now: Instant, info: &IoInfo, head: &RequestHead<'_>| {
            upstream::judge(&rt, &node, &config, now, info, head)
        })
    };
    let shared = Arc::new((service, port));
    let serving = rt.clone();
    rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks.clone(), move |io, guard: TaskGuard| {
        let (shared, rt) = (shared.clone(), serving.clone());
        async move {
            // Boxed, so that the state of the handshake is gone while the tunnel lives: what remains is
            // the size of an idle tunnel.
            let serving = rt.clone();
            let served = Box::pin(async move { serve(&serving, io, &shared.0, &shared.1).await }).await;
            if let Served::Switched(io, early, registration) = served {
                rt.spawn(upstream::carry(rt.clone(), io, early, registration, guard));
            }
        }
    }));
}

async fn listen<R: Runtime>(
    rt: &R,
    port: &'static str,
    bind: &BindAddr,
) -> Result<(R::Listener, SocketAddr), StartError> {
    let fail = |error| StartError { port, addr: bind.to_string(), error };
    let addrs = match &bind.host {
        BindHost::Any => vec![
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, bind.port)),
            // A host without IPv6 has no dual-stack socket.
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, bind.port)),
        ],
        BindHost::Ip(ip) => vec![SocketAddr::from((*ip, bind.port))],
        BindHost::Name(name) => rt.resolve(name, bind.port).await.map_err(fail)?,
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for addr in addrs {
        match rt.listen(&Addr::Ip(addr), ListenOptions::default()).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(addr);
                return Ok((listener, bound));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(fail(error)),
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

/// Seven random characters of `a-z0-9` (wire protocol, section 2).
fn generate_id(prefix: &str) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = prefix.to_owned();
    id.extend((0..7).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])));
    id
}

fn proxy_http(options: &ServerOptions) -> http1::Config {
    let mut config = http1::Config::default();
    config.head_bytes_max = options.proxy.http.max_header_bytes.saturating_add(HEAD_SLACK_BYTES);
    config.head_timeout = options.proxy.http.read_header_timeout;
    config.idle_timeout = options.proxy.http.idle_timeout;
    config
}

fn exchange_config(options: &ServerOptions) -> core_proxy::Config {
    let mut config = core_proxy::Config::new(core_proxy::Place::Server);
    config.response_timeout = options.proxy.timeout;
    config.read_timeout = options.proxy.http.read_timeout;
    config.write_timeout = options.proxy.http.write_timeout;
    config
}
