//! The server's side of the handshake.

use super::load::{Crypto, ServerFiles};
use super::session::Session;
use crate::reload::{LoadError, Reload, Stamp};
use crate::runtime::{Io, Runtime};
use crate::wait::timeout_at;
use crate::{MaybeTls, TlsIo};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::time::Instant;
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first read of a connection: a client's first message with room for large key shares.
const HELLO_BYTES: usize = 4 * 1024;
/// What is read and thrown away behind the answer to a plain request, so that a reset does not overtake it.
const LINGER_BYTES: usize = 256 * 1024;
/// Go's answer to a plain request, to the byte (behaviour, server 8).
const PLAIN_ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Why a connection did not come to carry TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// It ended, or said something else than TLS.
    Io(io::Error),
    /// It spoke HTTP without TLS, and was told so.
    Plain,
    /// The handshake took too long.
    Timeout,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Plain => f.write_str("client sent an HTTP request to an HTTPS server"),
            Self::Timeout => f.write_str("the handshake took too long"),
        }
    }
}

impl std::error::Error for AcceptError {}

/// Takes TLS connections of one port, with the certificates that its files hold at the moment.
pub struct Acceptor {
    crypto: Crypto,
    loaded: Mutex<LoadedServer>,
}

/// Files for an [`Acceptor`], read and judged.
#[derive(Clone)]
pub struct LoadedServer {
    files: ServerFiles,
    config: Arc<ServerConfig>,
    stamp: Stamp,
}

impl LoadedServer {
    fn of(files: ServerFiles, crypto: &Crypto) -> Result<Self, LoadError> {
        let stamp = files.stamp();
        let config = files.load(crypto)?;
        Ok(Self { files, config, stamp })
    }
}

impl fmt::Debug for LoadedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedServer").field("files", &self.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("loaded", &*self.lock()).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be read or used, and why.
    pub fn new(files: ServerFiles, crypto: Crypto) -> Result<Self, LoadError> {
        let loaded = Mutex::new(LoadedServer::of(files, &crypto)?);
        Ok(Self { crypto, loaded })
    }

    fn lock(&self) -> MutexGuard<'_, LoadedServer> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads other files than before, for [`Self::take`]; nothing when they are those that are read already, whatever is
    /// in them.
    ///
    /// # Errors
    /// Which file cannot be read or used, and why.
    pub fn load(&self, files: ServerFiles) -> Result<Option<LoadedServer>, LoadError> {
        if self.lock().files == files {
            return Ok(None);
        }
        LoadedServer::of(files, &self.crypto).map(Some)
    }

    /// Connections that begin get what was read; those that are open go on.
    pub fn take(&self, loaded: LoadedServer) {
        *self.lock() = loaded;
    }

    /// Does the handshake on `io` until `until`.
    ///
    /// # Errors
    /// The peer has been told of its mistake, where it could be, and the connection is over.
    pub async fn accept<R: Runtime, I: Io>(
        &self,
        rt: &R,
        io: I,
        until: Option<Instant>,
    ) -> Result<MaybeTls<I>, AcceptError> {
        let shaken = timeout_at(rt, until, self.shake(io)).await;
        shaken.unwrap_or(Err(AcceptError::Timeout)).map(|tls| MaybeTls::Tls(Box::new(tls)))
    }

    async fn shake<I: Io>(&self, mut io: I) -> Result<TlsIo<I>, AcceptError> {
        let mut hello = [0; HELLO_BYTES];
        let mut len = 0;
        // Enough to tell a record of TLS, which begins with 22 (RFC 8446 5.1), from a method.
        while len < 5 {
            match io.read(&mut hello[len..]).await.map_err(AcceptError::Io)? {
                0 => return Err(AcceptError::Io(io::ErrorKind::UnexpectedEof.into())),
                n => len += n,
            }
            if hello[0] == 22 {
                break;
            }
        }
        if is_http(&hello[..len]) {
            answer_plain(io).await;
            return Err(AcceptError::Plain);
        }
        let session = UnbufferedServerConnection::new(self.lock().config.clone())
            .map_err(|error| AcceptError::Io(io::Error::other(error)))?;
        let mut tls = TlsIo::new(io, Session::server(session), &hello[..len]);
        match poll_fn(|cx| tls.poll_handshake(cx)).await {
            Ok(()) => Ok(tls),
            Err(error) => {
                // The alert is on its way; a reset because of unread input would overtake it.
                linger(tls.inner()).await;
                Err(AcceptError::Io(error))
            }
        }
    }
}

impl Reload for Acceptor {
    fn stamp(&self) -> Stamp {
        let files = self.lock().files.clone();
        files.stamp()
    }

    fn loaded(&self) -> Stamp {
        self.lock().stamp.clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        let files = self.lock().files.clone();
        self.take(LoadedServer::of(files, &self.crypto)?);
        Ok(())
    }
}

/// Whether these are the first bytes of a plain request: Go knows five methods, this knows the rest of RFC 9110 9.
fn is_http(first: &[u8]) -> bool {
    let methods: [&[u8]; 9] =
        [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO", b"DELET", b"PATCH", b"CONNE", b"TRACE"];
    methods.iter().any(|method| first.starts_with(method))
}

async fn answer_plain<I: Io>(mut io: I) {
    if io.write_all(PLAIN_ANSWER).await.is_ok() {
        linger(&mut io).await;
    }
}

/// Ends our direction and reads what the peer still sends, up to a bound; the caller bounds the time.
async fn linger<I: Io>(io: &mut I) {
    if io.close().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES;
    let mut chunk = [0; 1024];
    while left > 0 {
        match io.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(n) => left = left.saturating_sub(n),
        }
    }
}
