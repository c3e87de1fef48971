//! Limits of both connection machines.

use core::time::Duration;

/// Limits of one connection. The machines own no buffers: what is bounded here is what a peer can make the
/// *caller* keep, at most `head_bytes_max` per direction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Longest head or trailer section, in bytes, start line and blank line included. 1 MiB, as in Go.
    pub head_bytes_max: usize,
    /// Most field lines of a head or of a trailer section: one for every 32 bytes of it. Lines that say something are
    /// longer on average, so that the bytes decide; and the table that parsing may make (32 bytes per line) is no larger
    /// than the head.
    pub fields_max: usize,
    /// From the construction, or from the first byte of a later request, to the end of the head. `None`: no
    /// limit. 10 s, as in Go. Only the side that reads requests looks at it.
    pub head_timeout: Option<Duration>,
    /// Between the end of a response and the first byte of the next request. `None`: no limit. 5 min, as in
    /// Go. Only the side that reads requests looks at it.
    pub idle_timeout: Option<Duration>,
}

impl Config {
    /// Allows heads of so many bytes, and the lines that belong to them.
    pub fn set_head_bytes_max(&mut self, bytes: usize) {
        self.head_bytes_max = bytes;
        self.fields_max = bytes / LINE_BYTES;
    }
}

/// Of a line, on average, in the longest heads.
const LINE_BYTES: usize = 32;
const HEAD_BYTES_MAX: usize = 1 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_MAX,
            fields_max: HEAD_BYTES_MAX / LINE_BYTES,
            head_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(300)),
        }
    }
}
