//! Opening the local ports.

use piko_config::{BindAddr, BindHost, ListenAddr};
use piko_driver::{Addr, ListenOptions, Listener, Runtime};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The sockets of one port.
pub(crate) struct Opened<L> {
    pub(crate) listeners: Vec<L>,
    /// Where they really listen; port 0 is resolved.
    pub(crate) at: String,
    /// Removed when the port is closed.
    pub(crate) socket_file: Option<SocketFile>,
}

/// The file of a Unix socket, which outlives its socket unless somebody removes it.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have done it.
        let _ = fs::remove_file(&self.0);
    }
}

pub(crate) async fn open<R: Runtime>(rt: &R, at: &ListenAddr) -> io::Result<Opened<R::Listener>> {
    match at {
        ListenAddr::Tcp(bind) => tcp(rt, bind).await,
        ListenAddr::Unix(path) => {
            // The file of a socket that nobody listens on any more is replaced, and no other one.
            let listener = rt.listen(&Addr::Unix(path.clone()), ListenOptions::default()).await?;
            Ok(Opened {
                listeners: vec![listener],
                at: at.to_string(),
                socket_file: Some(SocketFile(path.clone())),
            })
        }
    }
}

/// A name may have several addresses, of which `localhost` has two: clients may come over any of them.
async fn tcp<R: Runtime>(rt: &R, bind: &BindAddr) -> io::Result<Opened<R::Listener>> {
    let (addrs, all) = match (bind.socket_addrs(), &bind.host) {
        (None, BindHost::Name(name)) => (rt.resolve(name, bind.port).await?, true),
        (addrs, _) => (addrs.unwrap_or_default(), false),
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    let mut listeners = Vec::new();
    let mut first: Option<SocketAddr> = None;
    for mut addr in addrs {
        if let Some(first) = first {
            addr.set_port(first.port());
        }
        match rt.listen(&Addr::Ip(addr), ListenOptions::default()).await {
            Ok(listener) => {
                first = first.or(listener.local_addr()).or(Some(addr));
                listeners.push(listener);
                if !all {
                    break;
                }
            }
            // Somebody has the port: half of a name would be a trap.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    match first {
        Some(addr) => Ok(Opened { listeners, at: addr.to_string(), socket_file: None }),
        None => Err(last),
    }
}
