//! HTTP `CONNECT` (RFC 9110 9.3.6).

use super::{Destination, Fault, Login, Unfit};
use crate::base64;
use bytes::{BufMut, BytesMut};
use core::fmt::Write;

/// The longest answer head, in bytes, interim answers included: as for the answer to an upgrade.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;

/// `HTTP/1.1 200`, which is all of a head that matters.
const START_BYTES: usize = 12;

/// Appends the request.
pub(super) fn write_request(
    login: Option<&Login>,
    to: Destination<'_>,
    out: &mut BytesMut,
) -> Result<(), Unfit> {
    let (open, close) = if to.host.contains(':') { ("[", "]") } else { ("", "") };
    for start in ["CONNECT ", " HTTP/1.1\r\nHost: "] {
        // Writing to memory does not fail.
        let _ = write!(out, "{start}{open}{}{close}:{}", to.host, to.port);
    }
    if let Some(login) = login {
        out.put_slice(b"\r\nProxy-Authorization: ");
        login.put_basic(out)?;
    }
    out.put_slice(b"\r\n\r\n");
    Ok(())
}

impl Login {
    /// Appends the value of a field that carries it in HTTP: `Basic` and the login in base64 (RFC 7617 2).
    ///
    /// # Errors
    ///
    /// A colon in the name, which would end it, or a control character. Nothing is appended then.
    pub fn put_basic(&self, out: &mut BytesMut) -> Result<(), Unfit> {
        let Self { user, password } = self;
        if user.contains(':') || user.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Unfit::User);
        }
        if password.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Unfit::Password);
        }
        out.put_slice(b"Basic ");
        base64::put([user, ":", password].concat().as_bytes(), out);
        Ok(())
    }
}

/// The answer's head, of which only the status counts: its fields mean nothing here, also those that announce a body
/// (RFC 9110 9.3.6).
#[derive(Debug, Default)]
pub(super) struct Answer {
    start: [u8; START_BYTES],
    /// Bytes of the line that is being read.
    line_bytes: usize,
    /// Bytes of all heads up to here.
    bytes: usize,
    /// That of the head that is being read, once its first line is over.
    status: Option<u16>,
}

impl Answer {
    /// True behind a head that says yes.
    pub(super) fn handle_byte(&mut self, byte: u8) -> Result<bool, Fault> {
        self.bytes += 1;
        if self.bytes > ANSWER_HEAD_BYTES_MAX {
            return Err(Fault::NotAProxy("answer head too long"));
        }
        match byte {
            b'\n' => self.end_line(),
            // In front of the end of a line it is part of that end, and anywhere else it counts for nothing.
            b'\r' => Ok(false),
            _ => {
                if let Some(slot) = self.start.get_mut(self.line_bytes).filter(|_| self.status.is_none()) {
                    *slot = byte;
                    // Whoever speaks something else need not be heard to the end of a line that may never come.
                    if b"HTTP/1.".get(self.line_bytes).is_some_and(|wanted| *wanted != byte) {
                        return Err(Fault::NotAProxy("answer is not HTTP"));
                    }
                }
                self.line_bytes += 1;
                Ok(false)
            }
        }
    }

    fn end_line(&mut self) -> Result<bool, Fault> {
        let line_bytes = core::mem::take(&mut self.line_bytes);
        let Some(status) = self.status else {
            let status = status(&self.start).filter(|_| line_bytes >= START_BYTES);
            self.status = Some(status.ok_or(Fault::NotAProxy("answer is not HTTP"))?);
            return Ok(false);
        };
        if line_bytes > 0 {
            return Ok(false);
        }
        match status {
            200..=299 => Ok(true),
            // An interim answer: the real one follows (RFC 9110 15.2).
            100..=199 => {
                self.status = None;
                Ok(false)
            }
            status => Err(Fault::Status(status)),
        }
    }
}

/// The three digits behind the version.
fn status(start: &[u8; START_BYTES]) -> Option<u16> {
    let digits = &start[9..];
    if start[8] != b' ' || !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}
