//! `piko demo`: a server, an agent, a service and a front in one process, over real sockets.
//!
//! ```text
//! curl ──► front ──► server ◄══ tunnel ══ agent ──► service
//! ```

mod front;
mod ports;
mod service;
mod websocket;
mod welcome;

use crate::output::say;
use crate::signals::Signals;
use front::Front;
use piko_agent::{Agent, Event};
use piko_config::{
    AgentOptions, BindAddr, BindHost, ConnectUrl, ListenerOptions, NodeIdRule, Protocol, ServerOptions,
};
use piko_driver::Shutdown;
use piko_observe::log;
use piko_runtime_tokio::Tokio;
use piko_server::{Bound, Server};
use ports::{Given, Wanted};
use service::SampleService;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use welcome::Welcome;

/// A demo is nobody else's business: its ports are open to this machine alone.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What the sample service is registered as.
const ENDPOINT: &str = "demo";
/// How long requests in flight may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);
/// The whole end: the grace period, what a server takes to close tunnels behind it, and a reserve.
const END_MAX: Duration = Duration::from_secs(10);
/// The parts sit in one process; a tunnel that takes longer will not come.
const START_MAX: Duration = Duration::from_secs(10);

/// The command as clap sees it.
pub(crate) fn command() -> clap::Command {
    clap::Command::new("demo").about("Try Piko: a server, an agent and a small service in one process")
}

/// Runs the demo until a signal ends it.
pub(crate) fn run() -> ExitCode {
    // Requests would drown the commands to try; what goes wrong is still told.
    let options = log::Options { level: log::Level::Warn, subsystems: Vec::new() };
    if log::init(options).is_err() {
        piko_observe::complain("failed to setup logger: a log is installed already");
        return ExitCode::FAILURE;
    }
    piko_runtime_tokio::block_on(|rt| async move {
        match demo(rt).await {
            Ok(code) => code,
            Err(error) => {
                piko_observe::complain(format_args!("piko demo: {error}"));
                ExitCode::FAILURE
            }
        }
    })
}

async fn demo(rt: Tokio) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let stop = Shutdown::new();
    let (server, front, given) = open_ports(&rt).await?;
    let bound = server.bound();
    let service = SampleService::bind(rt.clone(), HOST).await?;
    let welcome = Welcome { endpoint: ENDPOINT, front: front.addr(), bound, service: service.addr(), given };

    let up = Shutdown::new();
    let agent = agent(&rt, bound, service.addr().port(), up.clone())?;
    let parts = async {
        let (agent, _, (), ()) = tokio::join!(
            agent.run(stop.clone()),
            server.run(stop.clone()),
            front.run(stop.clone()),
            service.run(stop.clone()),
        );
        agent
    };
    tokio::pin!(parts);

    tokio::select! {
        ended = &mut parts => return Err(early(ended)),
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        came = tokio::time::timeout(START_MAX, up.wait()) => came.map_err(|_| "the tunnel does not come up")?,
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
async fn open_ports(rt: &Tokio) -> Result<(Server<Tokio>, Front, Given), Box<dyn Error>> {
    let free = ports::free(HOST, Wanted::default());
    // Somebody may take a port between the look and the bind.
    for given in [free, Given::none()] {
        let opened = open(rt, given.ports).await;
        if given.is_none() || opened.is_ok() {
            let (server, front) = opened?;
            return Ok((server, front, given));
        }
    }
    Err("no free ports".into())
}

async fn open(rt: &Tokio, ports: Wanted) -> Result<(Server<Tokio>, Front), Box<dyn Error>> {
    let at = |port| BindAddr { host: BindHost::Ip(HOST), port };
    let mut options = ServerOptions::default();
    // The front has the port that users talk to.
    options.proxy.bind = at(0);
    options.upstream.bind = at(ports.upstream);
    options.admin.bind = at(ports.admin);
    options.cluster.gossip.bind = at(0);
    options.drain_delay = Duration::ZERO;
    options.cluster.node_id = NodeIdRule::Generate { prefix: "demo-".to_owned() };
    options.grace_period = GRACE;
    options.proxy.access_log.disable = true;
    let server = Server::bind(rt.clone(), options).await?;
    let listener = TcpListener::bind((HOST, ports.front)).await?;
    let nodes = vec![server.bound().proxy];
    Ok((server, Front::new(listener, nodes)?))
}

fn agent(rt: &Tokio, bound: Bound, service: u16, up: Shutdown) -> Result<Agent<Tokio>, Box<dyn Error>> {
    let mut listener = ListenerOptions::new(Protocol::Http, ENDPOINT, &format!("{HOST}:{service}"))?;
    listener.access_log.disable = true;
    let mut options = AgentOptions::default();
    options.connect.url = ConnectUrl::parse(&format!("http://{}", bound.upstream))?;
    options.grace_period = GRACE;
    options.listeners.push(listener);
    let agent = Agent::new(rt.clone(), options)?;
    Ok(agent.on_event(move |event| {
        if matches!(event, Event::Connected { .. }) {
            up.trigger();
        }
    }))
}
