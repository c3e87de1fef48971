//! The listeners of one agent process, side by side.

use crate::fleet::Fleet;
use crate::metrics::{Counted, Metrics};
use crate::tls::Crypto;
use piko_client::{BadUrl, Event, ListenError, Upstream, Url};
use piko_config::{AgentOptions, BindAddr, BindHost, ConnectUrl, GoDuration, ListenerOptions, Protocol};
use piko_core::mux;
use piko_core::tunnel::Backoff;
use piko_driver::{
    Addr, ListenOptions, Listener as _, LoadError, Reloader, Runtime, Shutdown, Tasks, accept, sleep_until,
};
use piko_observe::access::AccessOptions;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Received bytes that wait for the service, in all tunnels together: what a device with 16 MB can spare.
const BUDGET_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Why an agent ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// What this build or this caller cannot do.
    Unsupported(&'static str),
    /// A file of certificates cannot be used: of which part, and why.
    Tls(String, LoadError),
    /// The URL of the proxy cannot be used.
    Proxy(BadUrl),
    /// A listener was refused for good.
    Listen(String, ListenError),
    /// The metrics port cannot be opened.
    Metrics(String, io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) => write!(f, "{what} is not supported by this build"),
            Self::Tls(part, error) => write!(f, "{part}: {error}"),
            Self::Proxy(error) => write!(f, "connect: invalid proxy url: {error}"),
            Self::Listen(endpoint, error) => write!(f, "listen: {endpoint}: {error}"),
            Self::Metrics(addr, error) => write!(f, "server listen: {addr}: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Somebody who wants to know what happens to the tunnels.
pub(crate) type Observer = dyn Fn(&Event<'_>) + Send + Sync;

/// An agent with its listeners.
pub struct Agent<R: Runtime> {
    rt: R,
    options: AgentOptions,
    fleet: Fleet<R>,
}

impl<R: Runtime> fmt::Debug for Agent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<R: Runtime> Agent<R> {
    /// Checks what can be checked without a connection. Options that ask for TLS need [`Self::with_tls`].
    ///
    /// # Errors
    /// What this build does not have.
    pub fn new(rt: R, options: AgentOptions) -> Result<Self, RunError> {
        Self::with_tls(rt, options, None)
    }

    /// As [`Self::new`], with the cryptography for TLS, and reads the files of certificates.
    ///
    /// # Errors
    /// Also: which file cannot be used, and why.
    pub fn with_tls(rt: R, options: AgentOptions, crypto: Option<Crypto>) -> Result<Self, RunError> {
        let fleet = Fleet::new(rt.clone(), &options, crypto)?;
        Ok(Self { rt, options, fleet })
    }

    /// What reads the configuration and the files of certificates again.
    pub fn reloader(&self) -> Reloader {
        self.fleet.reloader().clone()
    }

    /// Called when a tunnel comes up, is lost, or an attempt fails, after the line in the log. Must not block.
    #[must_use]
    pub fn on_event(self, f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.fleet.observe(Arc::new(f));
        self
    }

    /// Serves until `stop` is given, then drains: no new requests, open ones are answered within the
    /// grace period. Fails when the server refuses a listener for good, or when the first connection
    /// fails and the options say to exit then.
    pub async fn run(self, stop: Shutdown) -> Result<(), RunError> {
        let Self { rt, options, fleet } = self;
        let quit = Shutdown::new();
        #[cfg(any(feature = "tls-of-caller", feature = "yaml"))]
        rt.spawn(fleet.reloader().clone().watch(rt.clone(), quit.clone()));
        let mut outcome = fleet.start(&options).err();
        if let (None, Some(bind)) = (&outcome, &options.metrics) {
            outcome = serve_metrics(&rt, bind, fleet.counted(), fleet.reloader(), &quit).await.err();
        }
        if outcome.is_none() {
            outcome = race(fleet.failure(), stop.wait()).await;
        }
        fleet.close().await;
        quit.trigger();
        outcome.map_or(Ok(()), Err)
    }
}

async fn race(
    failed: impl Future<Output = Option<RunError>>,
    stopped: impl Future<Output = ()>,
) -> Option<RunError> {
    let (mut failed, mut stopped) = (pin!(failed), pin!(stopped));
    poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        failed.as_mut().poll(cx)
    })
    .await
}

/// The server of these options, without token and tenant, for listeners of this protocol.
pub(crate) fn upstream<R: Runtime>(
    rt: &R,
    options: &AgentOptions,
    budget: Arc<mux::Budget>,
    observer: Option<Arc<Observer>>,
    protocol: Protocol,
) -> Result<Upstream<R>, RunError> {
    let mut backoff = Backoff::default();
    backoff.attempt = options.connect.timeout;
    backoff.first_connect = options.connect.timeout;
    backoff.exit_on_failure = options.connect.exit_on_failure;
    let mut mux = mux::Config::default();
    mux.budget = budget;
    mux.lazy_time = mux::LAZY_TIME_CALM;
    // Over TCP a server carries nothing before it knows that a stream was accepted.
    mux.prompt_acks = protocol == Protocol::Tcp;
    let connect = &options.connect;
    let mut upstream = Upstream::to(rt.clone(), server(&connect.url));
    for url in &connect.fallbacks {
        upstream = upstream.fallback_to(server(url));
    }
    let upstream = upstream.backoff(backoff).mux(mux).on_event(move |event| {
        report(event);
        if let Some(observer) = &observer {
            observer(event);
        }
    });
    #[cfg(feature = "proxy")]
    let upstream = match &connect.proxy {
        Some(proxy) => upstream.proxy_url(proxy.reveal()).map_err(RunError::Proxy)?,
        None => upstream,
    };
    Ok(upstream)
}

/// A server; its query, which the table refuses, is not sent.
fn server(url: &ConnectUrl) -> Url {
    Url::from_parts(url.tls, &url.host, url.port, &url.prefix)
}

/// `min(8 MiB, memory / 8)` (design guide A.1).
pub(crate) fn budget_bytes() -> usize {
    BUDGET_BYTES_MAX.min(memory_bytes() / 8)
}

/// The memory that this process may use: the machine's, or that of its container. What cannot be read counts as plenty.
pub(crate) fn memory_bytes() -> usize {
    let machine = first_number("/proc/meminfo").map(|kib| kib.saturating_mul(1024));
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // `/` where the container has a tree of its own, as most have.
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let container = first_number(&format!("/sys/fs/cgroup{group}/memory.max"));
    machine.into_iter().chain(container).min().unwrap_or(usize::MAX)
}

/// The first number of a file of the kernel: `MemTotal` stands first in its file, and `max` is none.
fn first_number(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.split_whitespace().find_map(|word| word.parse().ok())
}

/// One clear line for each change.
fn report(event: &Event<'_>) {
    match event {
        Event::Connected { endpoint, url } => {
            tracing::info!(target: "client", { "endpoint-id" = %endpoint, url = %url }, "tunnel connected");
        }
        Event::Lost { endpoint, reason } => {
            tracing::warn!(target: "client", { "endpoint-id" = %endpoint, %reason }, "tunnel lost; reconnecting");
        }
        Event::Failed { endpoint, error, wait, url } => match wait {
            Some(wait) => {
                // As Go writes it; what Rust writes is 3 KB of code, of which nothing else here has use.
                let backoff = GoDuration::from_nanos(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
                tracing::warn!(
                    target: "client", { "endpoint-id" = %endpoint, url = %url, %backoff, %error }, "connect failed; retrying");
            }
            None => tracing::error!(
                target: "client", { "endpoint-id" = %endpoint, url = %url, %error }, "connect failed; non-retryable"),
        },
        _ => {}
    }
}

pub(crate) fn access_options(listener: &ListenerOptions, options: &AgentOptions) -> AccessOptions {
    let mut log = AccessOptions::configured("proxy.http.access", &listener.access_log, &options.log);
    log.endpoint = Some(listener.endpoint.clone());
    log
}

async fn serve_metrics<R: Runtime>(
    rt: &R,
    bind: &BindAddr,
    counted: Counted,
    reloader: &Reloader,
    quit: &Shutdown,
) -> Result<(), RunError> {
    let fail = |error| RunError::Metrics(bind.to_string(), error);
    let addrs = match (bind.socket_addrs(), &bind.host) {
        (None, BindHost::Name(name)) => rt.resolve(name, bind.port).await.map_err(fail)?,
        (addrs, _) => addrs.unwrap_or_default(),
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for addr in addrs {
        match rt.listen(&Addr::Ip(addr), ListenOptions::default()).await {
            Ok(listener) => {
                let addr = listener.local_addr().unwrap_or(addr);
                tracing::info!(target: "server", %addr, "starting metrics server");
                let metrics = Arc::new(Metrics::new(counted, reloader.clone()));
                let (serving, ended) = (rt.clone(), quit.clone());
                rt.spawn(accept(rt.clone(), listener, quit.clone(), Tasks::new(), move |io, guard| {
                    let (metrics, rt, quit) = (metrics.clone(), serving.clone(), ended.clone());
                    async move {
                        metrics.serve(&rt, io, &quit).await;
                        drop(guard);
                    }
                }));
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

/// How long a finished agent waits for its last log lines.
pub(crate) async fn settle<R: Runtime>(rt: &R) {
    sleep_until(rt, rt.now() + Duration::from_millis(1)).await;
}
