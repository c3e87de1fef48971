//! Why a proxy gives no connection.

use core::fmt;

/// The proxy said no, or something that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It closed the connection in the middle of the conversation.
    Ended,
    /// It does not take this user name and password (RFC 1929 2).
    Login,
    /// It wants to be logged in to in another way: with a user name, where there is none (RFC 1928 3).
    Method,
    /// It does not speak the protocol; says what is wrong.
    NotAProxy(&'static str),
    /// The reply of a SOCKS5 proxy that cannot or will not connect (RFC 1928 6).
    Reply(u8),
    /// The status of an HTTP proxy that cannot or will not connect.
    Status(u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("connection closed before the answer"),
            Self::Login => f.write_str("user name or password refused"),
            Self::Method => f.write_str("a user name and password are required"),
            Self::NotAProxy(why) => f.write_str(why),
            Self::Reply(code) => write!(f, "refused: {} ({code})", meaning(*code)),
            Self::Status(407) => f.write_str("407: proxy authentication required"),
            Self::Status(status) => write!(f, "refused with status {status}"),
        }
    }
}

impl core::error::Error for Fault {}

/// The words of RFC 1928 6.
fn meaning(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reply",
    }
}

/// What cannot be said to a proxy, before anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// The host is empty, has bytes that no host has, or is too long.
    Host,
    /// The user name is empty, too long, or has a colon or a control character where that cannot be.
    User,
    /// The password is too long, or has a control character where that cannot be.
    Password,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "a host that no proxy can be asked for",
            Self::User => "a user name that this kind of proxy cannot be told",
            Self::Password => "a password that this kind of proxy cannot be told",
        })
    }
}

impl core::error::Error for Unfit {}
