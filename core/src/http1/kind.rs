//! The fields that a proxy has thoughts about, told apart once per line.

use super::fields::is_name;

/// Asks a node for its load, and carries the answer: the requests to the endpoint that are under way there.
/// Asked for by nodes of this product only, so that nobody else is told; Go nodes pass the question on.
pub(crate) const LOAD_FIELD: &str = "x-piko-load";

/// Carries the proof that a request comes from a node that knows the cluster's secret. Never leaves the cluster.
pub const NODE_FIELD: &str = "x-piko-node";

/// What a field is to a proxy. Everything that framing, routing or forwarding asks for has a kind of its own, so
/// that one look at a line serves all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Connection,
    ContentLength,
    Date,
    Expect,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    Host,
    /// `keep-alive`, `proxy-connection`, `proxy-authenticate`, `proxy-authorization`: goes no further, without a
    /// second thought.
    HopByHop,
    #[default]
    Other,
    /// The older spelling of the endpoint's field.
    PicoEndpoint,
    PikoAuthorization,
    PikoEndpoint,
    PikoError,
    PikoForward,
    /// See [`LOAD_FIELD`]; made anew on each hop.
    PikoLoad,
    /// See [`NODE_FIELD`].
    PikoNode,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
}

impl Kind {
    /// Says something about framing, the connection or the authority, so that its value is looked at.
    pub(super) fn is_framing(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::ContentLength
                | Self::Expect
                | Self::Host
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// The kind of the field `name`, a token, whatever its case.
    pub(crate) fn of(name: &[u8]) -> Self {
        let Some((wanted, kind)) = known(&Ends::of(name)) else { return Self::Other };
        // Of longer names the ends are not all.
        if name.len() <= ENDS_BYTES || is_name(name, wanted) { kind } else { Self::Other }
    }
}

/// So many bytes are in both ends of a name together.
const ENDS_BYTES: usize = 16;

/// The first and the last bytes of a token in small letters, by words: every field of every head is asked for its kind.
/// A token has no control characters, so that setting the bit of small letters makes nothing else equal.
#[derive(PartialEq, Eq)]
struct Ends {
    len: usize,
    first: u64,
    last: u64,
}

impl Ends {
    const fn of(name: &[u8]) -> Self {
        const CASE: u64 = 0x2020_2020_2020_2020;
        let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
                }
                _ => match name {
                    [a, b] => (*a as u64, *b as u64),
                    _ => (0, 0),
                },
            },
        };
        Self { len: name.len(), first: first | CASE, last: last | CASE }
    }
}

macro_rules! kinds {
    ($($ends:ident = $name:expr => $kind:ident,)*) => {
        /// What is known by these ends, with its whole name. Numbers are matched, the length first.
        fn known(ends: &Ends) -> Option<(&'static str, Kind)> {
            $(const $ends: Ends = Ends::of($name.as_bytes());)*
            match *ends {
                $($ends => Some(($name, Kind::$kind)),)*
                _ => None,
            }
        }
    };
}

kinds! {
    TE = "te" => Te,
    DATE = "date" => Date,
    HOST = "host" => Host,
    EXPECT = "expect" => Expect,
    UPGRADE = "upgrade" => Upgrade,
    TRAILER = "trailer" => Trailer,
    CONNECTION = "connection" => Connection,
    KEEP_ALIVE = "keep-alive" => HopByHop,
    LOAD = LOAD_FIELD => PikoLoad,
    NODE = NODE_FIELD => PikoNode,
    X_PIKO_ERROR = "x-piko-error" => PikoError,
    CONTENT_LENGTH = "content-length" => ContentLength,
    X_PIKO_FORWARD = "x-piko-forward" => PikoForward,
    X_PIKO_ENDPOINT = "x-piko-endpoint" => PikoEndpoint,
    X_PICO_ENDPOINT = "x-pico-endpoint" => PicoEndpoint,
    X_FORWARDED_FOR = "x-forwarded-for" => ForwardedFor,
    PROXY_CONNECTION = "proxy-connection" => HopByHop,
    X_FORWARDED_HOST = "x-forwarded-host" => ForwardedHost,
    TRANSFER_ENCODING = "transfer-encoding" => TransferEncoding,
    X_FORWARDED_PROTO = "x-forwarded-proto" => ForwardedProto,
    PROXY_AUTHENTICATE = "proxy-authenticate" => HopByHop,
    PROXY_AUTHORIZATION = "proxy-authorization" => HopByHop,
    X_PIKO_AUTHORIZATION = "x-piko-authorization" => PikoAuthorization,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Every character of tokens (RFC 9110 5.6.2).
    fn tchars() -> impl Iterator<Item = u8> + Clone {
        (0..=u8::MAX).filter(|&b| super::super::chars::is_tchar(b))
    }

    #[test]
    fn names_are_compared_without_their_case_and_in_every_character() {
        for wanted in [
            "te",
            "host",
            "expect",
            "upgrade",
            "connection",
            LOAD_FIELD,
            "x-piko-error",
            "x-forwarded-for",
            "proxy-connection",
            "transfer-encoding",
            "x-piko-authorization",
        ] {
            let kind = Kind::of(wanted.as_bytes());
            assert_ne!(kind, Kind::Other, "{wanted}");
            assert_eq!(Kind::of(wanted.to_ascii_uppercase().as_bytes()), kind, "{wanted}");
            for at in 0..wanted.len() {
                for b in tchars() {
                    let mut name: Vec<u8> = wanted.into();
                    name[at] = b;
                    let same = name.eq_ignore_ascii_case(wanted.as_bytes());
                    // `x-piko-endpoint` and its older spelling differ in one letter, and are not among these.
                    assert_eq!(Kind::of(&name) == kind, same, "{}", name.escape_ascii());
                }
            }
        }
    }
}
