//! Connections to the service behind an endpoint.

use crate::tls::Link;
use futures::io::AsyncWriteExt;
use piko_config::{ServiceAddr, Target};
use piko_core::proxy::cause;
use piko_core::time::Instant;
use piko_driver::{Addr, Io, MaybeTls, Runtime, timeout_at};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long resolved addresses of a service are used: a name may move, and a lookup per connection
/// costs a thread.
const ADDRS_TTL: Duration = Duration::from_secs(5);

/// What an address of several may take where the listener has no timeout.
const ADDR_TIME: Duration = Duration::from_secs(2);

/// The agent may open no further socket: its limit on open files is reached.
const OUT_OF_DESCRIPTORS: &str = "out-of-descriptors";

/// `EMFILE` or `ENFILE`, which have no kind.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .is_some_and(|code| [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&code))
}

/// A resolver that cannot open its files or sockets says no more than that the name is not known.
fn descriptors_are_used_up() -> bool {
    std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_err_and(|error| is_exhausted(&error))
}

/// Why there is no connection to a service. Whoever wanted one tells of it, once: the subsystem is theirs.
pub(crate) struct Failed {
    /// The one of metrics and answers.
    pub(crate) cause: &'static str,
    /// The address that was tried last, or the name that leads to none.
    pub(crate) addr: String,
    pub(crate) error: io::Error,
}

/// How the service behind one endpoint is reached.
pub(crate) struct Dial<R> {
    pub(crate) rt: R,
    pub(crate) endpoint: String,
    pub(crate) addr: ServiceAddr,
    /// The interval of TCP's probes on connections to the service; `None` is without.
    pub(crate) keep_alive: Option<Duration>,
    /// Plain or TLS.
    pub(crate) link: Link,
    addrs: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl<R: Runtime> Dial<R> {
    pub(crate) fn new(
        rt: R,
        endpoint: String,
        addr: ServiceAddr,
        keep_alive: Option<Duration>,
        link: Link,
    ) -> Self {
        Self { rt, endpoint, addr, keep_alive, link, addrs: Mutex::new(None) }
    }

    /// The failure of the service as it was configured.
    pub(crate) fn failed(&self, cause: &'static str, error: io::Error) -> Failed {
        Failed { cause, addr: self.addr.to_string(), error }
    }

    async fn addrs(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failed> {
        let now = self.rt.now();
        if let Some((since, addrs)) = &*self.addrs.lock().unwrap_or_else(PoisonError::into_inner) {
            if now.since(*since) < ADDRS_TTL {
                return Ok(addrs.clone());
            }
        }
        let addrs = self.rt.resolve(host, port).await.map_err(|error| {
            let is_exhausted = is_exhausted(&error) || descriptors_are_used_up();
            self.failed(if is_exhausted { OUT_OF_DESCRIPTORS } else { cause::RESOLVE_FAILED }, error)
        })?;
        *self.addrs.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, addrs.clone()));
        Ok(addrs)
    }

    /// Connects, says `head` (a PROXY header stands in front of all else), and does the handshake of a service with TLS.
    async fn connect_to(&self, target: &Addr, head: &[u8]) -> io::Result<MaybeTls<R::Tcp>> {
        let mut io = self.rt.connect(target).await?;
        if cfg!(feature = "proxy-protocol") && !head.is_empty() {
            io.write_all(head).await?;
        }
        io.keep_alive(self.keep_alive);
        let host = match &self.addr.target {
            Target::Tcp { host, .. } => host,
            Target::Unix(_) => "localhost",
        };
        self.link.secure::<R>(io, host).await
    }

    /// A new connection, to the first address of the service that takes one. One that swallows packets leaves the
    /// others their share of the time `until` then, and comes last for a while.
    pub(crate) async fn dial(&self, until: Option<Instant>, head: &[u8]) -> Result<MaybeTls<R::Tcp>, Failed> {
        let targets: Vec<Addr> = match &self.addr.target {
            Target::Unix(path) => vec![Addr::Unix(path.clone())],
            Target::Tcp { host, port } => self.addrs(host, *port).await?.into_iter().map(Addr::Ip).collect(),
        };
        let mut last = None;
        for (n, target) in targets.iter().enumerate() {
            let now = self.rt.now();
            let left = until.map_or(ADDR_TIME.saturating_mul(2), |until| until.since(now));
            let share = left / u32::try_from(targets.len() - n).unwrap_or(u32::MAX);
            // The last one has as long as the caller, whose deadline is told apart from a dead address.
            let at = (n + 1 < targets.len()).then(|| now + share);
            let connected = timeout_at(&self.rt, at, self.connect_to(target, head)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(io) => {
                    if n > 0 {
                        self.prefer(n);
                    }
                    return Ok(io);
                }
                Err(error) => {
                    let cause = match error.kind() {
                        _ if is_exhausted(&error) => OUT_OF_DESCRIPTORS,
                        io::ErrorKind::ConnectionRefused => cause::CONNECT_REFUSED,
                        io::ErrorKind::TimedOut => cause::CONNECT_TIMEOUT,
                        io::ErrorKind::InvalidData if self.addr.tls => cause::TLS_FAILED,
                        _ => cause::CONNECT_FAILED,
                    };
                    last = Some(Failed { cause, addr: target.to_string(), error });
                }
            }
        }
        *self.addrs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Err(last.unwrap_or_else(|| self.failed(cause::RESOLVE_FAILED, io::ErrorKind::NotFound.into())))
    }

    /// The first addresses do not answer: the next connection begins behind them.
    fn prefer(&self, n: usize) {
        if let Some((_, addrs)) = &mut *self.addrs.lock().unwrap_or_else(PoisonError::into_inner) {
            // Another lookup may have found fewer meanwhile.
            let n = n.min(addrs.len());
            addrs.rotate_left(n);
        }
    }
}
