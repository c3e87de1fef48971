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
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opens TLS connections with the certificates and authorities that its files hold at the moment.
pub struct Connector {
    crypto: Crypto,
    loaded: Mutex<LoadedClient>,
    /// How often something else was loaded. Written under the lock, so that it belongs to what is there.
    version: AtomicU32,
}

/// Files for a [`Connector`], read and judged.
#[derive(Clone)]
pub struct LoadedClient {
    files: ClientFiles,
    config: Arc<ClientConfig>,
    stamp: Stamp,
}

impl LoadedClient {
    fn of(files: ClientFiles, crypto: &Crypto) -> Result<Self, LoadError> {
        let stamp = files.stamp();
        let config = files.load(crypto)?;
        Ok(Self { files, config, stamp })
    }
}

impl fmt::Debug for LoadedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedClient").field("files", &self.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("loaded", &*self.lock()).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be read or used, and why; no trusted authority at all.
    pub fn new(files: ClientFiles, crypto: Crypto) -> Result<Self, LoadError> {
        let loaded = Mutex::new(LoadedClient::of(files, &crypto)?);
        Ok(Self { crypto, loaded, version: AtomicU32::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, LoadedClient> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads other files than before, for [`Self::take`]; nothing when they are those that are read already, whatever is
    /// in them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn load(&self, files: ClientFiles) -> Result<Option<LoadedClient>, LoadError> {
        if self.lock().files == files {
            return Ok(None);
        }
        LoadedClient::of(files, &self.crypto).map(Some)
    }

    /// Connections that begin get what was read; those that are open go on.
    pub fn take(&self, loaded: LoadedClient) {
        let mut place = self.lock();
        *place = loaded;
        self.version.fetch_add(1, Relaxed);
    }

    /// Which certificates and authorities connections get that begin now; it grows with every other ones. Whoever keeps
    /// connections for later asks, since the peer of an older one was judged by what counts no more
    /// ([`Pool::only_since`](crate::Pool::only_since)).
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// Does the handshake with the server called `host`, a name or an address without brackets. The caller bounds the
    /// time. Not an `async fn`, whose future would hold `io` twice.
    ///
    /// # Errors
    /// The server is not who it should be, does not speak TLS, or the connection broke.
    pub async fn connect<I: Io>(&self, io: I, host: &str) -> io::Result<MaybeTls<I>> {
        let (config, name, version) = {
            let loaded = self.lock();
            (loaded.config.clone(), loaded.files.server_name.clone(), self.version())
        };
        let name = name.as_deref().unwrap_or(host);
        // A name with its root's dot is the same name; certificates are without (RFC 6066 3).
        let name = name.strip_suffix('.').unwrap_or(name);
        // Of the kind of a failed handshake: nothing but other settings cures it.
        let fail = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("tls: {why}"));
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| fail(format!("{name:?} is no server name")))?;
        let session =
            UnbufferedClientConnection::new(config, name).map_err(|error| fail(error.to_string()))?;
        let mut tls = Box::new(TlsIo::new(io, Session::client(session), &[]));
        tls.version = version;
        poll_fn(|cx| tls.poll_handshake(cx))
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("tls: {error}")))?;
        Ok(MaybeTls::Tls(tls))
    }
}

impl Reload for Connector {
    fn stamp(&self) -> Stamp {
        let files = self.lock().files.clone();
        files.stamp()
    }

    fn loaded(&self) -> Stamp {
        self.lock().stamp.clone()
    }

    fn reload(&self) -> Result<(), LoadError> {
        let files = self.lock().files.clone();
        self.take(LoadedClient::of(files, &self.crypto)?);
        Ok(())
    }
}
