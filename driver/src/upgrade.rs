//! The client's half of a WebSocket upgrade over a connection that is up (wire protocol 3.1 to 3.4).

use crate::entropy::random_bytes;
use crate::runtime::Io;
use bytes::BytesMut;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::http1::Fields;
use piko_core::ws::handshake::{self, Answer, Ask};
use std::fmt;
use std::io;

/// An answer that is longer, in bytes, is none.
const ANSWER_BYTES_MAX: usize = 20 * 1024;
/// The answer to an upgrade is short.
const READ_BYTES: usize = 2048;

/// Why there is no WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// What answered does not speak the protocol.
    Handshake(&'static str),
    /// The connection is gone, or there was no entropy for the key.
    Io(io::Error),
    /// The server's status, and its message where it gave one.
    Refused(u16, String),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(why) => write!(f, "handshake: {why}"),
            Self::Io(error) => error.fmt(f),
            Self::Refused(status, message) if message.is_empty() => write!(f, "{status}: bad handshake"),
            Self::Refused(status, message) => write!(f, "{status}: {message}"),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// A connection that carries WebSocket frames from here on.
#[derive(Debug)]
#[must_use]
pub struct Upgraded<I> {
    /// The connection.
    pub io: I,
    /// What came behind the answer's head: the first frames.
    pub early: Vec<u8>,
}

#[cfg(feature = "tls")]
async fn send<I: Io>(io: &mut I, request: &[u8]) -> io::Result<()> {
    io.write_all(request).await?;
    // TLS keeps what it was given until it is told to send it.
    io.flush().await
}

/// What the peer said before it stopped listening, such as that it does not like our certificate, is a better word than
/// that it did.
#[cfg(feature = "tls")]
async fn last_words<I: Io>(io: &mut I, error: io::Error) -> io::Error {
    match io.read(&mut [0; 1]).await {
        Err(told) if told.kind() == io::ErrorKind::InvalidData => told,
        _ => error,
    }
}

/// Asks for a WebSocket at `target` of `host`, with further `fields`. `answered` is shown the fields of the answer.
/// Waits without a limit of its own.
///
/// # Errors
/// Which part failed, see [`UpgradeError`]; the connection is of no more use.
pub async fn upgrade<I: Io>(
    mut io: I,
    host: &[u8],
    target: &[u8],
    fields: &[(&str, &[u8])],
    answered: &mut (dyn FnMut(&Fields<'_>) + Send),
) -> Result<Upgraded<I>, UpgradeError> {
    let key = random_bytes().map_err(UpgradeError::Io)?;
    let mut request = BytesMut::new();
    handshake::write_request(&Ask { host, target, key, fields }, &mut request);
    #[cfg(feature = "tls")]
    if let Err(error) = send(&mut io, &request).await {
        return Err(UpgradeError::Io(last_words(&mut io, error).await));
    }
    // The smallest agent has no room for the detour.
    #[cfg(not(feature = "tls"))]
    {
        io.write_all(&request).await.map_err(UpgradeError::Io)?;
        io.flush().await.map_err(UpgradeError::Io)?;
    }
    let mut input = Vec::new();
    let mut chunk = [0; READ_BYTES];
    loop {
        let n = io.read(&mut chunk).await.map_err(UpgradeError::Io)?;
        input.extend_from_slice(&chunk[..n]);
        match handshake::judge_response(&key, &input, n == 0, &mut |fields| answered(fields)) {
            Answer::Partial if n == 0 => return Err(UpgradeError::Io(io::ErrorKind::UnexpectedEof.into())),
            Answer::Partial if input.len() > ANSWER_BYTES_MAX => {
                return Err(UpgradeError::Handshake("the answer is too long"));
            }
            Answer::Partial => {}
            Answer::Bad(why) => return Err(UpgradeError::Handshake(why)),
            Answer::Refused { status, message } => {
                return Err(UpgradeError::Refused(status, String::from_utf8_lossy(&message).into_owned()));
            }
            Answer::Upgraded { head_bytes } => {
                input.drain(..head_bytes);
                return Ok(Upgraded { io, early: input });
            }
        }
    }
}
