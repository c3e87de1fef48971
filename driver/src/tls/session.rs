//! rustls's machine of one connection, either side, over memory that is lent to it.

use crate::buffer::Queue;
use rustls::Error;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};

/// A handshake message that is larger is not sent by us: certificates of many kilobytes fit.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// One connection.
pub(super) struct Session {
    side: Side,
    /// It has failed and is never asked again: it would look for input that is gone.
    failed: bool,
}

enum Side {
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
    /// Messages wait to be encoded.
    fn has_output(&self) -> bool;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Half for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn has_output(&self) -> bool {
        self.wants_write()
    }

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(input)
    }
}

impl Half for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn has_output(&self) -> bool {
        self.wants_write()
    }

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(input)
    }
}

impl Session {
    pub(super) fn client(half: UnbufferedClientConnection) -> Self {
        Self { side: Side::Client(half), failed: false }
    }

    pub(super) fn server(half: UnbufferedServerConnection) -> Self {
        Self { side: Side::Server(half), failed: false }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.side, Side::Server(_))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Client(half) => half.is_handshaking(),
            Side::Server(half) => half.is_handshaking(),
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

    /// `input` always begins with all that the calls before it left over: the machine remembers places in it.
    fn run(&mut self, input: &mut [u8], sinks: &mut Sinks<'_>, last: Last<'_>) -> Result<usize, Error> {
        if self.failed {
            return Err(Error::General("the session has failed before".to_owned()));
        }
        let done = match &mut self.side {
            Side::Client(half) => run(half, input, sinks, last),
            Side::Server(half) => run(half, input, sinks, last),
        };
        self.failed = done.is_err();
        done
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
    loop {
        let status = half.process(&mut input[done..]);
        match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    sinks.take(record?.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, sinks)?,
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
                return Ok(done + status.discard);
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                return match last {
                    Last::Data(_) => Err(Error::HandshakeNotComplete),
                    _ => Ok(done + status.discard),
                };
            }
            // Early data is not asked for.
            Ok(_) => return Err(internal()),
            Err(error) => {
                take_alert(half, &mut input[done..], sinks);
                return Err(error);
            }
        }
        done += status.discard;
    }
}

/// Puts what a failed machine still has to say into `out`. Nothing else is asked of it.
fn take_alert<H: Half>(half: &mut H, input: &mut [u8], sinks: &mut Sinks<'_>) {
    while half.has_output() {
        let Ok(ConnectionState::EncodeTlsData(mut message)) = half.process(input).state else { return };
        if encode(&mut message, sinks).is_err() {
            return;
        }
    }
}

fn encode<D>(message: &mut EncodeTlsData<'_, D>, sinks: &mut Sinks<'_>) -> Result<(), Error> {
    with_room(sinks, |room| match message.encode(room) {
        Ok(n) => Ok(Ok(n)),
        Err(EncodeError::InsufficientSize(needs)) => Ok(Err(needs.required_size)),
        Err(EncodeError::AlreadyEncoded) => Err(internal()),
    })
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
