//! Finding the end of a body, and marking it: a length, chunks, or the end of the connection
//! (RFC 9112 6, 7.1).

use super::config::Config;
use super::error::{Fault, Refused};
use super::facts::judge_trailers;
use super::fields::{Fields, is_value};
use super::head::BodyLength;
use super::scan::{Ends, Scan};
use bytes::BufMut;
use core::ops::Range;

/// Longest chunk extension that is read over, in bytes. RFC 9112 7.1.1 asks for a limit; signatures in
/// extensions take about a hundred.
const EXTENSION_BYTES_MAX: u32 = 4096;
/// Most digits of a chunk size: more than 64 bits hold, so that padding with zeros passes, within reason.
const SIZE_DIGITS_MAX: u8 = 32;

/// Reads a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    Chunked(Chunk),
    /// So many bytes are left.
    Known(u64),
    UntilClose,
}

/// Where in the chunked coding the next byte stands (RFC 9112 7.1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    /// In the payload.
    Data {
        left: u64,
    },
    /// Before the CR behind the payload.
    DataCr,
    DataLf,
    /// In an extension, of which so many bytes have passed.
    Extension {
        value: u64,
        passed: u32,
    },
    /// In the size, of which so many digits have passed.
    Size {
        value: u64,
        digits: u8,
    },
    /// Behind the size, in whitespace.
    SizePad {
        value: u64,
        passed: u32,
    },
    SizeLf {
        value: u64,
    },
    Trailers(Scan),
}

/// What a piece of body was.
pub(super) enum Piece<'i> {
    Data(Range<usize>),
    /// The end of the body.
    End,
    /// More input is needed.
    More,
    /// The fields behind the last chunk, and the end of the body.
    Trailers(Fields<'i>),
}

impl Reader {
    /// A reader for a body that is there. `None` for one without bytes.
    pub(super) fn new(length: BodyLength) -> Option<Self> {
        match length {
            BodyLength::Chunked => Some(Self::Chunked(Chunk::Size { value: 0, digits: 0 })),
            BodyLength::Known(0) | BodyLength::None => None,
            BodyLength::Known(n) => Some(Self::Known(n)),
            BodyLength::UntilClose => Some(Self::UntilClose),
        }
    }

    /// Takes one piece from the start of `input`; how many bytes are done with, and what it was.
    pub(super) fn read<'i>(
        &mut self,
        input: &'i [u8],
        config: &Config,
        ends: Ends,
    ) -> Result<(usize, Piece<'i>), Fault> {
        match self {
            Self::Chunked(chunk) => chunk.read(input, config, ends),
            Self::Known(0) => Ok((0, Piece::End)),
            Self::Known(left) => {
                let n = clamp(*left, input.len());
                *left -= n as u64;
                Ok((n, if n == 0 { Piece::More } else { Piece::Data(0..n) }))
            }
            Self::UntilClose if input.is_empty() => Ok((0, Piece::More)),
            Self::UntilClose => Ok((input.len(), Piece::Data(0..input.len()))),
        }
    }
}

impl Chunk {
    fn read<'i>(
        &mut self,
        input: &'i [u8],
        config: &Config,
        ends: Ends,
    ) -> Result<(usize, Piece<'i>), Fault> {
        let mut at = 0;
        while let Some(&b) = input.get(at) {
            *self = match *self {
                Self::Data { left } => {
                    let n = clamp(left, input.len() - at);
                    let end = at + n;
                    let left = left - n as u64;
                    // The line end behind the payload is mostly there: taking it along saves a call.
                    let (next, done) = match input.get(end..end + 2) {
                        _ if left > 0 => (Self::Data { left }, end),
                        Some(b"\r\n") => (Self::Size { value: 0, digits: 0 }, end + 2),
                        _ => (Self::DataCr, end),
                    };
                    *self = next;
                    return Ok((done, Piece::Data(at..end)));
                }
                Self::Trailers(mut scan) => {
                    let rest = input.get(at..).unwrap_or_default();
                    // Line ends of trailers are judged strictly on both sides: nothing repairs what is beside a body.
                    let found = scan.find_end(rest, config, Ends::Strict).map_err(|fault| {
                        if ends == Ends::Strict { fault } else { Fault::new(502, fault.what) }
                    })?;
                    *self = Self::Trailers(scan);
                    let Some(found) = found else { return Ok((at, Piece::More)) };
                    judge_trailers(rest, &found, ends)?;
                    let block = rest.get(..found.blank_at).unwrap_or_default();
                    let piece = match block {
                        [] => Piece::End,
                        block => Piece::Trailers(Fields::from_block(block)),
                    };
                    return Ok((at + found.end, piece));
                }
                _ => self.next(b, ends).map_err(|what| Fault::new(ends.status(), what))?,
            };
            at += 1;
        }
        Ok((at, Piece::More))
    }

    /// One byte of framing. Everything but the size is read over; bare CR and bare LF are refused, also in
    /// extensions, where parsers that disagree on them have been used to smuggle requests.
    fn next(self, b: u8, ends: Ends) -> Result<Self, &'static str> {
        const SIZE: &str = "a malformed chunk size (RFC 9112 7.1)";
        Ok(match (self, b) {
            (Self::Size { value, digits }, _) if b.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(SIZE);
                }
                let digit = u64::from(hex_value(b));
                let value =
                    value.checked_mul(16).ok_or("a chunk size beyond 64 bits (RFC 9112 7.1)")? | digit;
                Self::Size { value, digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(SIZE),
            (Self::Size { value, .. }, b'\r') => Self::SizeLf { value },
            (Self::Size { value, .. } | Self::SizePad { value, .. }, b';') => {
                Self::Extension { value, passed: 0 }
            }
            (Self::Size { value, .. }, b' ' | b'\t') => Self::SizePad { value, passed: 1 },
            (Self::SizePad { value, passed }, b' ' | b'\t') if passed < EXTENSION_BYTES_MAX => {
                Self::SizePad { value, passed: passed + 1 }
            }
            // Some services pad their sizes; there is one reading of that.
            (Self::SizePad { value, .. }, b'\r') if ends == Ends::Lenient => Self::SizeLf { value },
            (Self::Extension { value, .. }, b'\r') => Self::SizeLf { value },
            (Self::Extension { value, passed }, _) if is_value(&[b]) && passed < EXTENSION_BYTES_MAX => {
                Self::Extension { value, passed: passed + 1 }
            }
            (Self::Extension { .. }, _) => {
                return Err("a chunk extension with control characters, or too long (RFC 9112 7.1.1)");
            }
            (Self::SizeLf { value: 0 }, b'\n') => Self::Trailers(Scan::trailers()),
            (Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::DataCr | Self::DataLf, _) => return Err("no CRLF behind a chunk's data (RFC 9112 7.1)"),
            (Self::SizeLf { .. }, _) => return Err("a bare CR in a chunk line (RFC 9112 2.2)"),
            _ => return Err(SIZE),
        })
    }
}

fn hex_value(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => b - b'0',
        b'a'..=b'f' => b - b'a' + 10,
        _ => b - b'A' + 10,
    }
}

/// The smaller of a count of the peer's and a length of ours.
fn clamp(left: u64, len: usize) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
}

/// Writes a body's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Chunks; the last one is still owed.
    Chunked,
    /// The last chunk and the trailers are out.
    ChunkedDone,
    /// So many bytes are owed.
    Known(u64),
    UntilClose,
}

impl Writer {
    /// Writes what stands before `len` bytes of payload and gives what stands behind them.
    pub(super) fn data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        match self {
            // A chunk of size zero would end the body.
            Self::Chunked | Self::Known(_) | Self::UntilClose if len == 0 => Ok(b""),
            Self::Chunked => {
                put_chunk_header(len, out)?;
                Ok(b"\r\n")
            }
            Self::ChunkedDone => Err(Refused::State),
            Self::Known(left) => {
                *left = left.checked_sub(len as u64).ok_or(Refused::State)?;
                Ok(b"")
            }
            Self::UntilClose => Ok(b""),
        }
    }

    /// The body has all its bytes, apart from the last chunk.
    pub(super) fn is_full(&self) -> bool {
        !matches!(self, Self::Known(1..))
    }

    /// Writes the last chunk where one is owed. `Refused::State` when bytes are missing.
    pub(super) fn end(&mut self, out: &mut impl BufMut) -> Result<(), Refused> {
        const LAST: &[u8] = b"0\r\n\r\n";
        match self {
            Self::Chunked if out.remaining_mut() < LAST.len() => Err(Refused::NoRoom(LAST.len())),
            Self::Chunked => {
                out.put_slice(LAST);
                *self = Self::ChunkedDone;
                Ok(())
            }
            _ if self.is_full() => Ok(()),
            _ => Err(Refused::State),
        }
    }
}

/// `chunk-size CRLF`, without formatting machinery.
fn put_chunk_header(len: usize, out: &mut impl BufMut) -> Result<(), Refused> {
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    let needed = digits as usize + 2;
    if out.remaining_mut() < needed {
        return Err(Refused::NoRoom(needed));
    }
    let mut header = [0u8; 18];
    for (index, place) in (0..digits).rev().enumerate() {
        let nibble = (len >> (place * 4)) & 0xf;
        if let (Some(slot), Some(&digit)) = (header.get_mut(index), b"0123456789abcdef".get(nibble)) {
            *slot = digit;
        }
    }
    let end = header.iter_mut().skip(digits as usize).zip(*b"\r\n");
    end.for_each(|(slot, b)| *slot = b);
    out.put_slice(header.get(..needed).unwrap_or_default());
    Ok(())
}
