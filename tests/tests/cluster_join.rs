//! Joins that do not go as they should: a second process of one id, seeds that are mute or dead, an end in between.

use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, Signal, binary};
use piko_tests::service::Service;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SAME_ID: &str =
    "another process has this node's id; every process needs a --cluster.node-id of its own";

fn text(node: &Server, target: &str) -> String {
    let mut client = Client::connect(node.admin).expect("the port is open");
    client.get(target, &[]).expect("an answer").body.text()
}

fn same_id_total(node: &Server) -> u64 {
    let value = |line: &str| line.strip_prefix("piko_gossip_same_id_total ")?.parse().ok();
    text(node, "/metrics").lines().find_map(value).expect("the counter")
}

/// Whether both say, with both addresses, that there are two of them.
fn both_tell(one: &Server, two: &Server) {
    for (node, other) in [(one, two), (two, one)] {
        let (_, record) = node.process.wait_record(0, PATIENCE, SAME_ID).expect("told");
        assert_eq!(record["level"], "warn");
        assert_eq!(record["node-id"], "twin");
        assert_eq!(record["addr"], node.gossip().to_string());
        assert_eq!(record["other-addr"], other.gossip().to_string());
        assert!(same_id_total(node) >= 1);
    }
}

#[test]
fn two_processes_of_one_id_say_so() {
    let one = Server::start(&["--cluster.node-id", "twin"]);
    let seed = one.gossip().to_string();
    // A node that meets nobody but its double is no part of a cluster.
    let mut two = Server::start(&[
        "--cluster.node-id",
        "twin",
        "--cluster.join",
        &seed,
        "--cluster.join-timeout",
        // Its second try comes after a second or a little more.
        "3s",
    ]);
    both_tell(&one, &two);
    assert_eq!(two.process.wait_exit(PATIENCE).expect("it gives up").code(), Some(1));
    let tail = two.process.tail();
    assert!(tail.contains(&format!("cluster join: {seed}: a node with the id of this one")), "{tail}");
    // It met its double at least twice, and both said it once.
    for node in [&one, &two] {
        let lines = node.process.lines(0);
        assert_eq!(lines.iter().filter(|line| line.text.contains(SAME_ID)).count(), 1, "{lines:?}");
    }
}

#[test]
fn two_processes_of_one_id_that_share_a_third_node_say_so() {
    let third = Server::start(&["--cluster.node-id", "third"]);
    let seed = third.gossip().to_string();
    let twin = || Server::start(&["--cluster.node-id", "twin", "--cluster.join", &seed]);
    let (one, two) = (twin(), twin());
    both_tell(&one, &two);
    assert_eq!(same_id_total(&third), 0);
}

/// A node whose seed takes connections and never answers, before it is ready.
fn hanging(seed: &str, args: &[&str]) -> Process {
    joining(Command::new(binary("piko-server")), seed, args)
}

fn joining(mut command: Command, seed: &str, args: &[&str]) -> Process {
    for port in ["proxy", "upstream", "admin", "cluster.gossip"] {
        command.args([format!("--{port}.bind-addr"), "127.0.0.1:0".to_owned()]);
    }
    command.args(["--cluster.join", seed]).args(args);
    Process::spawn("piko-server", &mut command).expect("it starts")
}

#[test]
fn a_node_that_was_never_ready_ends_at_once() {
    // The kernel accepts, nobody answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = mute.local_addr().expect("bound").to_string();
    for signal in [Signal::Term, Signal::Int] {
        // Whoever waits for the drain delay does not end within the patience.
        let mut node = hanging(&seed, &["--drain-delay", "60s"]);
        node.wait_record(0, PATIENCE, "starting gossip").expect("it begins");
        // Its question has arrived, so the join is under way.
        let (_asked, _) = mute.accept().expect("a connection");
        node.signal(signal).expect("sent");
        let status = node.wait_exit(PATIENCE).expect("the end");
        assert_eq!(status.code(), Some(0), "{}", node.tail());
        node.wait_record(0, PATIENCE, "shutdown complete").expect("in order");
    }
}

/// Its first join has failed and it serves meanwhile: nobody knows it, unless an agent has come.
#[test]
fn a_node_that_met_nobody_ends_at_once_unless_it_serves_an_agent() {
    let service = Service::start();
    // Whoever waits for a minute does not end within the patience, and whoever waits for a second is seen to wait.
    for (has_agent, delay) in [(false, "60s"), (true, "1s")] {
        // Bound to the end of the test, so that nobody else listens there; a datagram socket refuses streams.
        let refusing = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let seed = refusing.local_addr().expect("bound").to_string();
        // It goes on looking while the agent is built or starts, however long that takes.
        let stays = "--cluster.abort-if-join-fails=false";
        let mut node = Server::start(&["--cluster.join", &seed, stays, "--drain-delay", delay]);
        node.process.wait_record(0, PATIENCE, "failed to join cluster").expect("nobody is there");
        let _agent =
            has_agent.then(|| Agent::http(&node.connect_url(), "alone", &service.addr().to_string(), &[]));
        let begun = Instant::now();
        let status = node.terminate(PATIENCE).expect("the end");
        let took = begun.elapsed();
        assert_eq!(status.code(), Some(0), "{}", node.process.tail());
        assert!(!has_agent || took >= Duration::from_secs(1), "{took:?}: {}", node.process.tail());
    }
}

/// It gives up on its cluster, and agents have come meanwhile: their clients get the time that every drain gives them.
#[test]
fn a_node_that_gives_up_on_its_cluster_drains() {
    let service = Service::start();
    // Built before the node's time begins.
    let _ = binary("piko-agent");
    let refusing = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let seed = refusing.local_addr().expect("bound").to_string();
    let args = ["--cluster.join", &seed, "--cluster.join-timeout", "6s", "--drain-delay", "2s"];
    let mut node = Server::start(&args);
    let _agent = Agent::http(&node.connect_url(), "alone", &service.addr().to_string(), &[]);
    node.process.wait_record(0, PATIENCE, "starting shutdown").expect("it gives up");
    let begun = Instant::now();
    let mut client = Client::connect(node.proxy).expect("the port is open");
    let answer = client.get("/hello", &[("x-piko-endpoint", "alone")]).expect("an answer");
    assert_eq!((answer.status(), answer.value("connection").as_deref()), (200, Some("close")), "{answer:?}");
    assert_eq!(node.process.wait_exit(PATIENCE).expect("the end").code(), Some(1), "{}", node.process.tail());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    node.process.wait_record(0, PATIENCE, "left cluster").expect("in order");
}

/// Seeds that take connections and never answer: the kernel accepts, nobody speaks.
struct Mute(TcpListener);

impl Mute {
    fn new() -> Self {
        Self(TcpListener::bind("0.0.0.0:0").expect("a port"))
    }

    /// So many of them, each with an address of its own, behind commas.
    fn seeds(&self, count: u8) -> String {
        let port = self.0.local_addr().expect("bound").port();
        let seeds: Vec<String> = (1..=count).map(|n| format!("127.0.0.{n}:{port}")).collect();
        seeds.join(",")
    }
}

/// How long a node that has just been started takes until it serves. A single question takes ten seconds when nobody
/// answers, and a name that hangs a minute.
fn serves_soon(node: &Process) {
    let begun = Instant::now();
    node.wait_record(0, PATIENCE, "starting proxy server").expect("it serves");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}: {}", node.tail());
}

fn joins_soon(node: &Process, id: &str) {
    serves_soon(node);
    let (_, record) = node.wait_record(0, PATIENCE, "joined cluster").expect("it says so");
    assert!(record["node-ids"].to_string().contains(id), "{record}");
}

/// One of them alone, and more than a node has streams for what is not a join.
#[test]
fn dead_seeds_beside_a_good_one_do_not_hold_a_node_back() {
    let good = Server::start(&["--cluster.node-id", "good"]);
    let mute = Mute::new();
    for count in [1, 12] {
        let seeds = format!("{},{}", mute.seeds(count), good.gossip());
        joins_soon(&hanging(&seeds, &[]), "good");
    }
}

/// Runs a node that nobody will answer and whose time is two seconds; says with which error it ended.
fn gives_up(mut node: Process) -> String {
    let begun = Instant::now();
    assert_eq!(node.wait_exit(PATIENCE).expect("the end").code(), Some(1), "{}", node.tail());
    // As in `serves_soon`.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}: {}", begun.elapsed(), node.tail());
    let lines = node.lines(0);
    let is_ready = lines.iter().any(|line| line.text.contains("starting proxy server"));
    assert!(!is_ready, "it never had time to serve: {}", node.tail());
    node.wait_record(0, PATIENCE, "shutdown complete").expect("in order");
    let (_, record) = node.wait_record(0, PATIENCE, "failed to run server").expect("why");
    record["error"].as_str().expect("text").to_owned()
}

#[test]
fn a_mute_seed_takes_no_longer_than_the_join_may() {
    let mute = Mute::new();
    let seed = mute.seeds(1);
    let error = gives_up(hanging(&seed, &["--cluster.join-timeout", "2s"]));
    assert_eq!(error, format!("cluster join: {seed}: timed out"));

    // What is wrong elsewhere is told as well, although the mute one has not failed yet.
    let refusing = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let closed = refusing.local_addr().expect("bound").to_string();
    let error = gives_up(hanging(&format!("{seed},{closed}"), &["--cluster.join-timeout", "2s"]));
    assert!(error.contains(&format!("{seed}: timed out")), "{error}");
    assert!(error.contains(&format!("{closed}: connect failed")), "{error}");

    let stays = "--cluster.abort-if-join-fails=false";
    let node = hanging(&seed, &["--cluster.join-timeout", "2s", stays]);
    serves_soon(&node);
    node.wait_record(0, PATIENCE, "failed to join cluster; trying on").expect("it says so");
}

/// A resolver that takes questions and answers none: an address of this machine, and a file that names it.
struct MuteResolver {
    _socket: std::net::UdpSocket,
    file: PathBuf,
}

impl MuteResolver {
    /// `None`, visibly, where a process cannot have an `/etc/resolv.conf` of its own or nobody may bind port 53.
    fn new() -> Option<Self> {
        let probe = Command::new("unshare").args(["--mount", "true"]).status();
        let id = std::process::id().to_le_bytes();
        // Ours alone, whoever else runs this test at the same time.
        let ip = std::net::Ipv4Addr::new(127, 53 + id[2], id[1], id[0]);
        let socket = std::net::UdpSocket::bind((ip, 53));
        let (Ok(socket), true) = (socket, probe.is_ok_and(|status| status.success())) else {
            let why = "a resolver that hangs needs root and unshare";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
            println!("SKIPPED: {why}");
            return None;
        };
        let file = std::env::temp_dir().join(format!("piko-resolver-{}", std::process::id()));
        std::fs::write(&file, format!("nameserver {ip}\noptions timeout:30\n")).expect("a writable place");
        Some(Self { _socket: socket, file })
    }

    fn env(&self) -> [(&'static str, PathBuf); 2] {
        [("RESOLVER", self.file.clone()), ("PROGRAM", binary("piko-server"))]
    }
}

impl Drop for MuteResolver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[test]
fn a_name_that_hangs_holds_nobody_back() {
    let Some(resolver) = MuteResolver::new() else { return };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/with-resolver");
    let good = Server::start(&["--cluster.node-id", "good"]);
    let seeds = format!("hangs.piko.test,{}", good.gossip());
    let env = resolver.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.to_str().expect("text")));
    let start = |seeds: &str, args: &[&str]| {
        let mut command = Command::new(&program);
        command.envs(env);
        joining(command, seeds, args)
    };
    joins_soon(&start(&seeds, &[]), "good");
    let alone = start("hangs.piko.test", &["--cluster.join-timeout", "2s"]);
    assert_eq!(gives_up(alone), "cluster join: resolve hangs.piko.test: timed out");
}

/// A file with lines of `/etc/hosts`, removed with it: two names with an IPv4 and an IPv6 address each, in both orders.
struct Hosts(PathBuf);

impl Hosts {
    /// `None`, visibly, where a process cannot have an `/etc/hosts` of its own or there is no IPv6.
    fn new() -> Option<Self> {
        let probe = Command::new("unshare").args(["--mount", "true"]).status();
        if !probe.is_ok_and(|status| status.success()) || TcpListener::bind("[::1]:0").is_err() {
            let why = "names with two addresses need root, unshare and IPv6";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
            println!("SKIPPED: {why}");
            return None;
        }
        let path = std::env::temp_dir().join(format!("piko-hosts-{}", std::process::id()));
        let text =
            "127.0.0.1 localhost\n127.0.0.1 four.test\n::1 four.test\n::1 six.test\n127.0.0.1 six.test\n";
        std::fs::write(&path, text).expect("a writable place");
        Some(Self(path))
    }

    fn server(&self, args: &[&str]) -> Server {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/with-hosts");
        let (hosts, server) = (self.0.to_str().expect("text"), binary("piko-server"));
        let env = [("HOSTS", hosts), ("PROGRAM", server.to_str().expect("text"))];
        Server::start_with(program, args, &env)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whichever of the two is bound, and whichever comes first: as a seed, as the address of a proxy port, and as that of a
/// gossip port.
#[test]
fn every_address_of_a_name_is_tried() {
    let Some(hosts) = Hosts::new() else { return };
    let service = Service::start();
    for ip in ["127.0.0.1", "[::1]"] {
        let any = format!("{ip}:0");
        for name in ["four.test", "six.test"] {
            let named = format!("{name}:0");
            let first = hosts.server(&[
                "--cluster.node-id=first",
                "--cluster.gossip.bind-addr",
                &any,
                "--cluster.gossip.advertise-addr",
                &named,
                "--proxy.bind-addr",
                &any,
                "--proxy.advertise-addr",
                &named,
            ]);
            let _agent = Agent::http(&first.connect_url(), "named", &service.addr().to_string(), &[]);
            let seed = format!("{name}:{}", first.gossip().port());
            let second = hosts.server(&["--cluster.gossip.bind-addr", &any, "--cluster.join", &seed]);
            second.process.wait_record(0, PATIENCE, "joined cluster").expect("by one of the addresses");
            let until = Instant::now() + PATIENCE;
            let status = || {
                let mut client = Client::connect(second.proxy).expect("the port is open");
                client.get("/hello", &[("x-piko-endpoint", "named")]).expect("an answer").status()
            };
            while status() != 200 {
                assert!(Instant::now() < until, "{name} with {ip} bound: {}", second.process.tail());
                // Until the news has come, and the name has been looked up.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
