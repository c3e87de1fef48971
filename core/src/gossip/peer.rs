//! What one node remembers of another.

use super::config::Config;
use super::detector::Detector;
use super::node::NAME_BYTES_MAX;
use super::state::Keys;
use super::types::{Key, NodeStatus};
use crate::id::NodeId;
use crate::time::Instant;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// The first wait for the answer to a burst, and the first between probes of a node that is not proven.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// Such waits double up to this.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(2);

/// Own nodes and Go's are heard several times a second in small clusters; in large ones a stream more does no harm.
const UNHEARD_AFTER: Duration = Duration::from_secs(1);
/// What was said of a second process of an id is old after this.
const RIVAL_FRESH: Duration = Duration::from_secs(30);

/// Addresses of a name that are tried.
pub(super) const FOUND_MAX: usize = 16;

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its gossip address as it came, to be told on unchanged.
    pub(super) addr: Arc<[u8]>,
    /// Where that is; a name has none until it is resolved.
    pub(super) target: Option<SocketAddr>,
    /// What its name stands for, and which of them `target` is: one may be dead while another lives.
    pub(super) found: (Vec<SocketAddr>, usize),
    /// Another address that somebody speaks of in its name: it counts once a stream to it is answered.
    pub(super) moving: Option<(Arc<[u8]>, SocketAddr)>,
    /// Yet another one, which was not believed, and when: a second process of its id may be there.
    pub(super) rival: Option<(Arc<[u8]>, Instant)>,
    pub(super) keys: Keys,
    pub(super) left: bool,
    pub(super) unreachable: bool,
    pub(super) expiry: Option<Instant>,
    /// It spoke from `target`, or answered on a stream there.
    pub(super) proven: bool,
    /// It answered on a stream, but its datagrams come from elsewhere: then every source may be it.
    pub(super) any_source: bool,
    /// Somebody proven told of it, so that it may be asked.
    pub(super) vouched: bool,
    /// It publishes our capabilities.
    pub(super) ours: bool,
    pub(super) detector: Detector,
    pub(super) told: Told,
    /// Keys whose change was not told yet.
    pub(super) news: BTreeSet<Key>,
    pub(super) in_news: bool,
    pub(super) in_ready: bool,
    /// Its name is to be resolved.
    pub(super) resolve: bool,
    pub(super) answer: Option<Answer>,
    /// A digest is owed that asks for one.
    pub(super) ask: bool,
    pub(super) push: Push,
    pub(super) sync: Sync,
    /// When it is asked next while it is not proven, and the wait after that.
    pub(super) probe_at: Instant,
    pub(super) probe_wait: Duration,
    /// Since when it has said itself that its version is below what is known, and how often.
    pub(super) lower: Option<(Instant, u32)>,
    /// Until then only its own word about it counts.
    pub(super) own_word_until: Option<Instant>,
}

/// The digest of a peer that waits for its answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) digest: Vec<(NodeId, u64)>,
    /// The delta was sent.
    pub(super) delta_sent: bool,
    /// A digest is wanted too.
    pub(super) request: bool,
}

/// How far a peer has followed the own keys.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// The version that it confirmed.
    pub(super) known: u64,
    /// When it last confirmed something.
    pub(super) progress_at: Instant,
    /// The version up to which the current burst has been written.
    pub(super) sent: u64,
    /// Packets of the current burst.
    pub(super) packets: u32,
    /// The burst is complete; its confirmation is waited for until then.
    pub(super) until: Option<Instant>,
    /// Bursts without a confirmation.
    pub(super) lost: u32,
}

/// Streams towards a peer.
#[derive(Debug, Default)]
pub(super) struct Sync {
    pub(super) busy: bool,
    pub(super) wanted: bool,
    pub(super) not_before: Instant,
}

/// What the application was last told of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Active,
    Left,
    Nothing,
    Unreachable,
}

impl Peer {
    pub(super) fn new(addr: &[u8], config: &Config, now: Instant) -> Self {
        let target = parse(addr);
        Self {
            addr: Arc::from(addr),
            target,
            found: (Vec::new(), 0),
            moving: None,
            rival: None,
            keys: Keys::default(),
            left: false,
            unreachable: false,
            expiry: None,
            proven: false,
            any_source: false,
            vouched: false,
            ours: false,
            detector: Detector::new(config.interval, config.sign_floor),
            told: Told::Nothing,
            news: BTreeSet::new(),
            in_news: false,
            in_ready: false,
            resolve: target.is_none(),
            answer: None,
            ask: false,
            push: Push::default(),
            sync: Sync::default(),
            probe_at: now,
            probe_wait: RETRY,
            lower: None,
            own_word_until: None,
        }
    }

    pub(super) fn status(&self) -> NodeStatus {
        if self.left {
            NodeStatus::Left
        } else if !self.proven {
            NodeStatus::Unproven
        } else if self.unreachable {
            NodeStatus::Unreachable
        } else {
            NodeStatus::Active
        }
    }

    /// Takes part in rounds.
    pub(super) fn is_live(&self) -> bool {
        self.status() == NodeStatus::Active
    }

    /// May be told of to third parties: it was heard, or it left, which all are to hear (wire protocol 7.13).
    pub(super) fn is_told_of(&self) -> bool {
        self.is_live() || (self.left && self.proven)
    }

    /// Moves on to the next address of its name. False when that is the first one again, or there is only one.
    pub(super) fn try_next(&mut self) -> bool {
        let (addrs, at) = &mut self.found;
        if addrs.len() < 2 {
            return false;
        }
        *at = (*at + 1) % addrs.len();
        self.target = addrs.get(*at).copied();
        self.any_source = false;
        *at != 0
    }

    /// Nothing came from `target` for so long that its datagrams may have taken to another way.
    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        self.detector.silence(now) > UNHEARD_AFTER
    }

    /// Somebody who is where it says, or is proven, speaks of this node at an address.
    pub(super) fn note_rival(&mut self, addr: &[u8], now: Instant) {
        if *addr != *self.addr && parse(addr).is_some() && addr.len() <= NAME_BYTES_MAX {
            self.rival = Some((addr.into(), now));
        }
    }

    /// The address of a second process of its id, as far as somebody spoke of one lately.
    pub(super) fn rival(&self, now: Instant) -> Option<&[u8]> {
        let (addr, at) = self.rival.as_ref()?;
        (now.since(*at) < RIVAL_FRESH && **addr != *self.addr).then_some(&**addr)
    }

    /// The next burst starts from what is confirmed.
    pub(super) fn rewind(&mut self) {
        let Push { known, progress_at, lost, .. } = self.push;
        self.push = Push { known, progress_at, lost, ..Push::default() };
    }
}

/// An address as peers write it: a literal, or nothing.
pub(super) fn parse(addr: &[u8]) -> Option<SocketAddr> {
    let addr: SocketAddr = core::str::from_utf8(addr).ok()?.parse().ok()?;
    let usable = addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
    usable.then(|| canonical(addr))
}

/// IPv4 in IPv6 form is IPv4: a socket for both reports sources like that.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}
