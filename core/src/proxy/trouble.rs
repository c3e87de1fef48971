//! What a response says about whoever sent it: nodes and agents tell when they could not serve.

use super::answer::cause;
use super::step::Failure;
use crate::http1::{BodyLength, LOAD_FIELD, ResponseHead, Version};
use crate::route::Fault;

/// Who sent a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Another node.
    Node,
    /// An agent, through its tunnel.
    Tunnel,
}

/// What is wrong with an upstream, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is held against it.
    pub fault: Fault,
    /// What that means for the request: [`Failure::Refused`] when it was not acted on, [`Failure::Broken`] when
    /// nobody knows. `None` when there is no time for another try.
    pub failure: Option<Failure>,
}

/// Causes of an agent that did not reach its service: the request was not acted on.
const SERVICE_DOWN: [&str; 5] = [
    cause::CONNECT_REFUSED,
    cause::CONNECT_FAILED,
    cause::CONNECT_TIMEOUT,
    cause::RESOLVE_FAILED,
    cause::TLS_FAILED,
];
/// Causes that leave open how far the request came.
const BROKEN: [&str; 4] =
    [cause::CONNECTION_CLOSED, cause::CUT_RESPONSE, cause::MALFORMED_RESPONSE, cause::STREAM_RESET];
/// Causes behind which the client has waited long enough.
const LATE: [&str; 2] = [cause::RESPONSE_TIMEOUT, cause::UPSTREAM_STALLED];

/// The body of a Go node that has no upstream (behaviour of the proxy port, errors). Go nodes say nothing
/// else about themselves; a service that answers with the very same bytes means the same.
const GO_NO_UPSTREAM: &[u8] = b"{\"error\":\"no available upstreams\"}\n";

/// What the sender of this response says is wrong with itself; `None` for everything that a service may have
/// said. `behind` is what has arrived behind the head.
///
/// Who speaks in `x-piko-error: hop=…; cause=…` is told by the hop: of a node, what it says of itself and what
/// its agent says; of a tunnel, what the agent says.
pub fn trouble(head: &ResponseHead<'_>, from: Sender, behind: &[u8]) -> Option<Trouble> {
    if is_without_tls(head, from) {
        return Some(refused(cause::TLS_FAILED));
    }
    if !matches!(head.status, 502..=504) {
        return None;
    }
    let Some(error) = head.fields.first("x-piko-error") else {
        let is_go = from == Sender::Node
            && head.status == 502
            && head.body == BodyLength::Known(GO_NO_UPSTREAM.len() as u64)
            && behind.starts_with(GO_NO_UPSTREAM);
        return is_go.then_some(refused(cause::NO_UPSTREAM));
    };
    let (hop, named) = parse(error)?;
    if hop == b"server" && (from == Sender::Tunnel || named == cause::NO_UPSTREAM.as_bytes()) {
        return (from == Sender::Node).then_some(refused(cause::NO_UPSTREAM));
    }
    if hop == b"server" && named == cause::UPSTREAM_GOING_AWAY.as_bytes() {
        // Its agent takes no more streams, so that none was opened for this request; and it has no other agent.
        return Some(refused(cause::UPSTREAM_GOING_AWAY));
    }
    let is = |known: &&&str| known.as_bytes() == named;
    if let Some(cause) = SERVICE_DOWN.iter().find(is) {
        return Some(refused(cause));
    }
    let slow = |failure| Trouble { fault: Fault::Slow, failure };
    match (BROKEN.iter().any(|cause| is(&cause)), LATE.iter().any(|cause| is(&cause))) {
        (true, _) => Some(slow(Some(Failure::Broken))),
        (_, true) => Some(slow(None)),
        _ => None,
    }
}

/// What a port with TLS says to a request without it: ours and Go's answer in HTTP/1.0 and without any field, which is no
/// way in which a node passes on the answer of a service. Whoever said it has looked at nothing.
pub fn is_without_tls(head: &ResponseHead<'_>, from: Sender) -> bool {
    from == Sender::Node && head.status == 400 && head.version == Version::Http10 && head.fields.is_empty()
}

fn refused(cause: &'static str) -> Trouble {
    Trouble { fault: Fault::Down, failure: Some(Failure::Refused(cause)) }
}

/// Hop and cause.
fn parse(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut items = value.split(|&b| b == b';').map(<[u8]>::trim_ascii);
    let hop = items.next()?.strip_prefix(b"hop=")?;
    Some((hop, items.next()?.strip_prefix(b"cause=")?))
}

/// How busy the node says it is (`x-piko-load`).
pub fn load_of(head: &ResponseHead<'_>) -> Option<usize> {
    core::str::from_utf8(head.fields.first(LOAD_FIELD)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Fields;

    fn judge(status: u16, fields: &[u8], body: &[u8], from: Sender) -> Option<Trouble> {
        let body_length = BodyLength::Known(body.len() as u64);
        let fields = Fields::from_block(fields);
        let head = ResponseHead { status, reason: b"", version: Version::Http11, fields, body: body_length };
        trouble(&head, from, body)
    }

    #[test]
    fn a_node_that_wants_tls_has_not_looked_at_the_request() {
        let judge = |version, fields: &[u8], from| {
            let fields = Fields::from_block(fields);
            let head =
                ResponseHead { status: 400, reason: b"", version, fields, body: BodyLength::UntilClose };
            trouble(&head, from, b"")
        };
        let told = Some(Trouble { fault: Fault::Down, failure: Some(Failure::Refused(cause::TLS_FAILED)) });
        assert_eq!(judge(Version::Http10, b"", Sender::Node), told);
        // A service may say whatever it likes; through a node it says so in HTTP/1.1.
        assert_eq!(judge(Version::Http10, b"", Sender::Tunnel), None);
        assert_eq!(judge(Version::Http11, b"", Sender::Node), None);
        assert_eq!(judge(Version::Http10, b"Server: x\r\n", Sender::Node), None);
    }

    #[test]
    fn a_node_without_an_upstream_refuses_and_a_tunnel_cannot_say_so() {
        let fields = b"x-piko-error: hop=server; cause=no-upstream\r\n";
        assert_eq!(judge(502, fields, b"", Sender::Node), Some(refused("no-upstream")));
        assert_eq!(judge(502, fields, b"", Sender::Tunnel), None);
        assert_eq!(judge(200, fields, b"", Sender::Node), None);
    }

    #[test]
    fn a_go_node_without_an_upstream_is_known_by_its_body() {
        assert_eq!(judge(502, b"", GO_NO_UPSTREAM, Sender::Node), Some(refused("no-upstream")));
        assert_eq!(judge(502, b"", GO_NO_UPSTREAM, Sender::Tunnel), None);
        assert_eq!(judge(502, b"", b"{\"error\":\"upstream unreachable\"}\n", Sender::Node), None);
        assert_eq!(judge(503, b"", GO_NO_UPSTREAM, Sender::Node), None);
    }

    #[test]
    fn a_node_whose_agent_leaves_has_not_acted() {
        let fields = b"x-piko-error: hop=server; cause=upstream-going-away\r\n";
        assert_eq!(judge(502, fields, b"", Sender::Node), Some(refused("upstream-going-away")));
        let fields = b"x-piko-error: hop=agent; cause=upstream-going-away\r\n";
        assert_eq!(judge(502, fields, b"", Sender::Node), None, "agents open no streams");
    }

    #[test]
    fn an_agent_says_whether_its_service_was_reached() {
        for from in [Sender::Node, Sender::Tunnel] {
            for cause in SERVICE_DOWN {
                let fields = alloc::format!("X-Piko-Error: hop=agent; cause={cause}\r\n");
                assert_eq!(judge(502, fields.as_bytes(), b"", from), Some(refused(cause)));
            }
            let fields = b"x-piko-error: hop=agent; cause=response-timeout\r\n";
            let slow = Trouble { fault: Fault::Slow, failure: None };
            assert_eq!(judge(504, fields, b"", from), Some(slow));
            let broken = Trouble { fault: Fault::Slow, failure: Some(Failure::Broken) };
            for cause in BROKEN {
                let fields = alloc::format!("x-piko-error: hop=agent; cause={cause}\r\n");
                assert_eq!(judge(502, fields.as_bytes(), b"", from), Some(broken));
            }
            for other in ["hop=agent", "cause=connect-refused", "hop=agent; cause=of-a-later-release", ""] {
                let fields = alloc::format!("x-piko-error: {other}\r\n");
                assert_eq!(judge(502, fields.as_bytes(), b"", from), None, "{other}");
            }
        }
    }

    #[test]
    fn a_load_is_a_number() {
        let of = |fields: &[u8]| {
            let fields = Fields::from_block(fields);
            let head = ResponseHead {
                status: 200,
                reason: b"",
                version: Version::Http11,
                fields,
                body: BodyLength::None,
            };
            load_of(&head)
        };
        assert_eq!(of(b"X-Piko-Load: 17\r\n"), Some(17));
        for bad in [&b"x-piko-load: ?\r\n"[..], b"x-piko-load: -1\r\n", b"x-piko-load: \xff\r\n", b""] {
            assert_eq!(of(bad), None);
        }
    }
}
