//! What goes wrong: the peer broke HTTP ([`Fault`]), or the caller was refused ([`Refused`]).

/// The peer broke HTTP: what it did (names the RFC section) and the status it deserves.
///
/// From a [`ServerConn`](super::ServerConn) the status is one of 400, 417, 431, 501 and 505: answer with it
/// while no response was begun, then close. From a [`ClientConn`](super::ClientConn) it is 502, or 431 for a head
/// that [is too large](Fault::is_too_large): the connection is of no more use, and what was received of a body
/// is not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// The status that the other leg deserves to see.
    pub status: u16,
    /// What was wrong, with the section that says so. Fixed text: nothing of the peer's bytes is in it.
    pub what: &'static str,
}

pub(super) const MISSING_HOST: &str = "missing required Host header (RFC 9112 3.2)";
pub(super) const MALFORMED_HOST: &str = "malformed Host header (RFC 9112 3.2)";
pub(super) const NOT_A_NAME: &str = "a field name is not a token right before a colon (RFC 9112 5.1)";
/// Only for response heads, which can be repaired.
pub(super) const FOLDED: &str = "field lines of a response are folded (RFC 9112 5.2)";

/// A 101 that does not answer the request.
pub(super) const UNASKED_SWITCH: &str = "a 101 that nobody asked for (RFC 9110 15.2.2)";
pub(super) const FOREIGN_SWITCH: &str = "a 101 for a protocol that was not offered (RFC 9110 7.8)";

impl Fault {
    /// A head with too many bytes or lines, of a request or of a response.
    pub const TOO_LARGE: Self = Self::new(431, "the head is too large (RFC 6585 5)");

    pub(super) const fn new(status: u16, what: &'static str) -> Self {
        Self { status, what }
    }

    /// The reason phrase of the status (RFC 9110 15), of a request's fault.
    pub fn reason(&self) -> &'static str {
        match self.status {
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }

    /// The plain text for the body of the answer to a request, as clients of Go Piko know it.
    pub fn text(&self) -> &'static str {
        match (self.status, self.what) {
            (_, MISSING_HOST) => "400 Bad Request: missing required Host header",
            (_, MALFORMED_HOST) => "400 Bad Request: malformed Host header",
            (417, _) => "417 Expectation Failed",
            (431, _) => "431 Request Header Fields Too Large",
            (501, _) => "501 Not Implemented",
            (505, _) => "505 HTTP Version Not Supported",
            _ => "400 Bad Request",
        }
    }

    /// The response was a 101, but not to what the request asked for.
    pub fn is_bad_switch(&self) -> bool {
        self.status == 502 && matches!(self.what, UNASKED_SWITCH | FOREIGN_SWITCH)
    }

    /// The head had too many bytes or lines.
    pub fn is_too_large(&self) -> bool {
        self.status == Self::TOO_LARGE.status
    }

    /// The response was refused only because lines of its head are folded: [`unfold`](super::unfold) the same
    /// input in place and hand it in again.
    pub fn is_folded(&self) -> bool {
        self.status == 502 && self.what == FOLDED
    }
}

/// The caller was refused; nothing was written and no state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// `out` has less than this many bytes of room: try again with a larger or emptier one.
    #[error("needs {0} bytes of room")]
    NoRoom(usize),
    /// The message is not at a point where this may be sent, or the head is not one that may be sent.
    #[error("not in this state")]
    State,
}
