//! Nodes, agents and services of one test.

use crate::clock::{Ahead, Moved};
use piko_config::{AccessLogOptions, AgentOptions, BindAddr, ListenerOptions, Protocol, ServerOptions};
use piko_core::id::{EndpointId, NodeId};
use piko_driver::{Runtime, Shutdown};
use piko_server::{Bound, Peers, Server};
use piko_tests::http::{Client, End, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long an event may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const ENDPOINT: &str = "ep";

/// Tells all nodes what each of them listens on, whenever that changes, until one of them is gone. (Its own
/// gossip is alone with itself, and takes what [`Peers::poll_adverts`] says.) Counts its rounds; the last is the highest
/// number there is.
fn spread(nodes: Vec<(NodeId, SocketAddr, Peers)>, rounds: &AtomicU64) {
    let mut last = vec![0; nodes.len()];
    loop {
        for ((id, admin, _), last) in nodes.iter().zip(&mut last) {
            let status = Client::connect(*admin).and_then(|mut c| c.get("/status/upstream/endpoints", &[]));
            let Ok(status) = status else { return rounds.store(u64::MAX, Ordering::SeqCst) };
            let text = String::from_utf8_lossy(&status.body.bytes).into_owned();
            let count = text.trim_matches(['{', '}']).rsplit(':').next().unwrap_or_default();
            let count = count.parse().unwrap_or(0);
            if std::mem::replace(last, count) != count {
                for (_, _, other) in nodes.iter().filter(|(other, ..)| other != id) {
                    other.remote(id, endpoint(), count);
                }
            }
        }
        rounds.fetch_add(1, Ordering::SeqCst);
        // What changes meanwhile is news of the next round.
        thread::sleep(Duration::from_millis(5));
    }
}

/// One node in this process.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) bound: Bound,
    pub(crate) peers: Peers,
    /// How often news has been spread.
    rounds: Arc<AtomicU64>,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// Nodes that know each other.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

fn local() -> BindAddr {
    BindAddr::parse("127.0.0.1:0").unwrap()
}

fn quiet() -> AccessLogOptions {
    let mut log = AccessLogOptions::default();
    log.disable = true;
    log
}

async fn serve<R: Runtime>(
    rt: R,
    tune: impl FnOnce(&mut ServerOptions),
    stop: Shutdown,
    said: Sender<(Bound, Peers)>,
) {
    let mut options = ServerOptions::default();
    options.proxy.bind = local();
    options.upstream.bind = local();
    options.admin.bind = local();
    options.cluster.gossip.bind = local();
    options.drain_delay = Duration::ZERO;
    options.proxy.access_log = quiet();
    options.grace_period = Duration::from_secs(1);
    tune(&mut options);
    let server = Server::bind(rt.clone(), options).await.unwrap();
    let peers = server.peers();
    said.send((server.bound(), peers)).unwrap();
    server.run(stop).await.unwrap();
}

impl Node {
    fn start(name: &str, tune: impl FnOnce(&mut ServerOptions) + Send + 'static) -> Self {
        Self::launch(name, move |stop, said| {
            piko_runtime_tokio::block_on(|rt| serve(rt, tune, stop, said));
        })
    }

    /// One whose clock is moved.
    fn ahead(name: &str, ahead: Ahead, tune: impl FnOnce(&mut ServerOptions) + Send + 'static) -> Self {
        Self::launch(name, move |stop, said| {
            piko_runtime_tokio::block_on(|real| serve(Moved { real, ahead }, tune, stop, said));
        })
    }

    fn launch(name: &str, serve: impl FnOnce(Shutdown, Sender<(Bound, Peers)>) + Send + 'static) -> Self {
        let stop = Shutdown::new();
        let (said, heard) = mpsc::channel();
        let (id, stopped) = (NodeId::new(name), stop.clone());
        let thread = thread::spawn(move || serve(stopped, said));
        let (bound, peers) = heard.recv_timeout(PATIENCE).unwrap();
        Self { id, bound, peers, rounds: Arc::default(), stop, thread: Some(thread) }
    }

    /// A connection to the proxy port.
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(self.bound.proxy).unwrap();
        client.set_patience(PATIENCE).unwrap();
        client
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        get(&mut self.client(), target)
    }

    /// One number of `/metrics`; zero when it is not there.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let mut client = Client::connect(self.bound.admin).unwrap();
        let response = client.get("/metrics", &[]).unwrap();
        let text = String::from_utf8(response.body.bytes).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn remote_requests(&self, to: &Node) -> u64 {
        self.metric(&format!("piko_upstreams_remote_requests_total{{node_id=\"{}\"}}", to.id))
    }

    pub(crate) fn dials(&self) -> u64 {
        self.metric("piko_upstreams_remote_dials_total")
    }

    /// Waits until everybody knows what this node listens on now: for the end of a round that began after this.
    pub(crate) fn wait_spread(&self) {
        let now = self.rounds.load(Ordering::SeqCst);
        wait_until("the news is everywhere", || self.rounds.load(Ordering::SeqCst) >= now.saturating_add(2));
    }

    pub(crate) fn connect_url(&self) -> String {
        format!("http://{}", self.bound.upstream)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Cluster {
    pub(crate) fn start(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    pub(crate) fn with(count: usize, tune: impl Fn(&mut ServerOptions) + Clone + Send + 'static) -> Self {
        Self::of((0..count).map(|n| Node::start(&format!("node-{n}"), tune.clone())).collect())
    }

    /// Nodes whose clock is moved.
    pub(crate) fn ahead(
        count: usize,
        ahead: &Ahead,
        tune: impl Fn(&mut ServerOptions) + Clone + Send + 'static,
    ) -> Self {
        let start = |n| Node::ahead(&format!("node-{n}"), ahead.clone(), tune.clone());
        Self::of((0..count).map(start).collect())
    }

    fn of(mut nodes: Vec<Node>) -> Self {
        let heard =
            nodes.iter().map(|node| (node.id.clone(), node.bound.admin, node.peers.clone())).collect();
        let rounds = Arc::new(AtomicU64::new(0));
        for node in &mut nodes {
            node.rounds = Arc::clone(&rounds);
        }
        thread::spawn(move || spread(heard, &rounds));
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.id != node.id) {
                node.peers.node_up(&other.id, other.bound.proxy);
            }
        }
        Self { nodes }
    }

    /// Everybody reaches this node at another address.
    pub(crate) fn move_node(&self, moved: usize, to: SocketAddr) {
        for (at, node) in self.nodes.iter().enumerate() {
            if at != moved {
                node.peers.node_up(&self.nodes[moved].id, to);
            }
        }
    }

    /// Waits until every node serves the endpoint, whoever has it.
    pub(crate) fn wait_routable(&self) {
        for node in &self.nodes {
            wait_until("the endpoint is served everywhere", || node.get("/hello").status() == 200);
        }
    }
}

/// An agent in this process: one endpoint, one service.
pub(crate) struct Agent {
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Waits until its tunnel counts at the node and every other node has heard of it.
    pub(crate) fn start(node: &Node, service: SocketAddr) -> Self {
        Self::with(node, service, |_| {})
    }

    pub(crate) fn with(
        node: &Node,
        service: SocketAddr,
        tune: impl FnOnce(&mut ListenerOptions) + Send + 'static,
    ) -> Self {
        let before = node.metric("piko_upstreams_connected_upstreams");
        let (stop, url) = (Shutdown::new(), node.connect_url());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            piko_runtime_smol::block_on(|rt| async move {
                let mut options = AgentOptions::default();
                options.connect.url = piko_config::ConnectUrl::parse(&url).unwrap();
                let mut listener =
                    ListenerOptions::new(Protocol::Http, ENDPOINT, &service.to_string()).unwrap();
                listener.access_log = quiet();
                tune(&mut listener);
                options.listeners = vec![listener];
                piko_agent::Agent::new(rt, options).unwrap().run(stopped).await.unwrap();
            });
        });
        wait_until("the tunnel is up", || node.metric("piko_upstreams_connected_upstreams") > before);
        node.wait_spread();
        Self { stop, thread: Some(thread) }
    }

    /// Leaves gently.
    pub(crate) fn leave(mut self) {
        self.stop.trigger();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn endpoint() -> EndpointId {
    EndpointId::new(ENDPOINT.as_bytes()).unwrap()
}

pub(crate) fn get(client: &mut Client, target: &str) -> Response {
    client.get(target, &[("x-piko-endpoint", ENDPOINT)]).unwrap()
}

pub(crate) fn post(client: &mut Client, target: &str, body: &[u8]) -> Response {
    client.request("POST", target, &[("x-piko-endpoint", ENDPOINT)], body).unwrap()
}

pub(crate) fn is_hello(response: &Response) -> bool {
    response.status() == 200 && response.end == End::Complete && response.body.bytes == b"hello\n"
}

/// Looks every few milliseconds until `done` is content.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
