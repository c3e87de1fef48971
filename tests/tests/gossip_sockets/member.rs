//! The product's gossip loop on sockets of its own, one thread for each node.

use piko_core::gossip::{Config, GossipEvent, Key, Node, NodeInfo, NodeStatus, PeerView, Value};
use piko_core::id::NodeId;
use piko_core::time::Instant as Now;
use piko_driver::{Addr, Gossip, ListenOptions, Listener, Runtime, Seal, Shutdown};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// How long an event may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
    pub(crate) gossip: Gossip,
    events: Arc<Mutex<Vec<GossipEvent>>>,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// Looks every few milliseconds until `done` is content.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // The nodes share the processors with whoever looks.
        thread::sleep(Duration::from_millis(1));
    }
}

/// So many nodes, all of which know each other.
pub(crate) fn members(n: usize, secret: Option<&[u8]>, config: &Config) -> Vec<Member> {
    let all: Vec<Member> =
        (0..n).map(|n| Member::start(&format!("node-{n}"), secret, config.clone())).collect();
    for member in &all[1..] {
        member.join(all[0].addr);
    }
    for member in &all {
        until("all know each other", || member.alive() == n - 1);
    }
    all
}

impl Member {
    pub(crate) fn start(id: &str, secret: Option<&[u8]>, mut config: Config) -> Self {
        let (stop, events) = (Shutdown::new(), Arc::default());
        let (said, heard) = mpsc::channel();
        let id = NodeId::new(id);
        let seal = secret.map(Seal::new);
        if seal.is_some() {
            config.packet_bytes_max -= Seal::OVERHEAD_BYTES;
        }
        let (name, stopped, told) = (id.clone(), stop.clone(), Arc::clone(&events));
        let thread = thread::spawn(move || {
            piko_runtime_tokio::block_on(|rt| async move {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                // One number for both transports: the kernel gives what is free for the one, and the other may have it.
                let (listener, udp) = loop {
                    let listener = rt.listen(&Addr::Ip(any), ListenOptions::default()).await.expect("a port");
                    let at = listener.local_addr().expect("bound");
                    if let Ok(udp) = rt.bind_udp(at).await {
                        break (listener, udp);
                    }
                };
                let addr = listener.local_addr().expect("bound");
                let stream_bytes_max = config.stream_bytes_max;
                let node = node(&name, addr, config, rt.now());
                let gossip = Gossip::new(&rt, node, seal, stream_bytes_max);
                said.send((addr, gossip.clone())).expect("somebody waits");
                let tell = move |event| {
                    let told: &Mutex<Vec<GossipEvent>> = &told;
                    told.lock().expect("no thread panicked").push(event);
                };
                gossip.run(rt, udp, listener, stopped, tell).await;
            });
        });
        let (addr, gossip) = heard.recv_timeout(PATIENCE).expect("it starts");
        Self { id, addr, gossip, events, stop, thread: Some(thread) }
    }

    pub(crate) fn join(&self, seed: SocketAddr) {
        let joined = futures_lite::future::block_on(self.gossip.join(&[seed]));
        assert_eq!(joined.joined, 1, "{joined:?}");
    }

    pub(crate) fn set(&self, key: &str) {
        self.gossip.set(&Key::from(key), &Value::from("1")).expect("small");
    }

    /// Ends without a word.
    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) fn status(&self, of: &NodeId) -> Option<NodeStatus> {
        self.gossip.look(|node| node.peer(of).map(|peer| peer.status()))
    }

    pub(crate) fn takes_for_alive(&self, other: &NodeId) -> bool {
        self.status(other) == Some(NodeStatus::Active)
    }

    /// How many others are there.
    pub(crate) fn alive(&self) -> usize {
        let is_there = |peer: &PeerView<'_>| *peer.id() != self.id && peer.status() == NodeStatus::Active;
        self.gossip.look(|node| node.peers().filter(is_there).count())
    }

    pub(crate) fn knows(&self, of: &NodeId, key: &str) -> bool {
        self.gossip.look(|node| {
            let Some(peer) = node.peer(of) else { return false };
            peer.entries().any(|entry| !entry.deleted && entry.key == key.as_bytes())
        })
    }

    /// Where the events go on.
    pub(crate) fn mark(&self) -> usize {
        self.events.lock().expect("no thread panicked").len()
    }

    /// Whether this was told since then.
    pub(crate) fn heard(&self, mark: usize, event: &GossipEvent) -> bool {
        self.events.lock().expect("no thread panicked")[mark..].contains(event)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn node(id: &NodeId, addr: SocketAddr, config: Config, now: Now) -> Node {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let text = |port: u16| Value::from(SocketAddr::from((addr.ip(), port)).to_string().as_str());
    let first = vec![(Key::from("proxy_addr"), text(8000)), (Key::from("admin_addr"), text(8002))];
    let info = NodeInfo { id: id.clone(), addr, wall_ms: wall.as_millis() as u64, first };
    Node::new(info, config, addr.port().into(), now)
}
