//! The MessagePack of this protocol, and nothing beyond it (wire protocol 7.2): what Go's codec writes with its
//! default options, and of what it reads everything that is worth accepting.

use alloc::vec::Vec;

/// Nesting of values that are skipped; what the protocol itself uses has four levels.
pub(super) const DEPTH_MAX: usize = 16;

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They end inside a value. A datagram may be cut like this behind its header.
    Cut,
    /// They are no value that is expected here.
    Malformed,
}

/// The first bytes of a value: its kind, and how much follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Array(u32),
    Bool(bool),
    /// A float or an extension: so many bytes that nobody looks at.
    Opaque(usize),
    /// A negative integer; all others are [`Head::Uint`].
    Int(i64),
    Map(u32),
    Nil,
    Str(usize),
    Uint(u64),
}

/// Reads values from the start of `rest`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Flaw::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn be(&mut self, width: usize) -> Result<u64, Flaw> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn len(&mut self, width: usize) -> Result<usize, Flaw> {
        usize::try_from(self.be(width)?).map_err(|_| Flaw::Malformed)
    }

    fn count(&mut self, width: usize) -> Result<u32, Flaw> {
        u32::try_from(self.be(width)?).map_err(|_| Flaw::Malformed)
    }

    fn signed(&mut self, width: usize) -> Result<Head, Flaw> {
        let shift = 64 - 8 * width as u32;
        let value = (self.be(width)? << shift) as i64 >> shift;
        Ok(u64::try_from(value).map_or(Head::Int(value), Head::Uint))
    }

    pub(super) fn head(&mut self) -> Result<Head, Flaw> {
        Ok(match self.take(1)?[0] {
            byte @ 0x00..=0x7f => Head::Uint(u64::from(byte)),
            byte @ 0x80..=0x8f => Head::Map(u32::from(byte & 15)),
            byte @ 0x90..=0x9f => Head::Array(u32::from(byte & 15)),
            byte @ 0xa0..=0xbf => Head::Str(usize::from(byte & 31)),
            0xc0 => Head::Nil,
            0xc1 => return Err(Flaw::Malformed),
            byte @ (0xc2 | 0xc3) => Head::Bool(byte == 0xc3),
            // Old encoders have no type of their own for bytes, so a binary counts as a string.
            0xc4 | 0xd9 => Head::Str(self.len(1)?),
            0xc5 | 0xda => Head::Str(self.len(2)?),
            0xc6 | 0xdb => Head::Str(self.len(4)?),
            // An extension has one byte more, for its type.
            0xc7 => Head::Opaque(self.len(1)? + 1),
            0xc8 => Head::Opaque(self.len(2)? + 1),
            0xc9 => Head::Opaque(self.len(4)?.saturating_add(1)),
            0xca => Head::Opaque(4),
            0xcb => Head::Opaque(8),
            byte @ 0xcc..=0xcf => Head::Uint(self.be(1 << (byte - 0xcc))?),
            byte @ 0xd0..=0xd3 => self.signed(1 << (byte - 0xd0))?,
            byte @ 0xd4..=0xd8 => Head::Opaque((1 << (byte - 0xd4)) + 1),
            0xdc => Head::Array(self.count(2)?),
            0xdd => Head::Array(self.count(4)?),
            0xde => Head::Map(self.count(2)?),
            0xdf => Head::Map(self.count(4)?),
            byte @ 0xe0..=0xff => Head::Int(i64::from(byte as i8)),
        })
    }

    /// A string, or nil for the empty one. Its bytes are not judged.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Flaw> {
        match self.head()? {
            Head::Str(len) => self.take(len),
            Head::Nil => Ok(&[]),
            _ => Err(Flaw::Malformed),
        }
    }

    /// A boolean, 0, 1, or nil for false.
    pub(super) fn bool(&mut self) -> Result<bool, Flaw> {
        match self.head()? {
            Head::Bool(value) => Ok(value),
            Head::Nil | Head::Uint(0) => Ok(false),
            Head::Uint(1) => Ok(true),
            _ => Err(Flaw::Malformed),
        }
    }

    /// An integer of any width that is not negative, or nil for 0.
    pub(super) fn uint(&mut self) -> Result<u64, Flaw> {
        match self.head()? {
            Head::Uint(value) => Ok(value),
            Head::Nil => Ok(0),
            _ => Err(Flaw::Malformed),
        }
    }

    /// An integer of any width, or nil for 0.
    pub(super) fn int(&mut self) -> Result<i64, Flaw> {
        match self.head()? {
            Head::Uint(value) => i64::try_from(value).map_err(|_| Flaw::Malformed),
            Head::Int(value) => Ok(value),
            Head::Nil => Ok(0),
            _ => Err(Flaw::Malformed),
        }
    }

    /// The number of elements of an array; nil has none.
    pub(super) fn array(&mut self) -> Result<u32, Flaw> {
        match self.head()? {
            Head::Array(n) => Ok(n),
            Head::Nil => Ok(0),
            _ => Err(Flaw::Malformed),
        }
    }

    /// Reads a map: `field` gets each key with the reader in front of the value, and says whether it took the
    /// value. Nil is a map without fields only where `nil` says so.
    pub(super) fn fields(
        &mut self,
        nil: bool,
        mut field: impl FnMut(&[u8], &mut Self) -> Result<bool, Flaw>,
    ) -> Result<(), Flaw> {
        let n = match self.head()? {
            Head::Map(n) => n,
            Head::Nil if nil => 0,
            _ => return Err(Flaw::Malformed),
        };
        for _ in 0..n {
            let Head::Str(len) = self.head()? else { return Err(Flaw::Malformed) };
            let key = self.take(len)?;
            if !field(key, self)? {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// Passes over one value of any kind, in constant space (weakness G1).
    fn skip(&mut self) -> Result<(), Flaw> {
        let mut scan = Scan::new(1);
        let used = scan.advance(self.rest)?;
        self.rest = &self.rest[used..];
        if scan.is_done() { Ok(()) } else { Err(Flaw::Cut) }
    }
}

/// Finds the end of a number of values in bytes that come piece by piece, without reading any of them twice.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Values still to come, per open container; the first is for the outermost level.
    open: [u64; DEPTH_MAX + 1],
    depth: usize,
    /// Bytes of the current string or opaque value that are still to come.
    skip: usize,
}

impl Scan {
    /// Looks for the end of `values` values.
    pub(super) fn new(values: u64) -> Self {
        let mut open = [0; DEPTH_MAX + 1];
        open[0] = values;
        Self { open, depth: 0, skip: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.skip == 0 && self.depth == 0 && self.open[0] == 0
    }

    /// Passes over what can be passed over, and says how many bytes that were. What is left, at most eight bytes,
    /// is to be given again with what follows it.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        let mut reader = Reader::new(bytes);
        while !self.is_done() {
            if self.skip > 0 {
                let n = self.skip.min(reader.rest.len());
                if n == 0 {
                    break;
                }
                reader.rest = &reader.rest[n..];
                self.skip -= n;
                continue;
            }
            while self.open[self.depth] == 0 {
                self.depth -= 1;
            }
            let before = reader;
            match reader.head() {
                Ok(head) => self.enter(head)?,
                Err(Flaw::Cut) => {
                    reader = before;
                    break;
                }
                Err(flaw) => return Err(flaw),
            }
            while self.depth > 0 && self.open[self.depth] == 0 {
                self.depth -= 1;
            }
        }
        Ok(bytes.len() - reader.rest.len())
    }

    fn enter(&mut self, head: Head) -> Result<(), Flaw> {
        self.open[self.depth] -= 1;
        let inside = match head {
            Head::Array(n) => u64::from(n),
            Head::Map(n) => 2 * u64::from(n),
            Head::Str(n) | Head::Opaque(n) => {
                self.skip = n;
                0
            }
            Head::Bool(_) | Head::Int(_) | Head::Nil | Head::Uint(_) => 0,
        };
        if inside > 0 {
            if self.depth == DEPTH_MAX {
                return Err(Flaw::Malformed);
            }
            self.depth += 1;
            self.open[self.depth] = inside;
        }
        Ok(())
    }
}

/// A map of less than 16 fields.
pub(super) fn put_map(out: &mut Vec<u8>, fields: u8) {
    debug_assert!(fields < 16, "a fixmap");
    out.push(0x80 | fields);
}

/// A string as Go's codec writes it: never in the form `d9`.
pub(super) fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

pub(super) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// A Go `uint64`: the shortest unsigned form.
pub(super) fn put_uint(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    match uint_len(value) {
        1 => out.push(bytes[7]),
        len => {
            let width = len - 1;
            out.push(0xcc + width.trailing_zeros() as u8);
            out.extend_from_slice(&bytes[8 - width..]);
        }
    }
}

/// A Go `int` that is not negative: the shortest *signed* form, where 128 takes two bytes behind its head.
pub(super) fn put_int(out: &mut Vec<u8>, value: u32) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0x7fff => {
            out.push(0xd1);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x8000..=0x7fff_ffff => {
            out.push(0xd2);
            out.extend_from_slice(&value.to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&u64::from(value).to_be_bytes());
        }
    }
}

/// The head of a list; a Go slice that is nil is written as [`put_nil`].
pub(super) fn put_array(out: &mut Vec<u8>, elements: usize) {
    match elements {
        0..=15 => out.push(0x90 | elements as u8),
        16..=0xffff => {
            out.push(0xdc);
            out.extend_from_slice(&(elements as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&u32::try_from(elements).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

pub(super) fn put_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// What [`put_str`] appends, in bytes.
pub(super) const fn str_len(len: usize) -> usize {
    len + match len {
        0..=31 => 1,
        32..=0xffff => 3,
        _ => 5,
    }
}

/// What [`put_uint`] appends, in bytes.
pub(super) const fn uint_len(value: u64) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// What [`put_int`] appends, in bytes.
pub(super) const fn int_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x7fff => 3,
        0x8000..=0x7fff_ffff => 5,
        _ => 9,
    }
}
