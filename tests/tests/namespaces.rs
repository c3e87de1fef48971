//! Three nodes on hosts with real addresses, and agents, clients and nginx on hosts of their own: nodes are cut off, half
//! cut off, killed, stopped, and back at other ports. After each scenario every node routes exactly what it can reach.

use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::{Cluster, Family, Ledger, Net, Nginx, Tunnel, agent, routes};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Signal, need};

/// How long nodes may take to notice, and to find each other again.
const NOTICE_MAX: Duration = Duration::from_secs(15);
/// Hosts: three nodes, then these.
const AGENTS: usize = 3;
const CLIENTS: usize = 4;
const FRONT: usize = 5;
/// As docs/cluster.md recommends it.
const RECOMMENDED: &str = " max_fails=1 fail_timeout=1s";

struct World {
    agents: Vec<Agent>,
    cluster: Cluster,
    /// Never dropped: its end would be waited for with a connection from another host.
    ledger: ManuallyDrop<Ledger>,
    net: Net,
}

/// The endpoint that only the agent of this node serves.
fn own(node: usize) -> String {
    format!("of-{node}")
}

impl World {
    /// Every node has an agent of its own, and `shared` has one at the nodes 0 and 1.
    fn start(family: Family) -> Option<Self> {
        let net = Net::new(family, 6)?;
        let addrs: Vec<_> =
            (0..3).map(|i| [8000, 8001, 8002, 8003].map(|p| SocketAddr::new(net.addr(i), p))).collect();
        let cluster = Cluster::plan(&addrs, &["--proxy.access-log.disable", "--drain-delay", "0s"]);
        // On the agents' host; its port is the same everywhere, and only agents connect to it.
        let ledger = ManuallyDrop::new(net.on(AGENTS, Ledger::start));
        let mut world = Self { agents: Vec::new(), cluster, ledger, net };
        for i in 0..3 {
            world.start_node(i);
        }
        for i in 0..3 {
            world.start_agent(i, &own(i));
        }
        world.start_agent(0, "shared");
        world.start_agent(1, "shared");
        world.settle("at the start", &[&[true; 4], &[true; 4], &[true; 4]]);
        Some(world)
    }

    fn start_node(&mut self, i: usize) {
        let member = &mut self.cluster.members[i];
        self.net.on(i, || member.start());
    }

    fn start_agent(&mut self, node: usize, endpoint: &str) {
        let url = format!("http://{}", self.cluster.members[node].upstream());
        let service = self.ledger.addr();
        let agent = self.net.on(AGENTS, || {
            let agent = agent(&url, endpoint, service, &["--access-log.disable"]);
            agent.wait_connected(0, NOTICE_MAX).unwrap_or_else(|e| panic!("{endpoint} at {url}: {e}"));
            agent
        });
        self.agents.push(agent);
    }

    /// Whether a node answers for an endpoint; one that does not know takes no time to say so.
    fn serves(&self, node: usize, endpoint: &str) -> Result<bool, String> {
        let proxy = self.cluster.members[node].proxy();
        self.net.on(CLIENTS, || {
            let start = Instant::now();
            let ask = || {
                let mut client = Client::over(TcpStream::connect_timeout(&proxy, Duration::from_secs(1))?)?;
                client.set_patience(Duration::from_secs(1))?;
                client.get("/hello", &[("x-piko-endpoint", endpoint)])
            };
            let response = ask().map_err(|e| format!("{endpoint} at {proxy}: {e}"))?;
            match response.status() {
                200 => Ok(true),
                502 => Ok(false),
                _ => Err(format!("{endpoint} at {proxy} after {:?}: {:?}", start.elapsed(), response.end)),
            }
        })
    }

    /// Waits until each node serves exactly what it should: its row says so for the endpoints of the three nodes and for
    /// the shared one; a node without a row is not asked.
    fn settle(&self, when: &str, table: &[&[bool]]) -> Duration {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < NOTICE_MAX {
            match self.compare(table) {
                Ok(()) => {
                    let took = start.elapsed();
                    println!("{when}: the routes are right after {took:?}");
                    return took;
                }
                Err(wrong) => last = wrong,
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{when}: {last}")
    }

    fn compare(&self, table: &[&[bool]]) -> Result<(), String> {
        let endpoints = [own(0), own(1), own(2), "shared".to_owned()];
        for (node, row) in table.iter().enumerate() {
            for (endpoint, should) in endpoints.iter().zip(*row) {
                let does = self.serves(node, endpoint)?;
                if does != *should {
                    return Err(format!("node {node} serves {endpoint}: {does}"));
                }
            }
        }
        Ok(())
    }

    /// Where the log of a node goes on.
    fn mark(&self, node: usize) -> usize {
        self.cluster.members[node].server.as_ref().expect("it runs").process.mark()
    }

    /// Waits until a node says that another one is unreachable.
    fn notices(&self, node: usize, from: usize, what: &str) {
        let start = Instant::now();
        let server = self.cluster.members[node].server.as_ref().expect("it runs");
        let record = server.process.wait_record(from, NOTICE_MAX, "node unreachable; updated cluster");
        record.unwrap_or_else(|e| panic!("{what}: {e}"));
        println!("{what}: unreachable after {:?}", start.elapsed());
    }

    /// From an agent's request to be registered at a node until another node routes its endpoint: 30 times, around
    /// the nodes. The figures are told and not judged, as they are those of this machine at this moment.
    fn tell_how_fast_news_is(&self) {
        let mut took: Vec<Duration> = (0..30)
            .map(|n| {
                let endpoint = format!("news-{n}");
                let (from, to) =
                    (self.cluster.members[n % 3].upstream(), self.cluster.members[(n + 1) % 3].proxy());
                let start = Instant::now();
                let tunnel =
                    self.net.on(AGENTS, || Tunnel::open(from, &endpoint).expect("registered").answer());
                self.net.on(CLIENTS, || {
                    while !routes(to, &endpoint) {
                        assert!(start.elapsed() < NOTICE_MAX, "{endpoint} does not come");
                        // A look costs the node less than the news that it waits for.
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let took = start.elapsed();
                drop(tunnel);
                took
            })
            .collect();
        took.sort();
        println!(
            "news of one node is routed by another after {:?} (p50), {:?} (slowest of 30)",
            took[15], took[29]
        );
    }

    fn signal(&mut self, node: usize, signal: Signal) {
        self.cluster.members[node].signal(signal);
    }
}

/// Clients of one address, each with one request at a time, on a connection of its own.
struct Clients {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Clients {
    const COUNT: usize = 4;

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have ended.
    fn wait(&self, requests: usize) {
        let start = Instant::now();
        while self.done() < requests {
            assert!(start.elapsed() < NOTICE_MAX, "{} of {requests} requests", self.done());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many requests there were, and what became of those that failed.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failed = self.threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
        (self.done.load(Ordering::SeqCst), failed)
    }
}

impl World {
    /// nginx on a host of its own.
    fn front(&self) -> Nginx {
        let addr = SocketAddr::new(self.net.addr(FRONT), 80);
        let nodes = self.cluster.proxies();
        let start = || Nginx::start(addr, &nodes, RECOMMENDED);
        self.net.on(FRONT, start).unwrap_or_else(|e| panic!("{e}"))
    }

    fn clients(&self, addr: SocketAddr, endpoint: &'static str) -> Clients {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // A thread that is started on a host stays there.
        let start = || {
            let (stop, done) = (stop.clone(), done.clone());
            thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let ask = || {
                        let mut client = Client::connect(addr)?;
                        client.set_patience(NOTICE_MAX)?;
                        client.get("/hello", &[("x-piko-endpoint", endpoint)])
                    };
                    match ask() {
                        Ok(response) if response.status() == 200 => {}
                        Ok(response) => failed.push(format!("{} {:?}", response.status(), response.end)),
                        Err(error) => failed.push(error.to_string()),
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        };
        let threads = (0..Clients::COUNT).map(|_| self.net.on(CLIENTS, start)).collect();
        Clients { stop, done, threads }
    }
}

const ALL: &[bool] = &[true; 4];

fn scenarios(family: Family) {
    let Some(mut world) = World::start(family) else { return };
    let front = need("nginx").map(|_| world.front());
    world.tell_how_fast_news_is();

    // Node 2 on one side, nodes 0 and 1 on the other; agents and clients reach all of them.
    let from = world.mark(0);
    for node in [0, 1] {
        world.net.cut(node, 2);
        world.net.cut(2, node);
    }
    world.notices(0, from, "a partition");
    let apart: [&[bool]; 3] =
        [&[true, true, false, true], &[true, true, false, true], &[false, false, true, false]];
    world.settle("a partition", &apart);
    for node in [0, 1] {
        world.net.mend(node, 2);
        world.net.mend(2, node);
    }
    world.settle("the partition is over", &[ALL; 3]);

    // What node 0 sends to node 1 is lost; they cannot use each other, and node 2 can use both.
    world.net.cut(0, 1);
    let half: [&[bool]; 3] = [&[true, false, true, true], &[false, true, true, true], ALL];
    world.settle("a one-way cut", &half);
    world.net.mend(0, 1);
    world.settle("the one-way cut is over", &[ALL; 3]);

    let from = world.mark(0);
    world.signal(1, Signal::Stop);
    world.notices(0, from, "a stopped node");
    let without_1: [&[bool]; 1] = [&[true, false, true, true]];
    world.settle("a stopped node", &without_1);
    world.signal(1, Signal::Cont);
    world.settle("the stopped node goes on", &[ALL; 3]);

    let mut through = front.as_ref().map(|front| world.clients(front.addr, "shared"));
    if let Some(through) = &through {
        through.wait(200);
    }
    world.cluster.members[2].kill();
    let without_2: [&[bool]; 2] = [&[true, true, false, true]; 2];
    world.settle("a killed node", &without_2);
    if let Some(through) = through.take() {
        through.wait(through.done() + 200);
        let (done, failed) = through.stop();
        println!("a killed node behind nginx: {} of {done} requests failed", failed.len());
        // What was under way on it, at most one for each client.
        assert!(failed.len() <= Clients::COUNT, "{failed:?}");
    }
    for (addr, port) in world.cluster.members[2].addrs.iter_mut().zip(9000..) {
        addr.set_port(port);
    }
    world.start_node(2);
    world.start_agent(2, &own(2));
    world.settle("the same id at other ports", &[ALL; 3]);
}

#[test]
fn routes_are_the_truth_after_each_scenario() {
    scenarios(Family::V4);
}

#[test]
fn the_same_where_there_is_only_ipv6() {
    scenarios(Family::V6);
}
