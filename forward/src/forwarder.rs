//! Local ports, each of which leads to an endpoint.

use crate::complaints::Complaints;
use crate::listen::{self, Opened};
use crate::reload;
use piko_client::{BadUrl, Dialer, Retry, Url};
use piko_config::{ClientTlsOptions, ConnectUrl, ForwardOptions};
use piko_driver::tls::{ClientFiles, Connector, Crypto, PairFiles};
use piko_driver::{
    Ends, Io, LoadError, Relayed, Reload, Reloader, Runtime, Shutdown, Tasks, accept, relay_until, timeout_at,
};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long connections that were cut at the end may take to be gone.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often TCP asks a local client whether it is still there.
const PROBES: Duration = Duration::from_secs(30);

/// Why a forwarder ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A port cannot be opened: where, and why.
    Listen(String, io::Error),
    /// A file of certificates cannot be used.
    Tls(LoadError),
    /// The URL of the proxy cannot be used.
    Proxy(BadUrl),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(addr, error) => write!(f, "listen: {addr}: {error}"),
            Self::Tls(error) => write!(f, "connect: tls: {error}"),
            Self::Proxy(error) => write!(f, "connect: invalid proxy url: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// A forwarder with its ports.
pub struct Forwarder<R> {
    rt: R,
    options: ForwardOptions,
    dialer: Dialer<R>,
    reloader: Reloader,
}

impl<R> fmt::Debug for Forwarder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<R: Runtime> Forwarder<R> {
    /// Checks what can be checked without a connection, and reads the files of certificates.
    ///
    /// # Errors
    ///
    /// Which of the options cannot be used, and why.
    pub fn new(rt: R, options: ForwardOptions, crypto: Crypto) -> Result<Self, RunError> {
        let mut dialer = Dialer::to(rt.clone(), server(&options.url)).timeout(options.connect_timeout);
        for url in &options.fallbacks {
            dialer = dialer.fallback_to(server(url));
        }
        if let Some(proxy) = &options.proxy {
            dialer = dialer.proxy_url(proxy.reveal()).map_err(RunError::Proxy)?;
        }
        if let Some(token) = &options.token {
            dialer = dialer.token(token.reveal());
        }
        let (complaints, clock) = (Complaints::default(), rt.clone());
        dialer = dialer.on_retry(move |Retry { endpoint, error, url, .. }| {
            // Otherwise nobody would know for as long as connections wait what they wait for.
            if complaints.is_due(url.to_string(), error.to_string(), clock.now()) {
                tracing::warn!(target: "forwarder", { "endpoint-id" = endpoint, %url, %error }, "dial failed; retrying");
            }
        });
        let reloader = Reloader::default();
        if options.uses_tls() {
            let connector = Connector::new(files(&options.tls), crypto).map_err(RunError::Tls)?;
            let connector = Arc::new(connector);
            if options.tls.insecure_skip_verify {
                tracing::warn!(target: "main", "insecure-skip-verify: whoever answers is believed");
            }
            let part: Arc<dyn Reload> = connector.clone();
            reloader.add("connect: tls".to_owned(), part);
            dialer = dialer.tls(connector);
        }
        if let Some(file) = reload::configuration(&options, &dialer) {
            reloader.add("configuration".to_owned(), file);
        }
        Ok(Self { rt, options, dialer, reloader })
    }

    /// What reads the files of certificates and the configuration again.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Forwards until `stop` is given, then closes its ports and cuts what is open, as Go does.
    ///
    /// # Errors
    ///
    /// The port that cannot be opened: then none is.
    pub async fn run(self, stop: Shutdown) -> Result<(), RunError> {
        let Self { rt, options, dialer, reloader } = self;
        let mut opened = Vec::new();
        for port in &options.ports {
            let fail = |error| RunError::Listen(port.bind.to_string(), error);
            opened.push((listen::open(&rt, &port.bind).await.map_err(fail)?, port.endpoint.clone()));
        }
        let tasks = Tasks::new();
        rt.spawn(reloader.watch(rt.clone(), stop.clone()));
        let mut socket_files = Vec::new();
        for (Opened { listeners, at, socket_file }, endpoint) in opened {
            tracing::info!(target: "forwarder", { "endpoint-id" = endpoint, addr = at }, "starting forwarder");
            socket_files.push(socket_file);
            let port =
                Arc::new(Port { rt: rt.clone(), dialer: dialer.clone(), endpoint, stop: stop.clone() });
            for listener in listeners {
                let port = port.clone();
                rt.spawn(accept(rt.clone(), listener, stop.clone(), tasks.clone(), move |io, guard| {
                    let port = port.clone();
                    async move {
                        port.serve(io).await;
                        drop(guard);
                    }
                }));
            }
        }
        stop.wait().await;
        let _ = timeout_at(&rt, Some(rt.now() + LAST_WORDS), tasks.idle()).await;
        drop(socket_files);
        Ok(())
    }
}

/// A server; its query, which the table refuses, is not sent.
fn server(url: &ConnectUrl) -> Url {
    Url::from_parts(url.tls, &url.host, url.port, &url.prefix)
}

fn files(options: &ClientTlsOptions) -> ClientFiles {
    let pair =
        |cert: &piko_config::KeyPairFiles| PairFiles { cert: (&cert.cert).into(), key: (&cert.key).into() };
    ClientFiles {
        cert: options.cert.as_ref().map(pair),
        root_cas: options.root_cas.as_ref().map(Into::into),
        may_trust_nobody: false,
        insecure_skip_verify: options.insecure_skip_verify,
        server_name: options.server_name.clone(),
    }
}

/// One port.
struct Port<R> {
    rt: R,
    dialer: Dialer<R>,
    endpoint: String,
    stop: Shutdown,
}

impl<R: Runtime> Port<R> {
    /// One local connection, until both ends have ended or the forwarder does.
    async fn serve(&self, mut io: R::Tcp) {
        let started = self.rt.now();
        let endpoint = &self.endpoint;
        io.keep_alive(Some(PROBES));
        let mut far = match self.unless_stopped(self.dialer.dial_raw(endpoint)).await {
            Some(Ok(far)) => far,
            Some(Err(error)) => {
                tracing::error!(target: "forwarder", { "endpoint-id" = %endpoint, %error }, "failed to dial endpoint");
                return io.abort();
            }
            None => return io.abort(),
        };
        tracing::info!(target: "forwarder", { "endpoint-id" = %endpoint }, "connection opened");
        // Cut by the relay itself, which alone knows what has passed.
        let relayed = relay_until(&self.rt, &mut io, &mut far, Ends::default(), &self.stop).await;
        let Relayed { from_a, from_b, result } = relayed;
        let duration = self.rt.now().since(started);
        let cut = result.err().map(tracing::field::display);
        tracing::info!(
            target: "forwarder",
            { "endpoint-id" = %endpoint, "bytes-in" = from_a, "bytes-out" = from_b, ?duration, cut }, "connection closed");
    }

    /// Runs `work` until the forwarder ends.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut stopped = self.stop.listener();
        poll_fn(|cx| {
            if stopped.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}
