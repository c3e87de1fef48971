//! Which endpoint a request asks for (wire protocol 5 and 6.1).

use super::answer::{Answer, cause};
use super::config::Place;
use super::target::{Target, split_query};
use crate::http1::{
    Fault, Fields, Kind, RequestHead, Version, is_reg_name_byte, is_usual_option, list_members,
};
use crate::id::EndpointId;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Options in the Connection fields of one head. Each costs a comparison per field, and no honest sender
/// names more than a handful.
pub(super) const CONNECTION_OPTIONS_MAX: usize = 64;

/// The path of TCP connections; the endpoint id is its last segment.
const TCP_PATH: &[u8] = b"/_piko/v1/tcp/";

const BAD_TARGET: Fault = Fault { status: 400, what: "malformed request target (RFC 9112 3.2)" };
const BAD_HOST: Fault = Fault { status: 400, what: "malformed Host header (RFC 9112 3.2)" };
const BAD_EXPECT: Fault = Fault { status: 417, what: "unknown expectation (RFC 9110 10.1.1)" };
const BAD_CONNECTION: Fault = Fault { status: 400, what: "too many connection options (RFC 9110 7.6.1)" };

/// What the request asks of a server node.
#[derive(Debug)]
pub(super) enum Asked {
    /// To be proxied.
    Http(EndpointId),
    /// A TCP connection.
    Tcp(EndpointId),
}

/// The fields that decide, found in one pass. Of repeated ones the first counts, as in Go.
#[derive(Default)]
pub(super) struct Seen<'i> {
    piko_endpoint: Option<&'i [u8]>,
    pico_endpoint: Option<&'i [u8]>,
    host: Option<&'i [u8]>,
    forwarded_by: Option<&'i [u8]>,
    expect: Option<&'i [u8]>,
    upgrade: Option<&'i [u8]>,
    piko_load: Option<&'i [u8]>,
    connection_options: usize,
}

impl<'i> Seen<'i> {
    pub(super) fn of(fields: &Fields<'i>) -> Self {
        let mut seen = Self::default();
        for line in fields.of_kinds() {
            let slot = match line.kind {
                Kind::Host => &mut seen.host,
                Kind::Expect => &mut seen.expect,
                Kind::Upgrade => &mut seen.upgrade,
                Kind::Connection if is_usual_option(line.value) => {
                    seen.connection_options += 1;
                    continue;
                }
                Kind::Connection => {
                    seen.connection_options += list_members(line.value).count();
                    continue;
                }
                Kind::PikoLoad => &mut seen.piko_load,
                Kind::PikoForward => &mut seen.forwarded_by,
                Kind::PikoEndpoint => &mut seen.piko_endpoint,
                Kind::PicoEndpoint => &mut seen.pico_endpoint,
                _ => continue,
            };
            slot.get_or_insert(line.value);
        }
        seen
    }

    /// The value is compared exactly, as Go does.
    pub(super) fn is_forwarded(&self) -> bool {
        self.forwarded_by == Some(b"true")
    }

    /// Another node wants to know how busy this one is.
    pub(super) fn asks_load(&self) -> bool {
        self.is_forwarded() && self.piko_load.is_some()
    }

    /// Both places refuse heads whose connection options would make work.
    pub(super) fn judge_connection(&self) -> Result<(), Fault> {
        if self.connection_options > CONNECTION_OPTIONS_MAX { Err(BAD_CONNECTION) } else { Ok(()) }
    }

    /// What a server is asked for, or its answer.
    pub(super) fn judge(&self, head: &RequestHead<'_>) -> Result<Asked, Answer> {
        let fault = |fault: &Fault| Err(Answer::for_fault(Place::Server, fault));
        // RFC 9110 10.1.1: HTTP/1.0 has no expectations.
        let expectation = self.expect.filter(|_| head.version == Version::Http11);
        if expectation.is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
            return fault(&BAD_EXPECT);
        }
        let target = Target::parse(head.method, head.target);
        if target == Target::Unknown {
            return fault(&BAD_TARGET);
        }
        if let Some(endpoint) = tcp_endpoint(head.method, &target)? {
            return Ok(Asked::Tcp(endpoint));
        }
        if head.upgrade && !self.upgrade.is_some_and(is_printable) {
            return Err(Answer::unreachable(Place::Server, cause::BAD_UPGRADE));
        }
        // An empty field is as good as none; the host of the target beats the Host field (RFC 9112 3.2.2).
        let named = |value: Option<&'i [u8]>| value.filter(|value| !value.is_empty());
        let host = target.authority().or(self.host).unwrap_or_default();
        let Some(name) = host_name(host) else { return fault(&BAD_HOST) };
        match named(self.piko_endpoint).or(named(self.pico_endpoint)).or_else(|| first_label(name?)) {
            Some(id) => EndpointId::new(id).map(Asked::Http).map_err(|_| bad_id(400)),
            None => {
                let (error, cause) = ("missing endpoint id", cause::MISSING_ENDPOINT_ID);
                Err(Answer::request_error(Place::Server, 400, error, cause))
            }
        }
    }
}

/// The name in a host, `uri-host [ ":" digits ]`, whose first label may name an endpoint (wire protocol 6.1): `None`
/// when the host is malformed, `Some(None)` when it is an address in brackets.
pub(super) fn host_name(host: &[u8]) -> Option<Option<&[u8]>> {
    if let Some(rest) = host.strip_prefix(b"[") {
        return is_literal(rest).then_some(None);
    }
    let name_len = host.iter().position(|&b| !is_reg_name_byte(b) && b != b'%').unwrap_or(host.len());
    let (name, port) = host.split_at_checked(name_len)?;
    let is_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_fine.then_some(Some(name))
}

/// The part before the first dot. Nothing for an IP address, or a name without a dot or with nothing before it.
pub(super) fn first_label(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|&b| b == b'.').filter(|&dot| dot > 0)?;
    name.get(..dot).filter(|_| !is_ip(name))
}

/// A dotted IPv4 address, whose last byte is a digit, which that of a domain is not.
fn is_ip(name: &[u8]) -> bool {
    name.last().is_some_and(u8::is_ascii_digit)
        && core::str::from_utf8(name).is_ok_and(|name| name.parse::<Ipv4Addr>().is_ok())
}

/// An address in brackets, given without the opening one. It never names an endpoint, it is only judged.
fn is_literal(rest: &[u8]) -> bool {
    let mut parts = rest.splitn(2, |&b| b == b']');
    let (Some(address), Some(port)) = (parts.next(), parts.next()) else { return false };
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // A zone may follow the address (RFC 6874).
    let address = address.split(|&b| b == b'%').next().unwrap_or_default();
    let is_future = matches!(address, [b'v' | b'V', rest @ ..] if rest.contains(&b'.') && is_reg_name(rest));
    let is_ip = core::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    port_is_fine && (is_ip || is_future)
}

/// RFC 3986 3.2.2, without looking at what percent signs introduce: nothing is decoded.
fn is_reg_name(name: &[u8]) -> bool {
    name.iter().all(|&b| is_reg_name_byte(b) || b == b'%')
}

fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|b| matches!(b, b' '..=b'~'))
}

/// The endpoint of `GET /_piko/v1/tcp/<id>`. `None` for every other request; the bare path is none of ours.
fn tcp_endpoint(method: &[u8], target: &Target<'_>) -> Result<Option<EndpointId>, Answer> {
    let (Target::Origin(rest) | Target::Absolute { rest, .. }) = *target else { return Ok(None) };
    if !rest.starts_with(TCP_PATH) {
        return Ok(None);
    }
    let (path, query) = split_query(rest);
    let id = path.strip_prefix(TCP_PATH).filter(|id| method == b"GET" && !matches!(*id, b"" | b"/"));
    let Some(id) = id else { return Ok(None) };
    if let Some(id) = id.strip_suffix(b"/") {
        if id.contains(&b'/') {
            return Err(bad_id(404));
        }
        let mut location = Vec::with_capacity(path.len());
        location.extend_from_slice(path.strip_suffix(b"/").unwrap_or(path));
        if let Some(query) = query {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        return Err(Answer::moved(&location));
    }
    let id = percent_decode(id).ok_or_else(|| bad_id(400))?;
    if id.contains(&b'/') {
        return Err(bad_id(404));
    }
    EndpointId::new(&id).map(Some).map_err(|_| bad_id(400))
}

fn bad_id(status: u16) -> Answer {
    Answer::request_error(Place::Server, status, "invalid endpoint id", cause::BAD_ENDPOINT_ID)
}

/// `None` when a percent sign is not followed by two hexadecimal digits.
fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        out.push(if byte == b'%' { hex(rest.next())? << 4 | hex(rest.next())? } else { byte });
    }
    Some(out)
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match *digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
