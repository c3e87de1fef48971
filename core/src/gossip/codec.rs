//! Packets and stream messages to bytes and back (wire protocol 7.1 to 7.4).
//!
//! Names, addresses, keys and values are bytes here: Go does not judge them either. What a node makes of an empty
//! name or an address that is none is the node's business.

use super::msgpack::{self as mp, Flaw, Reader, Scan};
use super::{PacketError, Progress};
use alloc::vec::Vec;

/// Elements of all lists of one stream message together: more is refused, so that a byte of input cannot cost
/// fifty of memory without an end (weakness G2).
pub const ELEMENTS_MAX: usize = 1 << 18;

const DIGEST: u8 = 1;
const DELTA: u8 = 2;
const JOIN: u8 = 3;
const LEAVE: u8 = 4;
/// The field of [`Section::since`].
const SINCE: &[u8] = b"since";
/// The only version of the protocol.
const VERSION: u8 = 0;

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name of the node that sent the message.
    pub node_id: &'a [u8],
    /// Its gossip address, as it advertises it.
    pub addr: &'a [u8],
}

/// What a node knows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestEntry<'a> {
    /// Its name.
    pub id: &'a [u8],
    /// Its gossip address.
    pub addr: &'a [u8],
    /// The highest version of its keys that the sender has.
    pub version: u64,
    /// Whether it said that it leaves.
    pub left: bool,
}

/// One key of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; empty when deleted.
    pub value: &'a [u8],
    /// Unique among the keys of its node, and growing with every change.
    pub version: u64,
    /// Whether it belongs to the protocol rather than to the application.
    pub internal: bool,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

/// Keys of one node, by growing version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section<'a> {
    /// The name of the node.
    pub id: &'a [u8],
    /// Its gossip address.
    pub addr: &'a [u8],
    /// The version behind which the entries follow without a gap; 0 when the sender does not say. Only our nodes
    /// say it, and only to each other, in a field of its own that Go's would skip: what overtook its predecessor
    /// on the way is then told from what follows.
    pub since: u64,
    /// Its keys.
    pub entries: Vec<Entry<'a>>,
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Keys that the receiver lacks; without any it is a sign of life.
    Delta {
        /// Who speaks.
        header: Header<'a>,
        /// Per node what the receiver lacks.
        sections: Vec<Section<'a>>,
    },
    /// What the sender knows.
    Digest {
        /// Who speaks.
        header: Header<'a>,
        /// Whether the receiver is to answer with its own digest.
        request: bool,
        /// One entry per known node, as far as there was room.
        entries: Vec<DigestEntry<'a>>,
    },
}

/// A message that opens a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Tell me all that I lack.
    Join {
        /// Who speaks.
        header: Header<'a>,
        /// What the receiver may lack.
        delta: Vec<Section<'a>>,
        /// What the sender knows, complete.
        digest: Vec<DigestEntry<'a>>,
    },
    /// I leave.
    Leave {
        /// Who speaks.
        header: Header<'a>,
        /// The sender's keys, the mark of its leave among them.
        delta: Vec<Section<'a>>,
    },
}

/// The answer on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Who speaks.
    pub header: Header<'a>,
    /// What the joining node lacks; a leave is answered with the header alone.
    pub delta: Vec<Section<'a>>,
}

/// Which exchange a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A join, or a catch-up in its form.
    Join,
    /// A leave.
    Leave,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. What is cut off in the middle of an entry is dropped without an error (7.2.4); a nil
    /// among the entries, which makes a ghost node in Go, is passed over.
    pub fn decode(data: &'a [u8]) -> Result<Self, PacketError> {
        let (kind, mut reader) = prefix(data)?;
        match kind {
            DIGEST => {
                let (mut header, mut request) = (Header::default(), false);
                reader.fields(true, |key, value| {
                    if key == b"request" {
                        request = value.bool()?;
                        return Ok(true);
                    }
                    header.field(key, value)
                })?;
                let mut entries = Vec::new();
                while let Some(entry) = until_cut(&mut reader, digest_entry)? {
                    entries.push(entry);
                }
                Ok(Self::Digest { header, request, entries })
            }
            DELTA => {
                let (header, ..) = counted_header(&mut reader)?;
                Ok(Self::Delta { header, sections: sections(&mut reader)? })
            }
            _ => Err(PacketError::Unknown),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a complete message; bytes behind it are ignored.
    pub fn decode(data: &'a [u8]) -> Result<Self, PacketError> {
        let (kind, mut reader) = prefix(data)?;
        let mut left = ELEMENTS_MAX;
        match kind {
            JOIN => Ok(Self::Join {
                header: stream_header(&mut reader)?,
                delta: stream_delta(&mut reader, &mut left)?,
                digest: stream_digest(&mut reader, &mut left)?,
            }),
            LEAVE => Ok(Self::Leave {
                header: stream_header(&mut reader)?,
                delta: stream_delta(&mut reader, &mut left)?,
            }),
            _ => Err(PacketError::Unknown),
        }
    }
}

impl<'a> Reply<'a> {
    /// Reads a complete answer; bytes behind it are ignored.
    pub fn decode(kind: StreamKind, data: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(data);
        let header = stream_header(&mut reader)?;
        let delta = match kind {
            StreamKind::Join => stream_delta(&mut reader, &mut { ELEMENTS_MAX })?,
            StreamKind::Leave => Vec::new(),
        };
        Ok(Self { header, delta })
    }
}

/// Reads a list of nodes with their keys, as it stands in stream messages.
pub fn decode_delta(data: &[u8]) -> Result<Vec<Section<'_>>, PacketError> {
    Ok(stream_delta(&mut Reader::new(data), &mut { ELEMENTS_MAX })?)
}

/// Reads a list of what is known of nodes, as it stands in stream messages.
pub fn decode_digest(data: &[u8]) -> Result<Vec<DigestEntry<'_>>, PacketError> {
    Ok(stream_digest(&mut Reader::new(data), &mut { ELEMENTS_MAX })?)
}

fn prefix(data: &[u8]) -> Result<(u8, Reader<'_>), PacketError> {
    match data {
        [kind @ DIGEST..=LEAVE, VERSION, rest @ ..] => Ok((*kind, Reader::new(rest))),
        [] | [_] => Err(PacketError::Malformed),
        _ => Err(PacketError::Unknown),
    }
}

impl<'a> Header<'a> {
    fn field(&mut self, key: &[u8], value: &mut Reader<'a>) -> Result<bool, Flaw> {
        match key {
            b"node_id" => self.node_id = value.string()?,
            b"addr" => self.addr = value.string()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn stream_header<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, Flaw> {
    let mut header = Header::default();
    reader.fields(true, |key, value| header.field(key, value))?;
    Ok(header)
}

/// A header with a number, of entries that follow it, which may be more than do; and the version before them.
fn counted_header<'a>(reader: &mut Reader<'a>) -> Result<(Header<'a>, i64, u64), Flaw> {
    let (mut header, mut count, mut since) = (Header::default(), 0, 0);
    reader.fields(true, |key, value| {
        match key {
            b"entries" => count = value.int()?,
            SINCE => since = value.uint()?,
            _ => return header.field(key, value),
        }
        Ok(true)
    })?;
    Ok((header, count, since))
}

fn digest_entry<'a>(reader: &mut Reader<'a>) -> Result<DigestEntry<'a>, Flaw> {
    let mut entry = DigestEntry::default();
    reader.fields(false, |key, value| {
        match key {
            b"id" => entry.id = value.string()?,
            b"addr" => entry.addr = value.string()?,
            b"version" => entry.version = value.uint()?,
            b"left" => entry.left = value.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(entry)
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, Flaw> {
    let mut entry = Entry::default();
    reader.fields(false, |key, value| {
        match key {
            b"key" => entry.key = value.string()?,
            b"value" => entry.value = value.string()?,
            b"version" => entry.version = value.uint()?,
            b"internal" => entry.internal = value.bool()?,
            b"deleted" => entry.deleted = value.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(entry)
}

/// The next thing of a datagram, or none at its end or where it is cut.
fn until_cut<'a, T>(
    reader: &mut Reader<'a>,
    read: fn(&mut Reader<'a>) -> Result<T, Flaw>,
) -> Result<Option<T>, Flaw> {
    while let Some(0xc0) = reader.rest().first() {
        *reader = Reader::new(&reader.rest()[1..]);
    }
    if reader.is_empty() {
        return Ok(None);
    }
    match read(reader) {
        Ok(thing) => Ok(Some(thing)),
        Err(Flaw::Cut) => {
            *reader = Reader::new(&[]);
            Ok(None)
        }
        Err(flaw) => Err(flaw),
    }
}

fn sections<'a>(reader: &mut Reader<'a>) -> Result<Vec<Section<'a>>, Flaw> {
    let mut sections = Vec::new();
    while let Some((header, count, since)) = until_cut(reader, counted_header)? {
        let mut entries = Vec::new();
        // A negative number has no end but that of the datagram, as in Go.
        while count < 0 || (entries.len() as u64) < count.unsigned_abs() {
            let Some(entry) = until_cut(reader, entry)? else { break };
            entries.push(entry);
        }
        sections.push(Section { id: header.node_id, addr: header.addr, since, entries });
    }
    Ok(sections)
}

/// A list; `left` counts down over all lists of a message.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    left: &mut usize,
    read: impl Fn(&mut Reader<'a>, &mut usize) -> Result<T, Flaw>,
) -> Result<Vec<T>, Flaw> {
    let n = reader.array()?;
    let mut all = Vec::new();
    for _ in 0..n {
        *left = left.checked_sub(1).ok_or(Flaw::Malformed)?;
        all.push(read(reader, left)?);
    }
    Ok(all)
}

fn stream_delta<'a>(reader: &mut Reader<'a>, left: &mut usize) -> Result<Vec<Section<'a>>, Flaw> {
    list(reader, left, |reader, left| {
        let mut section = Section::default();
        reader.fields(false, |key, value| {
            match key {
                b"id" => section.id = value.string()?,
                b"addr" => section.addr = value.string()?,
                b"entries" => section.entries = list(value, left, |reader, _| entry(reader))?,
                SINCE => section.since = value.uint()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(section)
    })
}

fn stream_digest<'a>(reader: &mut Reader<'a>, left: &mut usize) -> Result<Vec<DigestEntry<'a>>, Flaw> {
    list(reader, left, |reader, _| digest_entry(reader))
}

/// Collects a stream message, which carries no length, until it is complete.
///
/// Reads every byte once, whatever the pieces. Holds what was given, at most `bytes_max` of it.
#[derive(Clone, Debug)]
pub struct StreamReader {
    bytes: Vec<u8>,
    /// How far `bytes` has been looked at.
    seen: usize,
    scan: Option<Scan>,
    bytes_max: usize,
}

impl StreamReader {
    /// For a stream that somebody opened towards us.
    pub fn request(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), seen: 0, scan: None, bytes_max }
    }

    /// For the answer on a stream of ours.
    pub fn reply(kind: StreamKind, bytes_max: usize) -> Self {
        let values = match kind {
            StreamKind::Join => 2,
            StreamKind::Leave => 1,
        };
        Self { bytes: Vec::new(), seen: 0, scan: Some(Scan::new(values)), bytes_max }
    }

    /// Takes the next bytes. An error is final; nothing that comes later would help.
    pub fn push(&mut self, data: &[u8]) -> Result<Progress, PacketError> {
        if self.bytes.len() + data.len() > self.bytes_max {
            return Err(PacketError::TooLong);
        }
        self.bytes.extend_from_slice(data);
        if self.scan.is_none() {
            let [kind, version, ..] = self.bytes[..] else { return Ok(Progress::More) };
            let values = match (kind, version) {
                (JOIN, VERSION) => 3,
                (LEAVE, VERSION) => 2,
                _ => return Err(PacketError::Unknown),
            };
            self.seen = 2;
            self.scan = Some(Scan::new(values));
        }
        let Some(scan) = &mut self.scan else { return Ok(Progress::More) };
        self.seen += scan.advance(&self.bytes[self.seen..])?;
        Ok(if scan.is_done() { Progress::Complete } else { Progress::More })
    }

    /// What has come so far: the message, once [`push`](Self::push) said that it is complete.
    pub fn message(&self) -> &[u8] {
        &self.bytes
    }
}

impl Header<'_> {
    /// What the header of a digest takes behind the two bytes of type and version, in bytes.
    pub const fn digest_len(&self) -> usize {
        23 + mp::str_len(self.node_id.len()) + mp::str_len(self.addr.len())
    }

    /// What the header of a delta or of a section takes, in bytes.
    pub const fn delta_len(&self, entries: u32) -> usize {
        22 + mp::str_len(self.node_id.len()) + mp::str_len(self.addr.len()) + mp::int_len(entries)
    }

    fn put(&self, out: &mut Vec<u8>, fields: u8) {
        mp::put_map(out, fields);
        mp::put_str(out, b"node_id");
        mp::put_str(out, self.node_id);
        mp::put_str(out, b"addr");
        mp::put_str(out, self.addr);
    }

    fn put_counted(&self, out: &mut Vec<u8>, entries: u32, since: Option<u64>) {
        self.put(out, 3 + u8::from(since.is_some()));
        mp::put_str(out, b"entries");
        mp::put_int(out, entries);
        put_since(out, since);
    }

    /// Appends the header of a stream message.
    pub fn put_stream(&self, out: &mut Vec<u8>) {
        self.put(out, 2);
    }
}

impl DigestEntry<'_> {
    /// What [`put`](Self::put) appends, in bytes.
    pub const fn len(&self) -> usize {
        23 + mp::str_len(self.id.len()) + mp::str_len(self.addr.len()) + mp::uint_len(self.version)
    }

    /// Never: an entry has its names at least.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends the entry.
    pub fn put(&self, out: &mut Vec<u8>) {
        mp::put_map(out, 4);
        mp::put_str(out, b"id");
        mp::put_str(out, self.id);
        mp::put_str(out, b"addr");
        mp::put_str(out, self.addr);
        mp::put_str(out, b"version");
        mp::put_uint(out, self.version);
        mp::put_str(out, b"left");
        mp::put_bool(out, self.left);
    }
}

impl Entry<'_> {
    /// What [`put`](Self::put) appends, in bytes.
    pub const fn len(&self) -> usize {
        38 + mp::str_len(self.key.len()) + mp::str_len(self.value.len()) + mp::uint_len(self.version)
    }

    /// Never: an entry has its names at least.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends the entry.
    pub fn put(&self, out: &mut Vec<u8>) {
        mp::put_map(out, 5);
        mp::put_str(out, b"key");
        mp::put_str(out, self.key);
        mp::put_str(out, b"value");
        mp::put_str(out, self.value);
        mp::put_str(out, b"version");
        mp::put_uint(out, self.version);
        mp::put_str(out, b"internal");
        mp::put_bool(out, self.internal);
        mp::put_str(out, b"deleted");
        mp::put_bool(out, self.deleted);
    }
}

/// Writes one datagram of at most so many bytes; what does not fit is refused whole (7.7).
#[derive(Debug)]
pub struct PacketWriter<'o> {
    out: &'o mut Vec<u8>,
    /// How long `out` may become.
    end: usize,
}

impl<'o> PacketWriter<'o> {
    /// Begins a digest. `None`, and nothing written, when not even the header fits.
    pub fn digest(out: &'o mut Vec<u8>, max: usize, header: &Header<'_>, request: bool) -> Option<Self> {
        let writer = Self::begin(out, max, DIGEST, header.digest_len())?;
        header.put(writer.out, 3);
        mp::put_str(writer.out, b"request");
        mp::put_bool(writer.out, request);
        Some(writer)
    }

    /// Begins a delta. `None`, and nothing written, when not even the header fits.
    pub fn delta(out: &'o mut Vec<u8>, max: usize, header: &Header<'_>) -> Option<Self> {
        let writer = Self::begin(out, max, DELTA, header.delta_len(0))?;
        header.put_counted(writer.out, 0, None);
        Some(writer)
    }

    fn begin(out: &'o mut Vec<u8>, max: usize, kind: u8, header: usize) -> Option<Self> {
        let end = out.len().saturating_add(max);
        let fits = 2 + header <= max;
        if fits {
            out.extend_from_slice(&[kind, VERSION]);
        }
        fits.then_some(Self { out, end })
    }

    fn fits(&self, len: usize) -> bool {
        self.out.len() + len <= self.end
    }

    /// Appends an entry of a digest, or says that it does not fit.
    pub fn digest_entry(&mut self, entry: &DigestEntry<'_>) -> bool {
        let fits = self.fits(entry.len());
        if fits {
            entry.put(self.out);
        }
        fits
    }

    /// Begins the section of a node with the number of entries that the receiver lacks, or says that it does not
    /// fit. After a refusal nothing may follow.
    ///
    /// `since` goes to our own nodes only, see [`Section::since`].
    pub fn section(&mut self, node: &Header<'_>, entries: u32, since: Option<u64>) -> bool {
        let fits = self.fits(node.delta_len(entries) + since_len(since));
        if fits {
            node.put_counted(self.out, entries, since);
        }
        fits
    }

    /// Appends an entry to the last section, or says that it does not fit. After a refusal nothing may follow.
    pub fn entry(&mut self, entry: &Entry<'_>) -> bool {
        let fits = self.fits(entry.len());
        if fits {
            entry.put(self.out);
        }
        fits
    }

    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        self.end - self.out.len()
    }
}

/// Begins a message that opens a stream.
pub fn put_request(out: &mut Vec<u8>, kind: StreamKind, header: &Header<'_>) {
    let kind = match kind {
        StreamKind::Join => JOIN,
        StreamKind::Leave => LEAVE,
    };
    out.extend_from_slice(&[kind, VERSION]);
    header.put_stream(out);
}

/// The head of a list of nodes; Go writes nil for none.
pub fn put_list(out: &mut Vec<u8>, elements: usize) {
    if elements == 0 { mp::put_nil(out) } else { mp::put_array(out, elements) }
}

fn put_since(out: &mut Vec<u8>, since: Option<u64>) {
    if let Some(since) = since {
        mp::put_str(out, SINCE);
        mp::put_uint(out, since);
    }
}

/// What the field of [`Section::since`] takes, in bytes.
pub const fn since_len(since: Option<u64>) -> usize {
    match since {
        Some(since) => mp::str_len(SINCE.len()) + mp::uint_len(since),
        None => 0,
    }
}

/// Begins an element of a delta in a stream message; so many entries follow, nil stands for none. `since` goes to
/// our own nodes only, see [`Section::since`].
pub fn put_section(out: &mut Vec<u8>, node: &Header<'_>, entries: usize, since: Option<u64>) {
    mp::put_map(out, 3 + u8::from(since.is_some()));
    mp::put_str(out, b"id");
    mp::put_str(out, node.node_id);
    mp::put_str(out, b"addr");
    mp::put_str(out, node.addr);
    put_since(out, since);
    mp::put_str(out, b"entries");
    put_list(out, entries);
}

/// An array with no elements where Go has a list that is empty but not nil; never sent by a node.
pub fn put_empty(out: &mut Vec<u8>) {
    mp::put_array(out, 0);
}
