//! rustls's machine of one connection, either side, over memory that is lent to it.

use crate::buffer::Queue;
use rustls::Error;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// A handshake message that is larger is not sent by us: certificates of many kilobytes fit.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// One connection.
pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What is left to say once all input has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last<'d> {
    /// Nothing.
    Nothing,
    /// This, encrypted.
    Data(&'d [u8]),
    /// That no data follows (RFC 8446 6.1).
    End,
}

/// Where a call puts what comes out of the machine.
pub(super) struct Sinks<'s> {
    /// Plaintext goes here first.
    pub(super) into: &'s mut [u8],
    /// How much of it is filled.
    pub(super) filled: usize,
    /// Plaintext that has no place there.
    pub(super) plain: &'s mut Queue,
    /// What is to be sent.
    pub(super) out: &'s mut Queue,
    /// The peer has said that no data follows.
    pub(super) ended: &'s mut bool,
    /// Memory for encryption.
    pub(super) scratch: &'s mut Vec<u8>,
}

impl Sinks<'_> {
    fn take(&mut self, payload: &[u8]) {
        let n = payload.len().min(self.into.len() - self.filled);
        self.into[self.filled..self.filled + n].copy_from_slice(&payload[..n]);
        self.filled += n;
        self.plain.extend(&payload[n..]);
    }
}

/// What both sides have in common.
trait Half {
    type Data;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Half for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(input)
    }
}

impl Half for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(input)
    }
}

impl Session {
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Client(half) => half.is_handshaking(),
            Self::Server(half) => half.is_handshaking(),
        }
    }

    /// Takes input, decrypting it in place. Gives how much of it is done with; the rest belongs in front of what comes
    /// next. On an error `out` holds the alert for the peer.
    pub(super) fn receive(&mut self, input: &mut [u8], sinks: &mut Sinks<'_>) -> Result<usize, Error> {
        self.run(input, sinks, Last::Nothing)
    }

    /// Encrypts `data` into `out`. `input` is what [`Self::receive`] left over.
    pub(super) fn send(
        &mut self,
        data: &[u8],
        input: &mut [u8],
        sinks: &mut Sinks<'_>,
    ) -> Result<usize, Error> {
        self.run(input, sinks, Last::Data(data))
    }

    /// Announces the end of the data.
    pub(super) fn finish(&mut self, input: &mut [u8], sinks: &mut Sinks<'_>) -> Result<usize, Error> {
        self.run(input, sinks, Last::End)
    }

    fn run(&mut self, input: &mut [u8], sinks: &mut Sinks<'_>, last: Last<'_>) -> Result<usize, Error> {
        match self {
            Self::Client(half) => run(half, input, sinks, last),
            Self::Server(half) => run(half, input, sinks, last),
        }
    }
}

/// Turns the machine until it wants more input, then does the last thing.
fn run<H: Half>(
    half: &mut H,
    input: &mut [u8],
    sinks: &mut Sinks<'_>,
    last: Last<'_>,
) -> Result<usize, Error> {
    let mut done = 0;
    let mut failed = None;
    loop {
        let status = half.process(&mut input[done..]);
        match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    sinks.take(record?.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                with_room(sinks, |room| match encode.encode(room) {
                    Ok(n) => Ok(Ok(n)),
                    Err(EncodeError::InsufficientSize(needs)) => Ok(Err(needs.required_size)),
                    Err(EncodeError::AlreadyEncoded) => Err(internal()),
                })?;
            }
            // Sent as soon as the socket takes it, which the owner of `out` sees to.
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            Ok(ConnectionState::PeerClosed) => *sinks.ended = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let write = |room: &mut [u8]| match last {
                    Last::Nothing => Ok(0),
                    Last::Data(data) => traffic.encrypt(data, room),
                    Last::End => traffic.queue_close_notify(room),
                };
                send_last(sinks, write)?;
                return failed.map_or(Ok(done + status.discard), Err);
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                return match (failed, last) {
                    (Some(error), _) => Err(error),
                    (None, Last::Data(_)) => Err(Error::HandshakeNotComplete),
                    (None, _) => Ok(done + status.discard),
                };
            }
            // Early data is not asked for.
            Ok(_) => return Err(internal()),
            Err(error) => {
                // Once more: the alert comes out before the machine says it again.
                if failed.is_some() {
                    return Err(error);
                }
                failed = Some(error);
            }
        }
        done += status.discard;
    }
}

fn internal() -> Error {
    Error::General("a state that cannot be".to_owned())
}

fn send_last(
    sinks: &mut Sinks<'_>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    with_room(sinks, |room| match write(room) {
        Ok(n) => Ok(Ok(n)),
        Err(EncryptError::InsufficientSize(needs)) => Ok(Err(needs.required_size)),
        Err(EncryptError::EncryptExhausted) => Err(Error::EncryptError),
    })
}

/// Has `write` fill the scratch memory, which grows when it says that it needs more, and puts that into `out`.
fn with_room(
    sinks: &mut Sinks<'_>,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, Error>,
) -> Result<(), Error> {
    loop {
        match write(&mut sinks.scratch[..])? {
            Ok(n) => {
                sinks.out.extend(&sinks.scratch[..n]);
                return Ok(());
            }
            Err(needed) if needed > MESSAGE_BYTES_MAX || needed <= sinks.scratch.len() => {
                return Err(internal());
            }
            Err(needed) => sinks.scratch.resize(needed, 0),
        }
    }
}
