//! Gossip as a map of maps, and a world that holds real nodes to it.
//!
//! A [`World`] runs a cluster on one clock over a small network that loses, delays and cuts. The model is what
//! every owner published last; each host's view is put together from the events of its node alone, as a router
//! does it. Safety is checked with every event, agreement when a test asks for it.

use piko_core::gossip::{
    Channel, Config, Exchanged, GossipEvent, Key, Node, NodeInfo, NodeStatus, Progress, StreamError,
    StreamKind, StreamReader, Value,
};
use piko_core::id::NodeId;
use piko_core::rng::Rng;
use piko_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Virtual milliseconds of the wall clock when a world begins: some day in 2026.
pub const WALL_MS: u64 = 1_790_000_000_000;
/// More datagrams for one instant than this are a loop.
const STEPS_MAX: usize = 300_000;

/// What a host's application knows of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether requests may go there.
    pub active: bool,
    /// Whether it left.
    pub left: bool,
    /// Its keys.
    pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A fault of a node, planted where its events come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A value is changed.
    InventedValue,
    /// The end of a key is not told.
    SwallowedUnset,
}

/// One process.
#[derive(Debug)]
pub struct Host {
    /// The machine.
    pub node: Node,
    /// Its name.
    pub id: NodeId,
    /// Its gossip port.
    pub addr: SocketAddr,
    /// It runs; one that does not keeps its state and does nothing.
    pub up: bool,
    /// It is there; one that is not refuses streams.
    pub alive: bool,
    /// What its application made of the events.
    pub view: BTreeMap<NodeId, View>,
    /// What it published.
    pub truth: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Events that are neither keys nor states, in order.
    pub log: Vec<GossipEvent>,
}

/// A key and a value of it.
type Pair = (Vec<u8>, Vec<u8>);

/// What is on the wire.
#[derive(Debug)]
enum Parcel {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Request { from: SocketAddr, to: SocketAddr, stream: Exchanged, kind: StreamKind, bytes: Vec<u8> },
    Reply { to: SocketAddr, stream: Exchanged, outcome: Result<Vec<u8>, StreamError> },
}

/// A cluster and its network.
#[derive(Debug)]
pub struct World {
    /// The one clock.
    pub now: Instant,
    /// The processes, by number; a restart takes the place of its predecessor.
    pub hosts: Vec<Host>,
    /// Of 256 datagrams so many are lost.
    pub loss: u8,
    /// Every datagram arrives from another port than the one that its sender advertises.
    pub nat: bool,
    /// Of 256 datagrams so many come twice.
    pub twice: u8,
    /// The least time on the way.
    pub latency: Duration,
    /// Up to so much more, drawn for each, so that datagrams overtake each other.
    pub jitter: Duration,
    /// Somebody lies: values may be seen that their owner never said.
    pub liars: bool,
    /// What goes wrong on purpose between the node of every host and its application.
    pub fault: Option<Fault>,
    /// Directions that are cut.
    pub cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Bytes of datagrams to addresses where nobody is, and how many messages went there, streams among them.
    pub astray: BTreeMap<SocketAddr, (usize, usize)>,
    /// Datagrams and their bytes since the beginning.
    pub sent: (usize, usize),
    wire: BTreeMap<(Instant, u64), Parcel>,
    order: u64,
    rng: Rng,
    config: Config,
    /// Every value that an owner ever gave a key: nobody may see another one.
    said: BTreeMap<NodeId, BTreeSet<Pair>>,
}

/// The gossip address of host `n`.
pub fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 8003))
}

/// The name of host `n`.
pub fn id(n: usize) -> NodeId {
    NodeId::new(&format!("node-{n}"))
}

impl World {
    /// `n` hosts that do not know each other.
    pub fn new(n: usize, seed: u64, config: Config) -> Self {
        let mut world = Self {
            now: Instant::from_millis(1_000),
            hosts: Vec::new(),
            loss: 0,
            nat: false,
            twice: 0,
            latency: Duration::from_micros(100),
            jitter: Duration::from_micros(50),
            liars: false,
            fault: None,
            cuts: BTreeSet::new(),
            astray: BTreeMap::new(),
            sent: (0, 0),
            wire: BTreeMap::new(),
            order: 0,
            rng: Rng::new(seed),
            config,
            said: BTreeMap::new(),
        };
        for n in 0..n {
            let host = world.boot(id(n), addr(n));
            world.hosts.push(host);
        }
        world
    }

    /// `n` hosts that joined the first one and know each other.
    pub fn cluster(n: usize, seed: u64, config: Config) -> Self {
        let mut world = Self::new(n, seed, config);
        for n in 1..n {
            world.join(n, &[addr(0)]);
        }
        assert!(world.run_until(Duration::from_secs(10), Self::agrees).is_some(), "{}", world.dispute());
        world
    }

    fn boot(&mut self, id: NodeId, addr: SocketAddr) -> Host {
        let ip = addr.ip();
        let first: Vec<(Key, Value)> = ["proxy_addr", "admin_addr"]
            .into_iter()
            .zip([8000, 8002])
            .map(|(key, port)| (Key::from(key), Value::new(SocketAddr::new(ip, port).to_string())))
            .collect();
        let truth = first.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        let said = self.said.entry(id.clone()).or_default();
        said.extend(first.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())));
        let wall_ms = WALL_MS + self.now.as_nanos() / 1_000_000;
        let me = NodeInfo { id: id.clone(), addr, wall_ms, first };
        let node = Node::new(me, self.config.clone(), self.rng.next_u64(), self.now);
        Host { node, id, addr, up: true, alive: true, view: BTreeMap::new(), truth, log: Vec::new() }
    }

    /// Host `n` asks the nodes at these addresses.
    pub fn join(&mut self, n: usize, seeds: &[SocketAddr]) {
        let now = self.now;
        self.hosts[n].node.join(now, seeds);
        self.settle(n);
    }

    /// Publishes a key of host `n`.
    pub fn set(&mut self, n: usize, key: &[u8], value: &[u8]) {
        self.set_quietly(n, key, value);
        self.settle(n);
    }

    /// The same, without looking whether there is something to send: for many keys at once.
    pub fn set_quietly(&mut self, n: usize, key: &[u8], value: &[u8]) {
        let host = &mut self.hosts[n];
        host.node.set(&Key::new(key), &Value::new(value)).expect("small enough");
        host.truth.insert(key.to_vec(), value.to_vec());
        self.said.entry(host.id.clone()).or_default().insert((key.to_vec(), value.to_vec()));
    }

    /// Withdraws a key of host `n`.
    pub fn unset(&mut self, n: usize, key: &[u8]) {
        self.hosts[n].node.unset(&Key::new(key));
        self.hosts[n].truth.remove(key);
        self.settle(n);
    }

    /// Host `n` leaves.
    pub fn leave(&mut self, n: usize) {
        let now = self.now;
        self.hosts[n].node.leave(now);
        self.settle(n);
    }

    /// Host `n` is gone, with all that it knew.
    pub fn kill(&mut self, n: usize) {
        (self.hosts[n].up, self.hosts[n].alive) = (false, false);
    }

    /// Host `n` starts anew, with this name and address.
    ///
    /// Under the same name that takes a while, as it does everywhere: versions are told apart by the wall clock, 256
    /// to the millisecond (wire protocol 10), and a schedule may have made thousands of changes at one instant.
    pub fn restart(&mut self, n: usize, id: NodeId, addr: SocketAddr) {
        if self.hosts[n].id == id {
            self.run_for(Duration::from_millis(100));
        }
        self.hosts[n] = self.boot(id, addr);
        self.settle(n);
    }

    /// Cuts all between the two groups, or heals it.
    pub fn partition(&mut self, one: &[usize], other: &[usize], cut: bool) {
        for a in one {
            for b in other {
                for way in [(addr(*a), addr(*b)), (addr(*b), addr(*a))] {
                    if cut {
                        self.cuts.insert(way)
                    } else {
                        self.cuts.remove(&way)
                    };
                }
            }
        }
    }

    /// Puts a datagram of anybody on the wire; it comes for certain.
    pub fn inject(&mut self, from: SocketAddr, to: usize, bytes: Vec<u8>) {
        let to = self.hosts[to].addr;
        self.send(Duration::ZERO, Parcel::Datagram { from, to, bytes });
    }

    fn send(&mut self, after: Duration, parcel: Parcel) {
        self.order += 1;
        self.wire.insert((self.now + after, self.order), parcel);
    }

    fn delay(&mut self) -> Duration {
        let jitter = self.jitter.as_nanos() as u64;
        self.latency + Duration::from_nanos(self.rng.below(jitter + 1))
    }

    fn at(&self, addr: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.addr == addr && host.alive)
    }

    /// Takes out of node `n` all that it has.
    pub fn settle(&mut self, n: usize) {
        let now = self.now;
        loop {
            let mut bytes = Vec::new();
            let Some(transmit) = self.hosts[n].node.poll_transmit(now, &mut bytes) else { break };
            let (from, to) = (self.hosts[n].addr, transmit.to);
            assert!(!bytes.is_empty() && to != from, "an empty message, or one to itself");
            if self.at(to).is_none() {
                // Nothing of a stream goes where nobody answers.
                let datagram = transmit.channel == Channel::Datagram;
                let astray = self.astray.entry(to).or_default();
                *astray = (astray.0 + if datagram { bytes.len() } else { 0 }, astray.1 + 1);
            }
            match transmit.channel {
                Channel::Datagram => {
                    assert!(bytes.len() <= self.config.packet_bytes_max, "{} bytes", bytes.len());
                    self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len());
                    let copies = if self.rng.below(256) < u64::from(self.twice) { 2 } else { 1 };
                    for _ in 0..copies {
                        let lost = self.rng.below(256) < u64::from(self.loss);
                        let delay = self.delay();
                        if !lost && !self.cuts.contains(&(from, to)) {
                            self.send(delay, Parcel::Datagram { from, to, bytes: bytes.clone() });
                        }
                    }
                }
                Channel::Stream(stream, kind) => {
                    let delay = self.delay() * 3;
                    self.send(delay, Parcel::Request { from, to, stream, kind, bytes });
                }
            }
        }
        while let Some(event) = self.hosts[n].node.poll_event() {
            self.hear(n, event);
        }
    }

    /// The application of host `n` hears of an event.
    fn hear(&mut self, n: usize, event: GossipEvent) {
        let event = match (self.fault, event) {
            (Some(Fault::SwallowedUnset), GossipEvent::Unset { .. }) => return,
            (Some(Fault::InventedValue), GossipEvent::Set { node, key, internal, .. }) => {
                GossipEvent::Set { node, key, value: Value::from("invented"), internal }
            }
            (_, event) => event,
        };
        let host = &mut self.hosts[n];
        match event.clone() {
            GossipEvent::Joined(id) => {
                let view = host.view.entry(id).or_default();
                assert!(!view.active, "joined twice");
                (view.active, view.left) = (true, false);
            }
            GossipEvent::Reachable(id) => {
                let view = host.view.get_mut(&id).expect("known");
                assert!(!view.active && !view.left, "reachable, but it was");
                view.active = true;
            }
            GossipEvent::Unreachable(id) => {
                let view = host.view.get_mut(&id).expect("known");
                assert!(view.active, "unreachable, but it was not active");
                view.active = false;
            }
            GossipEvent::Left(id) => {
                let view = host.view.get_mut(&id).expect("known");
                assert!(!view.left, "left twice");
                (view.active, view.left) = (false, true);
            }
            GossipEvent::Expired(id) => {
                host.view.remove(&id).expect("known");
            }
            GossipEvent::Set { node, key, value, internal: false } => {
                let (key, value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
                let said =
                    self.said.get(&node).is_some_and(|said| said.contains(&(key.clone(), value.clone())));
                assert!(said || self.liars, "{node} never said {:?}", String::from_utf8_lossy(&key));
                host.view.get_mut(&node).expect("known").keys.insert(key, value);
            }
            GossipEvent::Unset { node, key } => {
                host.view.get_mut(&node).expect("known").keys.remove(key.as_bytes());
            }
            GossipEvent::Set { .. } => {}
            _ => host.log.push(event),
        }
    }

    /// The next thing happens, not later than `until`; false: nothing was left to happen.
    fn step(&mut self, until: Instant) -> bool {
        let parcel = self.wire.first_key_value().map(|((at, _), _)| *at);
        let timers = self.hosts.iter().enumerate().filter(|(_, host)| host.up);
        let timer = timers.filter_map(|(n, host)| Some((host.node.poll_timeout()?.at, n))).min();
        let at = match (parcel, timer) {
            (Some(parcel), Some((timer, _))) => parcel.min(timer),
            (Some(at), None) | (None, Some((at, _))) => at,
            (None, None) => Instant::FAR,
        };
        if at > until {
            self.now = until;
            return false;
        }
        self.now = self.now.max(at);
        if parcel == Some(at) {
            let (_, parcel) = self.wire.pop_first().expect("looked at");
            self.deliver(parcel);
        } else if let Some((_, n)) = timer {
            self.hosts[n].node.handle_timeout(self.now);
            self.settle(n);
        }
        true
    }

    fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::Datagram { mut from, to, bytes } => {
                if self.nat {
                    from.set_port(30_000);
                }
                if let Some(n) = self.at(to).filter(|n| self.hosts[*n].up) {
                    let _ = self.hosts[n].node.handle_packet(now, from, &bytes);
                    self.settle(n);
                }
            }
            Parcel::Request { from, to, stream, kind, bytes } => {
                let cut = self.cuts.contains(&(from, to)) || self.cuts.contains(&(to, from));
                let host = self.at(to);
                let mute = cut || host.is_some_and(|n| !self.hosts[n].up);
                let (outcome, after) = match host {
                    _ if mute => (Err(StreamError::TimedOut), Duration::from_secs(10)),
                    None => (Err(StreamError::Connect), self.delay()),
                    Some(n) => (self.serve(n, from, kind, &bytes), self.delay()),
                };
                self.send(after, Parcel::Reply { to: from, stream, outcome });
            }
            Parcel::Reply { to, stream, outcome } => {
                if let Some(n) = self.at(to).filter(|n| self.hosts[*n].up) {
                    let _ = self.hosts[n].node.handle_reply(now, stream, outcome.as_deref().map_err(|e| *e));
                    self.settle(n);
                }
            }
        }
    }

    /// One stream, read in pieces as a driver would.
    fn serve(
        &mut self,
        n: usize,
        from: SocketAddr,
        kind: StreamKind,
        bytes: &[u8],
    ) -> Result<Vec<u8>, StreamError> {
        let mut reader = StreamReader::request(16 << 20);
        for (at, piece) in bytes.chunks(4096).enumerate() {
            let last = (at + 1) * 4096 >= bytes.len();
            let progress = reader.push(piece).expect("a message of ours");
            assert_eq!(progress, if last { Progress::Complete } else { Progress::More });
        }
        let from = SocketAddr::new(from.ip(), 40_000);
        let mut reply = Vec::new();
        let served = self.hosts[n].node.handle_request(self.now, from, reader.message(), &mut reply);
        self.settle(n);
        served.map_err(|_| StreamError::BadReply)?;
        let mut reader = StreamReader::reply(kind, 64 << 20);
        assert_eq!(reader.push(&reply), Ok(Progress::Complete));
        Ok(reply)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        for _ in 0..STEPS_MAX {
            if !self.step(until) {
                return;
            }
        }
        let next: Vec<&Parcel> = self.wire.values().take(4).collect();
        panic!("a loop at {:?}: {} under way, next {next:?}", self.now, self.wire.len());
    }

    /// Lets time pass until something holds, and says how long that took.
    pub fn run_until(&mut self, max: Duration, holds: impl Fn(&Self) -> bool) -> Option<Duration> {
        let (began, until) = (self.now, self.now + max);
        while !holds(self) {
            if !self.step(until) {
                return None;
            }
        }
        Some(self.now.since(began))
    }

    /// Everybody who runs knows of everybody who runs exactly what that one published.
    pub fn agrees(&self) -> bool {
        self.disputes().is_none()
    }

    /// What they do not agree on.
    pub fn dispute(&self) -> String {
        self.disputes().unwrap_or_default()
    }

    fn disputes(&self) -> Option<String> {
        let running = || self.hosts.iter().filter(|host| host.up && host.alive);
        for host in running() {
            for other in running().filter(|other| other.id != host.id) {
                let Some(view) = host.view.get(&other.id) else {
                    return Some(format!("{} does not know {}", host.id, other.id));
                };
                if !view.active {
                    return Some(format!("{} takes {} for inactive", host.id, other.id));
                }
                if view.keys.len() != other.truth.len() || view.keys != other.truth {
                    let (has, wants) = (view.keys.len(), other.truth.len());
                    return Some(format!("{} has {has} keys of {} that has {wants}", host.id, other.id));
                }
            }
            let active = host.view.values().filter(|view| view.active).count() + 1;
            if active != running().count() {
                return Some(format!("{} takes {active} for active", host.id));
            }
        }
        None
    }

    /// Whether host `n` takes another node for active.
    pub fn is_active(&self, n: usize, id: &NodeId) -> bool {
        self.hosts[n].view.get(id).is_some_and(|view| view.active)
    }

    /// How the node of host `n` sees another one.
    pub fn status(&self, n: usize, id: &NodeId) -> Option<NodeStatus> {
        self.hosts[n].node.peer(id).map(|peer| peer.status())
    }
}
