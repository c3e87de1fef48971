//! Why a session ended, and why a call was refused.

/// The code of a go-away frame (wire protocol 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAway {
    /// Code 0: no new streams; what is open lives on.
    Normal,
    /// Code 1.
    ProtocolError,
    /// Code 2.
    InternalError,
    /// Any other code; ends the session like 1 and 2.
    Other(u32),
}

impl GoAway {
    pub(super) const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Normal,
            1 => Self::ProtocolError,
            2 => Self::InternalError,
            other => Self::Other(other),
        }
    }

    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::ProtocolError => 1,
            Self::InternalError => 2,
            Self::Other(code) => code,
        }
    }
}

/// Why the session is over. Every stream that had not reached its clean end ended with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// The transport ended in order.
    #[error("peer closed the connection")]
    Eof,
    /// The transport broke.
    #[error("transport failed")]
    Transport,
    /// The peer sent a go-away with a code other than 0.
    #[error("peer went away with code {0:?}")]
    GoAway(GoAway),
    /// Neither a byte came nor could one be written after a ping.
    #[error("peer did not answer the keep-alive in time")]
    KeepAlive,
    /// The peer broke the protocol or flooded the session; a go-away with code 1 is owed to it.
    #[error("peer broke the protocol")]
    Violation,
}

/// A write was refused; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No credit, or the turn's room is used up: try again after [`super::Event::Writable`].
    #[error("blocked")]
    Blocked,
    /// The stream was finished by this side.
    #[error("finished")]
    Finished,
    /// The stream was reset by either side, or the session is over.
    #[error("reset")]
    Reset,
    /// No such stream: released, never accepted, or never there.
    #[error("unknown stream")]
    Unknown,
}

/// There is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing came yet: try again after [`super::Event::Readable`].
    #[error("blocked")]
    Blocked,
    /// The stream was reset by either side, stopped, or the session is over: what came is not the whole.
    #[error("reset")]
    Reset,
    /// No such stream: released, never accepted, or never there.
    #[error("unknown stream")]
    Unknown,
}

/// No stream was opened; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too many unacknowledged streams, or the outbox is full: try again after [`super::Event::Slot`].
    #[error("blocked")]
    Blocked,
    /// The session is over or about to be.
    #[error("closed")]
    Closed,
    /// All ids of this side are used up.
    #[error("exhausted")]
    Exhausted,
    /// The peer takes no new streams.
    #[error("going away")]
    GoingAway,
}

/// What the peer did wrong; for the log, since all of it ends the session in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    DuplicateFin,
    DuplicateSyn,
    Flood,
    Header(super::frame::Malformed),
    PingFlood,
    RefusalFlood,
    WindowOverrun,
}
