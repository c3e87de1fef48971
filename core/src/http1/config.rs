//! Limits of both connection machines.

use core::time::Duration;

/// Limits of one connection. The machines own no buffers: what is bounded here is what a peer can make the
/// *caller* keep, at most `head_bytes_max` per direction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Longest head or trailer section, in bytes, start line and blank line included. 1 MiB, as in Go.
    pub head_bytes_max: usize,
    /// Most field lines of a head or of a trailer section. 1000: beyond what any client sends, and it bounds
    /// the table that parsing makes (32 bytes per line).
    pub fields_max: usize,
    /// From the construction, or from the first byte of a later request, to the end of the head. `None`: no
    /// limit. 10 s, as in Go. Only the side that reads requests looks at it.
    pub head_timeout: Option<Duration>,
    /// Between the end of a response and the first byte of the next request. `None`: no limit. 5 min, as in
    /// Go. Only the side that reads requests looks at it.
    pub idle_timeout: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_bytes_max: 1 << 20,
            fields_max: 1000,
            head_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(300)),
        }
    }
}
