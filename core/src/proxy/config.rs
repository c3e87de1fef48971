//! What an exchange is told once.

use alloc::sync::Arc;
use core::time::Duration;

/// Whose exchange this is: which field rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A server node's admin port: requests go to the admin port of another node as they came, with the client's
    /// address added and a mark that forbids a second hop (wire protocol 8).
    Admin,
    /// The agent's hop to the service: nothing is added, the base path is joined.
    Agent,
    /// A server node: chooses the endpoint, adds the forwarding fields.
    Server,
}

impl Place {
    /// The hop's name in answers and in `x-piko-error`.
    pub const fn hop_name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Admin | Self::Server => "server",
        }
    }
}

/// Limits of one exchange. Cheap to clone: the server's holds no heap memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whose exchange this is.
    pub place: Place,
    /// Until the final response head (`proxy.timeout`; agent: dial and response head), counted from the
    /// request head or from the last new byte of the request that was sent on, so that an upload that
    /// makes progress is not cut; not while the upstream has taken all that came, and more is to come from the client.
    /// `None`: no limit.
    pub response_timeout: Option<Duration>,
    /// No progress while a write is blocked or an announced request body is missing (not on an agent, whose server
    /// looks after that). `None`: no limit.
    pub stall_timeout: Option<Duration>,
    /// Go's `proxy.http.read_timeout`: the longest pause in an announced request body, in place of the stall. `None` is
    /// off.
    pub read_timeout: Option<Duration>,
    /// Go's `proxy.http.write_timeout`: the longest pause in a response, behind its head, in place of the client's
    /// stall. `None` is off.
    pub write_timeout: Option<Duration>,
    /// Bytes of a request, head and body, that are kept for a retry at most.
    pub replay_bytes_max: u64,
    /// Tries behind the first one. An agent uses one at most, for a pooled connection that was closed.
    pub retries_max: u32,
    /// Agent: the path of the service's base URL (`/base/`), joined with exactly one slash.
    pub base_path: Option<Arc<[u8]>>,
    /// Agent: the query of the service's base URL without `?`, put before the request's own.
    pub base_query: Option<Arc<[u8]>>,
}

impl Config {
    /// The defaults: 30 s to the response head on a server, 15 s on its admin port and 10 s on an agent (Go's),
    /// stalls of 60 s as in other proxies, no read or write timeout, two retries with 64 KiB kept (none on the
    /// admin port: there is one node of that name).
    pub fn new(place: Place) -> Self {
        let response_secs = match place {
            Place::Admin => 15,
            Place::Agent => 10,
            Place::Server => 30,
        };
        Self {
            place,
            response_timeout: Some(Duration::from_secs(response_secs)),
            stall_timeout: Some(Duration::from_secs(60)),
            read_timeout: None,
            write_timeout: None,
            replay_bytes_max: 64 * 1024,
            retries_max: if place == Place::Admin { 0 } else { 2 },
            base_path: None,
            base_query: None,
        }
    }
}
