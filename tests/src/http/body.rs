//! Message bodies: framing (RFC 9112 section 6), a made-up content, and its checksum.

use std::io;

use super::input::Input;

/// What a body was, without all of it in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Payload bytes that arrived.
    pub len: u64,
    /// Checksum of all payload bytes that arrived; compare with [`checksum_of`].
    pub checksum: Checksum,
    /// The first bytes, as many as the client keeps.
    pub bytes: Vec<u8>,
    /// Chunks that arrived, without the last one; 0 for other framings.
    pub chunks: u64,
}

impl Body {
    /// The kept bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn add(&mut self, piece: &[u8], keep: usize) {
        self.len += piece.len() as u64;
        self.checksum.add(piece);
        let room = keep.saturating_sub(self.bytes.len()).min(piece.len());
        self.bytes.extend_from_slice(&piece[..room]);
    }
}

/// FNV-1a with 64 bits: small, and it notices every swapped, lost or doubled byte of a test body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The checksum of these bytes alone.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    /// The number, for trailers and messages.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Fills `out` with the test content from `offset` on. It repeats only after 16 MiB, so a piece that is
/// lost, doubled or misplaced changes what arrives.
pub fn pattern(offset: u64, out: &mut [u8]) {
    for (byte, i) in out.iter_mut().zip(offset..) {
        let mixed = i ^ (i >> 8).wrapping_mul(7) ^ (i >> 16).wrapping_mul(13);
        *byte = (mixed & 0xff) as u8;
    }
}

/// The checksum of the first `len` bytes of the test content.
pub fn checksum_of(len: u64) -> Checksum {
    let mut sum = Checksum::default();
    let mut block = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < len {
        let n = (len - offset).min(block.len() as u64);
        let piece = &mut block[..n as usize];
        pattern(offset, piece);
        sum.add(piece);
        offset += n;
    }
    sum
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    /// By the end of the connection.
    Close,
    Length(u64),
}

/// The fields of a message that matter to its framing.
pub(crate) struct Message {
    pub(crate) lengths: Vec<String>,
    pub(crate) codings: Vec<String>,
}

impl Message {
    /// The framing that the fields state, `otherwise` when they state none. What two readers could
    /// understand differently is an error.
    pub(crate) fn framing(&self, otherwise: Framing) -> Result<Framing, String> {
        match (self.codings.as_slice(), self.lengths.as_slice()) {
            ([], []) => Ok(otherwise),
            ([], [length]) => {
                let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
                let parsed = digits.then(|| length.parse().ok()).flatten();
                parsed.map(Framing::Length).ok_or_else(|| format!("content-length {length:?}"))
            }
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (codings, lengths) => Err(format!("transfer-encoding {codings:?}, content-length {lengths:?}")),
        }
    }
}

/// Why a body did not reach its end.
#[derive(Debug)]
pub(crate) enum TailError {
    /// The connection ended first.
    Cut,
    Io(io::Error),
    Malformed(String),
}

impl From<io::Error> for TailError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    framing: Framing,
    /// Bytes of the body or of the chunk that are still to come.
    left: u64,
    /// A chunk's data has begun, so that its line end is due.
    in_chunk: bool,
    ended: bool,
    pub(crate) chunks: u64,
    /// Trailer lines without line ends.
    pub(crate) trailers: Vec<Vec<u8>>,
}

impl Pieces {
    pub(crate) fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(n) = framing { n } else { 0 };
        Self { framing, left, in_chunk: false, ended: false, chunks: 0, trailers: Vec::new() }
    }

    /// The next piece of payload, `None` after the last one.
    pub(crate) fn next<'i>(&mut self, input: &'i mut Input) -> Result<Option<&'i [u8]>, TailError> {
        if self.ended {
            return Ok(None);
        }
        match self.framing {
            Framing::Close => {
                let piece = input.take(usize::MAX)?;
                self.ended = piece.is_empty();
                return Ok((!self.ended).then_some(piece));
            }
            Framing::Length(_) if self.left == 0 => {
                self.ended = true;
                return Ok(None);
            }
            Framing::Chunked if self.left == 0 => {
                self.chunk_start(input)?;
                if self.ended {
                    return Ok(None);
                }
            }
            Framing::Chunked | Framing::Length(_) => {}
        }
        let piece = input.take(usize::try_from(self.left).unwrap_or(usize::MAX))?;
        if piece.is_empty() {
            return Err(TailError::Cut);
        }
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// Reads the line end of the chunk before, the size of the next one, and after the last the trailers.
    fn chunk_start(&mut self, input: &mut Input) -> Result<(), TailError> {
        if self.in_chunk {
            let end = whole_line(input)?;
            if !end.is_empty() {
                return Err(TailError::Malformed(format!("a chunk goes on with {end:?}")));
            }
        }
        let line = String::from_utf8_lossy(&whole_line(input)?).into_owned();
        let digits = line.split(';').next().unwrap_or_default();
        let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        self.left = size.ok_or_else(|| TailError::Malformed(format!("chunk size {line:?}")))?;
        self.in_chunk = self.left > 0;
        if self.in_chunk {
            self.chunks += 1;
            return Ok(());
        }
        loop {
            let line = whole_line(input)?;
            if line.is_empty() {
                self.ended = true;
                return Ok(());
            }
            self.trailers.push(line);
        }
    }
}

/// One line without its CRLF, which it must have.
fn whole_line(input: &mut Input) -> Result<Vec<u8>, TailError> {
    let mut line = input.line()?;
    if line.ends_with(b"\r\n") {
        line.truncate(line.len() - 2);
        return Ok(line);
    }
    if line.ends_with(b"\n") {
        return Err(TailError::Malformed(format!("a bare LF after {:?}", String::from_utf8_lossy(&line))));
    }
    Err(TailError::Cut)
}
