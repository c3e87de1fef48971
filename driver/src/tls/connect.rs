//! The client's side of the handshake.

use super::load::{ClientFiles, Crypto};
use super::session::Session;
use crate::reload::{LoadError, Reload, Stamp};
use crate::runtime::Io;
use crate::{MaybeTls, TlsIo};
use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Opens TLS connections with the certificates and authorities that its files hold at the moment.
pub struct Connector {
    files: ClientFiles,
    crypto: Crypto,
    loaded: Mutex<(Arc<ClientConfig>, Stamp)>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be read or used, and why; no trusted authority at all.
    pub fn new(files: ClientFiles, crypto: Crypto) -> Result<Self, LoadError> {
        let stamp = files.stamp();
        let config = files.load(&crypto)?;
        Ok(Self { files, crypto, loaded: Mutex::new((config, stamp)) })
    }

    /// Does the handshake with the server called `host`, a name or an address without brackets. The caller bounds the
    /// time. Not an `async fn`, whose future would hold `io` twice.
    ///
    /// # Errors
    /// The server is not who it should be, does not speak TLS, or the connection broke.
    pub async fn connect<I: Io>(&self, io: I, host: &str) -> io::Result<MaybeTls<I>> {
        let name = self.files.server_name.as_deref().unwrap_or(host);
        // A name with its root's dot is the same name; certificates are without (RFC 6066 3).
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("tls: {name:?} is no server name"))
        })?;
        let config = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let session = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut tls = Box::new(TlsIo::new(io, Session::client(session), &[]));
        poll_fn(|cx| tls.poll_handshake(cx))
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("tls: {error}")))?;
        Ok(MaybeTls::Tls(tls))
    }
}

impl Reload for Connector {
    fn stamp(&self) -> Stamp {
        self.files.stamp()
    }

    fn loaded(&self) -> Stamp {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        let stamp = self.files.stamp();
        let config = self.files.load(&self.crypto)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = (config, stamp);
        Ok(())
    }
}
