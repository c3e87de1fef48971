//! Writing heads: canonical framing and connection fields, everything else as it came.

use super::error::Refused;
use super::fields::{Fields, is_name};
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

/// Somewhere bytes go to. Counting first and writing then is what leaves `out` untouched when it is too small.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

struct Counter(usize);

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

struct Out<'a, B>(&'a mut B);

impl<B: BufMut> Sink for Out<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
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
    ensure_room(out, enough, |counter| put_head(start, fields, framing, counter))?;
    put_head(start, fields, framing, &mut Out(out));
    Ok(())
}

/// Writes the last chunk with trailer fields behind it. Fields that only a head may carry are left out: framing,
/// connection, and `host` (RFC 9110 6.5.1).
pub(super) fn write_trailers(fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
    let enough = 2 * fields.block().len() + ADDED_BYTES_MAX;
    ensure_room(out, enough, |counter| put_trailers(fields, counter))?;
    put_trailers(fields, &mut Out(out));
    Ok(())
}

fn ensure_room(out: &impl BufMut, enough: usize, count: impl FnOnce(&mut Counter)) -> Result<(), Refused> {
    if out.remaining_mut() < enough {
        let mut counter = Counter(0);
        count(&mut counter);
        if out.remaining_mut() < counter.0 {
            return Err(Refused::NoRoom(counter.0));
        }
    }
    Ok(())
}

fn put_head(start: Start<'_>, fields: &Fields<'_>, framing: Framing, sink: &mut impl Sink) {
    match start {
        Start::Request { method, target } => {
            sink.put(method);
            sink.put(b" ");
            sink.put(target);
            sink.put(b" HTTP/1.1\r\n");
        }
        Start::Status { status, reason } => {
            sink.put(b"HTTP/1.1 ");
            // Statuses have three digits, which the callers checked.
            put_decimal(u64::from(status), sink);
            sink.put(b" ");
            sink.put(reason);
            sink.put(b"\r\n");
        }
    }
    // RFC 9110 10.1.4: whoever sends TE must also name it in Connection, since it is for the next hop only.
    let mut te = false;
    let is_left_out = |name: &[u8]| {
        te |= is_name(name, "te");
        is_ours(name, framing.upgrade)
    };
    if fields.is_clean() {
        sink.put(fields.block());
    } else {
        put_fields(fields, is_left_out, sink);
    }
    if let Some(length) = framing.length {
        sink.put(b"content-length: ");
        put_decimal(length, sink);
        sink.put(b"\r\n");
    }
    if framing.chunked {
        sink.put(b"transfer-encoding: chunked\r\n");
    }
    let options: &[u8] = match (framing.upgrade, framing.close, framing.keep_alive) {
        (true, true, _) => b"upgrade, close",
        (true, false, _) => b"upgrade",
        (false, true, _) => b"close",
        (false, false, true) => b"keep-alive",
        (false, false, false) => b"",
    };
    if te || !options.is_empty() {
        sink.put(b"connection: ");
        sink.put(options);
        sink.put(match (te, options) {
            (false, _) => b"",
            (true, b"") => b"te",
            (true, _) => b", te",
        });
        sink.put(b"\r\n");
    }
    sink.put(b"\r\n");
}

fn put_trailers(fields: &Fields<'_>, sink: &mut impl Sink) {
    sink.put(b"0\r\n");
    put_fields(fields, |name| is_ours(name, false) || is_name(name, "host"), sink);
    sink.put(b"\r\n");
}

/// Copies the lines, in runs where they are canonical already.
fn put_fields(fields: &Fields<'_>, mut is_left_out: impl FnMut(&[u8]) -> bool, sink: &mut impl Sink) {
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
        sink.put(block.get(run..line_at - line.skipped).unwrap_or_default());
        run = at;
        if !left_out {
            sink.put(line.name);
            sink.put(b": ");
            sink.put(line.value);
            sink.put(b"\r\n");
        }
    }
    sink.put(block.get(run..at).unwrap_or_default());
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

fn put_decimal(mut value: u64, sink: &mut impl Sink) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        // The remainder is below ten.
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    sink.put(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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
