//! Which fields cross a hop: hop-by-hop, forwarding, credential and routing fields.
//!
//! Names, case and order go on as received. What frames the message or manages the connection is left out
//! (RFC 9110 7.6.1): the connection machines write it anew from the head.

use super::config::Place;
use crate::http1::{
    BodyLength, Fields, Kind, LOAD_FIELD, Line, NODE_FIELD, RequestHead, ResponseHead, Version, is_name,
    is_reg_name_byte, is_usual_option, list_has, list_members,
};
use crate::route::Hop;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::fmt::Write as _;
use core::net::IpAddr;

/// What decides about the fields of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestRules<'a> {
    pub(super) place: Place,
    pub(super) hop: Hop,
    pub(super) to_tunnel: bool,
    /// The client's address and whether it came by TLS.
    pub(super) ip: Option<IpAddr>,
    pub(super) tls: bool,
    /// The target's authority, which takes the place of the Host field.
    pub(super) authority: Option<&'a [u8]>,
    /// What becomes the Host when there is none.
    pub(super) endpoint: Option<&'a [u8]>,
    /// What shows the next node that this one is of the cluster.
    pub(super) proof: Option<&'a [u8]>,
}

/// What was met on the way through the fields of a request.
#[derive(Default)]
struct Met<'i> {
    host: Option<&'i [u8]>,
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    te: bool,
}

/// The fields that `Connection` names (RFC 9110 7.6.1), at most `CONNECTION_OPTIONS_MAX` in heads that were
/// judged. `Unknown` is the hope that there are none, which nearly always comes true and saves a pass over
/// the head; a head that disappoints it is written again.
#[derive(Clone, Copy)]
enum Named<'a> {
    Known(&'a [&'a [u8]]),
    Unknown,
}

impl Named<'_> {
    fn has(self, name: &[u8]) -> bool {
        match self {
            Self::Known(list) => list.iter().any(|option| option.eq_ignore_ascii_case(name)),
            Self::Unknown => false,
        }
    }

    /// A Connection field came: true when it names fields that should have been known.
    fn is_disappointed_by(self, connection: &[u8]) -> bool {
        matches!(self, Self::Unknown)
            && !is_usual_option(connection)
            && list_members(connection).any(names_field)
    }
}

fn named_fields<'i>(fields: &Fields<'i>) -> Vec<&'i [u8]> {
    let lists = fields.of_kinds().filter(|line| line.kind == Kind::Connection);
    lists.flat_map(|line| list_members(line.value)).filter(|option| names_field(option)).collect()
}

/// Copies the lines of a block that go on: where only those were looked at that matter, everything between them
/// in one piece.
struct Copy<'f, 'i> {
    fields: &'f Fields<'i>,
    /// Every line is looked at, and written anew.
    by_line: bool,
    /// What stands before this was copied or left out.
    at: usize,
}

impl<'f, 'i> Copy<'f, 'i> {
    fn new(fields: &'f Fields<'i>, named: Named<'_>) -> Self {
        // Any line may be named by Connection.
        let by_line = !fields.has_marks() || matches!(named, Named::Known([_, ..]));
        Self { fields, by_line, at: 0 }
    }

    /// The lines to decide about, in order.
    fn lines(&self) -> impl Iterator<Item = Line<'i>> + use<'f, 'i> {
        if self.by_line { self.fields.lines() } else { self.fields.of_kinds() }
    }

    fn keep(&mut self, line: &Line<'_>, out: &mut BytesMut) {
        if self.by_line {
            put(out, line.name, line.value);
        }
    }

    fn leave_out(&mut self, line: &Line<'_>, out: &mut BytesMut) {
        if !self.by_line {
            out.extend_from_slice(self.fields.block().get(self.at..line.at).unwrap_or_default());
            self.at = line.at + line.raw.len();
        }
    }

    fn finish(self, out: &mut BytesMut) {
        if !self.by_line {
            out.extend_from_slice(self.fields.block().get(self.at..).unwrap_or_default());
        }
    }
}

/// Appends the fields of a request for the next hop to `out`, and says whether none of them is about the connection.
pub(super) fn write_request(head: &RequestHead<'_>, rules: &RequestRules<'_>, out: &mut BytesMut) -> bool {
    let start = out.len();
    out.reserve(head.fields.block().len() + 256);
    let mut met = write_request_lines(head, rules, Named::Unknown, out).filter(|met| met.host.is_some());
    if met.is_none() {
        out.truncate(start);
        if !head.fields.of_kinds().any(|line| line.kind == Kind::Host) {
            // It comes first, as RFC 9110 7.2 asks for.
            put_missing_host(rules, out);
        }
        met = write_request_lines(head, rules, Named::Known(&named_fields(&head.fields)), out);
    }
    let clean = met.as_ref().is_some_and(|met| !met.te) && !head.upgrade;
    if rules.place != Place::Agent {
        if rules.hop == Hop::First {
            put_forwarding(&met.unwrap_or_default(), rules, out);
        }
        if !rules.to_tunnel {
            if rules.place == Place::Server {
                put(out, LOAD_FIELD.as_bytes(), b"?");
            }
            put(out, b"x-piko-forward", b"true");
            if let Some(proof) = rules.proof {
                put(out, NODE_FIELD.as_bytes(), proof);
            }
        }
    }
    clean
}

/// The lines that go on. `None`: write again, with the fields that Connection names.
fn write_request_lines<'i>(
    head: &RequestHead<'i>,
    rules: &RequestRules<'_>,
    named: Named<'_>,
    out: &mut BytesMut,
) -> Option<Met<'i>> {
    let on_server = rules.place != Place::Agent;
    let adds_address = on_server && rules.hop == Hop::First && rules.ip.is_some();
    let mut met = Met::default();
    let mut copy = Copy::new(&head.fields, named);
    for line in copy.lines() {
        let Line { name, value, .. } = line;
        match line.kind {
            Kind::Connection if named.is_disappointed_by(value) => return None,
            Kind::Connection | Kind::ContentLength | Kind::HopByHop | Kind::TransferEncoding => {}
            Kind::PikoForward | Kind::PikoLoad | Kind::PikoNode if on_server => {}
            Kind::ForwardedFor if adds_address => {
                copy.leave_out(&line, out);
                // One line with all addresses: services that look at the first line only see them all.
                if !met.forwarded_for {
                    met.forwarded_for = true;
                    put_forwarded_for(name, &head.fields, rules.ip, out);
                }
                continue;
            }
            Kind::Host if met.host.is_none() => {
                met.host = Some(value);
                let Some(authority) = rules.authority else {
                    copy.keep(&line, out);
                    continue;
                };
                copy.leave_out(&line, out);
                put(out, name, authority);
                continue;
            }
            Kind::Host => {}
            Kind::PikoAuthorization if on_server && rules.to_tunnel => {}
            Kind::Te => {
                copy.leave_out(&line, out);
                if list_has(value, "trailers") {
                    met.te = true;
                    put(out, name, b"trailers");
                }
                continue;
            }
            Kind::Trailer if head.body != BodyLength::Chunked => {}
            Kind::Upgrade if !head.upgrade => {}
            Kind::Other if named.has(name) && !is_protected(name) => {}
            kind => {
                met.forwarded_host |= kind == Kind::ForwardedHost;
                met.forwarded_proto |= kind == Kind::ForwardedProto;
                copy.keep(&line, out);
                continue;
            }
        }
        copy.leave_out(&line, out);
    }
    copy.finish(out);
    Some(met)
}

/// Appends the fields of a response for the client to `out`, and says whether none of them is about the connection
/// or the framing.
pub(super) fn write_response(
    head: &ResponseHead<'_>,
    place: Place,
    date: Option<&[u8]>,
    load: Option<usize>,
    client: Version,
    out: &mut BytesMut,
) -> bool {
    let start = out.len();
    out.reserve(head.fields.block().len() + 64);
    let mut has_date = write_response_lines(head, place, client, Named::Unknown, out);
    if has_date.is_none() {
        out.truncate(start);
        has_date = write_response_lines(head, place, client, Named::Known(&named_fields(&head.fields)), out);
    }
    // RFC 9110 6.6.1: a recipient with a clock adds it. Interim responses go without.
    if let Some(date) = date.filter(|_| has_date != Some(true) && head.status >= 200) {
        put(out, b"Date", date);
    }
    if let Some(load) = load.filter(|_| head.status >= 200) {
        // Writing into a growing buffer cannot fail.
        let _ = write!(out, "{LOAD_FIELD}: {load}\r\n");
    }
    // Without a body a Content-Length may be among them, with 101 and 426 an Upgrade.
    head.body != BodyLength::None && !matches!(head.status, 101 | 426)
}

/// The lines that go on; says whether a Date is among them. `None`: write again, as above.
fn write_response_lines(
    head: &ResponseHead<'_>,
    place: Place,
    client: Version,
    named: Named<'_>,
    out: &mut BytesMut,
) -> Option<bool> {
    let mut has_date = false;
    let mut copy = Copy::new(&head.fields, named);
    for line in copy.lines() {
        let stays = match line.kind {
            Kind::Connection if named.is_disappointed_by(line.value) => return None,
            Kind::Connection | Kind::HopByHop | Kind::PikoLoad | Kind::Te | Kind::TransferEncoding => false,
            // Of a response without a body (HEAD, 304) the length is a fact about another one, not framing.
            Kind::ContentLength => head.body == BodyLength::None && head.status >= 200 && head.status != 204,
            Kind::Date => {
                has_date = true;
                true
            }
            // A service has no say in what Piko says of itself, which nodes act on.
            Kind::PikoError => place != Place::Agent,
            Kind::Trailer => head.body == BodyLength::Chunked && client == Version::Http11,
            // 426 must say what to upgrade to (RFC 9110 15.5.22).
            Kind::Upgrade => matches!(head.status, 101 | 426),
            _ => !named.has(line.name),
        };
        if stays { copy.keep(&line, out) } else { copy.leave_out(&line, out) }
    }
    copy.finish(out);
    Some(has_date)
}

/// Appends those trailer fields to `out` that may cross a hop, in both directions.
///
/// Dropped are fields that RFC 9110 6.5.1 forbids there because they frame the message, route it, carry
/// credentials or say how the content is to be read: a receiver that merges trailers into the head must not
/// be misled by what came too late to be judged.
pub fn rewrite_trailers(fields: &Fields<'_>, out: &mut BytesMut) {
    out.reserve(fields.block().len());
    for (name, value) in fields.iter() {
        let harmless = match Kind::of(name) {
            Kind::Other => !is_protected(name) && !must_come_first(name),
            Kind::Date => true,
            _ => false,
        };
        if harmless {
            put(out, name, value);
        }
    }
}

/// The client that the last hop in front of this one saw: the last address of `X-Forwarded-For`. What stands before it may
/// be the client's own invention.
pub fn forwarded_for(fields: &Fields<'_>) -> Option<IpAddr> {
    let last = fields.of_kinds().filter(|line| line.kind == Kind::ForwardedFor).last()?;
    let address = last.value.rsplit(|&b| b == b',').next()?;
    core::str::from_utf8(address.trim_ascii()).ok()?.parse().ok()
}

/// A connection option that is the name of a field to remove. What every hop removes or handles by itself
/// needs no second look, which spares most requests the list.
fn names_field(option: &[u8]) -> bool {
    !["close", "keep-alive", "te", "upgrade"].iter().any(|known| is_name(option, known))
}

/// Fields that `Connection` cannot remove and trailers cannot add. A client could else hide its address, its
/// credentials or its destination from the hop that trusts these. (Those with a [`Kind`] of their own are
/// out of reach already.)
fn is_protected(name: &[u8]) -> bool {
    let starts_with = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    match name.len() {
        3 => is_name(name, "via"),
        6 => is_name(name, "cookie") || is_name(name, "expect"),
        9 => is_name(name, "forwarded") || is_name(name, "x-real-ip"),
        13 if is_name(name, "authorization") => true,
        _ => ["x-forwarded-", "x-piko-", "x-pico-"].into_iter().any(starts_with),
    }
}

/// Fields that say how content is to be read, or leave something with the client: too late behind it.
fn must_come_first(name: &[u8]) -> bool {
    ["content-encoding", "content-range", "content-type", "set-cookie"]
        .iter()
        .any(|known| is_name(name, known))
}

/// HTTP/1.1 wants a Host (RFC 9112 3.2): the target's, else the endpoint, else an empty one.
fn put_missing_host(rules: &RequestRules<'_>, out: &mut BytesMut) {
    match (rules.authority, rules.endpoint) {
        (Some(authority), _) => put(out, b"Host", authority),
        (None, Some(endpoint)) if endpoint.iter().all(|&b| is_reg_name_byte(b)) => {
            put(out, b"Host", endpoint);
        }
        (None, Some(endpoint)) => {
            out.extend_from_slice(b"Host: ");
            percent_encode(endpoint, out);
            out.extend_from_slice(b"\r\n");
        }
        (None, None) => put(out, b"Host", b""),
    }
}

/// The forwarding fields that the client did not send.
fn put_forwarding(met: &Met<'_>, rules: &RequestRules<'_>, out: &mut BytesMut) {
    if let Some(ip) = rules.ip.filter(|_| !met.forwarded_for) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        put_ip(ip, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(host) = rules.authority.or(met.host).filter(|host| !met.forwarded_host && !host.is_empty()) {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
    }
    if !met.forwarded_proto {
        let proto: &[u8] =
            if rules.tls { b"X-Forwarded-Proto: https\r\n" } else { b"X-Forwarded-Proto: http\r\n" };
        out.extend_from_slice(proto);
    }
}

/// All received addresses, then the client's.
fn put_forwarded_for(name: &[u8], fields: &Fields<'_>, ip: Option<IpAddr>, out: &mut BytesMut) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    for line in fields.of_kinds().filter(|line| line.kind == Kind::ForwardedFor && !line.value.is_empty()) {
        out.extend_from_slice(line.value);
        out.extend_from_slice(b", ");
    }
    if let Some(ip) = ip {
        put_ip(ip, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// An address without a port. Version 4 addresses, also mapped ones, are written by hand: they are on the
/// path of most requests.
fn put_ip(ip: IpAddr, out: &mut BytesMut) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mut text = [0; 16];
            let mut len = 0;
            let mut push = |b: u8| {
                if let Some(place) = text.get_mut(len) {
                    *place = b;
                    len += 1;
                }
            };
            for octet in ip.octets() {
                if octet >= 100 {
                    push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    push(b'0' + octet / 10 % 10);
                }
                push(b'0' + octet % 10);
                push(b'.');
            }
            // The last dot is one too many.
            out.extend_from_slice(text.get(..len - 1).unwrap_or_default());
        }
        // Writing into a growing buffer cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn percent_encode(text: &[u8], out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &b in text {
        if is_reg_name_byte(b) {
            out.extend_from_slice(&[b]);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}
