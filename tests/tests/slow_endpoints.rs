//! Slow endpoints beside healthy ones on the same node, on real processes: what the first do to the others' routes.

use piko_tests::cluster::{Cluster, agent};
use piko_tests::http::{Client, Response};
use piko_tests::process::Agent;
use piko_tests::rig::scripted;
use piko_tests::service::Service;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long an event may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody's patience ends within a test: neither a server nor an agent gives up on a request that is held.
const FOR_EVER: [&str; 2] = ["--proxy.timeout", "0"];
/// After this long, requests that are not answered speak against whoever has them (twice what `core::route` takes).
const TELLING: Duration = Duration::from_millis(500);

fn client(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr).expect("the port is open");
    client.set_patience(PATIENCE).expect("a socket option");
    client
}

fn get(proxy: SocketAddr, endpoint: &str) -> Response {
    client(proxy).get("/hello", &[("x-piko-endpoint", endpoint)]).expect("an answer")
}

fn set_aside(admin: SocketAddr) -> u64 {
    let text = client(admin).get("/metrics", &[]).expect("metrics").body.text();
    let value = |line: &str| line.strip_prefix("piko_upstreams_set_aside ")?.parse::<f64>().ok();
    text.lines().find_map(value).expect("the gauge") as u64
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        // A look costs the nodes less than what it waits for.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Three nodes: requests come in at the first, the second has what is slow, the third is well.
struct Three(Cluster);

impl Three {
    fn start() -> Self {
        let args = [&["--proxy.access-log.disable", "--drain-delay", "0s"][..], &FOR_EVER].concat();
        Self(Cluster::start(3, &args))
    }

    fn front(&self) -> SocketAddr {
        self.0.members[0].proxy()
    }

    /// Whether the machine was so busy that the first node missed another one: then nothing that it does says anything
    /// about slow endpoints, and the test says so.
    fn is_too_busy(&self) -> bool {
        let missed = self.0.members[0].log().iter().any(|line| line.contains("node unreachable"));
        if missed {
            println!("SKIPPED: the nodes are starved, and miss each other");
        }
        missed
    }

    /// An agent at one of the nodes, known to all.
    fn agent(&self, at: usize, endpoint: &str, service: SocketAddr, args: &[&str]) -> Agent {
        let url = format!("http://{}", self.0.members[at].upstream());
        let agent = agent(&url, endpoint, service, args);
        agent.wait_connected(0, PATIENCE).expect("its tunnel is up");
        agent
    }
}

/// A service that takes requests and answers none, with requests that it has.
struct Held {
    service: Service,
    requests: Arc<AtomicU64>,
    clients: Vec<Client>,
}

impl Held {
    fn start() -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&requests);
        let service = scripted(move |peer, _| {
            count.fetch_add(1, Ordering::SeqCst);
            peer.set_patience(PATIENCE)?;
            // Until whoever asked has left.
            peer.read_exact(1).map(|_| ())
        });
        Self { service, requests, clients: Vec::new() }
    }

    fn addr(&self) -> SocketAddr {
        self.service.addr()
    }

    /// Sends `count` more, and waits until they are here.
    fn ask(&mut self, proxy: SocketAddr, endpoint: &str, count: u64) {
        let wanted = self.requests.load(Ordering::SeqCst) + count;
        for _ in 0..count {
            let mut client = client(proxy);
            client.send_head("GET", "/poll", &[("x-piko-endpoint", endpoint)]).expect("sent");
            self.clients.push(client);
        }
        until("the requests are under way", || self.requests.load(Ordering::SeqCst) >= wanted);
    }
}

/// Of a hundred requests for the endpoint at the front, how many each of these services got; what is not answered with 200
/// counts for nobody.
fn shares(front: SocketAddr, endpoint: &str, services: [&Service; 2]) -> [u64; 2] {
    let counts = || services.map(|service| service.counts().requests);
    let before = counts();
    let mut client = client(front);
    let status = |_| client.get("/hello", &[("x-piko-endpoint", endpoint)]).expect("an answer").status();
    let failed = (0..100).map(status).filter(|status| *status != 200).count();
    let after = counts();
    if failed > 0 { [0, 0] } else { [after[0] - before[0], after[1] - before[1]] }
}

#[test]
fn long_polls_of_one_endpoint_leave_its_node_to_the_others() {
    let nodes = Three::start();
    let mut polls = Held::start();
    let services = [Service::start(), Service::start()];
    let _agents = [
        nodes.agent(1, "polled", polls.addr(), &["--timeout", "0"]),
        nodes.agent(1, "healthy", services[0].addr(), &[]),
        nodes.agent(2, "healthy", services[1].addr(), &[]),
    ];
    nodes.0.wait_listeners("polled", 1);
    nodes.0.wait_listeners("healthy", 2);
    polls.ask(nodes.front(), "polled", 20);
    // What has to pass is the time after which silence tells something.
    thread::sleep(TELLING);
    let shares = shares(nodes.front(), "healthy", [&services[0], &services[1]]);
    println!("beside 20 long polls: {shares:?}");
    let is_fair = shares.iter().all(|share| *share >= 20);
    assert!(is_fair || nodes.is_too_busy(), "both nodes serve: {shares:?}");
}

/// The agent says of its service that it does not answer, over and over again.
#[test]
fn a_service_that_hangs_leaves_its_node_to_the_other_endpoints() {
    let nodes = Three::start();
    let hanging = Held::start();
    let services = [Service::start(), Service::start()];
    let _agents = [
        nodes.agent(1, "hanging", hanging.addr(), &["--timeout", "300ms"]),
        nodes.agent(1, "healthy", services[0].addr(), &[]),
        nodes.agent(2, "healthy", services[1].addr(), &[]),
    ];
    nodes.0.wait_listeners("hanging", 1);
    nodes.0.wait_listeners("healthy", 2);
    let stop = AtomicU64::new(0);
    let told = AtomicU64::new(0);
    let (front, begun) = (nodes.front(), Instant::now());
    let shares = thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = client(front);
                // Not for ever, should the test fail meanwhile.
                while stop.load(Ordering::SeqCst) == 0 && begun.elapsed() < PATIENCE * 2 {
                    let answer = client.get("/x", &[("x-piko-endpoint", "hanging")]).expect("an answer");
                    told.fetch_add(u64::from(answer.status() == 504), Ordering::SeqCst);
                }
            });
        }
        // A first round of answers, and the next requests are under way for longer than tells something.
        until("they are answered", || told.load(Ordering::SeqCst) >= 20);
        let shares: Vec<_> = (0..5)
            .map(|_| {
                // Over some rounds of the others, at any moment of theirs.
                thread::sleep(Duration::from_millis(70));
                shares(front, "healthy", [&services[0], &services[1]])
            })
            .collect();
        stop.store(1, Ordering::SeqCst);
        shares
    });
    println!("beside a service that hangs: {shares:?}");
    let is_fair = shares.iter().flatten().all(|share| *share >= 20);
    assert!(is_fair || nodes.is_too_busy(), "both nodes serve: {shares:?}");
}

/// Two endpoints that are silent make their node look stalled, which is then tried after ten seconds: not with requests of an
/// endpoint whose own upstream there is set aside for longer.
#[test]
fn the_trials_of_a_stalled_node_are_not_for_what_is_set_aside() {
    let nodes = Three::start();
    let front = nodes.front();
    let admin = nodes.0.members[0].admin();
    let mut silent = [Held::start(), Held::start()];
    let service = Service::start();
    let met = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&met);
    let broken = scripted(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Err(std::io::ErrorKind::ConnectionReset.into())
    });
    let for_ever = ["--timeout", "0"];
    let _agents = [
        nodes.agent(1, "first", silent[0].addr(), &for_ever),
        nodes.agent(1, "second", silent[1].addr(), &for_ever),
        nodes.agent(1, "ours", broken.addr(), &[]),
    ];
    for endpoint in ["first", "second", "ours"] {
        nodes.0.wait_listeners(endpoint, 1);
    }
    // As long as there is no other, it is asked again and again.
    let mut last = Instant::now();
    until("it is set aside", || {
        last = Instant::now();
        assert_eq!(get(front, "ours").status(), 502);
        set_aside(admin) >= 1
    });
    // It was set aside after that: its own trial is due then, and the next one 20 s later.
    let due = last + Duration::from_secs(10);
    for (silent, endpoint) in silent.iter_mut().zip(["first", "second"]) {
        silent.ask(front, endpoint, 5);
    }
    let stalled = Instant::now();
    let _well = nodes.agent(2, "ours", service.addr(), &[]);
    nodes.0.wait_listeners("ours", 2);
    // The node has its trial 10 s after it fell silent, between those of the upstream.
    let node_tried = stalled + Duration::from_secs(12);
    let (before, mut asked) = (met.load(Ordering::SeqCst), 0);
    while Instant::now() < node_tried {
        let answer = get(front, "ours");
        let own_trials = u64::from(Instant::now() >= due);
        let is_right = answer.status() == 200 && met.load(Ordering::SeqCst) <= before + own_trials;
        if !is_right && nodes.is_too_busy() {
            return;
        }
        assert!(is_right, "after {:?} and {asked} requests: {answer:?}", stalled.elapsed());
        asked += 1;
        // Often enough for a trial within milliseconds of its time, and no load.
        thread::sleep(Duration::from_millis(10));
    }
    println!("{asked} requests in the {:?} since the node stalled", stalled.elapsed());
    assert_eq!(met.load(Ordering::SeqCst), before + 1, "its own trial");
}
