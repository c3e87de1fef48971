//! What is left of an exchange: facts for the access log, metrics and traces.

use crate::id::EndpointId;
use crate::time::Instant;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

/// Plain facts about a finished exchange, for the access log, metrics and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The endpoint that was asked for; `None` on an agent and when none was named.
    pub endpoint: Option<EndpointId>,
    /// The status the client was given; zero when it was given none.
    pub status: u16,
    /// The request's method as received; empty when no request came.
    pub method: Method,
    /// The size of the request's head: its start line and fields as received, without the empty line.
    pub request_head_bytes: u64,
    /// Payload of the request that was sent on, without framing, in bytes; retries are not counted twice. Behind a 101
    /// every byte counts.
    pub request_bytes: u64,
    /// Payload that was sent to the client, without framing, in bytes: of the response or of an answer made here.
    /// Behind a 101 every byte counts.
    pub response_bytes: u64,
    /// When the exchange was made.
    pub started: Instant,
    /// When the final response head, or the 101, came.
    pub head_at: Option<Instant>,
    /// When it was finished.
    pub ended: Instant,
    /// How many tries followed the first.
    pub retries: u32,
    /// How it ended.
    pub how: Ended,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Cut: the client saw no response, or not all of it.
    Aborted,
    /// With an answer made here.
    Answered,
    /// The client went away first.
    ClientGone,
    /// With the upstream's whole response.
    Complete,
    /// As an opaque pipe, behind a 101.
    Switched,
    /// A deadline passed; the client saw a 504 or a cut.
    TimedOut,
}

/// Longer methods than this go to the heap; every registered one is shorter.
const METHOD_INLINE_BYTES: usize = 22;

/// A method, nearly always kept without a heap allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Method(Kept);

#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Inline { len: u8, bytes: [u8; METHOD_INLINE_BYTES] },
    Long(Vec<u8>),
}

/// The bytes of it.
impl Deref for Method {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Kept::Long(method) => method,
        }
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}

impl Method {
    pub(super) const EMPTY: Self = Self(Kept::Inline { len: 0, bytes: [0; METHOD_INLINE_BYTES] });

    pub(super) fn new(method: &[u8]) -> Self {
        let mut bytes = [0; METHOD_INLINE_BYTES];
        match (bytes.get_mut(..method.len()), u8::try_from(method.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(method);
                Self(Kept::Inline { len, bytes })
            }
            _ => Self(Kept::Long(method.to_vec())),
        }
    }
}
