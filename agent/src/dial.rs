//! Connections to the service behind an endpoint.

use crate::tls::Link;
use futures::io::AsyncWriteExt;
use piko_config::{ServiceAddr, Target};
use piko_core::proxy::cause;
use piko_core::time::Instant;
use piko_driver::{Addr, Io, MaybeTls, Runtime, Tasks, timeout_at};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long resolved addresses of a service are used: a name may move, and a lookup per connection
/// costs a thread.
const ADDRS_TTL: Duration = Duration::from_secs(5);

/// What an address of several may take where the listener has no timeout.
const ADDR_TIME: Duration = Duration::from_secs(2);

/// What the kernel may hold of a service's bytes on this machine. Whoever reads makes room, and where both ends are on one
/// machine has the service's next segments made at once, on its own processor time: with the 64 KiB that a kernel begins with,
/// 1 MiB costs the agent half as much again, and the server a third more, since its pieces are smaller.
const UNREAD_BYTES: usize = 384 * 1024;

/// The agent may open no further socket: its limit on open files is reached.
const OUT_OF_DESCRIPTORS: &str = "out-of-descriptors";

/// `EMFILE` or `ENFILE`, which have no kind.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .is_some_and(|code| [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&code))
}

/// Whether nothing can be opened now. A resolver to which that happens says no more than that the name is not known.
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

/// How many connections may have [`UNREAD_BYTES`]: of readers that stopped, the kernel holds twice that.
#[derive(Clone)]
pub(crate) struct Roomy {
    streams: Tasks,
    most: usize,
}

impl Roomy {
    /// As many as an eighth of this memory holds, and no more than 96 MiB.
    pub(crate) fn new(streams: Tasks, memory_bytes: usize) -> Self {
        Self { streams, most: (memory_bytes / 8).min(96 << 20) / (2 * UNREAD_BYTES) }
    }

    fn is_free(&self) -> bool {
        self.streams.running() <= self.most
    }
}

/// What the last lookup of a name came to, and when.
struct Lookup {
    at: Instant,
    /// An error is told to everyone who waited for it, and [`io::Error`] has no copy.
    found: Result<Vec<SocketAddr>, (&'static str, io::ErrorKind, String)>,
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
    pub(crate) roomy: Roomy,
    known: Mutex<Option<Lookup>>,
    /// Held while the resolver is asked. A burst of requests asks it once: a lookup takes a thread and descriptors, of
    /// which many at the same time would use up what the connections need.
    asking: futures::lock::Mutex<()>,
}

impl<R: Runtime> Dial<R> {
    pub(crate) fn new(
        rt: R,
        endpoint: String,
        addr: ServiceAddr,
        keep_alive: Option<Duration>,
        link: Link,
        roomy: Roomy,
    ) -> Self {
        let (known, asking) = (Mutex::new(None), futures::lock::Mutex::new(()));
        Self { rt, endpoint, addr, keep_alive, link, roomy, known, asking }
    }

    /// The failure of the service as it was configured.
    pub(crate) fn failed(&self, cause: &'static str, error: io::Error) -> Failed {
        Failed { cause, addr: self.addr.to_string(), error }
    }

    fn known(&self) -> MutexGuard<'_, Option<Lookup>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn addrs(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failed> {
        let asked = self.rt.now();
        if let Some(Lookup { at, found: Ok(addrs) }) = &*self.known() {
            if asked.since(*at) < ADDRS_TTL {
                return Ok(addrs.clone());
            }
        }
        let _turn = self.asking.lock().await;
        // Whoever had the turn before may have asked for this one too, then without an answer as well.
        let of_another = match &*self.known() {
            Some(Lookup { at, found }) if *at >= asked => Some(found.clone()),
            _ => None,
        };
        let found = match of_another {
            Some(found) => found,
            None => {
                let found = self.resolve(host, port).await;
                *self.known() = Some(Lookup { at: self.rt.now(), found: found.clone() });
                found
            }
        };
        found.map_err(|(cause, kind, text)| self.failed(cause, io::Error::new(kind, text)))
    }

    async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, (&'static str, io::ErrorKind, String)> {
        let found = match descriptors_are_used_up() {
            // Asked before as well: while the resolver tries in vain, a connection may have ended.
            true => Err(rustix::io::Errno::MFILE.into()),
            false => self.rt.resolve(host, port).await,
        };
        found.map_err(|error| {
            let is_exhausted = is_exhausted(&error) || descriptors_are_used_up();
            let cause = if is_exhausted { OUT_OF_DESCRIPTORS } else { cause::RESOLVE_FAILED };
            (cause, error.kind(), error.to_string())
        })
    }

    /// Connects, says `head` (a PROXY header stands in front of all else), and does the handshake of a service with TLS.
    async fn connect_to(&self, target: &Addr, head: &[u8]) -> io::Result<MaybeTls<R::Tcp>> {
        let mut io = self.rt.connect(target).await?;
        if self.roomy.is_free() {
            io.hold_unread_if_near(UNREAD_BYTES);
        }
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
        if last.as_ref().is_none_or(|failed| failed.cause != OUT_OF_DESCRIPTORS) {
            *self.known() = None;
        }
        Err(last.unwrap_or_else(|| self.failed(cause::RESOLVE_FAILED, io::ErrorKind::NotFound.into())))
    }

    /// The first addresses do not answer: the next connection begins behind them.
    fn prefer(&self, n: usize) {
        if let Some(Lookup { found: Ok(addrs), .. }) = &mut *self.known() {
            // Another lookup may have found fewer meanwhile.
            let n = n.min(addrs.len());
            addrs.rotate_left(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memories_have_room_for_few() {
        for (memory, most) in [(0, 0), (16 << 20, 2), (64 << 20, 10), (1 << 30, 128), (usize::MAX, 128)] {
            let streams = Tasks::new();
            let roomy = Roomy::new(streams.clone(), memory);
            let guards: Vec<_> = (0..most).map(|_| streams.enter()).collect();
            assert!(roomy.is_free(), "{memory}");
            let _one_more = streams.enter();
            assert!(!roomy.is_free(), "{memory}");
            drop(guards);
        }
    }
}
