//! The header of the PROXY protocol, versions 1 and 2 (HAProxy, "The PROXY protocol", revision 2020/03/05).
//!
//! It stands in front of everything that a connection carries and names the client of which the connection really is.

use super::Judged;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, its line end included (2.1).
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is read, in bytes: addresses and the TLVs that load balancers add, such as the
/// subject of a client's certificate.
pub const HEADER_BYTES_MAX: usize = 16 + V2_REST_BYTES_MAX;
const V2_REST_BYTES_MAX: usize = 4 * 1024;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// Which form a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderVersion {
    /// A line of text (2.1).
    V1,
    /// Binary (2.2).
    V2,
}

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client.
    Client {
        /// Where the client is.
        peer: SocketAddr,
        /// Where it connected to; of the same family.
        local: SocketAddr,
    },
    /// The connection is the sender's own, such as a health check, or it does not say whose it is (`LOCAL`, `UNKNOWN`,
    /// Unix sockets): its real addresses count.
    Unknown,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// An address is none of the family, or too short for it.
    #[error("bad address in PROXY header")]
    Address,
    /// They begin otherwise.
    #[error("no PROXY header")]
    Missing,
    /// A version, command, family or protocol that the specification does not have.
    #[error("malformed PROXY header")]
    Malformed,
    /// More than is read.
    #[error("PROXY header is too long")]
    TooLong,
}

/// Whether bytes that begin like this may be a header.
pub fn begins_header(input: &[u8]) -> bool {
    let begins = |start: &[u8]| input.iter().zip(start).all(|(a, b)| a == b);
    begins(V1_START) || begins(V2_START)
}

/// Reads a header at the beginning of `input`: how long it is and whom it names.
pub fn parse_header(input: &[u8]) -> Judged<(usize, Source), HeaderFault> {
    if !begins_header(input) {
        return Judged::Bad(HeaderFault::Missing);
    }
    if input.starts_with(V1_START) {
        return parse_v1(input);
    }
    if input.starts_with(V2_START) { parse_v2(input) } else { Judged::Partial }
}

fn parse_v1(input: &[u8]) -> Judged<(usize, Source), HeaderFault> {
    let window = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < V1_BYTES_MAX { Judged::Partial } else { Judged::Bad(HeaderFault::TooLong) };
    };
    let line = input.get(V1_START.len()..end).unwrap_or_default();
    match v1_source(line) {
        Ok(source) => Judged::Done((end + 2, source)),
        Err(fault) => Judged::Bad(fault),
    }
}

fn v1_source(line: &[u8]) -> Result<Source, HeaderFault> {
    let line = core::str::from_utf8(line).map_err(|_| HeaderFault::Malformed)?;
    // What stands behind it says nothing (2.1).
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Source::Unknown);
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(HeaderFault::Malformed);
    let ip: fn(&str) -> Option<IpAddr> = match word()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(HeaderFault::Malformed),
    };
    let address = |text: &str| ip(text).ok_or(HeaderFault::Address);
    let (peer, local) = (address(word()?)?, address(word()?)?);
    let (peer_port, local_port) = (port(word()?)?, port(word()?)?);
    match words.next() {
        Some(_) => Err(HeaderFault::Malformed),
        None => Ok(Source::Client {
            peer: SocketAddr::new(peer, peer_port),
            local: SocketAddr::new(local, local_port),
        }),
    }
}

/// Decimal, without a sign or leading zeros (2.1).
fn port(text: &str) -> Result<u16, HeaderFault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(HeaderFault::Address)
}

fn parse_v2(input: &[u8]) -> Judged<(usize, Source), HeaderFault> {
    let [command, family, high, low, rest @ ..] = input.get(V2_START.len()..).unwrap_or_default() else {
        return match input.get(V2_START.len()) {
            Some(command) if !matches!(command, 0x20 | 0x21) => Judged::Bad(HeaderFault::Malformed),
            _ => Judged::Partial,
        };
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Judged::Bad(HeaderFault::Malformed),
    };
    if length > V2_REST_BYTES_MAX {
        return Judged::Bad(HeaderFault::TooLong);
    }
    let Some(block) = rest.get(..length) else { return Judged::Partial };
    match v2_source(is_local, *family, block) {
        Ok(source) => Judged::Done((V2_FIXED_BYTES + length, source)),
        Err(fault) => Judged::Bad(fault),
    }
}

fn v2_source(is_local: bool, family: u8, block: &[u8]) -> Result<Source, HeaderFault> {
    // The receiver must take LOCAL whatever else the header says, and nothing else of it counts (2.2).
    if is_local {
        return Ok(Source::Unknown);
    }
    // Family in the high half, protocol in the low one: unspecified, stream, datagram.
    match (family >> 4, family & 0x0f) {
        (1, 0..=2) => pair::<4>(block).ok_or(HeaderFault::Address),
        (2, 0..=2) => pair::<16>(block).ok_or(HeaderFault::Address),
        (3, 0..=2) if block.len() < 216 => Err(HeaderFault::Address),
        (0 | 3, 0..=2) => Ok(Source::Unknown),
        _ => Err(HeaderFault::Malformed),
    }
}

/// Two addresses of `N` bytes and their ports; what follows are TLVs.
fn pair<const N: usize>(block: &[u8]) -> Option<Source>
where
    IpAddr: From<[u8; N]>,
{
    let (peer, rest) = block.split_first_chunk::<N>()?;
    let (local, rest) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d, ..] = rest else { return None };
    let at =
        |ip: &[u8; N], high: u8, low: u8| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes([high, low]));
    Some(Source::Client { peer: at(peer, *a, *b), local: at(local, *c, *d) })
}

/// Appends a header that names `source`. Addresses of two families are written as those of version 6, a mapped one as
/// the version 4 address that it is.
pub fn write_header(version: HeaderVersion, source: Source, out: &mut Vec<u8>) {
    let pair = match source {
        Source::Client { peer, local } => Some((canonical(peer), canonical(local))),
        Source::Unknown => None,
    };
    match version {
        HeaderVersion::V1 => write_v1(pair, out),
        HeaderVersion::V2 => write_v2(pair, out),
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// As a version 6 address, whatever it is.
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn write_v1(pair: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let mut line = alloc::string::String::new();
    // Writing to a string does not fail.
    let _ = match pair {
        None => write!(line, "PROXY UNKNOWN\r\n"),
        Some((peer, local)) => {
            let (from, to) = (peer.port(), local.port());
            match (peer.ip(), local.ip()) {
                (IpAddr::V4(peer), IpAddr::V4(local)) => {
                    write!(line, "PROXY TCP4 {peer} {local} {from} {to}\r\n")
                }
                (peer, local) => {
                    write!(line, "PROXY TCP6 {} {} {from} {to}\r\n", mapped(peer), mapped(local))
                }
            }
        }
    };
    out.extend_from_slice(line.as_bytes());
}

fn write_v2(pair: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_START);
    let Some((peer, local)) = pair else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    match (peer.ip(), local.ip()) {
        (IpAddr::V4(peer), IpAddr::V4(local)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&peer.octets());
            out.extend_from_slice(&local.octets());
        }
        (peer, local) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&mapped(peer).octets());
            out.extend_from_slice(&mapped(local).octets());
        }
    }
    out.extend_from_slice(&peer.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
}
