//! What is said to a proxy between us and a server before the connection is the server's: HTTP `CONNECT`
//! (RFC 9110 9.3.6) and SOCKS5 (RFC 1928, logins of RFC 1929).
//!
//! ```text
//!   proxy ──► Handshake::handle_input ──► done: what follows is the server's
//!   proxy ◄── Handshake::poll_transmit
//! ```
//!
//! The name of the server goes to the proxy as it is, for the proxy to resolve: nobody inside needs to know the
//! addresses of the world outside.

mod connect;
mod error;
mod socks5;
#[cfg(test)]
mod tests;

pub use error::{Fault, Unfit};

use alloc::string::String;
use bytes::BytesMut;
use core::fmt;

/// The longest name and the longest part of a login that SOCKS5 can carry, in bytes (RFC 1928 5, RFC 1929 2).
pub const TEXT_BYTES_MAX: usize = 255;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and the method `CONNECT`.
    Connect,
    /// SOCKS, version 5.
    Socks5,
}

/// Who asks. `Debug` shows that there is one, never who.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name; without a colon where it goes to [`Protocol::Connect`].
    pub user: String,
    /// The password; may be empty.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the proxy is to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// A name or an address, IPv6 without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// How far the conversation is.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The connection is the server's from here on.
    Done {
        /// How much of the input was the proxy's; the rest is the server's.
        taken: usize,
    },
    /// More input is wanted, once what [`Handshake::poll_transmit`] gives has been sent.
    More,
}

/// One conversation with one proxy, from the first byte to the one before the server's first.
///
/// # Driving it
///
/// Send what [`poll_transmit`](Self::poll_transmit) gives whenever it gives something: at the start, and after
/// every [`handle_input`](Self::handle_input). It has no deadlines: the whole attempt has one.
#[derive(Debug)]
pub struct Handshake {
    out: BytesMut,
    state: State,
}

/// ```text
///                 ┌──► Connect ───────────────┐
///   new ──────────┤                           ├──► Done
///                 └──► Socks5 (greeting, ─────┘
///                      login, request)
///                 any ──── answer that is none, or a no ──► Failed
/// ```
#[derive(Debug)]
enum State {
    Connect(connect::Answer),
    Done,
    Failed(Fault),
    Socks5(socks5::Dialogue),
}

impl Handshake {
    /// Asks a proxy for a connection.
    ///
    /// # Errors
    ///
    /// What cannot be said in this protocol; nothing of it is in the error.
    pub fn new(protocol: Protocol, login: Option<&Login>, to: Destination<'_>) -> Result<Self, Unfit> {
        // Nothing here may begin a line of its own in a request.
        if to.host.is_empty() || !to.host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Unfit::Host);
        }
        let mut out = BytesMut::new();
        let state = match protocol {
            Protocol::Connect => {
                connect::write_request(login, to, &mut out)?;
                State::Connect(connect::Answer::default())
            }
            Protocol::Socks5 => State::Socks5(socks5::Dialogue::new(login, to, &mut out)?),
        };
        Ok(Self { out, state })
    }

    /// Moves what is to be sent behind what `out` holds, and says how many bytes that was.
    pub fn poll_transmit(&mut self, out: &mut BytesMut) -> usize {
        let bytes = self.out.len();
        out.extend_from_slice(&self.out);
        self.out.clear();
        bytes
    }

    /// What the proxy said. All of it is taken while there is more to come.
    ///
    /// # Errors
    ///
    /// Why there is no connection. It stays so, whatever comes.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Progress, Fault> {
        for (at, &byte) in input.iter().enumerate() {
            let done = match &mut self.state {
                State::Done => return Ok(Progress::Done { taken: at }),
                State::Failed(fault) => return Err(*fault),
                State::Connect(answer) => answer.handle_byte(byte),
                State::Socks5(dialogue) => dialogue.handle_byte(byte, &mut self.out),
            };
            match done {
                Ok(false) => {}
                Ok(true) => self.state = State::Done,
                Err(fault) => return Err(self.fail(fault)),
            }
        }
        match self.state {
            State::Done => Ok(Progress::Done { taken: input.len() }),
            State::Failed(fault) => Err(fault),
            _ => Ok(Progress::More),
        }
    }

    /// The proxy has closed the connection. Harmless once it is the server's.
    ///
    /// # Errors
    ///
    /// That there is no connection, unless there is one.
    pub fn handle_eof(&mut self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            State::Failed(fault) => Err(fault),
            _ => Err(self.fail(Fault::Ended)),
        }
    }

    fn fail(&mut self, fault: Fault) -> Fault {
        self.state = State::Failed(fault);
        // Nothing is said to somebody who does not understand, logins least of all.
        self.out.clear();
        fault
    }
}
