//! Answers made here: status, JSON or text body, and the field that names hop and cause.

use super::config::Place;
use crate::http1::Fault;
use alloc::vec::Vec;

/// The words behind `cause=` in `x-piko-error` and in the JSON member `cause`.
///
/// They are for people and dashboards: short, stable, in kebab-case. Words of other crates may join them
/// through [`Failure::Connect`](super::Failure::Connect).
pub mod cause {
    /// The endpoint id is longer than 1,024 bytes, contains a slash or is badly percent-encoded (400, 404).
    pub const BAD_ENDPOINT_ID: &str = "bad-endpoint-id";
    /// A 101 without a request for it or to another protocol, or an `Upgrade` that is not printable (502).
    pub const BAD_UPGRADE: &str = "bad-upgrade";
    /// A pooled connection was closed before any byte of the response (502).
    pub const CONNECTION_CLOSED: &str = "connection-closed";
    /// The connection to the service or node failed for another reason (502).
    pub const CONNECT_FAILED: &str = "connect-failed";
    /// The service or node refused the connection (502).
    pub const CONNECT_REFUSED: &str = "connect-refused";
    /// The service or node did not take the connection in time (502).
    pub const CONNECT_TIMEOUT: &str = "connect-timeout";
    /// The response was cut in its head (502).
    pub const CUT_RESPONSE: &str = "cut-response";
    /// The node is about to end and takes no more agents (503).
    pub const DRAINING: &str = "draining";
    /// The client's request head is too large (431), or the head of the upstream's response (502).
    pub const HEAD_TOO_LARGE: &str = "head-too-large";
    /// The client's request breaks HTTP (400, 501).
    pub const MALFORMED_REQUEST: &str = "malformed-request";
    /// The upstream's response breaks HTTP (502), other than by its [size](HEAD_TOO_LARGE).
    pub const MALFORMED_RESPONSE: &str = "malformed-response";
    /// Neither a field nor the host names an endpoint (400).
    pub const MISSING_ENDPOINT_ID: &str = "missing-endpoint-id";
    /// Whoever asks to be taken for a node of the cluster does not show its secret (403).
    pub const NOT_A_MEMBER: &str = "not-a-member";
    /// Nobody listens on the endpoint (502).
    pub const NO_UPSTREAM: &str = "no-upstream";
    /// An announced request body did not come (504).
    pub const REQUEST_STALLED: &str = "request-stalled";
    /// The service's name has no address (502).
    pub const RESOLVE_FAILED: &str = "resolve-failed";
    /// No response head in time (504).
    pub const RESPONSE_TIMEOUT: &str = "response-timeout";
    /// The stream was reset, or the connection broke, before the response (502).
    pub const STREAM_RESET: &str = "stream-reset";
    /// The service and its agent, or two nodes, do not agree on TLS: a certificate, a version, an authority (502).
    pub const TLS_FAILED: &str = "tls-failed";
    /// Other nodes have as many links to this one as it takes (503).
    pub const TOO_MANY_LINKS: &str = "too-many-links";
    /// `Expect` asks for something other than `100-continue` (417).
    pub const UNSUPPORTED_EXPECTATION: &str = "unsupported-expectation";
    /// The request's HTTP version is neither 1.0 nor 1.1 nor a later 1.x (505).
    pub const UNSUPPORTED_VERSION: &str = "unsupported-version";
    /// The upstream takes no more requests (502).
    pub const UPSTREAM_GOING_AWAY: &str = "upstream-going-away";
    /// The upstream did not take the request's bytes (504).
    pub const UPSTREAM_STALLED: &str = "upstream-stalled";
}

/// An answer made here: status, JSON body and the `x-piko-error` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'static str,
    /// Field block, framing excluded: lines `name: value CRLF`.
    pub fields: Vec<u8>,
    /// The whole body; its length is the content length.
    pub body: Vec<u8>,
    /// Close the client's connection behind it.
    pub close: bool,
}

/// The two ways in which Go Piko writes its JSON (behaviour of the proxy port, errors): some clients compare
/// bodies and content types to the byte.
#[derive(Clone, Copy)]
enum Form {
    /// With a charset, without a newline: what is wrong with the request.
    Request,
    /// Without a charset, with a newline and `nosniff`: what is wrong with the upstream.
    Upstream,
}

impl Answer {
    /// The request itself is at fault: JSON with a charset and without a newline (400, 401, 404).
    pub fn request_error(place: Place, status: u16, error: &str, cause: &str) -> Self {
        Self::json(place, Form::Request, status, error, cause)
    }

    /// 502: nobody listens on the endpoint.
    pub fn no_upstream(place: Place) -> Self {
        Self::json(place, Form::Upstream, 502, "no available upstreams", cause::NO_UPSTREAM)
    }

    /// 502: the upstream cannot be reached, or what it says is no response.
    pub fn unreachable(place: Place, cause: &str) -> Self {
        Self::json(place, Form::Upstream, 502, "upstream unreachable", cause)
    }

    /// 504: no response in time.
    pub fn timeout(place: Place, cause: &str) -> Self {
        Self::json(place, Form::Upstream, 504, "upstream timeout", cause)
    }

    /// The client broke HTTP: the status as plain text, then a close, since nobody knows where the next
    /// request begins.
    pub fn for_fault(place: Place, fault: &Fault) -> Self {
        let cause = match fault.status {
            417 => cause::UNSUPPORTED_EXPECTATION,
            431 => cause::HEAD_TOO_LARGE,
            505 => cause::UNSUPPORTED_VERSION,
            _ => cause::MALFORMED_REQUEST,
        };
        let mut fields = Vec::with_capacity(128);
        fields.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
        push_error_field(&mut fields, place, cause);
        Self {
            status: fault.status,
            reason: fault.reason(),
            fields,
            body: fault.text().as_bytes().to_vec(),
            close: true,
        }
    }

    /// 301 to `location`, which the caller took from a valid request target.
    pub(super) fn moved(location: &[u8]) -> Self {
        let mut fields = Vec::with_capacity(location.len() + 12);
        for part in [b"Location: ".as_slice(), location, b"\r\n"] {
            fields.extend_from_slice(part);
        }
        Self { status: 301, reason: reason(301), fields, body: Vec::new(), close: false }
    }

    /// The same answer, with the client's connection closed behind it.
    pub(super) fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    fn json(place: Place, form: Form, status: u16, error: &str, cause: &str) -> Self {
        let (content_type, end): (&[u8], &[u8]) = match form {
            Form::Request => (b"Content-Type: application/json; charset=utf-8\r\n", b"}"),
            Form::Upstream => {
                (b"Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n", b"}\n")
            }
        };
        let mut fields = Vec::with_capacity(160);
        fields.extend_from_slice(content_type);
        push_error_field(&mut fields, place, cause);
        let mut body = Vec::with_capacity(128);
        // All three values are fixed texts of this product without quotes, backslashes or controls.
        for (name, value) in [("{\"error\":", error), (",\"hop\":", place.hop_name()), (",\"cause\":", cause)]
        {
            body.extend_from_slice(name.as_bytes());
            body.push(b'"');
            body.extend_from_slice(value.as_bytes());
            body.push(b'"');
        }
        body.extend_from_slice(end);
        Self { status, reason: reason(status), fields, body, close: false }
    }
}

fn push_error_field(fields: &mut Vec<u8>, place: Place, cause: &str) {
    for part in ["x-piko-error: hop=", place.hop_name(), "; cause=", cause, "\r\n"] {
        fields.extend_from_slice(part.as_bytes());
    }
}

/// The reason phrases of the statuses that are made here (RFC 9110 15).
fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
