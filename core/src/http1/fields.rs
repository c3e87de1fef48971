//! A field block as it stood on the wire, split lazily: a head is small and borrows only the input.
//!
//! Grammar: RFC 9110 5.1 (names), 5.5 (values), 5.6.1 (lists); RFC 9112 5 (field lines).

use super::chars::is_tchar;
use super::error::Refused;
use super::kind::Kind;
use super::marks::Marks;
use bytes::BufMut;
use core::hint::black_box;

/// A validated field block: lines `name: value CRLF` without the final blank line. Split lazily, order and
/// case kept.
///
/// Blocks of responses may hold lines that end in a bare LF (RFC 9112 2.2 allows a reader to take them) or have
/// whitespace before the colon (5.1 has a proxy remove it); [`Fields::iter`] splits those too, and whatever a
/// machine writes has neither.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'i> {
    block: &'i [u8],
    clean: bool,
    /// Known of blocks that were just judged and have nothing unusual about them.
    marks: Option<Marks>,
}

impl<'i> Fields<'i> {
    /// Takes a block over unseen. The caller vouches that every line of `block` is `name ":" OWS value CRLF`,
    /// as another machine or [`write_field`] wrote it. A line without a colon is passed over, never a panic.
    pub fn from_block(block: &'i [u8]) -> Self {
        Self { block, clean: false, marks: None }
    }

    /// A block with what was found in it; `marks` are of exactly this block.
    pub(super) fn marked(block: &'i [u8], marks: Option<Marks>) -> Self {
        Self { block, clean: false, marks }
    }

    /// As [`Self::from_block`], for a block that a machine may copy as it stands: each line is what
    /// [`write_field`] makes of it, and none is about framing or the connection (`te` and `upgrade` included).
    pub(crate) fn clean(block: &'i [u8]) -> Self {
        Self { block, clean: true, marks: None }
    }

    /// See [`Self::clean`].
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// The lines as they stand, each with its line end.
    pub fn block(&self) -> &'i [u8] {
        self.block
    }

    /// True when there is no line.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// All fields in order: (name as received, value without surrounding whitespace).
    pub fn iter(&self) -> FieldIter<'i> {
        FieldIter { rest: self.block }
    }

    /// The lines in order, each with the bytes it takes in the block. For writers that copy runs of lines.
    pub(super) fn raw_lines(&self) -> impl Iterator<Item = Line<'i>> + use<'i> {
        Lines::new(self.block)
    }

    /// All lines in order, each with its kind.
    pub(crate) fn lines(&self) -> Kinds<'_, 'i> {
        Kinds { marks: None, block: self.block, next: 0, lines: Lines::new(self.block) }
    }

    /// The lines that have a [`Kind`], in order. Lines of no kind may be among them, which are not to be taken for
    /// more.
    pub(crate) fn of_kinds(&self) -> Kinds<'_, 'i> {
        Kinds { marks: self.marks.as_ref(), ..self.lines() }
    }

    /// Every line stands as this product writes it, so that [`Self::of_kinds`] leaves out what may be copied as it
    /// stands.
    pub(crate) fn has_marks(&self) -> bool {
        self.marks.is_some()
    }

    /// First value of a field, by case-insensitive name (RFC 9110 5.1).
    pub fn first(&self, name: &str) -> Option<&'i [u8]> {
        self.all(name).next()
    }

    /// The values of all lines of one field, by case-insensitive name, in order.
    pub fn all<'f, 'n>(&'f self, name: &'n str) -> impl Iterator<Item = &'i [u8]> + use<'f, 'i, 'n> {
        // Most questions are about fields that have a kind, which were found when the block was judged.
        let lines = if Kind::of(name.as_bytes()) == Kind::Other { self.lines() } else { self.of_kinds() };
        lines.filter(move |line| is_name(line.name, name)).map(|line| line.value)
    }

    /// True when the comma-separated list of all lines `name` contains `token`, case-insensitively
    /// (RFC 9110 5.6.1). Quoted strings are not understood: no list that a proxy acts on has them.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| list_has(value, token))
    }
}

/// Iterator over the fields of a block, see [`Fields::iter`].
#[derive(Clone, Debug)]
pub struct FieldIter<'i> {
    rest: &'i [u8],
}

impl<'i> Iterator for FieldIter<'i> {
    type Item = (&'i [u8], &'i [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = Lines::new(self.rest);
        let line = lines.next();
        self.rest = lines.rest;
        line.map(|line| (line.name, line.value))
    }
}

/// One line of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'i> {
    /// `Other` too for lines that nobody has asked yet, see [`Fields::raw_lines`].
    pub(crate) kind: Kind,
    /// Where it starts in its block.
    pub(crate) at: usize,
    /// So many bytes of lines without a colon stood before it.
    pub(super) skipped: usize,
    /// The whole line with its line end.
    pub(crate) raw: &'i [u8],
    pub(crate) name: &'i [u8],
    pub(crate) value: &'i [u8],
}

/// Iterator over lines with their kinds, see [`Fields::of_kinds`] and [`Fields::lines`].
#[derive(Debug)]
pub(crate) struct Kinds<'f, 'i> {
    marks: Option<&'f Marks>,
    block: &'i [u8],
    next: usize,
    lines: Lines<'i>,
}

impl<'i> Iterator for Kinds<'_, 'i> {
    type Item = Line<'i>;

    #[inline]
    fn next(&mut self) -> Option<Line<'i>> {
        let Some(marks) = self.marks else { return self.lines.next().map(Line::with_kind) };
        let line = marks.line(self.next, self.block)?;
        self.next += 1;
        Some(line)
    }
}

impl Line<'_> {
    fn with_kind(self) -> Self {
        Self { kind: Kind::of(self.name), ..self }
    }

    /// The line already stands as this product writes it: `name ": " value CRLF`.
    pub(super) fn is_canonical(&self) -> bool {
        self.raw.len() == line_len(self.name, self.value)
            && self.raw.get(self.name.len()) == Some(&b':')
            && self.raw.ends_with(b"\r\n")
    }
}

#[derive(Debug)]
struct Lines<'i> {
    at: usize,
    rest: &'i [u8],
}

impl<'i> Lines<'i> {
    fn new(block: &'i [u8]) -> Self {
        Self { at: 0, rest: block }
    }
}

impl<'i> Iterator for Lines<'i> {
    type Item = Line<'i>;

    fn next(&mut self) -> Option<Line<'i>> {
        let mut skipped = 0;
        while !self.rest.is_empty() {
            // Names are short, so that a plain loop finds the colon faster than words would.
            let stop = self.rest.iter().position(|&b| b == b':' || b == b'\n').unwrap_or(self.rest.len());
            let (name, behind) = self.rest.split_at(stop);
            let Some((b':', value)) = behind.split_first() else {
                let (raw, rest) = self.rest.split_at((stop + 1).min(self.rest.len()));
                self.rest = rest;
                skipped += raw.len();
                continue;
            };
            let end = find(b'\n', value).map_or(value.len(), |lf| lf + 1);
            let (value, _) = value.split_at(end);
            let (raw, rest) = self.rest.split_at(stop + 1 + end);
            self.rest = rest;
            let at = self.at + skipped;
            self.at = at + raw.len();
            return Some(Line {
                kind: Kind::Other,
                at,
                skipped,
                raw,
                name: trim_end(name),
                value: trim(value),
            });
        }
        None
    }
}

/// Appends the line `name: value CRLF`. The caller vouches that `name` is a token ([`is_token`]) and `value`
/// holds no control characters ([`is_value`]).
///
/// # Errors
/// [`Refused::NoRoom`] with the length of the line when `block` cannot take it; nothing is written then.
pub fn write_field(block: &mut impl BufMut, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let needed = line_len(name, value);
    if block.remaining_mut() < needed {
        return Err(Refused::NoRoom(needed));
    }
    block.put_slice(name);
    block.put_slice(b": ");
    block.put_slice(value);
    block.put_slice(b"\r\n");
    Ok(())
}

/// What [`write_field`] would append, in bytes.
fn line_len(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 4
}

/// True when `name` is the field `wanted`, whatever the case. Lengths differ mostly, so they are asked first, then
/// the first characters: those that are the same letter differ in one bit at most.
pub fn is_name(name: &[u8], wanted: &str) -> bool {
    const CASE: u8 = b'a' ^ b'A';
    let wanted = wanted.as_bytes();
    name.len() == wanted.len()
        && name.first().zip(wanted.first()).is_none_or(|(a, b)| (a ^ b) & !CASE == 0)
        && name.eq_ignore_ascii_case(wanted)
}

/// The members of one comma-separated value, without surrounding whitespace; empty members are left out
/// (RFC 9110 5.6.1.2).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|member| !member.is_empty())
}

/// What nearly every Connection field says, which is nobody's business but the connection's.
pub(crate) fn is_usual_option(connection: &[u8]) -> bool {
    matches!(connection, b"close" | b"keep-alive")
}

/// True when the comma-separated `value` has the member `token`, case-insensitively.
pub fn list_has(value: &[u8], token: &str) -> bool {
    list_members(value).any(|member| is_name(member, token))
}

/// A token of RFC 9110 5.6.2: a method, a field name, a protocol name. Never empty.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_tchar(b))
}

/// A field value without control characters other than the tab (RFC 9110 5.5); also a reason phrase
/// (RFC 9112 4).
pub fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == b'\t' || (b >= 0x20 && b != 0x7f))
}

/// Without the whitespace (and line ends) around it.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Without the whitespace behind it.
fn trim_end(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}

/// The position of the first `wanted`.
pub(super) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    position(bytes, |b| b == wanted)
}

/// The position of the first byte that `is_wanted`, sixteen bytes at a time: asking the same of each byte, without a
/// branch, is done by instructions for vectors, where the processor has them.
#[inline]
pub(super) fn position(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        // Compilers that see how the answers are used take the vector apart again.
        let hits = black_box(chunk.map(|b| if is_wanted(b) { 0xff } else { 0 }));
        for (start, half) in [(0, hits.first_chunk::<8>()), (8, hits.last_chunk::<8>())] {
            let half = half.map_or(0, |half| u64::from_le_bytes(*half));
            if half != 0 {
                return Some(bytes.len() - rest.len() + start + (half.trailing_zeros() / 8) as usize);
            }
        }
        rest = tail;
    }
    let at = rest.iter().position(|&b| is_wanted(b))?;
    Some(bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn fields_come_in_order_with_their_case_and_without_whitespace() {
        let fields = Fields::from_block(b"Host: a\r\nX-A:b\r\nx-a: \t c \t\r\nE:\r\nlf: 1\n");
        let all: Vec<_> = fields.iter().collect();
        let want: [(&[u8], &[u8]); 5] =
            [(b"Host", b"a"), (b"X-A", b"b"), (b"x-a", b"c"), (b"E", b""), (b"lf", b"1")];
        assert_eq!(all, want);
        assert_eq!(fields.first("x-A"), Some(&b"b"[..]));
        assert_eq!(fields.first("x-"), None);
        assert_eq!(fields.all("X-a").count(), 2);
        assert!(!fields.is_empty());
        let spaced = Fields::from_block(b"A :b\r\nC \t: d\r\n");
        assert_eq!(spaced.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"b"[..]), (b"C", b"d")]);
        assert!(Fields::default().is_empty());
        assert_eq!(Fields::default().iter().next(), None);
    }

    #[test]
    fn a_block_that_nobody_vouched_for_cannot_panic() {
        for block in [&b"no colon\r\n"[..], b":", b"\r\n\r\n", b"a", b"a:", b"\n:\n"] {
            assert!(Fields::from_block(block).iter().count() <= 1, "{block:?}");
        }
    }

    #[test]
    fn tokens_are_found_in_any_line_and_case_but_never_in_parts() {
        let fields = Fields::from_block(b"Connection: keep-alive, Upgrade\r\nCONNECTION: ,x-y ,\tTE\r\n");
        for token in ["keep-alive", "upgrade", "x-y", "te"] {
            assert!(fields.has_token("connection", token), "{token}");
        }
        for token in ["keep", "close", "x", ""] {
            assert!(!fields.has_token("connection", token), "{token}");
        }
        assert!(!fields.has_token("upgrade", "upgrade"));
    }

    #[test]
    fn the_search_agrees_with_the_plain_one() {
        // Every length to two vectors and a half, every position, with neighbours that differ in one bit.
        for len in 0..40 {
            for at in 0..=len {
                let mut bytes: Vec<u8> = (0..len).map(|i| if i % 2 == 0 { 0x0b } else { 0x8a }).collect();
                if at < len {
                    bytes[at] = b'\n';
                }
                assert_eq!(find(b'\n', &bytes), bytes.iter().position(|&b| b == b'\n'), "{len} {at}");
            }
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_not_written() {
        let mut small = [0u8; 8];
        let mut out = &mut small[..];
        assert_eq!(write_field(&mut out, b"ab", b"cde"), Err(Refused::NoRoom(9)));
        assert_eq!(out.len(), 8);
        assert_eq!(write_field(&mut out, b"ab", b"cd"), Ok(()));
        assert_eq!(&small, b"ab: cd\r\n");
    }

    #[test]
    fn tokens_and_values_have_their_characters() {
        for b in 0..=u8::MAX {
            let tchar = b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&b);
            assert_eq!(is_token(&[b]), tchar, "{b:#x}");
            assert_eq!(is_value(&[b]), b == b'\t' || !b.is_ascii_control(), "{b:#x}");
        }
        assert!(!is_token(b""));
        assert!(is_value(b""));
    }
}
