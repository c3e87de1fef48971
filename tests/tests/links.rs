//! Links between nodes: one connection that carries many requests, on real processes.

#[path = "links/silence.rs"]
mod silence;

use piko_tests::cluster::{Cluster, Kind, Ledger, Load, Member, Mix, Ready, agent};
use piko_tests::http::{Client, Response};
use piko_tests::process::{Agent, Server, Signal};
use piko_tests::service::Service;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const ENDPOINT: &str = "ep";
const FIELD: (&str, &str) = ("x-piko-endpoint", ENDPOINT);
/// Asks for a link, apart from the proof.
const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
];

fn client(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr).expect("the port is open");
    client.set_patience(PATIENCE).expect("a socket option");
    client
}

fn get(addr: SocketAddr, target: &str) -> Response {
    client(addr).get(target, &[FIELD]).expect("an answer")
}

fn metric(admin: SocketAddr, name: &str) -> u64 {
    let text = client(admin).get("/metrics", &[]).expect("metrics").body.text();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok();
    text.lines().find_map(value).unwrap_or_else(|| panic!("no {name}")) as u64
}

fn by_link(admin: SocketAddr) -> u64 {
    metric(admin, "piko_links_requests_total")
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        // A look costs the nodes less than what it waits for.
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks until a request has gone over a link, which is opened beside the first requests.
#[track_caller]
fn link_up(proxy: SocketAddr, admin: SocketAddr) {
    let before = by_link(admin);
    until("a request goes over a link", || {
        assert_eq!(get(proxy, "/hello").status(), 200);
        by_link(admin) > before
    });
}

fn node(id: &str, args: &[&str]) -> Server {
    Server::start(&[&["--cluster.node-id", id], args].concat())
}

/// A node with an agent, and one without.
fn pair(service: SocketAddr, args: &[&str]) -> (Server, Server, Agent) {
    let a = node("a", args);
    let seed = a.gossip().to_string();
    let b = node("b", &[&["--cluster.join", &seed], args].concat());
    let agent = Agent::http(&a.connect_url(), ENDPOINT, &service.to_string(), &[]);
    until("b finds the way to a", || get(b.proxy, "/hello").status() == 200);
    (a, b, agent)
}

#[test]
fn small_requests_share_a_link_and_what_is_large_or_stays_does_not() {
    let service = Service::start();
    let (a, b, _agent) = pair(service.addr(), &[]);
    link_up(b.proxy, b.admin);
    assert_eq!(metric(a.admin, "piko_links"), 1);
    let before = by_link(b.admin);
    let mut kept = client(b.proxy);
    for n in 0..200 {
        let body = vec![b'x'; n * 10];
        let answer = kept.request("POST", "/echo", &[FIELD], &body).expect("an answer");
        assert_eq!((answer.status(), answer.body.len), (200, body.len() as u64));
    }
    assert_eq!(by_link(b.admin) - before, 200);
    // A large body that is announced goes alone, and so does an upgrade.
    let before = by_link(b.admin);
    let large = vec![b'y'; 1 << 20];
    let answer = kept.request("POST", "/sum", &[FIELD], &large).expect("an answer");
    assert_eq!(answer.status(), 200);
    let fields = [FIELD, ("connection", "upgrade"), ("upgrade", "test")];
    let mut upgraded = client(b.proxy);
    upgraded.send_head("GET", "/upgrade", &fields).expect("sent");
    assert_eq!(upgraded.read_head().expect("a head").status, 101);
    assert_eq!(by_link(b.admin), before);
    // One that is not announced goes over the link, whole.
    kept.send_head("POST", "/echo", &[FIELD, ("transfer-encoding", "chunked")]).expect("sent");
    for piece in large.chunks(50_000) {
        kept.send_chunk(piece).expect("sent");
    }
    kept.send_last_chunk(&[]).expect("sent");
    let answer = kept.read_response("POST");
    assert!(answer.status() == 200 && answer.body.len == large.len() as u64, "{}", answer.status());
    assert_eq!(by_link(b.admin), before + 1);
    // An endpoint whose answers are large gets connections of its own, until they are small again.
    assert_eq!(get(b.proxy, "/bytes?n=1000000").body.len, 1_000_000);
    let before = by_link(b.admin);
    assert_eq!(get(b.proxy, "/hello").status(), 200);
    assert_eq!(by_link(b.admin), before);
    link_up(b.proxy, b.admin);
    // All of it over one link.
    assert_eq!(metric(a.admin, "piko_links"), 1);
}

#[test]
fn only_members_open_links_where_there_is_a_secret() {
    let service = Service::start();
    let (a, b, _agent) = pair(service.addr(), &["--cluster.secret", "a secret of some length"]);
    link_up(b.proxy, b.admin);
    for proof in [None, Some("1.29000000.00"), Some("")] {
        let fields: Vec<_> = UPGRADE.into_iter().chain(proof.map(|proof| ("x-piko-node", proof))).collect();
        let answer = client(a.proxy).get("/_piko/v1/nodes", &fields).expect("an answer");
        assert_eq!(answer.status(), 403, "{proof:?}");
        assert_eq!(answer.value("x-piko-error").as_deref(), Some("hop=server; cause=not-a-member"));
    }
    assert_eq!(metric(a.admin, "piko_links_refused_total"), 3);
    // Nodes of another secret are strangers to each other, and serve on without links.
    assert_eq!(metric(a.admin, "piko_links"), 1);
    link_up(b.proxy, b.admin);
}

#[test]
fn whoever_breaks_the_rules_of_a_link_loses_it_and_nobody_else_does() {
    let service = Service::start();
    let (a, b, _agent) = pair(service.addr(), &[]);
    link_up(b.proxy, b.admin);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x82, 0x84, 0, 0, 0, 0, 9, 9, 9, 9], &[0xff; 64]] {
        let mut stranger = client(a.proxy);
        stranger.send_head("GET", "/_piko/v1/nodes", &UPGRADE).expect("sent");
        assert_eq!(stranger.read_head().expect("a head").status, 101);
        stranger.send(garbage).expect("sent");
        stranger.finish().expect("a FIN");
        stranger.read_end();
    }
    until("their links are gone", || metric(a.admin, "piko_links") == 1);
    // What asks for something else there is a request like any other.
    let fields = [FIELD, ("sec-websocket-key", "short"), ("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(client(a.proxy).get("/_piko/v1/nodes", &fields).expect("an answer").status(), 400);
    assert_eq!(client(a.proxy).get("/_piko/v1/nodes", &[FIELD]).expect("an answer").status(), 404);
    link_up(b.proxy, b.admin);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let service = Service::start();
    let (_a, b, _agent) = pair(service.addr(), &[]);
    link_up(b.proxy, b.admin);
    let before = by_link(b.admin);
    // Far more than all windows and sockets on the way hold; how much is not announced.
    let stalled: Vec<_> = (0..4)
        .map(|_| {
            let mut client = client(b.proxy);
            client.send_head("GET", "/bytes?n=33554432&framing=chunked", &[FIELD]).expect("sent");
            assert_eq!(client.read_head().expect("a head").status, 200);
            client
        })
        .collect();
    let mut others = client(b.proxy);
    for _ in 0..200 {
        // Whoever is held up waits as long as the others do not read: beyond all patience.
        assert_eq!(others.get("/hello", &[FIELD]).expect("an answer").status(), 200);
    }
    assert_eq!(by_link(b.admin) - before, 204);
    drop(stalled);
}

/// Three nodes, of which the first two have an agent each.
struct Three {
    cluster: Cluster,
    ledger: Ledger,
    _agents: [Agent; 2],
}

impl Three {
    fn start() -> Self {
        let cluster = Cluster::start(3, &["--drain-delay", "500ms"]);
        let ledger = Ledger::start();
        let to =
            |member: &Member| agent(&format!("http://{}", member.upstream()), ENDPOINT, ledger.addr(), &[]);
        let agents = [to(&cluster.members[0]), to(&cluster.members[1])];
        cluster.wait_listeners(ENDPOINT, 2);
        cluster.wait_routable(ENDPOINT);
        Self { cluster, ledger, _agents: agents }
    }

    /// Load on these nodes, by clients that never retry; once a good part of it goes over links.
    fn load(&self, targets: &[usize]) -> (Load, Ready) {
        let members = targets.iter().map(|at| &self.cluster.members[*at]);
        let ready = Ready::watch(members.clone().map(Member::admin).collect(), Duration::from_millis(20));
        let load = Load::start(Mix {
            targets: members.map(Member::proxy).collect(),
            ready: ready.flags(),
            endpoints: vec![ENDPOINT.to_owned()],
            clients: [(Kind::Kept, 8), (Kind::New, 2), (Kind::Sticky, 0)],
            rate: 400.0,
            connect_elsewhere: true,
        });
        load.wait(300);
        let last = self.cluster.members[2].admin();
        until("links carry it", || by_link(last) > 50);
        (load, ready)
    }
}

/// One of the nodes leaves while there is load on these.
#[track_caller]
fn leaves_without_loss(leaving: usize, targets: &[usize]) {
    let mut three = Three::start();
    let (load, _ready) = three.load(targets);
    three.cluster.members[leaving].terminate();
    load.wait(load.done() + 300);
    let tally = load.stop();
    assert_eq!(tally.failed.len(), 0, "{:?}", tally.failed.first().map(ToString::to_string));
    assert_eq!(three.ledger.counts().1, 0, "served twice");
}

#[test]
fn nothing_is_lost_when_an_owner_leaves() {
    // The last node has no agent: all that comes in there goes over links.
    leaves_without_loss(0, &[2]);
}

#[test]
fn nothing_is_lost_when_an_entry_leaves() {
    leaves_without_loss(2, &[1, 2]);
}

#[test]
fn a_killed_owner_takes_only_what_was_under_way() {
    let mut three = Three::start();
    let (load, _ready) = three.load(&[2]);
    let before = by_link(three.cluster.members[2].admin());
    three.cluster.members[0].signal(Signal::Kill);
    load.wait(load.done() + 400);
    let (failed, went_on) = (load.failed(), by_link(three.cluster.members[2].admin()) - before);
    let tally = load.stop();
    // Ten clients have at most ten requests under way.
    assert!(failed <= 10 && tally.failed.len() as u64 == failed, "{failed}: {:?}", tally.failed.len());
    assert!(went_on > 100, "the other owner's link carries {went_on}");
}
