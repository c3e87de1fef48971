//! A cluster of real server processes whose members can be restarted at their addresses, and what stands around it:
//! a round robin in front of the upstream ports, a look at `/ready`, a service that knows each request again.

mod balancer;
mod far;
mod ledger;
mod load;
mod net;
mod nginx;
mod ports;
mod ready;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::process::{Agent, Server, Signal, binary};

pub use balancer::Balancer;
pub use far::Far;
pub use ledger::Ledger;
pub use load::{Kind, Load, Mix, Tally};
pub use net::{Family, Net};
pub use nginx::Nginx;
pub use ports::{free_ports, unused_addr};
pub use ready::Ready;
pub use tunnel::{Answering, Tunnel};

/// How long a member may take to start, to end or to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// One node of a [`Cluster`]: a name and addresses that outlive its process.
#[derive(Debug)]
pub struct Member {
    /// Its id in the cluster.
    pub id: String,
    /// Proxy, upstream, admin and gossip port.
    pub addrs: [SocketAddr; 4],
    /// The process; `None` between two of them.
    pub server: Option<Server>,
    /// What its former processes have said.
    said: Vec<String>,
    program: PathBuf,
    /// Arguments besides its name and its addresses.
    args: Vec<String>,
}

const PORTS: [&str; 4] =
    ["--proxy.bind-addr", "--upstream.bind-addr", "--admin.bind-addr", "--cluster.gossip.bind-addr"];

impl Member {
    /// Where requests go.
    pub fn proxy(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// Where agents go.
    pub fn upstream(&self) -> SocketAddr {
        self.addrs[1]
    }

    /// Where operators and load balancers look.
    pub fn admin(&self) -> SocketAddr {
        self.addrs[2]
    }

    /// Starts the process and waits until it says that it is ready.
    ///
    /// # Panics
    ///
    /// When it does not start in time.
    pub fn start(&mut self) {
        let addrs = self.addrs.map(|addr| addr.to_string());
        let mut args = vec!["--cluster.node-id", &self.id];
        args.extend(PORTS.iter().zip(&addrs).flat_map(|(flag, addr)| [*flag, addr]));
        args.extend(self.args.iter().map(String::as_str));
        self.server = Some(Server::start_from(self.program.clone(), &args));
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(self.admin()) {
            assert!(Instant::now() < deadline, "{} is not ready: {}", self.id, self.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks the process to end, waits for its end and gives how long that took.
    ///
    /// # Panics
    ///
    /// When it does not end with success in time.
    pub fn terminate(&mut self) -> Duration {
        let mut server = self.server.take().expect("a running member");
        let start = Instant::now();
        let status = server.terminate(PATIENCE);
        let tail = server.process.tail();
        self.said.extend(lines(&server));
        let status = status.unwrap_or_else(|e| panic!("{}: {e}: {tail}", self.id));
        assert!(status.success(), "{} ended with {status}: {tail}", self.id);
        start.elapsed()
    }

    /// Gives it an argument with this value, in the place of one that it has, from its next start on.
    pub fn set(&mut self, flag: &str, value: &str) {
        if let Some(at) = self.args.iter().position(|arg| arg == flag) {
            self.args.splice(at..at + 2, [flag.to_owned(), value.to_owned()]);
        } else {
            self.args.extend([flag.to_owned(), value.to_owned()]);
        }
    }

    /// Lets another program than this build's be the node, from its next start on.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Gives it other ports, from its next start on.
    pub fn readdress(&mut self) {
        for (addr, port) in self.addrs.iter_mut().zip(free_ports(4)) {
            addr.set_port(port);
        }
    }

    /// What the process keeps in memory, in bytes.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub fn resident_bytes(&self) -> u64 {
        let memory = self.server.as_ref().expect("a running member").process.memory();
        memory.unwrap_or_else(|e| panic!("{}: {e}", self.id)).rss_bytes
    }

    /// The records of all its processes so far.
    pub fn log(&self) -> Vec<String> {
        self.said.iter().cloned().chain(self.server.iter().flat_map(lines)).collect()
    }

    /// Where other nodes talk to it.
    pub fn gossip(&self) -> SocketAddr {
        self.addrs[3]
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub fn signal(&mut self, signal: Signal) {
        let server = self.server.as_mut().expect("a running member");
        server.process.signal(signal).unwrap_or_else(|e| panic!("{}: {e}", self.id));
    }

    /// Kills the process and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub fn kill(&mut self) {
        self.signal(Signal::Kill);
        let mut server = self.server.take().expect("a running member");
        server.process.wait_exit(PATIENCE).unwrap_or_else(|e| panic!("{}: {e}", self.id));
    }

    fn tail(&self) -> String {
        self.server.as_ref().map(|server| server.process.tail()).unwrap_or_default()
    }
}

fn lines(server: &Server) -> Vec<String> {
    server.process.lines(0).into_iter().map(|line| line.text).collect()
}

/// Several nodes that know each other.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, each of which joins through all the others.
    pub members: Vec<Member>,
}

impl Cluster {
    /// Starts `n` nodes on 127.0.0.1, each with further arguments, and waits until all are ready.
    ///
    /// # Panics
    ///
    /// When they do not start in time.
    pub fn start(n: usize, args: &[&str]) -> Self {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), n, args)
    }

    /// The same with nodes of another build.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_of(program: &Path, n: usize, args: &[&str]) -> Self {
        Self::start_as(IpAddr::V4(Ipv4Addr::LOCALHOST), program, n, args)
    }

    /// The same on another address of this machine.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_at(ip: IpAddr, n: usize, args: &[&str]) -> Self {
        Self::start_as(ip, &binary("piko-server"), n, args)
    }

    fn start_as(ip: IpAddr, program: &Path, n: usize, args: &[&str]) -> Self {
        let ports = free_ports(n * 4);
        let addrs: Vec<_> =
            ports.chunks_exact(4).map(|four| [0, 1, 2, 3].map(|i| SocketAddr::new(ip, four[i]))).collect();
        let mut cluster = Self::plan(&addrs, args);
        for member in &mut cluster.members {
            member.set_program(program.to_owned());
            member.start();
        }
        cluster
    }

    /// Nodes at these addresses (proxy, upstream, admin and gossip port of each), none of which runs yet.
    pub fn plan(addrs: &[[SocketAddr; 4]], args: &[&str]) -> Self {
        let members = addrs.iter().enumerate().map(|(i, own)| {
            let seeds: Vec<String> =
                addrs.iter().filter(|other| *other != own).map(|other| other[3].to_string()).collect();
            let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            if !seeds.is_empty() {
                all.extend(["--cluster.join".to_owned(), seeds.join(",")]);
            }
            Member {
                id: format!("node-{i}"),
                addrs: *own,
                server: None,
                said: Vec::new(),
                program: binary("piko-server"),
                args: all,
            }
        });
        Self { members: members.collect() }
    }

    /// The proxy ports.
    pub fn proxies(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::proxy).collect()
    }

    /// The upstream ports.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::upstream).collect()
    }

    /// The admin ports.
    pub fn admins(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::admin).collect()
    }

    /// Waits until every running node answers requests for `endpoint` with 200.
    ///
    /// # Panics
    ///
    /// When that does not come in time.
    pub fn wait_routable(&self, endpoint: &str) {
        for member in self.members.iter().filter(|member| member.server.is_some()) {
            let deadline = Instant::now() + PATIENCE;
            while !routes(member.proxy(), endpoint) {
                assert!(Instant::now() < deadline, "{} does not route {endpoint}", member.id);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Waits until every running node knows of exactly `count` listeners of `endpoint` in the cluster.
    ///
    /// # Panics
    ///
    /// When that does not come in time.
    pub fn wait_listeners(&self, endpoint: &str, count: u64) {
        let ids: Vec<String> = self.members.iter().map(|member| member.id.clone()).collect();
        for member in self.members.iter().filter(|member| member.server.is_some()) {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let known = listeners(member.admin(), &ids, endpoint);
                if known == Some(count) {
                    break;
                }
                assert!(Instant::now() < deadline, "{} knows of {known:?} for {endpoint}", member.id);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// How many listeners of an endpoint the node with this admin port knows of, its own included; `None` when it does not
/// say.
fn listeners(admin: SocketAddr, ids: &[String], endpoint: &str) -> Option<u64> {
    let mut client = Client::connect(admin).ok()?;
    let count = |id: &String| {
        let response = client.get(&format!("/status/cluster/nodes/{id}"), &[]).ok()?;
        let node: serde_json::Value = serde_json::from_slice(&response.body.bytes).ok()?;
        Some(node["endpoints"][endpoint].as_u64().unwrap_or(0))
    };
    ids.iter().map(count).sum()
}

/// Whether `/ready` of an admin port says so.
pub fn is_ready(admin: SocketAddr) -> bool {
    let answer = || {
        let mut client = Client::over(std::net::TcpStream::connect_timeout(&admin, Duration::from_secs(1))?)?;
        client.set_patience(Duration::from_secs(1))?;
        client.get("/ready", &[])
    };
    answer().is_ok_and(|response| response.status() == 200)
}

/// Whether a node answers a request for `endpoint` with 200.
pub fn routes(proxy: SocketAddr, endpoint: &str) -> bool {
    let answer = || Client::connect(proxy)?.get("/hello", &[("x-piko-endpoint", endpoint)]);
    answer().is_ok_and(|response| response.status() == 200)
}

/// Starts an agent for one endpoint and does not wait for its tunnel.
///
/// # Panics
///
/// When the program cannot be started.
pub fn agent(connect_url: &str, endpoint: &str, service: SocketAddr, args: &[&str]) -> Agent {
    Agent::launch(binary("piko-agent"), "http", connect_url, endpoint, &service.to_string(), args)
}
