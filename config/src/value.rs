//! The types that a flag's text can have, each with one parser that both fronts, the environment and
//! files share.

mod bind;
mod duration;
mod list;
#[cfg(feature = "server")]
mod net;
mod number;
mod secret;
mod service;
pub(crate) mod url;

pub use bind::{BindAddr, BindHost, ListenAddr};
pub use duration::{BadDuration, GoDuration};
pub use list::parse_list;
#[cfg(feature = "server")]
pub use net::IpNet;
#[cfg(feature = "server")]
pub use number::parse_float;
#[cfg(feature = "yaml")]
pub(crate) use number::parse_whole;
pub use number::{parse_bool, parse_int, parse_size};
pub use secret::Secret;
pub use service::{Protocol, ServiceAddr, Target, UNIX_PATH_BYTES_MAX};
pub use url::{BadUrl, ConnectUrl, ProxyUrl};

/// What kind of text a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address to listen on; empty text is "none" and left to validation. See [`BindAddr`].
    Bind,
    /// A switch: `--flag`, `--flag=true`, `--flag=false`.
    Bool,
    /// As [`Kind::Int`], where Go has an unsigned number: what is too large for a signed one counts as the largest.
    #[cfg(feature = "server")]
    Count,
    /// A length of time in Go's notation, zero or more. See [`GoDuration`].
    Duration,
    /// A decimal number.
    #[cfg(feature = "server")]
    Float,
    /// A signed 64-bit number in Go's notation.
    Int,
    /// Comma separated, CSV quoting, repeatable.
    List,
    /// A length of time that is without limit when it is negative, as `net/http` of Go has some.
    SignedDuration,
    /// A number of bytes, optionally with a unit.
    Size,
    /// Any text.
    Text,
}

/// A parsed value, one variant per [`Kind`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// See [`Kind::Bind`].
    Bind(Option<BindAddr>),
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Duration`] and [`Kind::SignedDuration`].
    Duration(GoDuration),
    /// See [`Kind::Float`].
    #[cfg(feature = "server")]
    Float(f64),
    /// See [`Kind::Int`] and `Kind::Count`.
    Int(i64),
    /// See [`Kind::List`].
    List(Vec<String>),
    /// See [`Kind::Size`].
    Size(i64),
    /// See [`Kind::Text`].
    Text(String),
}

impl Value {
    /// Whether it is the value of somebody who wants nothing: empty, off or zero.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Self::Bind(addr) => addr.is_none(),
            Self::Bool(on) => !on,
            Self::Duration(duration) => duration.as_nanos() == 0,
            #[cfg(feature = "server")]
            Self::Float(number) => *number == 0.0,
            Self::Int(number) | Self::Size(number) => *number == 0,
            Self::List(entries) => entries.is_empty(),
            Self::Text(text) => text.is_empty(),
        }
    }

    /// Whether it keeps nobody out where it should: as [`Self::is_nothing`], and white space alone.
    pub(crate) fn protects_nothing(&self) -> bool {
        match self {
            Self::List(entries) => entries.iter().all(|entry| entry.trim().is_empty()),
            Self::Text(text) => text.trim().is_empty(),
            other => other.is_nothing(),
        }
    }
}

impl Kind {
    /// Parses one text. `None` means that it is none of this kind; [`Kind::expected`] words the complaint.
    pub fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::Bind if text.is_empty() => Some(Value::Bind(None)),
            Self::Bind => BindAddr::parse(text).map(|addr| Value::Bind(Some(addr))),
            Self::Bool => parse_bool(text).map(Value::Bool),
            Self::Duration | Self::SignedDuration => {
                let duration: GoDuration = text.parse().ok()?;
                let fits = self == Self::SignedDuration || duration.as_nanos() >= 0;
                fits.then_some(Value::Duration(duration))
            }
            #[cfg(feature = "server")]
            Self::Count => number::parse_count(text).map(Value::Int),
            #[cfg(feature = "server")]
            Self::Float => parse_float(text).map(Value::Float),
            Self::Int => parse_int(text).map(Value::Int),
            Self::List => parse_list(text).map(Value::List),
            Self::Size => parse_size(text).map(Value::Size),
            Self::Text => Some(Value::Text(text.to_owned())),
        }
    }

    /// What to say of a text that is none of this kind: it follows the quoted text.
    pub fn expected(self, text: &str) -> &'static str {
        match self {
            // The smallest build, which has no TLS, has no room for it.
            #[cfg(feature = "tls")]
            _ if text.starts_with("--") => "looks like a flag: a value is missing",
            Self::Duration if text.starts_with('-') => "is negative, which no such duration can be",
            Self::Bind => "is no address to listen on (examples: :8000, 127.0.0.1:8000, [::1]:8000)",
            Self::Bool => "is neither true nor false",
            Self::Duration | Self::SignedDuration => "is no duration (examples: 300ms, 10s, 1m30s)",
            #[cfg(feature = "server")]
            Self::Count => Self::Int.expected(text),
            #[cfg(feature = "server")]
            Self::Float => "is no number (examples: 0.5, 2)",
            Self::Int => "is no whole number of 64 bits",
            Self::List => {
                "is no comma separated list (quote an entry like \"this, one\", a quote in it like \"\")"
            }
            Self::Size => "is no size (examples: 65536, 64KiB, 1MiB)",
            Self::Text => "is no UTF-8 text",
        }
    }

    /// The word for the value in `--help`, Go's where Go has one; `None` for switches, which need no value.
    pub fn value_name(self) -> Option<&'static str> {
        match self {
            Self::Bind => Some("addr"),
            Self::Bool => None,
            Self::Duration | Self::SignedDuration => Some("duration"),
            #[cfg(feature = "server")]
            Self::Count => Some("int"),
            #[cfg(feature = "server")]
            Self::Float => Some("float"),
            Self::Int => Some("int"),
            Self::List => Some("strings"),
            Self::Size => Some("bytes"),
            Self::Text => Some("string"),
        }
    }
}
