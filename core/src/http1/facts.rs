//! What the fields of a head say about framing and connection, gathered in one pass over the block.

use super::chars::is_tchar;
use super::config::Config;
use super::error::{Fault, NOT_A_NAME};
use super::fields::{Fields, find, is_name, is_token, is_value, list_members, position};
use super::kind::Kind;
use super::marks::{Marker, Marks};
use super::scan::{Ends, Found};
use alloc::vec;
use httparse::{EMPTY_HEADER, Header};

/// Facts that both directions need; which of them are faults depends on the direction.
#[derive(Debug, Default)]
pub(super) struct Facts<'i> {
    pub(super) hosts: usize,
    pub(super) host: &'i [u8],
    pub(super) length: Length,
    pub(super) coding: Coding,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_option: bool,
    /// There is an `Upgrade` field, and it is printable ASCII.
    pub(super) upgrade_field: bool,
    pub(super) expects_continue: bool,
    pub(super) expects_other: bool,
}

/// All `Content-Length` lines together (RFC 9110 8.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    #[default]
    Absent,
    /// Not digits, beyond 64 bits, or several values that are not the same.
    Bad,
    /// Once, or several times the same.
    One(u64),
}

/// All `Transfer-Encoding` lines together (RFC 9112 6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// Empty, `chunked` twice, or `chunked` not last.
    Bad,
    Chunked,
    /// Codings that this product does not know, with or without `chunked` behind them.
    Unknown,
}

/// The field lines of a head with what they say.
#[derive(Debug)]
pub(super) struct Block<'i> {
    pub(super) facts: Facts<'i>,
    pub(super) fields: Fields<'i>,
}

impl<'i> Block<'i> {
    /// Reads the field lines of `input` with httparse, which refuses names that are no tokens, whitespace
    /// before the colon, folded lines and control characters in values. In a response, that whitespace is read over
    /// ("A proxy MUST remove any such whitespace from a response message before forwarding", RFC 9112 5.1).
    pub(super) fn gather(input: &'i [u8], found: &Found, ends: Ends) -> Result<Self, Fault> {
        let fault_status = ends.status();
        let block = input.get(found.fields_at..found.end).unwrap_or_default();
        // Most heads have few lines. The large table is the exception, so that it is not cleared for them.
        let read = match found.fields {
            0..=FEW_LINES => read(block, &mut [EMPTY_HEADER; FEW_LINES]),
            many => read(block, &mut vec![EMPTY_HEADER; many]),
        };
        let lines = input.get(found.fields_at..found.blank_at).unwrap_or_default();
        match read {
            Ok(Some(Read { facts, marks })) => {
                let marks = marks.filter(|(end, _)| *end == lines.len()).map(|(_, marks)| marks);
                Ok(Self { facts, fields: Fields::marked(lines, marks) })
            }
            Ok(None) | Err(httparse::Error::NewLine) => {
                Err(Fault::new(fault_status, "a bare CR (RFC 9112 2.2)"))
            }
            Err(httparse::Error::HeaderValue) => Err(Fault::new(
                fault_status,
                "a control character in a field value (RFC 9110 5.5, RFC 9112 2.2)",
            )),
            Err(httparse::Error::HeaderName) if ends == Ends::Lenient => {
                let facts = read_spaced(lines).ok_or(Fault::new(fault_status, NOT_A_NAME))?;
                Ok(Self { facts, fields: Fields::marked(lines, None) })
            }
            Err(_) => Err(Fault::new(fault_status, NOT_A_NAME)),
        }
    }

    /// The usual case in one pass: a head that is all there, each line as this product would write it, without a tab.
    /// `None` is no verdict: the head is incomplete, illegal, or legal in another way, which
    /// [`Scan`](super::scan::Scan) and [`gather`](Self::gather) find out. What is found here they would find too.
    pub(super) fn at_once(input: &'i [u8], config: &Config) -> Option<(Found, Self)> {
        let window = input.get(..config.head_bytes_max).unwrap_or(input);
        let fields_at = find(b'\n', window)? + 1;
        // Neither a bare LF nor an empty start line.
        if fields_at < 3 || window.get(fields_at - 2) != Some(&b'\r') {
            return None;
        }
        let block = window.get(fields_at..)?;
        let mut facts = Facts::default();
        let mut marks = Marks::NONE;
        let mut rest = block;
        let mut fields = 0;
        while !rest.starts_with(b"\r\n") {
            let name_len = find_delimiter(rest)?;
            let (name, behind) = rest.split_at(name_len);
            let behind = behind.strip_prefix(b": ").filter(|_| name_len > 0)?;
            let (value, behind) = behind.split_at(find_control(behind)?);
            let behind = behind.strip_prefix(b"\r\n")?;
            // Whitespace around a value is none of it.
            if value.first() == Some(&b' ') || value.last() == Some(&b' ') {
                return None;
            }
            let kind = Kind::of(name);
            if kind != Kind::Other {
                marks.add(kind, name_len, block.len() - rest.len(), block.len() - behind.len())?;
                facts.note(kind, value);
            }
            rest = behind;
            fields += 1;
        }
        if fields > config.fields_max {
            return None;
        }
        let lines_end = block.len() - rest.len();
        let blank_at = fields_at + lines_end;
        let found = Found { fields_at, blank_at, end: blank_at + 2, fields };
        Some((found, Self { facts, fields: Fields::marked(block.get(..lines_end)?, Some(marks)) }))
    }
}

/// The first byte that no name has. Most names are letters and hyphens, of which many are seen at a time.
#[inline]
fn find_delimiter(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let at = start + position(bytes.get(start..)?, |b| !b.is_ascii_alphabetic() && b != b'-')?;
        if !is_tchar(*bytes.get(at)?) {
            return Some(at);
        }
        start = at + 1;
    }
}

/// The first control character, tabs included.
#[inline]
fn find_control(bytes: &[u8]) -> Option<usize> {
    position(bytes, |b| b < 0x20 || b == 0x7f)
}

/// Heads of up to so many lines are read on a small table.
const FEW_LINES: usize = 24;

/// What httparse made of a block.
struct Read<'i> {
    facts: Facts<'i>,
    marks: Option<(usize, Marks)>,
}

/// `None`: the blank line is missing.
fn read<'i>(block: &'i [u8], table: &mut [Header<'i>]) -> Result<Option<Read<'i>>, httparse::Error> {
    let httparse::Status::Complete((_, headers)) = httparse::parse_headers(block, table)? else {
        return Ok(None);
    };
    let mut facts = Facts::default();
    let mut marker = Marker::new(block);
    for header in headers {
        let name = header.name.as_bytes();
        let kind = Kind::of(name);
        marker.note(kind, name, header.value);
        facts.note(kind, header.value);
    }
    Ok(Some(Read { facts, marks: marker.finish() }))
}

/// As [`read`], with whitespace between names and colons, which httparse reads over only behind a status line.
/// `None`: there is a line that is not even so a field.
fn read_spaced<'i>(lines: &'i [u8]) -> Option<Facts<'i>> {
    let mut facts = Facts::default();
    let mut read = 0;
    for line in Fields::from_block(lines).lines() {
        let content = line.raw.strip_suffix(b"\n")?;
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if line.at != read || !is_token(line.name) || !is_value(content) {
            return None;
        }
        read += line.raw.len();
        facts.note(line.kind, line.value);
    }
    (read == lines.len()).then_some(facts)
}

impl<'i> Facts<'i> {
    /// Most fields say nothing about framing and connection, and cost a comparison.
    fn note(&mut self, kind: Kind, value: &'i [u8]) {
        if kind.is_framing() {
            self.judge(kind, value);
        }
    }

    fn judge(&mut self, kind: Kind, value: &'i [u8]) {
        match kind {
            Kind::Host => {
                self.hosts += 1;
                self.host = value;
            }
            Kind::Expect => {
                for member in list_members(value) {
                    let is_continue = is_name(member, "100-continue");
                    self.expects_continue |= is_continue;
                    self.expects_other |= !is_continue;
                }
            }
            Kind::Upgrade => {
                self.upgrade_field |= !value.is_empty() && value.iter().all(|b| (b' '..=b'~').contains(b));
            }
            // What nearly all of them say.
            Kind::Connection if value == b"close" => self.close = true,
            Kind::Connection if value == b"keep-alive" => self.keep_alive = true,
            Kind::Connection => {
                for option in list_members(value) {
                    self.close |= is_name(option, "close");
                    self.keep_alive |= is_name(option, "keep-alive");
                    self.upgrade_option |= is_name(option, "upgrade");
                }
            }
            Kind::ContentLength => self.length.note(value),
            Kind::TransferEncoding => self.coding.note(value),
            _ => {}
        }
    }
}

impl Length {
    pub(super) fn note(&mut self, value: &[u8]) {
        if let (Self::Absent, Some(n)) = (*self, parse_length(value)) {
            *self = Self::One(n);
            return;
        }
        // Empty members count here: `5,` is no length.
        for member in value.split(|&b| b == b',') {
            let member = member.trim_ascii();
            *self = match (*self, parse_length(member)) {
                (Self::Bad, _) | (_, None) => Self::Bad,
                (Self::Absent, Some(n)) => Self::One(n),
                (Self::One(m), Some(n)) if m == n => Self::One(n),
                (Self::One(_), Some(_)) => Self::Bad,
            };
        }
    }
}

impl Coding {
    fn note(&mut self, value: &[u8]) {
        for member in value.split(|&b| b == b',') {
            let member = member.trim_ascii();
            let chunked = is_name(member, "chunked");
            *self = match (*self, chunked) {
                _ if member.is_empty() => Self::Bad,
                (Self::Absent, true) => Self::Chunked,
                (Self::Absent, false) => Self::Unknown,
                // Nothing may follow `chunked`.
                (Self::Bad | Self::Chunked, _) => Self::Bad,
                (Self::Unknown, _) => Self::Unknown,
            };
        }
    }
}

/// `1*DIGIT` that fits 64 bits.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Judges the lines of a trailer section, which have no meaning for framing (RFC 9112 7.1.2).
pub(super) fn judge_trailers(block: &[u8], found: &Found, ends: Ends) -> Result<(), Fault> {
    Block::gather(block, found, ends).map(|_| ())
}

/// Checked at compile time: the limit on lines keeps the table of a hostile head small.
const _: () = assert!(size_of::<Header<'static>>() <= 32);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn length(values: &[&str]) -> Length {
        let mut length = Length::Absent;
        values.iter().for_each(|value| length.note(value.as_bytes()));
        length
    }

    fn coding(values: &[&str]) -> Coding {
        let mut coding = Coding::Absent;
        values.iter().for_each(|value| coding.note(value.as_bytes()));
        coding
    }

    #[test]
    fn lengths_are_digits_and_all_the_same() {
        assert_eq!(length(&[]), Length::Absent);
        assert_eq!(length(&["0"]), Length::One(0));
        assert_eq!(length(&["005"]), Length::One(5));
        assert_eq!(length(&["18446744073709551615"]), Length::One(u64::MAX));
        assert_eq!(length(&["5, 5"]), Length::One(5));
        assert_eq!(length(&["5", "5"]), Length::One(5));
        assert_eq!(length(&["5", "6"]), Length::Bad);
        assert_eq!(length(&["5,6,5"]), Length::Bad);
        for bad in [
            "",
            "+5",
            "-5",
            "5.0",
            "0x5",
            "5,",
            ",5",
            "5 5",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert_eq!(length(&[bad]), Length::Bad, "{bad}");
            assert_eq!(length(&["5", bad]), Length::Bad, "{bad}");
        }
    }

    #[test]
    fn only_a_final_chunked_is_known() {
        assert_eq!(coding(&[]), Coding::Absent);
        assert_eq!(coding(&["chunked"]), Coding::Chunked);
        assert_eq!(coding(&["CHUNKED"]), Coding::Chunked);
        for unknown in [
            &["gzip"][..],
            &["gzip, chunked"],
            &["gzip", "chunked"],
            &["identity"],
            &["chunked;a=b"],
            &["xchunked"],
        ] {
            assert_eq!(coding(unknown), Coding::Unknown, "{unknown:?}");
        }
        for bad in [
            &[""][..],
            &[","],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["chunked, gzip"],
            &["chunked,"],
            &[", chunked"],
            &["", "chunked"],
        ] {
            assert_eq!(coding(bad), Coding::Bad, "{bad:?}");
        }
    }

    #[test]
    fn control_characters_are_found_wherever_they_are() {
        for b in 0..=u8::MAX {
            for at in 0..40 {
                // With neighbours that differ from a control character in one bit.
                let mut bytes = [0x20, 0xff, 0x7e, 0x80].repeat(11);
                bytes[at] = b;
                let want = bytes.iter().position(|&b| b < 0x20 || b == 0x7f);
                assert_eq!(find_control(&bytes), want, "{b:#x} at {at}");
            }
        }
    }

    #[test]
    fn delimiters_are_found_wherever_they_are() {
        for b in 0..=u8::MAX {
            for at in 0..40 {
                let mut bytes = [b'a', b'Z', b'-', b'z', b'A', b'3', b'_', b'e', b'k'].repeat(5);
                bytes[at] = b;
                let want = bytes.iter().position(|&b| !is_tchar(b));
                assert_eq!(find_delimiter(&bytes), want, "{b:#x} at {at}");
                bytes[at + 1] = b':';
                let want = bytes.iter().position(|&b| !is_tchar(b));
                assert_eq!(find_delimiter(&bytes), want, "{b:#x} at {at}, and a colon");
            }
        }
        assert_eq!(find_delimiter(b"abc"), None);
        assert_eq!(find_delimiter(b""), None);
    }

    /// Everything that a head says, read in the two ways.
    fn both(input: &[u8], config: &Config) -> (Option<alloc::string::String>, Option<alloc::string::String>) {
        let lines = |block: &Block<'_>| {
            let of_kinds: Vec<_> =
                block.fields.of_kinds().map(|line| (line.kind, line.at, line.value)).collect();
            let lines: Vec<_> = block.fields.lines().map(|line| (line.name, line.value)).collect();
            (alloc::format!("{of_kinds:?} {lines:?} {:?}", block.facts), block.fields.has_marks())
        };
        let quick = Block::at_once(input, config)
            .map(|(found, block)| alloc::format!("{found:?} {:?}", lines(&block)));
        let mut scan = super::super::scan::Scan::default();
        let slow = scan.find_end(input, config, Ends::Strict).ok().flatten();
        let slow = slow.and_then(|found| {
            let block = Block::gather(input, &found, Ends::Strict).ok()?;
            Some(alloc::format!("{found:?} {:?}", lines(&block)))
        });
        (quick, slow)
    }

    #[test]
    fn the_quick_way_finds_what_the_slow_one_finds_or_nothing() {
        let config = Config { head_bytes_max: 120, fields_max: 6, ..Config::default() };
        let pieces: [&[u8]; 22] = [
            b"GET / HTTP/1.1",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b": ",
            b": ",
            b":",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b"Host",
            b"a.b",
            b"Content-Length",
            b"7",
            b"Connection",
            b"close, upgrade",
            b"Upgrade",
            b"\x7f",
            b"\xff",
            b"x",
        ];
        let mut rng = crate::rng::Rng::new(3);
        let mut agreed = 0;
        for _ in 0..60_000 {
            let mut input = b"GET / HTTP/1.1\r\n".to_vec();
            for _ in 0..rng.below(5) {
                // Mostly whole lines, so that many heads are legal; some pieces from anywhere between them.
                if rng.below(3) > 0 {
                    let name = pieces[12 + 2 * rng.below(3) as usize];
                    let value = pieces[13 + rng.below(9) as usize];
                    input.extend([name, b": ", value, b"\r\n"].concat());
                } else {
                    input.extend_from_slice(pieces[rng.below(22) as usize]);
                }
            }
            input.extend_from_slice(b"\r\nbody");
            let (quick, slow) = both(&input, &config);
            if quick.is_some() {
                agreed += 1;
                assert_eq!(quick, slow, "{:?}", alloc::string::String::from_utf8_lossy(&input));
            }
        }
        assert!(agreed > 5_000, "{agreed}");
    }

    /// RFC 9112 5.1: "A proxy MUST remove any such whitespace from a response message before forwarding".
    #[test]
    fn whitespace_before_colons_changes_nothing_in_a_response_and_is_refused_in_a_request() {
        let head =
            b"HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length\t \t:5\r\nConnection :close\r\nB: c : d\r\n\r\n";
        let config = Config::default();
        let found =
            super::super::scan::Scan::default().find_end(head, &config, Ends::Lenient).unwrap().unwrap();
        let Block { facts, fields } = Block::gather(head, &found, Ends::Lenient).unwrap();
        assert_eq!((facts.length, facts.close), (Length::One(5), true));
        let want: [(&[u8], &[u8]); 4] =
            [(b"X-A", b"a"), (b"Content-Length", b"5"), (b"Connection", b"close"), (b"B", b"c : d")];
        assert_eq!(fields.iter().collect::<Vec<_>>(), want);
        assert_eq!(fields.first("content-length"), Some(&b"5"[..]));
        let fault = Block::gather(head, &found, Ends::Strict).unwrap_err();
        assert_eq!((fault.status, fault.what), (400, NOT_A_NAME));
    }

    /// A block and the same without whitespace before the colons, which httparse reads.
    #[test]
    fn spaced_blocks_are_read_as_httparse_reads_them_without_the_spaces() {
        let pieces: [&[u8]; 14] = [
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b":",
            b" :",
            b"\t :",
            b" ",
            b"X",
            b"Content-Length",
            b"7",
            b"close",
            b"\0",
            b"\xff",
        ];
        let read = |input: &[u8], ends: Ends| {
            let mut scan = super::super::scan::Scan::default();
            let found = scan.find_end(input, &Config::default(), Ends::Lenient).ok().flatten()?;
            let block = Block::gather(input, &found, ends).ok()?;
            let lines: Vec<_> = block.fields.lines().map(|line| (line.kind, line.name, line.value)).collect();
            Some(alloc::format!("{lines:?} {:?}", block.facts))
        };
        let mut rng = crate::rng::Rng::new(5);
        let mut agreed = 0;
        for _ in 0..60_000 {
            let mut spaced = b"HTTP/1.1 200 OK\r\n".to_vec();
            for _ in 0..rng.below(5) {
                if rng.below(4) > 0 {
                    let name: &[u8] = [&b"Content-Length"[..], b"Connection", b"X"][rng.below(3) as usize];
                    let colon: &[u8] = [&b":"[..], b" : ", b"\t:\t", b" :"][rng.below(4) as usize];
                    let value: &[u8] = [&b"7"[..], b"close", b"", b"a : b"][rng.below(4) as usize];
                    spaced.extend([name, colon, value, b"\r\n"].concat());
                } else {
                    spaced.extend_from_slice(pieces[rng.below(14) as usize]);
                }
            }
            spaced.extend_from_slice(b"\r\n\r\n");
            let mut plain = Vec::new();
            for line in spaced.split_inclusive(|&b| b == b'\n') {
                let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
                let (name, rest) = line.split_at(colon);
                let blank = name.iter().rev().take_while(|b| b" \t".contains(b)).count();
                plain.extend_from_slice(&name[..colon - blank]);
                plain.extend_from_slice(rest);
            }
            let got = read(&spaced, Ends::Lenient);
            assert_eq!(got, read(&plain, Ends::Strict), "{}", spaced.escape_ascii());
            agreed += usize::from(got.is_some() && spaced != plain);
        }
        assert!(agreed > 5_000, "{agreed}");
    }

    #[test]
    fn the_table_grows_with_the_head() {
        for fields in [0, 1, 24, 25, 1000, 32_768] {
            let mut input = b"GET / HTTP/1.1\r\n".to_vec();
            (0..fields).for_each(|_| input.extend_from_slice(b"Content-Length: 7\r\n"));
            input.extend_from_slice(b"\r\n");
            let found = super::super::scan::Scan::default()
                .find_end(&input, &Config::default(), Ends::Strict)
                .unwrap()
                .unwrap();
            assert_eq!(found.fields, fields);
            let want = match fields {
                0 => Length::Absent,
                _ => Length::One(7),
            };
            assert_eq!(Block::gather(&input, &found, Ends::Strict).unwrap().facts.length, want);
        }
    }
}
