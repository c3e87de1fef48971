//! What goes in and out of a [`Node`](super::Node) besides bytes.

use super::codec::StreamKind;
use super::msgpack::Flaw;
use crate::id::NodeId;
use crate::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::net::SocketAddr;

/// The internal key by which our nodes know each other. Go stores internal keys that it does not know silently
/// (wire protocol 7.5). Its value is a version and a list of `name=value`, as in the tunnel's capabilities; what
/// a reader does not know it ignores.
pub const CAPS_KEY: &str = "_internal:caps";
/// The value that this release publishes.
pub const CAPS_VALUE: &str = "1";

/// Defines a cheap clone of opaque bytes.
macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<[u8]>);

        impl $name {
            /// Takes any bytes as they are.
            pub fn new(bytes: impl AsRef<[u8]>) -> Self {
                Self(Arc::from(bytes.as_ref()))
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{}\"", self.0.escape_ascii())
            }
        }
    };
}

bytes_type! {
    /// The name of a published value, such as `endpoint:web` (wire protocol 7.8).
    Key
}
bytes_type! {
    /// A published value.
    Value
}

/// The local node, as it begins.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name; no other process may use it at the same time.
    pub id: NodeId,
    /// The address under which others reach its gossip port.
    pub addr: SocketAddr,
    /// Milliseconds since 1970. Versions begin here, so that a restart with the same id overrides what peers
    /// remember (wire protocol 10).
    pub wall_ms: u64,
    /// The keys that come before all others, in this order: `proxy_addr` and `admin_addr` (wire protocol 7.8).
    pub first: Vec<(Key, Value)>,
}

/// One message for the wire; its bytes were appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// Where it goes.
    pub to: SocketAddr,
    /// How it goes.
    pub channel: Channel,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// As one datagram.
    Datagram,
    /// As the only message of a stream of its own, whose answer is wanted.
    Stream(Exchanged, StreamKind),
}

/// Names one stream that a node asked for. Given once, so a late answer cannot hit a new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchanged(pub(super) u64);

/// What became of a stream without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The answer was none, or it ended too early.
    #[error("bad answer")]
    BadReply,
    /// Nobody could be reached at the address.
    #[error("connect failed")]
    Connect,
    /// The peer hung up and said nothing.
    #[error("closed without an answer, as nodes of another cluster secret do")]
    NoReply,
    /// Both have a secret of their cluster, and it is not the same. Like the next two, known to the driver alone.
    #[error("the peer does not share this node's cluster secret")]
    SecretDiffers,
    /// This node has a secret of its cluster.
    #[error("the peer speaks without a cluster secret, and this node has one")]
    SecretHere,
    /// The peer has a secret of its cluster.
    #[error("the peer has a cluster secret, and this node speaks without one")]
    SecretThere,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
}

/// Why a seed was not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFault {
    /// Another process of the same id answers there: it takes what this node says for its own words.
    #[error("a node with the id of this one answers there")]
    SameId,
    /// There was no answer.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Whether a stream message is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// It is.
    Complete,
    /// More bytes are needed.
    More,
}

/// Why a message was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Bytes that are no message.
    #[error("malformed gossip message")]
    Malformed,
    /// A stream message beyond the limit.
    #[error("gossip message too long")]
    TooLong,
    /// Another type or version of the protocol.
    #[error("unknown type or version of a gossip message")]
    Unknown,
}

impl From<Flaw> for PacketError {
    fn from(_: Flaw) -> Self {
        Self::Malformed
    }
}

/// Why a key was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The node leaves; what it says no longer matters.
    #[error("the node leaves the cluster")]
    Leaving,
    /// It would not fit into a datagram, and everything behind it would wait for ever (weakness G3).
    #[error("key and value do not fit into a datagram")]
    Oversized,
    /// The protocol itself uses this key, or it is empty.
    #[error("the key belongs to the protocol")]
    Reserved,
}

/// What a node learnt. Several changes of one thing between two polls are one event, which tells the state at the
/// time of the poll.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum GossipEvent {
    /// A node is forgotten; comes only after `Joined`.
    Expired(NodeId),
    /// A node was heard for the first time, or again after it had left. Its keys follow.
    Joined(NodeId),
    /// All addresses of all calls of `join` were tried.
    JoinEnded {
        /// Addresses at which a node answered.
        joined: usize,
        /// Addresses at which none did.
        failed: usize,
    },
    /// A seed was not joined; comes before `JoinEnded`.
    JoinFailed {
        /// The address.
        seed: SocketAddr,
        /// What was wrong there.
        why: JoinFault,
    },
    /// All that were to be told of the leave were told or could not be; comes once after `leave`.
    LeaveEnded {
        /// Nodes that acknowledged it.
        told: usize,
    },
    /// A node said that it leaves.
    Left(NodeId),
    /// An unreachable node was heard again.
    Reachable(NodeId),
    /// Messages were refused. The first of a kind is told at once, then at most one event per 10 s.
    Refused {
        /// Why.
        why: Refusal,
        /// How many since the last event of this kind.
        count: u64,
    },
    /// A node advertises a name in place of an address: resolve it and call `handle_resolved` with all of its
    /// addresses. Comes again when
    /// the node is unreachable, as its address may have changed.
    Resolve {
        /// Which node.
        node: NodeId,
        /// Its `host:port`, as it came: anything.
        addr: Arc<[u8]>,
    },
    /// A node published a key.
    Set {
        /// Which node.
        node: NodeId,
        /// The key.
        key: Key,
        /// The value.
        value: Value,
        /// Whether the key is marked as internal; applications' keys are not.
        internal: bool,
    },
    /// Another process has the id of this node, as a stream to or from it has shown. The first is told at once,
    /// then at most one event per minute while it goes on.
    Twin {
        /// The id of both.
        node: NodeId,
        /// The gossip address of this process.
        own: SocketAddr,
        /// That of the other one.
        other: SocketAddr,
    },
    /// A node was silent for too long.
    Unreachable(NodeId),
    /// A node withdrew a key.
    Unset {
        /// Which node.
        node: NodeId,
        /// The key.
        key: Key,
    },
}

/// What a node refuses, for counters and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// A limit on nodes or on the bytes of their keys is reached.
    Full,
    /// Another process uses an id of the cluster at another address, or says that it is this node.
    Impostor,
    /// Bytes that are no message.
    Malformed,
    /// News from a node that is not proven.
    Stranger,
    /// A stream message beyond the limit.
    TooLong,
    /// Another type or version of the protocol.
    Unknown,
}

impl Refusal {
    /// All kinds, in the order of [`Counters::refused`].
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Impostor, Self::Malformed, Self::Stranger, Self::TooLong, Self::Unknown];
}

/// Totals since the start, for metrics (wire protocol 8). Bytes are those of messages, without UDP, TCP or seals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes of received datagrams.
    pub packet_bytes_in: u64,
    /// Bytes of sent datagrams.
    pub packet_bytes_out: u64,
    /// Received datagrams.
    pub packets_in: u64,
    /// Sent datagrams.
    pub packets_out: u64,
    /// Streams that others opened and that brought a complete message.
    pub streams_in: u64,
    /// Streams that were asked for.
    pub streams_out: u64,
    /// Bytes of received stream messages.
    pub stream_bytes_in: u64,
    /// Bytes of sent stream messages.
    pub stream_bytes_out: u64,
    /// Entries of received digests.
    pub digest_entries_in: u64,
    /// Entries of sent digests.
    pub digest_entries_out: u64,
    /// Entries of received deltas.
    pub delta_entries_in: u64,
    /// Entries of sent deltas.
    pub delta_entries_out: u64,
    /// Refusals, in the order of [`Refusal::ALL`].
    pub refused: [u64; 6],
    /// Times that another process was found to have the id of this node.
    pub twins: u64,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    /// Heard lately.
    Active,
    /// It said that it leaves.
    Left,
    /// Never heard at its address so far.
    Unproven,
    /// Silent for too long.
    Unreachable,
}

/// One node as the status API shows it (wire protocol 8).
#[derive(Clone, Copy, Debug)]
pub struct PeerView<'n> {
    pub(super) id: &'n NodeId,
    pub(super) addr: &'n [u8],
    pub(super) status: NodeStatus,
    pub(super) left: bool,
    pub(super) unreachable: bool,
    pub(super) ours: bool,
    pub(super) expiry: Option<Instant>,
    pub(super) keys: &'n super::state::Keys,
}

/// One key as the status API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyView<'n> {
    /// The key.
    pub key: &'n [u8],
    /// The value; empty when deleted.
    pub value: &'n [u8],
    /// Its version.
    pub version: u64,
    /// Whether it belongs to the protocol.
    pub internal: bool,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

impl<'n> PeerView<'n> {
    /// Its name.
    pub fn id(&self) -> &'n NodeId {
        self.id
    }

    /// Its gossip address as it advertises it.
    pub fn addr(&self) -> &'n [u8] {
        self.addr
    }

    /// How it stands. The local node is active until it leaves.
    pub fn status(&self) -> NodeStatus {
        self.status
    }

    /// Whether it said that it leaves.
    pub fn left(&self) -> bool {
        self.left
    }

    /// Whether it was silent for too long; also of a node that left.
    pub fn unreachable(&self) -> bool {
        self.unreachable
    }

    /// Whether it publishes [`CAPS_KEY`].
    pub fn ours(&self) -> bool {
        self.ours
    }

    /// When it will be forgotten.
    pub fn expiry(&self) -> Option<Instant> {
        self.expiry
    }

    /// The version of its newest key; 0 when it has none.
    pub fn version(&self) -> u64 {
        self.keys.version()
    }

    /// Its keys by version, tombstones and internal ones among them.
    pub fn entries(&self) -> impl Iterator<Item = KeyView<'n>> + use<'n> {
        self.keys.after(0)
    }
}
