//! Gossip: who is in the cluster, and which keys each node publishes (wire protocol, section 7).
//!
//! Every [`Node`] owns a map of versioned keys and is the only one who writes it; everybody else copies. Nodes
//! tell each other what they know (*digests*: a version per node) and what the other lacks (*deltas*: keys, by
//! growing version), in datagrams; what is much is exchanged over a stream, in the form of a join.
//!
//! # Driving a node
//!
//! ```text
//!   datagram came      handle_packet(now, from, bytes)
//!   stream came        StreamReader::request … complete:  handle_request(now, from, message, &mut reply), write the reply
//!   timer              handle_timeout(now)                          at poll_timeout()
//!   own keys           set · unset · join · leave
//!   after each of them, and after binding the socket:
//!     while let Some(transmit) = poll_transmit(now, &mut out)       Channel::Datagram: send `out` to `transmit.to`
//!                                                                   Channel::Stream(id, kind): connect to `transmit.to`, write
//!                                                                   `out`, StreamReader::reply(kind) … handle_reply(now, id, …)
//!     while let Some(event) = poll_event()
//!     arm the timer for poll_timeout()
//! ```
//!
//! Every stream that [`Node::poll_transmit`] asks for is answered by exactly one [`Node::handle_reply`], with the
//! message or with what went wrong; give it 10 s in all (5 s suffice for a leave). Incoming streams get 10 s too,
//! carry one message each, and the driver limits how many there are at once. A datagram that cannot be sent is
//! lost like any other. Sources that are IPv4 addresses in IPv6 form are understood; destinations are what
//! peers advertise, so a socket of the other family has to map them. Names are never resolved here:
//! [`Node::join`] takes addresses, as often as the driver has new ones, and a peer that advertises a name causes
//! [`GossipEvent::Resolve`].
//!
//! # Two paces
//!
//! A peer that publishes [`CAPS_KEY`] is one of ours: it gets a local change at once. One burst of a few packets
//! is under way to it at a time and ends with the request for a digest, whose answer confirms it; what changes
//! meanwhile travels in the next burst, so a flood of changes becomes few full packets. Since a receiver keeps one
//! version per node, an entry that arrives behind a lost one would hide the loss for ever: sections between our
//! nodes name the version that they follow on (a field `since` that Go would skip), and what does not follow is
//! dropped. Peers of Go's make get
//! deltas only in answer to their digests, since bursts would mislead their failure detector (7.13). Whoever is
//! far behind is brought up to date over a stream.
//!
//! # Whom to believe
//!
//! Nothing is authenticated here; sealing is the driver's work. Still, a node counts for something only when it
//! is *proven*: a datagram came from the very address that it advertises, or it answered on a stream to that
//! address. Only proven nodes are announced as events, told of to others, and believed about others. A stranger
//! gets at most as many bytes as came from it, and only at the address that they came from.
//!
//! # Silence
//!
//! A node is taken for dead after a silence of twenty of its mean intervals, as in Go. In a large cluster these are
//! seconds each, so that the peers of ours that were silent longest are asked out of turn: one that answers none of
//! fifteen questions in three seconds is dead, however many nodes there are.
//!
//! # Two of one name
//!
//! A node that hears of its own id at another address asks there over a stream: an old address of its own is silent,
//! a second process answers, and both say so as [`GossipEvent::Twin`]. Others keep the one that they know while it
//! is alive, and tell either of the other's address.
//!
//! # Leaving, dying, coming back
//!
//! A node that left or is unreachable for `expiry` is forgotten, and a gravestone remembers its last version for
//! longer than anybody mentions it: it rises only with a higher version or by speaking itself. Nodes that are
//! unreachable from here are not told of to others. Versions begin at the wall clock (milliseconds × 256), and
//! the first keys are followed by a compaction mark, so a restart with the same id replaces what the cluster
//! remembers. A node that finds itself quoted with a version beyond its own moves above it.

mod apply;
mod codec;
mod config;
mod detector;
mod msgpack;
mod node;
mod peer;
mod receive;
mod rounds;
mod send;
mod state;
mod streams;
mod twin;
mod types;

pub use codec::{StreamKind, StreamReader};
pub use config::Config;
pub use node::Node;
pub use types::{
    CAPS_KEY, CAPS_VALUE, Channel, Counters, Exchanged, GossipEvent, JoinFault, Key, KeyView, NodeInfo,
    NodeStatus, PacketError, PeerView, Progress, Refusal, SetError, StreamError, Transmit, Value,
};

/// The wire format alone, for tests, tools and fuzzers.
pub mod wire {
    pub use super::codec::{
        DigestEntry, ELEMENTS_MAX, Entry, Header, Packet, PacketWriter, Reply, Request, Section, StreamKind,
        decode_delta, decode_digest, put_empty, put_list, put_request, put_section, since_len,
    };
}
