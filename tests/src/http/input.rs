//! A buffered reader over a socket that the client and the test service share.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

/// The longest line or head that a test may send.
pub(crate) const LINE_MAX: usize = 1 << 20;
const BLOCK: usize = 64 * 1024;

/// Bytes of a socket, with what was read too far.
#[derive(Debug)]
pub(crate) struct Input {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; BLOCK], start: 0, end: 0 }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The output side, since a shared socket can be written.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// What has been read and not taken.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes what is there, after waiting for it; empty at the end of the stream.
    pub(crate) fn take(&mut self, max: usize) -> io::Result<&[u8]> {
        if max == 0 {
            return Ok(&[]);
        }
        if self.start == self.end {
            self.fill()?;
        }
        let n = max.min(self.end - self.start);
        let piece = &self.buffer[self.start..self.start + n];
        self.start += n;
        Ok(piece)
    }

    /// Takes one line with its line end. A line that the stream ends in comes without one, an empty answer
    /// is the end of the stream.
    pub(crate) fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let rest = self.rest();
            if let Some(i) = rest.iter().position(|&b| b == b'\n') {
                line.extend_from_slice(&rest[..=i]);
                self.start += i + 1;
                return Ok(line);
            }
            line.extend_from_slice(rest);
            self.start = self.end;
            if line.len() > LINE_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line above 1 MiB"));
            }
            if self.fill()? == 0 {
                return Ok(line);
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match (&self.stream).read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Closes a socket with a reset (`SO_LINGER` of zero).
///
/// # Errors
///
/// Those of setting the option.
pub fn abort(stream: TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}
