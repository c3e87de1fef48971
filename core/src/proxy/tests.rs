//! What the tests of this module share: heads from text, and exchanges in a given state.

use super::*;
use crate::http1::{BodyLength, Fields, RequestHead, ResponseHead, Version};
use crate::time::Instant;
use alloc::string::{String, ToString};
use bytes::BytesMut;
use core::net::IpAddr;

mod answers;
mod deadlines;
mod endpoint;
mod matrix;
mod requests;
mod responses;
mod retry;
mod upgrades;
mod wire;

pub(super) const T0: Instant = Instant::from_millis(10_000);

pub(super) const PEER: Peer =
    Peer { ip: Some(IpAddr::V4(core::net::Ipv4Addr::new(203, 0, 113, 7))), tls: false };

/// A request for the endpoint `ep`.
pub(super) const PLAIN: &str = "GET /x HTTP/1.1\r\nHost: ep.example.com\r\n";

/// A head as the parser would give it: `METHOD target HTTP/1.x CRLF fields`.
pub(super) fn request(text: &str) -> RequestHead<'_> {
    let (line, block) = text.split_once("\r\n").unwrap();
    let mut parts = line.splitn(3, ' ');
    let (method, target, version) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let fields = Fields::from_block(block.as_bytes());
    RequestHead {
        method: method.as_bytes(),
        target: target.as_bytes(),
        version: if version == "HTTP/1.0" { Version::Http10 } else { Version::Http11 },
        fields,
        body: body(&fields).unwrap_or(BodyLength::None),
        expects_continue: fields.has_token("expect", "100-continue"),
        upgrade: fields.has_token("connection", "upgrade") && fields.first("upgrade").is_some(),
    }
}

/// A response head: `status reason CRLF fields`.
pub(super) fn response(text: &str) -> ResponseHead<'_> {
    let (line, block) = text.split_once("\r\n").unwrap();
    let (status, reason) = line.split_once(' ').unwrap_or((line, ""));
    let fields = Fields::from_block(block.as_bytes());
    let status = status.parse().unwrap();
    let none = status < 200 || status == 204 || status == 304;
    ResponseHead {
        status,
        reason: reason.as_bytes(),
        version: Version::Http11,
        fields,
        body: if none { BodyLength::None } else { body(&fields).unwrap_or(BodyLength::UntilClose) },
    }
}

fn body(fields: &Fields<'_>) -> Option<BodyLength> {
    if fields.has_token("transfer-encoding", "chunked") {
        return Some(BodyLength::Chunked);
    }
    let length = core::str::from_utf8(fields.first("content-length")?).unwrap();
    Some(BodyLength::Known(length.parse().unwrap()))
}

pub(super) fn server() -> Exchange {
    Exchange::new(&Config::new(Place::Server), PEER, T0)
}

pub(super) fn agent() -> Exchange {
    Exchange::new(&Config::new(Place::Agent), PEER, T0)
}

/// A server's exchange that has taken `text` and forwards it.
pub(super) fn forwarding(text: &str) -> Exchange {
    let mut exchange = server();
    assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward, "{text}");
    exchange
}

/// One more in the state behind a response head of 200.
pub(super) fn responding(text: &str) -> Exchange {
    let mut exchange = forwarding(text);
    assert_eq!(exchange.handle_response(T0, &response("200 OK\r\n")), Step::Forward);
    exchange
}

/// Start line and fields of the rewritten request.
pub(super) fn rewritten(exchange: &Exchange, text: &str, to_tunnel: bool) -> String {
    let mut block = BytesMut::from(&b"kept: before\r\n"[..]);
    let head = exchange.rewrite_request(&request(text), to_tunnel, &mut block);
    assert_eq!(head.version, Version::Http11);
    [head.method, b" ", head.target, b"\r\n", head.fields.block()]
        .map(|part| core::str::from_utf8(part).unwrap())
        .concat()
}

/// Fields of the rewritten response.
pub(super) fn rewritten_response(exchange: &Exchange, text: &str, date: Option<&str>) -> String {
    let mut block = BytesMut::from(&b"kept: before\r\n"[..]);
    let given = response(text);
    let head = exchange.rewrite_response(&given, date.map(str::as_bytes), &mut block);
    assert_eq!((head.status, head.reason, head.body), (given.status, given.reason, given.body));
    core::str::from_utf8(head.fields.block()).unwrap().to_string()
}

pub(super) fn answer(step: Step) -> Answer {
    match step {
        Step::Answer(answer) => answer,
        other => panic!("no answer but {other:?}"),
    }
}

/// Status and cause of an answer.
pub(super) fn said(step: Step) -> (u16, String) {
    let answer = answer(step);
    let fields = Fields::from_block(&answer.fields);
    let error = core::str::from_utf8(fields.first("x-piko-error").unwrap_or_default()).unwrap();
    (answer.status, error.split_once("cause=").map_or("", |(_, cause)| cause).to_string())
}
