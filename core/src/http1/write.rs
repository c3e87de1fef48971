//! Writing heads: canonical framing and connection fields, everything else as it came.

use super::error::Refused;
use super::fields::{Fields, is_name};
use alloc::vec::Vec;
use bytes::BufMut;

/// The first line of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Request { method: &'a [u8], target: &'a [u8] },
    Status { status: u16, reason: &'a [u8] },
}

/// The fields that the machine writes, whatever `fields` says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// `Upgrade` fields pass, and `Connection: upgrade` announces them (RFC 9110 7.8).
    pub(super) upgrade: bool,
}

/// Everything that the machine adds to a head is shorter than this, start line apart: a length of 20 digits,
/// three field names and their values.
const ADDED_BYTES_MAX: usize = 160;

/// Writes a head with its blank line.
pub(super) fn write_head(
    start: Start<'_>,
    fields: &Fields<'_>,
    framing: Framing,
    out: &mut impl BufMut,
) -> Result<(), Refused> {
    let start_len = match start {
        Start::Request { method, target } => method.len() + target.len(),
        Start::Status { reason, .. } => reason.len(),
    };
    // No line grows by more than two bytes and none is shorter than that, so twice the block is always enough.
    let enough = start_len + 2 * fields.block().len() + ADDED_BYTES_MAX;
    if out.remaining_mut() >= enough {
        put_head(start, fields, framing, out);
        return Ok(());
    }
    let mut whole = Vec::with_capacity(enough);
    put_head(start, fields, framing, &mut whole);
    put_if_fitting(&whole, out)
}

/// Writes the last chunk with trailer fields behind it. Fields that only a head may carry are left out: framing,
/// connection, and `host` (RFC 9110 6.5.1).
pub(super) fn write_trailers(fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
    let enough = 2 * fields.block().len() + ADDED_BYTES_MAX;
    if out.remaining_mut() >= enough {
        put_trailers(fields, out);
        return Ok(());
    }
    let mut whole = Vec::with_capacity(enough);
    put_trailers(fields, &mut whole);
    put_if_fitting(&whole, out)
}

/// What was written apart goes out whole or not at all.
fn put_if_fitting(whole: &[u8], out: &mut impl BufMut) -> Result<(), Refused> {
    if out.remaining_mut() < whole.len() {
        return Err(Refused::NoRoom(whole.len()));
    }
    out.put_slice(whole);
    Ok(())
}

fn put_head(start: Start<'_>, fields: &Fields<'_>, framing: Framing, out: &mut impl BufMut) {
    match start {
        Start::Request { method, target } => {
            out.put_slice(method);
            out.put_slice(b" ");
            out.put_slice(target);
            out.put_slice(b" HTTP/1.1\r\n");
        }
        Start::Status { status, reason } => {
            // Statuses have three digits, which the callers checked.
            let mut line = *b"HTTP/1.1 000 ";
            line[9] += (status / 100 % 10) as u8;
            line[10] += (status / 10 % 10) as u8;
            line[11] += (status % 10) as u8;
            out.put_slice(&line);
            out.put_slice(reason);
            out.put_slice(b"\r\n");
        }
    }
    // RFC 9110 10.1.4: whoever sends TE must also name it in Connection, since it is for the next hop only.
    let mut te = false;
    let mut is_left_out = |name: &[u8]| {
        te |= is_name(name, "te");
        is_ours(name, framing.upgrade)
    };
    if fields.is_clean() {
        out.put_slice(fields.block());
    } else {
        put_fields(fields, &mut is_left_out, out);
    }
    if let Some(length) = framing.length {
        out.put_slice(b"content-length: ");
        put_decimal_line(length, out);
    }
    if framing.chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    let end: &[u8] = match (framing.upgrade, framing.close, framing.keep_alive) {
        (false, false, false) => b"\r\n",
        (false, false, true) => b"connection: keep-alive\r\n\r\n",
        (false, true, _) => b"connection: close\r\n\r\n",
        (true, false, _) => b"connection: upgrade\r\n\r\n",
        (true, true, _) => b"connection: upgrade, close\r\n\r\n",
    };
    match end.strip_suffix(b"\r\n\r\n") {
        _ if !te => out.put_slice(end),
        None => out.put_slice(b"connection: te\r\n\r\n"),
        Some(options) => {
            out.put_slice(options);
            out.put_slice(b", te\r\n\r\n");
        }
    }
}

fn put_trailers(fields: &Fields<'_>, out: &mut impl BufMut) {
    out.put_slice(b"0\r\n");
    put_fields(fields, &mut |name| is_ours(name, false) || is_name(name, "host"), out);
    out.put_slice(b"\r\n");
}

/// Copies the lines, in runs where they are canonical already.
fn put_fields(fields: &Fields<'_>, is_left_out: &mut dyn FnMut(&[u8]) -> bool, out: &mut impl BufMut) {
    let block = fields.block();
    let mut at = 0;
    let mut run = 0;
    for line in fields.raw_lines() {
        let line_at = at + line.skipped;
        at = line_at + line.raw.len();
        let left_out = is_left_out(line.name);
        if !left_out && line.skipped == 0 && line.is_canonical() {
            continue;
        }
        out.put_slice(block.get(run..line_at - line.skipped).unwrap_or_default());
        run = at;
        if !left_out {
            out.put_slice(line.name);
            out.put_slice(b": ");
            out.put_slice(line.value);
            out.put_slice(b"\r\n");
        }
    }
    out.put_slice(block.get(run..at).unwrap_or_default());
}

/// Fields that belong to one connection and are written by its machine only (RFC 9110 7.6.1, RFC 9112 6).
fn is_ours(name: &[u8], upgrade: bool) -> bool {
    match name.len() {
        7 => !upgrade && is_name(name, "upgrade"),
        10 => is_name(name, "connection") || is_name(name, "keep-alive"),
        14 => is_name(name, "content-length"),
        16 => is_name(name, "proxy-connection"),
        17 => is_name(name, "transfer-encoding"),
        _ => false,
    }
}

/// The number and a line end.
fn put_decimal_line(mut value: u64, out: &mut impl BufMut) {
    let mut digits = *b"00000000000000000000\r\n";
    let mut start = digits.len() - 2;
    for slot in digits.iter_mut().rev().skip(2) {
        // The remainder is below ten.
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(block: &[u8], framing: Framing) -> Vec<u8> {
        let mut out = Vec::new();
        let start = Start::Status { status: 200, reason: b"OK" };
        write_head(start, &Fields::from_block(block), framing, &mut out).unwrap();
        out
    }

    #[test]
    fn runs_are_copied_and_odd_lines_rewritten() {
        let block = b"A: b\r\nC:d\r\nConnection: x\r\nE: f\r\nG:\t h \r\nI: j\nUpgrade: k\r\nL: m\r\n";
        let want = b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\nI: j\r\nL: m\r\n\r\n";
        assert_eq!(head(block, Framing::default()), want);
        // RFC 9112 5.1: whitespace before a colon is removed, also where the line has the length of a canonical one.
        let spaced = b"A :b\r\nC : d\r\nContent-Length : 5\r\nE\t:f\r\n";
        let want = b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nE: f\r\n\r\n";
        assert_eq!(head(spaced, Framing::default()), want);
        assert_eq!(head(b"", Framing::default()), b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(head(b"junk\r\nA: b\r\njunk", Framing::default()), b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    }

    #[test]
    fn framing_of_the_block_is_replaced() {
        let block =
            b"content-LENGTH: 1\r\nTransfer-Encoding: gzip\r\nKeep-Alive: 5\r\nproxy-connection: a\r\n\
            connection: b\r\nUPGRADE: c\r\ntrailer: T\r\n";
        let close = Framing { length: Some(u64::MAX), close: true, keep_alive: true, ..Framing::default() };
        assert_eq!(
            head(block, close),
            b"HTTP/1.1 200 OK\r\ntrailer: T\r\ncontent-length: 18446744073709551615\r\nconnection: close\r\n\r\n"
        );
        let chunked = Framing { chunked: true, keep_alive: true, ..Framing::default() };
        assert_eq!(
            head(block, chunked),
            b"HTTP/1.1 200 OK\r\ntrailer: T\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n"
        );
        let upgrade = Framing { upgrade: true, ..Framing::default() };
        assert_eq!(
            head(block, upgrade),
            b"HTTP/1.1 200 OK\r\nUPGRADE: c\r\ntrailer: T\r\nconnection: upgrade\r\n\r\n"
        );
    }

    #[test]
    fn te_is_named_in_connection() {
        let plain = Framing::default();
        let want = b"HTTP/1.1 200 OK\r\nTE: trailers\r\nconnection: te\r\n\r\n";
        assert_eq!(head(b"TE: trailers\r\n", plain), want);
        let close = Framing { close: true, ..plain };
        let want = b"HTTP/1.1 200 OK\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
        assert_eq!(head(b"te: trailers\r\n", close), want);
    }

    #[test]
    fn the_needed_room_is_exact() {
        let fields = Fields::from_block(b"A:b\r\nC: d\r\n");
        let start = Start::Request { method: b"GET", target: b"/" };
        let framing = Framing { length: Some(0), close: true, ..Framing::default() };
        let mut whole = Vec::new();
        write_head(start, &fields, framing, &mut whole).unwrap();
        for room in 0..whole.len() {
            let mut small = alloc::vec![0xaa; room];
            let refused = write_head(start, &fields, framing, &mut &mut small[..]);
            assert_eq!(refused, Err(Refused::NoRoom(whole.len())));
            assert!(small.iter().all(|&b| b == 0xaa), "nothing may be written");
        }
        let mut exact = alloc::vec![0; whole.len()];
        write_head(start, &fields, framing, &mut &mut exact[..]).unwrap();
        assert_eq!(exact, whole);
    }

    #[test]
    fn trailers_carry_no_framing() {
        let fields =
            Fields::from_block(b"Host: h\r\nX: y\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n");
        let mut out = Vec::new();
        write_trailers(&fields, &mut out).unwrap();
        assert_eq!(out, b"0\r\nX: y\r\n\r\n");
    }
}
