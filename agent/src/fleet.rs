//! The listeners of one agent, which may be others while it runs.
//!
//! ```text
//! a listener ──► Running ──► tunnel ──► its streams ──► Slot ──► the service of the moment
//!
//! other settings of the service   ──► another one in the slot: streams that begin get it
//! another token                   ──► sent with the next connection; the tunnel stays
//! another server, tenant, TLS     ──► a second tunnel; once it is up the first one drains
//! ```

#[cfg(feature = "yaml")]
mod change;
mod slot;
mod workers;

use crate::agent::{Observer, RunError, access_options, memory_bytes, upstream};
use crate::http::header_version;
use crate::metrics::Counted;
#[cfg(feature = "yaml")]
use crate::tls::is_same;
use crate::tls::{Connectors, Crypto, Link, Links, ServerLink};
#[cfg(feature = "yaml")]
use piko_client::Upstream;
use piko_client::{DialError, HeaderVersion, ListenError, Listener};
use piko_config::{AgentOptions, ListenerOptions, Protocol, Secret};
#[cfg(feature = "yaml")]
use piko_config::{ConnectUrl, ProxyUrl};
use piko_core::mux::Budget;
use piko_driver::{Reloader, RequestBudget, Runtime, Shutdown, Tasks};
use piko_observe::access::AccessLog;
use slot::{Maker, Slot};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// What requests to pooled connections may keep for another try, in bytes: an agent may have 16 MB in all.
const COPY_BYTES_MAX: usize = 1024 * 1024;
/// What streams that were cut at the end of the grace period may take to be gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a tunnel is made of; another one of these needs another tunnel.
#[cfg(feature = "yaml")]
struct Way {
    url: ConnectUrl,
    fallbacks: Vec<ConnectUrl>,
    proxy: Option<ProxyUrl>,
    /// What the server is asked to begin streams with.
    header: Option<HeaderVersion>,
    timeout: Duration,
    tenant: Option<String>,
    server: ServerLink,
}

#[cfg(feature = "yaml")]
impl Way {
    fn of(options: &AgentOptions, listener: &ListenerOptions, server: &ServerLink) -> Self {
        Self {
            url: options.connect.url.clone(),
            fallbacks: options.connect.fallbacks.clone(),
            proxy: options.connect.proxy.clone(),
            header: stream_header(listener),
            timeout: options.connect.timeout,
            tenant: tenant(options, listener).map(str::to_owned),
            server: Clone::clone(server),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.url == other.url
            && self.fallbacks == other.fallbacks
            && self.proxy == other.proxy
            && self.header == other.header
            && self.timeout == other.timeout
            && self.tenant == other.tenant
            && is_same(&self.server, &other.server)
    }
}

/// The PROXY header that streams of a listener shall begin with. Of HTTP the agent knows the client from the request.
fn stream_header(listener: &ListenerOptions) -> Option<HeaderVersion> {
    let is_wanted = cfg!(feature = "proxy-protocol") && listener.protocol == Protocol::Tcp;
    header_version(listener).filter(|_| is_wanted)
}

/// The token of one listener. What is its own stands in a file.
fn token<'o>(options: &'o AgentOptions, listener: &'o ListenerOptions) -> Option<&'o Secret> {
    let own = listener.tunnel.token.as_ref().filter(|_| cfg!(feature = "yaml"));
    own.or(options.connect.token.as_ref())
}

/// The tenant of one listener, likewise.
fn tenant<'o>(options: &'o AgentOptions, listener: &'o ListenerOptions) -> Option<&'o str> {
    let own = listener.tunnel.tenant_id.as_deref().filter(|_| cfg!(feature = "yaml"));
    own.or(options.connect.tenant_id.as_deref())
}

/// One listener of the client, and what it was made of.
struct Tunnel<R: Runtime> {
    #[cfg(feature = "yaml")]
    way: Way,
    #[cfg(feature = "yaml")]
    upstream: Upstream<R>,
    listener: Arc<Listener<R>>,
}

/// One listener of the options.
struct Running<R: Runtime> {
    #[cfg(feature = "yaml")]
    options: ListenerOptions,
    #[cfg(feature = "yaml")]
    link: Link,
    #[cfg(feature = "yaml")]
    access: Arc<AccessLog>,
    #[cfg(feature = "yaml")]
    slot: Slot<R>,
    tunnel: Tunnel<R>,
    /// Takes the place of `tunnel` once it is up.
    #[cfg(feature = "yaml")]
    next: Option<Tunnel<R>>,
    /// The server wants none of it.
    is_refused: bool,
    /// Its refusal ends the agent.
    is_decisive: bool,
}

struct State<R: Runtime> {
    #[cfg(feature = "yaml")]
    connectors: Connectors,
    /// How the listeners of the start are reached, until they are there.
    links: Links,
    running: Vec<Running<R>>,
    grace: Duration,
    /// Why the agent has to end.
    failure: Option<RunError>,
    phase: Phase,
}

/// Nothing changes before the listeners are there, nor when they go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Running,
    Over,
}

/// All listeners. Cheap to clone.
pub(crate) struct Fleet<R: Runtime>(Arc<Inner<R>>);

impl<R: Runtime> Clone for Fleet<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<R: Runtime> {
    rt: R,
    maker: Arc<Maker<R>>,
    budget: Arc<Budget>,
    observer: Mutex<Option<Arc<Observer>>>,
    reloader: Reloader,
    failed: Shutdown,
    state: Mutex<State<R>>,
}

impl<R: Runtime> Fleet<R> {
    /// Reads the files of certificates; nothing is connected yet.
    ///
    /// # Errors
    /// What this build cannot do, or which file cannot be used.
    pub(crate) fn new(rt: R, options: &AgentOptions, crypto: Option<Crypto>) -> Result<Self, RunError> {
        piko_driver::limit_untaken(memory_bytes() / 8);
        let mut connectors = Connectors::new(crypto);
        let (links, parts) = connectors.take(connectors.prepare(options)?);
        // A build without files of any kind carries nothing for them.
        let has_files = cfg!(any(feature = "tls-of-caller", feature = "yaml"));
        let reloader = if has_files { Reloader::new(parts) } else { Reloader::default() };
        let maker = Arc::new(Maker {
            rt: rt.clone(),
            counted: Counted::default(),
            tasks: Tasks::new(),
            memory: Arc::new(RequestBudget::new(COPY_BYTES_MAX)),
        });
        let state = State {
            #[cfg(feature = "yaml")]
            connectors,
            links,
            running: Vec::new(),
            grace: options.grace_period,
            failure: None,
            phase: Phase::Before,
        };
        let fleet = Self(Arc::new(Inner {
            rt,
            maker,
            budget: Arc::new(Budget::new(crate::agent::budget_bytes())),
            observer: Mutex::new(None),
            reloader,
            failed: Shutdown::new(),
            state: Mutex::new(state),
        }));
        #[cfg(feature = "yaml")]
        if let Some(file) = change::configuration(options, &fleet) {
            fleet.0.reloader.add("configuration".to_owned(), file);
        }
        Ok(fleet)
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What reads the configuration and the files of certificates again.
    pub(crate) fn reloader(&self) -> &Reloader {
        &self.0.reloader
    }

    pub(crate) fn counted(&self) -> Counted {
        self.0.maker.counted.clone()
    }

    /// Somebody to be told of every tunnel from here on.
    pub(crate) fn observe(&self, observer: Arc<Observer>) {
        *self.0.observer.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    /// Starts all listeners of the options that this was made of.
    ///
    /// # Errors
    /// What of them cannot be sent to a server.
    pub(crate) fn start(&self, options: &AgentOptions) -> Result<(), RunError> {
        let mut state = self.lock();
        let links = std::mem::take(&mut state.links);
        for (listener, (server, link)) in options.listeners.iter().zip(links) {
            let mut running = self.make(options, listener, &server, link)?;
            running.is_decisive = options.connect.exit_on_failure;
            state.running.push(running);
        }
        state.phase = Phase::Running;
        Ok(())
    }

    fn make(
        &self,
        options: &AgentOptions,
        listener: &ListenerOptions,
        server: &ServerLink,
        link: Link,
    ) -> Result<Running<R>, RunError> {
        let access = Arc::new(AccessLog::new(access_options(listener, options)));
        let slot = self.0.maker.slot(listener, &link, &access);
        let tunnel = self.tunnel(options, listener, server, &slot)?;
        Ok(Running {
            #[cfg(feature = "yaml")]
            options: listener.clone(),
            #[cfg(feature = "yaml")]
            link,
            #[cfg(feature = "yaml")]
            access,
            #[cfg(feature = "yaml")]
            slot,
            tunnel,
            #[cfg(feature = "yaml")]
            next: None,
            is_refused: false,
            is_decisive: false,
        })
    }

    fn tunnel(
        &self,
        options: &AgentOptions,
        listener: &ListenerOptions,
        server: &ServerLink,
        slot: &Slot<R>,
    ) -> Result<Tunnel<R>, RunError> {
        let observer = self.0.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut upstream = upstream(&self.0.rt, options, self.0.budget.clone(), observer, listener.protocol)?;
        #[cfg(not(any(feature = "tls-of-caller", feature = "yaml")))]
        let () = server;
        #[cfg(feature = "tls-of-caller")]
        if let Some(connector) = server {
            upstream = upstream.tls(connector.clone());
        }
        if let Some(version) = stream_header(listener) {
            upstream = upstream.proxy_header(version);
        }
        if let Some(tenant) = tenant(options, listener) {
            upstream = upstream.tenant(tenant);
        }
        if let Some(token) = token(options, listener) {
            upstream = upstream.token(token.reveal());
        }
        let made = upstream.listen_in_background(&listener.endpoint);
        let made = made.map_err(|error| RunError::Listen(listener.endpoint.clone(), error))?;
        let made = Arc::new(made);
        self.accept(made.clone(), slot.clone());
        Ok(Tunnel {
            #[cfg(feature = "yaml")]
            way: Way::of(options, listener, server),
            #[cfg(feature = "yaml")]
            upstream,
            listener: made,
        })
    }

    /// Serves the streams of `listener` until it is over, and notes where that is a refusal for good.
    fn accept(&self, listener: Arc<Listener<R>>, slot: Slot<R>) {
        let (fleet, serving) = (self.clone(), self.0.maker.clone());
        self.0.rt.spawn(async move {
            serving.accept(&listener, slot).await;
            if let Some(error) = listener.take_refusal() {
                fleet.refused(&listener, error);
            }
        });
    }

    /// The agent ends when all of its listeners were refused, or, where it is told so, the first one.
    fn refused(&self, listener: &Arc<Listener<R>>, error: DialError) {
        let mut state = self.lock();
        let own = |running: &&mut Running<R>| Arc::ptr_eq(&running.tunnel.listener, listener);
        // One that was closed has no say, and neither has one that waits to take over.
        let Some(running) = state.running.iter_mut().find(own) else { return };
        running.is_refused = true;
        if running.is_decisive || state.running.iter().all(|running| running.is_refused) {
            let endpoint = listener.endpoint().to_string();
            state.failure = Some(RunError::Listen(endpoint, ListenError::Refused(error)));
            self.0.failed.trigger();
        }
    }

    /// Ready when the agent has to end because of its server.
    pub(crate) async fn failure(&self) -> Option<RunError> {
        self.0.failed.wait().await;
        self.lock().failure.take()
    }

    /// Closes every listener, each with the whole grace period, and waits for what they still do.
    pub(crate) async fn close(&self) {
        let (running, grace) = {
            let mut state = self.lock();
            state.phase = Phase::Over;
            (std::mem::take(&mut state.running), state.grace)
        };
        let until = self.0.rt.now() + grace;
        let mut closing: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        for running in &running {
            closing.push(Box::pin(running.tunnel.listener.close(grace)));
            #[cfg(feature = "yaml")]
            if let Some(next) = &running.next {
                closing.push(Box::pin(next.listener.close(grace)));
            }
        }
        poll_fn(|cx| {
            closing.retain_mut(|close| close.as_mut().poll(cx).is_pending());
            if closing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        // The tunnels are quiet; what a task still does (cutting a connection, keeping it, a log line) is short, and just
        // begins where the grace period has ended it.
        let last = self.0.rt.now().max(until) + LAST_WORDS;
        let _ = piko_driver::timeout_at(&self.0.rt, Some(last), self.0.maker.tasks.idle()).await;
        // It holds this fleet.
        #[cfg(feature = "yaml")]
        self.0.reloader.clear();
    }
}
