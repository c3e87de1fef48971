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
    /// The kind of the field `name`, whatever its case. Lengths differ mostly: most fields cost one jump and one
    /// comparison.
    pub(crate) fn of(name: &[u8]) -> Self {
        let (wanted, kind) = match name.len() {
            2 => ("te", Self::Te),
            4 if is_name(name, "date") => return Self::Date,
            4 => ("host", Self::Host),
            6 => ("expect", Self::Expect),
            7 if is_name(name, "upgrade") => return Self::Upgrade,
            7 => ("trailer", Self::Trailer),
            10 if is_name(name, "connection") => return Self::Connection,
            10 => ("keep-alive", Self::HopByHop),
            11 if is_name(name, LOAD_FIELD) => return Self::PikoLoad,
            11 => (NODE_FIELD, Self::PikoNode),
            12 => ("x-piko-error", Self::PikoError),
            14 if is_name(name, "content-length") => return Self::ContentLength,
            14 => ("x-piko-forward", Self::PikoForward),
            15 if is_name(name, "x-piko-endpoint") => return Self::PikoEndpoint,
            15 if is_name(name, "x-pico-endpoint") => return Self::PicoEndpoint,
            15 => ("x-forwarded-for", Self::ForwardedFor),
            16 if is_name(name, "proxy-connection") => return Self::HopByHop,
            16 => ("x-forwarded-host", Self::ForwardedHost),
            17 if is_name(name, "transfer-encoding") => return Self::TransferEncoding,
            17 => ("x-forwarded-proto", Self::ForwardedProto),
            18 => ("proxy-authenticate", Self::HopByHop),
            19 => ("proxy-authorization", Self::HopByHop),
            20 => ("x-piko-authorization", Self::PikoAuthorization),
            _ => return Self::Other,
        };
        if is_name(name, wanted) { kind } else { Self::Other }
    }
}
