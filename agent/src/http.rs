//! The HTTP listener: each stream of the tunnel carries requests for one service.

use crate::tls::Link;
use piko_config::{ServiceAddr, Target};
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::proxy::{self, Answer, Exchange, Failure, Peer, Place, Record, Step, cause};
use piko_core::time::Instant;
use piko_driver::{
    Addr, Attempt, Connected, Decision, Io, IoInfo, MaybeTls, Pool, Runtime, Service, timeout_at,
};
use piko_observe::access::{AccessLog, AccessNote};
use piko_observe::metrics::HttpMetrics;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
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

/// One service behind one endpoint.
pub(crate) struct HttpService<R: Runtime> {
    rt: R,
    addr: ServiceAddr,
    config: proxy::Config,
    pool: Pool<R>,
    /// The interval of TCP's probes on connections to the service.
    keep_alive: Option<Duration>,
    /// Plain or TLS.
    link: Link,
    addrs: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    access: Arc<AccessLog>,
    metrics: Arc<HttpMetrics>,
}

impl<R: Runtime> HttpService<R> {
    pub(crate) fn new(
        rt: R,
        addr: ServiceAddr,
        timeout: Option<Duration>,
        pool: Pool<R>,
        access: Arc<AccessLog>,
        metrics: Arc<HttpMetrics>,
    ) -> Self {
        let mut config = proxy::Config::new(Place::Agent);
        config.response_timeout = timeout;
        config.base_path = (!addr.path.is_empty()).then(|| Arc::from(addr.path.as_bytes()));
        config.base_query = addr.query.as_ref().map(|query| Arc::from(query.as_bytes()));
        Self {
            rt,
            addr,
            config,
            pool,
            keep_alive: None,
            link: Default::default(),
            addrs: Mutex::new(None),
            access,
            metrics,
        }
    }

    /// Sets the interval of TCP's probes on connections to the service; `None` is without.
    #[must_use]
    pub(crate) fn keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Sets how the service is reached.
    #[must_use]
    pub(crate) fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    async fn addrs(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let now = self.rt.now();
        if let Some((since, addrs)) = &*self.addrs.lock().unwrap_or_else(PoisonError::into_inner) {
            if now.since(*since) < ADDRS_TTL {
                return Ok(addrs.clone());
            }
        }
        let addrs = self.rt.resolve(host, port).await.map_err(|error| {
            tracing::warn!(target: "proxy.http", %error, host, "failed to resolve service");
            Failure::Connect(if is_exhausted(&error) || descriptors_are_used_up() {
                OUT_OF_DESCRIPTORS
            } else {
                cause::RESOLVE_FAILED
            })
        })?;
        *self.addrs.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, addrs.clone()));
        Ok(addrs)
    }

    /// Connects, and does the handshake of a service with TLS.
    async fn connect_to(&self, target: &Addr) -> io::Result<MaybeTls<R::Tcp>> {
        let io = self.rt.connect(target).await?;
        io.keep_alive(self.keep_alive);
        let host = match &self.addr.target {
            Target::Tcp { host, .. } => host,
            Target::Unix(_) => "localhost",
        };
        self.link.secure::<R>(io, host).await
    }

    /// A new connection, to the first address of the service that takes one. One that swallows packets leaves the
    /// others their share of the time `until` then, and comes last for a while.
    async fn dial(&self, until: Option<Instant>) -> Result<MaybeTls<R::Tcp>, Failure> {
        let targets: Vec<Addr> = match &self.addr.target {
            Target::Unix(path) => vec![Addr::Unix(path.clone())],
            Target::Tcp { host, port } => self.addrs(host, *port).await?.into_iter().map(Addr::Ip).collect(),
        };
        let mut last = Failure::Connect(cause::RESOLVE_FAILED);
        for (n, target) in targets.iter().enumerate() {
            let now = self.rt.now();
            let left = until.map_or(ADDR_TIME.saturating_mul(2), |until| until.since(now));
            let share = left / u32::try_from(targets.len() - n).unwrap_or(u32::MAX);
            // The last one has as long as the exchange, whose deadline is told apart from a dead address.
            let at = (n + 1 < targets.len()).then(|| now + share);
            let connected = timeout_at(&self.rt, at, self.connect_to(target)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(io) => {
                    if n > 0 {
                        self.prefer(n);
                    }
                    return Ok(io);
                }
                Err(error) => {
                    last = Failure::Connect(match error.kind() {
                        _ if is_exhausted(&error) => OUT_OF_DESCRIPTORS,
                        io::ErrorKind::ConnectionRefused => cause::CONNECT_REFUSED,
                        io::ErrorKind::TimedOut => cause::CONNECT_TIMEOUT,
                        _ => cause::CONNECT_FAILED,
                    });
                    tracing::warn!(target: "proxy.http", %error, addr = %target, "failed to dial service");
                }
            }
        }
        *self.addrs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Err(last)
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

impl<R: Runtime> Service for HttpService<R> {
    type Up = MaybeTls<R::Tcp>;
    type Target = ();
    type Switched = ();
    type Note = Option<Box<AccessNote>>;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        self.metrics.begin();
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        _: Instant,
        step: Step,
        _: &mut Exchange,
        _: &Self::Note,
        _: &RequestHead<'_>,
    ) -> Decision<(), ()> {
        match step {
            Step::Answer(answer) => Decision::Answer(answer),
            _ => Decision::Proxy { target: (), keep_alive: true, keep_head: false },
        }
    }

    async fn connect(&self, (): &(), attempt: Attempt) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        if !attempt.fresh {
            if let Some(io) = self.pool.take(attempt.idempotent) {
                return Ok(Connected { io, pooled: true });
            }
        }
        // Apart, so that not every stream has the room for it.
        Ok(Connected { io: Box::pin(self.dial(attempt.until)).await?, pooled: false })
    }

    /// There is one service; a stale connection to it is worth a fresh one.
    fn again(&self, (): &mut (), why: Failure) -> bool {
        why == Failure::Stale
    }

    fn release(&self, (): (), reusable: Option<MaybeTls<R::Tcp>>) {
        if let Some(io) = reusable {
            self.pool.put(io);
        }
    }

    fn note(&self, info: &IoInfo, head: &RequestHead<'_>) -> Self::Note {
        self.access.note(info.peer.map(|peer| peer.ip()), head)
    }

    fn note_response(&self, note: &mut Self::Note, head: &ResponseHead<'_>) {
        if let Some(note) = note {
            note.response(head);
        }
    }

    fn record(&self, record: Record, note: Self::Note) {
        self.metrics.record(&record);
        if let Some(note) = note {
            self.access.write(note, &record);
        }
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Agent, fault)
    }
}
