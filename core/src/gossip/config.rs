//! Intervals, sizes and limits.

use core::time::Duration;

/// No span of a configuration is longer: a day.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// What UDP over IPv4 can carry, in bytes.
const PACKET_BYTES_MAX: usize = 65_507;

/// Limits and paces of one node.
///
/// With the defaults a node holds at most 32 MiB of other nodes' keys, 1,024 nodes and as many gravestones of
/// about 1 KiB each, and per known node one digest of a datagram's size that waits for its answer. A stream
/// message takes up to `stream_bytes_max` while it is read, and some 13 MiB more while it is applied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Time between two rounds. Default 100 ms (wire protocol 7.12). This and all other spans are limited to a day.
    pub interval: Duration,
    /// The most bytes of a datagram. Default 1,400, which no node of a cluster may exceed (7.7). A driver that
    /// seals its datagrams gives what is left.
    pub packet_bytes_max: usize,
    /// How long a node that left or is unreachable is remembered. Default 60 s (7.9).
    pub expiry: Duration,
    /// The silence that makes a node unreachable, in multiples of its mean interval. Default 20 (7.10).
    pub suspicion_max: u32,
    /// Intervals between signs of life count as at least this much, so that bursts cannot make a node nervous
    /// (weakness G14). Default 100 ms.
    pub sign_floor: Duration,
    /// Other nodes that are remembered. Default 1,024.
    pub nodes_max: usize,
    /// Bytes of all other nodes' keys together, each key with its overhead. Default 32 MiB.
    pub state_bytes_max: usize,
    /// The longest stream message, in bytes, in both directions. Default 16 MiB.
    pub stream_bytes_max: usize,
    /// Streams of our own under way at once, joins apart. Default 8.
    pub streams_max: usize,
    /// Entries that a peer of ours lacks before a stream is used for them. Default 512.
    pub stream_from: usize,
    /// The same for a peer of Go's make. Default 64, three datagrams.
    pub stream_from_go: usize,
    /// Peers that are told of a leave over a stream. Default 4, as in Go.
    pub leave_told: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            packet_bytes_max: 1400,
            expiry: Duration::from_secs(60),
            suspicion_max: 20,
            sign_floor: Duration::from_millis(100),
            nodes_max: 1024,
            state_bytes_max: 32 << 20,
            stream_bytes_max: 16 << 20,
            streams_max: 8,
            stream_from: 512,
            stream_from_go: 64,
            leave_told: 4,
        }
    }
}

impl Config {
    /// Brings every value into the range that the machine relies on.
    pub(super) fn clamped(mut self) -> Self {
        // Nothing here may overflow when it is doubled or multiplied by the window of the detector.
        self.interval = self.interval.clamp(Duration::from_millis(1), SPAN_MAX);
        self.expiry = self.expiry.clamp(self.interval, SPAN_MAX);
        self.sign_floor = self.sign_floor.min(SPAN_MAX);
        self.packet_bytes_max = self.packet_bytes_max.min(PACKET_BYTES_MAX);
        self.suspicion_max = self.suspicion_max.max(1);
        self.nodes_max = self.nodes_max.max(1);
        self.streams_max = self.streams_max.max(1);
        self
    }
}
