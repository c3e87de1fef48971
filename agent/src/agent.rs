//! The listeners of one agent process, side by side.

use crate::dial::Dial;
use crate::http::HttpService;
use crate::metrics::{Counted, Metrics};
use crate::tcp::TcpService;
use crate::tls::{Connectors, Crypto};
use piko_client::{BadUrl, Event, ListenError, Listener, Upstream};
#[cfg(feature = "yaml")]
use piko_config::TunnelOptions;
use piko_config::{AgentOptions, BindAddr, BindHost, GoDuration, ListenerOptions, Protocol};
use piko_core::tunnel::Backoff;
use piko_core::{http1, mux};
use piko_driver::{
    Addr, HeadBudget, ListenOptions, Listener as _, LoadError, Pool, Port, Reloader, Runtime, Shutdown,
    Stream, Tasks, accept, serve, sleep_until,
};
use piko_observe::access::{AccessLog, AccessOptions};
use piko_observe::metrics::{HttpMetrics, TcpMetrics};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Received bytes that wait for the service, in all tunnels together: what a device with 16 MB can spare.
const BUDGET_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Idle connections to one service when no number is set: the pool has some bound in any case.
const IDLE_CONNS_MAX: usize = 4096;
/// A kept connection that no setting limits still ends.
const IDLE_CONN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why an agent ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// What this build or this caller cannot do.
    Unsupported(&'static str),
    /// A file of certificates cannot be used: of which part, and why.
    Tls(String, LoadError),
    /// The connect URL does not name a server.
    Url(BadUrl),
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
            Self::Url(error) => write!(f, "connect: invalid url: {error}"),
            Self::Listen(endpoint, error) => write!(f, "listen: {endpoint}: {error}"),
            Self::Metrics(addr, error) => write!(f, "server listen: {addr}: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Somebody who wants to know what happens to the tunnels.
type Observer = dyn Fn(&Event<'_>) + Send + Sync;

/// An agent with its listeners.
pub struct Agent<R> {
    rt: R,
    options: AgentOptions,
    tls: Connectors,
    /// One for each listener.
    access: Vec<Arc<AccessLog>>,
    observer: Option<Arc<Observer>>,
}

impl<R> fmt::Debug for Agent<R> {
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
        #[cfg_attr(not(feature = "yaml"), expect(unused_mut, reason = "only a file adds to it"))]
        let mut tls = Connectors::load(&options, crypto)?;
        let access = |listener| Arc::new(AccessLog::new(access_options(listener, &options)));
        let access: Vec<_> = options.listeners.iter().map(access).collect();
        #[cfg(feature = "yaml")]
        if let Some((name, file)) = crate::reload::part(&options, &access) {
            tls.reloader = tls.reloader.and(name, file);
        }
        Ok(Self { rt, options, tls, access, observer: None })
    }

    /// What reads the configuration and the files of certificates again.
    pub fn reloader(&self) -> Reloader {
        self.tls.reloader.clone()
    }

    /// Called when a tunnel comes up, is lost, or an attempt fails, after the line in the log. Must not block.
    #[must_use]
    pub fn on_event(mut self, f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(f));
        self
    }

    /// Serves until `stop` is given, then drains: no new requests, open ones are answered within the
    /// grace period. Fails when the server refuses a listener for good, or when the first connection
    /// fails and the options say to exit then.
    pub async fn run(self, stop: Shutdown) -> Result<(), RunError> {
        let Self { rt, options, tls, access, observer } = self;
        let upstream = upstream(&rt, &options, observer)?;
        let mut counted = Counted::default();
        let (tasks, quit) = (Tasks::new(), Shutdown::new());
        let heads = Arc::new(HeadBudget::default());
        let mut listeners = Vec::new();
        #[cfg(any(feature = "tls-of-caller", feature = "yaml"))]
        rt.spawn(tls.reloader.clone().watch(rt.clone(), quit.clone()));
        let all = options.listeners.iter().zip(&tls.services).zip(access).enumerate();
        for (at, ((listener, link), access)) in all {
            let tunnel = own_upstream(&upstream, &tls, &options, at)
                .listen_in_background(&listener.endpoint)
                .map_err(|error| RunError::Listen(listener.endpoint.clone(), error))?;
            let tunnel = Arc::new(tunnel);
            let dial = Dial::new(rt.clone(), listener.addr.clone(), listener.pool.keep_alive, link.clone());
            let endpoint = &listener.endpoint;
            let service = match listener.protocol {
                Protocol::Http => Service::Http(http(dial, listener, access, counted.http(endpoint))),
                Protocol::Tcp => Service::Tcp(tcp(dial, listener, access, counted.tcp(endpoint))),
            };
            service.announce(listener);
            rt.spawn(accept_streams(rt.clone(), tunnel.clone(), service, tasks.clone(), heads.clone()));
            listeners.push(tunnel);
        }
        if let Some(bind) = &options.metrics {
            serve_metrics(&rt, bind, counted, &tls.reloader, &quit).await?;
        }
        let refused = refusal(&listeners, options.connect.exit_on_failure);
        let stopped = stop.wait();
        let outcome = race(refused, stopped).await;
        let grace = options.grace_period;
        let until = rt.now() + grace;
        close_all(&listeners, grace).await;
        // The tunnels are quiet; what a task still does (keeping a connection, a log line) is short.
        let _ = piko_driver::timeout_at(&rt, Some(until), tasks.idle()).await;
        quit.trigger();
        match outcome {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

async fn race(
    refused: impl Future<Output = RunError>,
    stopped: impl Future<Output = ()>,
) -> Option<RunError> {
    let (mut refused, mut stopped) = (pin!(refused), pin!(stopped));
    poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        refused.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Closes every listener at once, each with the whole grace period.
async fn close_all<R: Runtime>(listeners: &[Arc<Listener<R>>], grace: Duration) {
    let mut closing: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
    for listener in listeners {
        closing.push(Box::pin(listener.close(grace)));
    }
    poll_fn(|cx| {
        closing.retain_mut(|close| close.as_mut().poll(cx).is_pending());
        if closing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Ready when the server refused all of them for good, or, `at_once`, one: the others go on without it.
async fn refusal<R: Runtime>(listeners: &[Arc<Listener<R>>], at_once: bool) -> RunError {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = RunError> + Send + '_>>> = Vec::new();
    for listener in listeners {
        waiting.push(Box::pin(async move {
            match listener.connected().await {
                Err(error) => RunError::Listen(listener.endpoint().to_string(), ListenError::Refused(error)),
                // Once connected a listener never gives up.
                Ok(()) => std::future::pending().await,
            }
        }));
    }
    poll_fn(|cx| {
        let mut at = 0;
        while let Some(wait) = waiting.get_mut(at) {
            let Poll::Ready(error) = wait.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            drop(waiting.remove(at));
            if at_once || waiting.is_empty() {
                return Poll::Ready(error);
            }
        }
        Poll::Pending
    })
    .await
}

fn upstream<R: Runtime>(
    rt: &R,
    options: &AgentOptions,
    observer: Option<Arc<Observer>>,
) -> Result<Upstream<R>, RunError> {
    let mut backoff = Backoff::default();
    backoff.attempt = options.connect.timeout;
    backoff.first_connect = options.connect.timeout;
    backoff.exit_on_failure = options.connect.exit_on_failure;
    let mut mux = mux::Config::default();
    mux.budget = Arc::new(mux::Budget::new(budget_bytes()));
    let url = options.connect.url.to_string();
    let upstream = Upstream::new(rt.clone(), &url).map_err(RunError::Url)?;
    let mut upstream = upstream.backoff(backoff).mux(mux).on_event(move |event| {
        report(event);
        if let Some(observer) = &observer {
            observer(event);
        }
    });
    if let Some(token) = &options.connect.token {
        upstream = upstream.token(token.reveal());
    }
    if let Some(tenant) = &options.connect.tenant_id {
        upstream = upstream.tenant(tenant);
    }
    Ok(upstream)
}

/// `min(8 MiB, memory / 8)` (design guide A.1); memory that cannot be read counts as plenty.
fn budget_bytes() -> usize {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total.map_or(BUDGET_BYTES_MAX, |kib| BUDGET_BYTES_MAX.min(kib.saturating_mul(1024) / 8))
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

/// The server as one listener connects to it.
fn own_upstream<R: Runtime>(
    shared: &Upstream<R>,
    tls: &Connectors,
    options: &AgentOptions,
    at: usize,
) -> Upstream<R> {
    let upstream = shared.clone();
    #[cfg(feature = "tls-of-caller")]
    let upstream = match tls.servers.get(at) {
        Some(Some(connector)) => upstream.tls(connector.clone()),
        _ => upstream,
    };
    #[cfg(not(feature = "tls-of-caller"))]
    let _ = tls;
    #[cfg(feature = "yaml")]
    let upstream = match options.listeners.get(at).map(|listener| &listener.tunnel) {
        Some(TunnelOptions { token: Some(token), .. }) => upstream.token(token.reveal()),
        _ => upstream,
    };
    #[cfg(feature = "yaml")]
    let upstream = match options.listeners.get(at).map(|listener| &listener.tunnel) {
        Some(TunnelOptions { tenant_id: Some(tenant), .. }) => upstream.tenant(tenant),
        _ => upstream,
    };
    #[cfg(not(feature = "yaml"))]
    let _ = (options, at);
    upstream
}

fn http<R: Runtime>(
    dial: Dial<R>,
    listener: &ListenerOptions,
    access: Arc<AccessLog>,
    metrics: Arc<HttpMetrics>,
) -> HttpService<R> {
    let pool = Pool::new(
        dial.rt.clone(),
        listener.pool.max_idle.unwrap_or(IDLE_CONNS_MAX).min(IDLE_CONNS_MAX),
        listener.pool.idle_timeout.unwrap_or(IDLE_CONN_TIMEOUT_MAX),
    );
    HttpService::new(dial, listener.timeout, pool, access, metrics)
}

fn tcp<R: Runtime>(
    dial: Dial<R>,
    listener: &ListenerOptions,
    access: Arc<AccessLog>,
    metrics: Arc<TcpMetrics>,
) -> TcpService<R> {
    TcpService { dial, endpoint: listener.endpoint.clone(), timeout: listener.timeout, access, metrics }
}

pub(crate) fn access_options(listener: &ListenerOptions, options: &AgentOptions) -> AccessOptions {
    let mut log = AccessOptions::configured("proxy.http.access", &listener.access_log, &options.log);
    log.endpoint = Some(listener.endpoint.clone());
    log
}

/// What stands behind an endpoint.
enum Service<R: Runtime> {
    Http(HttpService<R>),
    Tcp(TcpService<R>),
}

impl<R: Runtime> Service<R> {
    fn announce(&self, listener: &ListenerOptions) {
        let ListenerOptions { endpoint, addr, .. } = listener;
        // The subsystem is part of a record's static description, hence one call site for each.
        match self {
            Self::Http(_) => {
                tracing::info!(target: "proxy.http", { "endpoint-id" = endpoint, service = %addr }, "starting reverse proxy");
            }
            Self::Tcp(_) => {
                tracing::info!(target: "proxy.tcp", { "endpoint-id" = endpoint, service = %addr }, "starting tcp proxy");
            }
        }
    }
}

/// One task per stream of the tunnel.
async fn accept_streams<R: Runtime>(
    rt: R,
    listener: Arc<Listener<R>>,
    service: Service<R>,
    tasks: Tasks,
    heads: Arc<HeadBudget>,
) {
    // The tunnel's drain ends streams; a connection's own shutdown signal would be a second one.
    let port = Port {
        http: http1::Config::default().into(),
        leaving: Shutdown::new(),
        shutdown: Shutdown::new(),
        heads,
    };
    let shared = Arc::new((service, port));
    while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
        let (shared, guard, serving) = (shared.clone(), tasks.enter(), rt.clone());
        rt.spawn(async move {
            match &shared.0 {
                Service::Http(service) => {
                    let _ = serve::<R, Stream, _>(&serving, stream, service, &shared.1).await;
                }
                Service::Tcp(service) => service.serve(stream).await,
            }
            drop(guard);
        });
    }
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
