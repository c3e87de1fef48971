//! `piko demo`: three servers, two fronts, an agent and a service in one process, over real sockets.
//!
//! ```text
//! curl ──► front ──┬─► server 1 ◄══ tunnel ══┐
//!                  ├─► server 2 ◄══ tunnel ══╪══ front ◄══ agent ──► service
//!                  └─► server 3 ◄══ tunnel ══┘
//! ```
//!
//! The fronts stand where a load balancer would be: connections take turns among the nodes that take them.

mod front;
mod ports;
mod service;
mod websocket;
mod welcome;

use crate::nodes::LocalNode;
use crate::output::say;
use crate::signals::Signals;
use front::Front;
use piko_agent::{Agent, Event};
use piko_config::{
    AgentOptions, BindAddr, BindHost, ConnectUrl, ListenerOptions, NodeIdRule, Protocol, Seed, ServerOptions,
};
use piko_driver::Shutdown;
use piko_observe::log;
use piko_runtime_tokio::Tokio;
use ports::{Given, Wanted};
use service::SampleService;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use welcome::Welcome;

/// A demo is nobody else's business: its ports are open to this machine alone.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What the sample service is registered as.
const ENDPOINT: &str = "demo";
/// As many as a small cluster has: one may go, and there is still a choice.
const NODES: usize = 3;
/// How long requests in flight may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);
/// The whole end: the grace period, what a server takes to close tunnels behind it, and a reserve.
const END_MAX: Duration = Duration::from_secs(10);
/// The parts sit in one process; a tunnel that takes longer will not come.
const START_MAX: Duration = Duration::from_secs(10);

/// The command as clap sees it.
pub(crate) fn command() -> clap::Command {
    clap::Command::new("demo").about("Try Piko: three servers, an agent and a small service in one process")
}

/// Runs the demo until a signal ends it.
pub(crate) fn run() -> ExitCode {
    // Requests, and servers that miss a killed one, would drown the commands to try.
    let options = log::Options { level: log::Level::Error, subsystems: Vec::new() };
    if log::init(options).is_err() {
        eprintln!("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
    piko_runtime_tokio::block_on(|rt| async move {
        match demo(rt).await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("piko demo: {error}");
                ExitCode::FAILURE
            }
        }
    })
}

/// What takes connections of others.
struct Opened {
    nodes: Vec<LocalNode>,
    /// For clients.
    front: Front,
    /// For agents.
    upstream: Front,
}

async fn demo(rt: Tokio) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let stop = Shutdown::new();
    let (Opened { nodes, front, upstream }, given) = open_ports().await?;
    let killers: Vec<_> = nodes.iter().map(LocalNode::killer).collect();
    let kill = move |n: usize| {
        let killer = n.checked_sub(1).and_then(|at| killers.get(at));
        killer.inspect(|killer| killer.kill()).is_some()
    };
    let service = SampleService::bind(rt.clone(), HOST, Arc::new(kill)).await?;
    let bound = nodes.iter().map(|node| node.bound).collect();
    let (front_addr, upstream_addr) = (front.addr(), upstream.addr());
    let welcome = Welcome {
        endpoint: ENDPOINT,
        front: front_addr,
        upstream: upstream_addr,
        nodes: bound,
        service: service.addr(),
        given,
    };

    let up = Shutdown::new();
    let agent = agent(&rt, upstream_addr, service.addr().port(), up.clone())?;
    let stop_nodes = async {
        stop.wait().await;
        nodes.iter().for_each(LocalNode::stop);
        for node in &nodes {
            node.ended().await;
        }
    };
    let parts = async {
        let (agent, (), (), (), ()) = tokio::join!(
            agent.run(stop.clone()),
            front.run(stop.clone()),
            upstream.run(stop.clone()),
            service.run(stop.clone()),
            stop_nodes,
        );
        agent
    };
    tokio::pin!(parts);

    tokio::select! {
        ended = &mut parts => return Err(early(ended)),
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        came = tokio::time::timeout(START_MAX, up.wait()) => came.map_err(|_| "the tunnels do not come up")?,
    }
    say(welcome);
    tokio::select! {
        ended = &mut parts => return Err(early(ended)),
        _ = signals.next() => say("\nstopping (Ctrl-C again ends it at once)\n"),
    }
    stop.trigger();
    tokio::select! {
        _ = tokio::time::timeout(END_MAX, &mut parts) => Ok(ExitCode::SUCCESS),
        _ = signals.next() => Ok(ExitCode::FAILURE),
    }
}

/// Nothing ends before it is told to, except an agent that was refused.
fn early(agent: Result<(), piko_agent::RunError>) -> Box<dyn Error> {
    match agent {
        Ok(()) => "a part of it ended".into(),
        Err(error) => error.into(),
    }
}

/// The ports that people know from the documentation where they are free, others where not.
async fn open_ports() -> Result<(Opened, Given), Box<dyn Error>> {
    let free = ports::free(HOST, Wanted::default());
    // Somebody may take a port between the look and the bind.
    for given in [free, Given::none()] {
        let opened = open(given.ports).await;
        if given.is_none() || opened.is_ok() {
            return Ok((opened?, given));
        }
    }
    Err("no free ports".into())
}

async fn open(ports: Wanted) -> Result<Opened, Box<dyn Error>> {
    let at = |port| BindAddr { host: BindHost::Ip(HOST), port };
    let mut nodes: Vec<LocalNode> = Vec::new();
    for n in 1..=NODES {
        let mut options = ServerOptions::default();
        // The fronts have the ports that users and agents talk to.
        options.proxy.bind = at(0);
        options.upstream.bind = at(0);
        options.admin.bind = at(if n == 1 { ports.admin } else { 0 });
        options.cluster.gossip.bind = at(0);
        options.drain_delay = Duration::ZERO;
        options.cluster.node_id = NodeIdRule::Generate { prefix: format!("demo-{n}-") };
        let seed = |node: &LocalNode| Seed { host: HOST.to_string(), port: Some(node.bound.gossip.port()) };
        options.cluster.join = nodes.iter().map(seed).collect();
        options.grace_period = GRACE;
        options.proxy.access_log.disable = true;
        nodes.push(LocalNode::start(options)?);
    }
    let addrs = |of: fn(&LocalNode) -> SocketAddr| nodes.iter().map(of).collect();
    let front = Front::new(TcpListener::bind((HOST, ports.front)).await?, addrs(|node| node.bound.proxy))?;
    let upstream =
        Front::new(TcpListener::bind((HOST, ports.upstream)).await?, addrs(|node| node.bound.upstream))?;
    Ok(Opened { nodes, front, upstream })
}

/// One tunnel for each node: connections take turns.
fn agent(
    rt: &Tokio,
    upstream: SocketAddr,
    service: u16,
    up: Shutdown,
) -> Result<Agent<Tokio>, Box<dyn Error>> {
    let mut options = AgentOptions::default();
    options.connect.url = ConnectUrl::parse(&format!("http://{upstream}"))?;
    options.grace_period = GRACE;
    for _ in 0..NODES {
        let mut listener = ListenerOptions::new(Protocol::Http, ENDPOINT, &format!("{HOST}:{service}"))?;
        listener.access_log.disable = true;
        options.listeners.push(listener);
    }
    let agent = Agent::new(rt.clone(), options)?;
    let missing = AtomicUsize::new(NODES);
    Ok(agent.on_event(move |event| {
        if matches!(event, Event::Connected { .. }) && missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            up.trigger();
        }
    }))
}
