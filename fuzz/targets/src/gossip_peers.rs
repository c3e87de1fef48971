//! A gossip node with a proven peer, for hostile messages to talk to.

use piko_core::gossip::wire::{DigestEntry, Header, PacketWriter};
use piko_core::gossip::{
    Channel, Config, Exchanged, GossipEvent, Key, Node, NodeInfo, NodeStatus, StreamKind, Value,
};
use piko_core::id::NodeId;
use piko_core::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where the peer is that the hostile messages may come from.
pub(crate) const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 8003);
/// Somewhere else.
pub(crate) const STRANGER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), 9);

/// Limits small enough to be met.
const NODES_MAX: usize = 16;
const STATE_BYTES_MAX: usize = 64 << 10;

/// The node under test and what its application would know.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    /// Streams that were asked for and not answered.
    pub(crate) streams: Vec<(Exchanged, StreamKind)>,
    active: BTreeMap<NodeId, bool>,
}

impl Rig {
    /// A node with a few keys, and a peer at [`PEER`] that it takes for active.
    pub(crate) fn new() -> Self {
        let now = Instant::from_millis(5);
        let addr = SocketAddr::from(([10, 0, 0, 1], 8003));
        let first = vec![(Key::from("proxy_addr"), Value::from("10.0.0.1:8000"))];
        let me = NodeInfo { id: NodeId::new("node-1"), addr, wall_ms: 1, first };
        let mut config = Config::default();
        config.nodes_max = NODES_MAX;
        config.state_bytes_max = STATE_BYTES_MAX;
        let mut node = Node::new(me, config, 1, now);
        node.set(&Key::from("endpoint:e"), &Value::from("1")).expect("small");
        let mut rig = Self { node, now, streams: Vec::new(), active: BTreeMap::new() };
        let mut join = Vec::new();
        let header = Header { node_id: b"node-2", addr: b"10.0.0.2:8003" };
        piko_core::gossip::wire::put_request(&mut join, StreamKind::Join, &header);
        piko_core::gossip::wire::put_list(&mut join, 0);
        piko_core::gossip::wire::put_list(&mut join, 0);
        rig.node.handle_request(now, PEER, &join, &mut Vec::new()).expect("a join");
        let mut digest = Vec::new();
        let mut writer = PacketWriter::digest(&mut digest, 1400, &header, false).expect("room");
        writer.digest_entry(&DigestEntry { id: b"node-2", addr: b"10.0.0.2:8003", version: 0, left: false });
        rig.node.handle_packet(now, PEER, &digest).expect("a digest");
        rig.settle();
        assert_eq!(rig.node.peer(&NodeId::new("node-2")).expect("known").status(), NodeStatus::Active);
        rig
    }

    /// Takes out all that there is; checks limits and the order of events. Gives bytes per address.
    ///
    /// # Panics
    /// When something of it is wrong.
    pub(crate) fn settle(&mut self) -> BTreeMap<SocketAddr, usize> {
        let mut sent = BTreeMap::new();
        for n in 0.. {
            assert!(n < 1_000, "endless output");
            let mut out = Vec::new();
            let Some(transmit) = self.node.poll_transmit(self.now, &mut out) else { break };
            assert!(!out.is_empty());
            match transmit.channel {
                Channel::Datagram => {
                    assert!(out.len() <= 1400, "{} bytes", out.len());
                    *sent.entry(transmit.to).or_default() += out.len();
                }
                Channel::Stream(id, kind) => self.streams.push((id, kind)),
            }
        }
        for n in 0.. {
            assert!(n < 100_000, "endless events");
            let Some(event) = self.node.poll_event() else { break };
            self.hear(event);
        }
        let views = self.node.peers();
        let (mut known, mut bytes) = (0, 0);
        for view in views.filter(|view| view.id().as_str() != "node-1") {
            known += 1;
            let mut version = 0;
            for entry in view.entries() {
                assert!(entry.version > version, "versions grow");
                version = entry.version;
                bytes += entry.key.len() + entry.value.len();
            }
            assert!(version <= view.version());
        }
        assert!(known <= NODES_MAX && bytes <= STATE_BYTES_MAX, "{known} nodes, {bytes} bytes");
        let deadline = self.node.poll_timeout().expect("rounds never end");
        assert!(deadline.at < Instant::FAR);
        sent
    }

    fn hear(&mut self, event: GossipEvent) {
        match event {
            GossipEvent::Joined(id) => assert_ne!(self.active.insert(id, true), Some(true), "joined twice"),
            GossipEvent::Reachable(id) => assert_eq!(self.active.insert(id, true), Some(false)),
            GossipEvent::Unreachable(id) => assert_eq!(self.active.insert(id, false), Some(true)),
            GossipEvent::Left(id) => {
                assert!(self.active.insert(id, false).is_some(), "left without having been");
            }
            GossipEvent::Expired(id) => {
                assert!(self.active.remove(&id).is_some(), "expired without having been");
            }
            GossipEvent::Set { node, .. } | GossipEvent::Unset { node, .. } => {
                assert!(self.active.contains_key(&node), "keys of a node that nobody told of");
            }
            _ => {}
        }
    }
}
