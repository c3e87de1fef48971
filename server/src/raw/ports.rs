//! The listeners of raw ports, which come and go with the configuration.

use super::Raw;
use super::sni::{self, Names};
use crate::ports;
use crate::server::StartError;
use piko_config::reload::Part;
use piko_config::{BindAddr, ServerOptions, TcpPortOptions};
use piko_core::id::EndpointId;
use piko_driver::{Addr, ListenOptions, Listener as _, Runtime, Shutdown, TaskGuard, Tasks, accept};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

/// A port of one endpoint.
struct RawPort<R: Runtime> {
    bind: BindAddr,
    /// How many entries before it have the same address, as those may whose port the system chooses.
    nth: usize,
    addr: SocketAddr,
    /// A reload may lead the next connections elsewhere.
    endpoint: Arc<RwLock<EndpointId>>,
    /// Until connections are accepted.
    listener: Option<R::Listener>,
    /// Ends the listener; its connections go on.
    stop: Shutdown,
}

impl<R: Runtime> RawPort<R> {
    fn new(
        options: &TcpPortOptions,
        nth: usize,
        (listener, addr): (R::Listener, SocketAddr),
    ) -> Result<Self, String> {
        let endpoint = endpoint(options)?;
        Ok(Self {
            bind: options.bind.clone(),
            nth,
            addr,
            endpoint: Arc::new(RwLock::new(endpoint)),
            listener: Some(listener),
            stop: Shutdown::new(),
        })
    }
}

fn endpoint(options: &TcpPortOptions) -> Result<EndpointId, String> {
    EndpointId::new(options.endpoint.as_bytes()).map_err(|error| error.to_string())
}

/// What accepts connections, once the node serves.
struct Serving<R: Runtime> {
    raw: Arc<Raw<R>>,
    tasks: Tasks,
}

struct Inner<R: Runtime> {
    ports: Vec<RawPort<R>>,
    /// The port that routes TLS by name, until connections are accepted.
    sni: Option<SniPort<R>>,
    /// Ends that one.
    sni_stop: Shutdown,
    serving: Option<Serving<R>>,
    /// The node ends: nothing is opened any more.
    ended: bool,
}

/// The port that routes TLS by name.
struct SniPort<R: Runtime> {
    listener: R::Listener,
    addr: SocketAddr,
    names: Names,
}

impl<R: Runtime> Inner<R> {
    /// Accepts on those ports that do not yet, if the node serves.
    fn start(&mut self) {
        let Some(Serving { raw, tasks }) = &self.serving else { return };
        if let Some(SniPort { listener, addr, names }) = self.sni.take() {
            tracing::info!(target: "proxy", { %addr, domain = names.domain.as_deref() }, "starting sni port");
            let shared = Arc::new((raw.clone(), names));
            let serve = move |io, guard: TaskGuard| {
                let shared = shared.clone();
                async move {
                    sni::serve(&shared.0, &shared.1, io).await;
                    drop(guard);
                }
            };
            raw.rt.spawn(accept(raw.rt.clone(), listener, self.sni_stop.clone(), tasks.clone(), serve));
        }
        for port in &mut self.ports {
            let Some(listener) = port.listener.take() else { continue };
            let endpoint = port.endpoint.clone();
            let told = endpoint.read().unwrap_or_else(PoisonError::into_inner).clone();
            tracing::info!(target: "proxy", { addr = %port.addr, "endpoint-id" = %told }, "starting tcp port");
            let serving = raw.clone();
            let serve = move |io, guard: TaskGuard| {
                let endpoint = endpoint.read().unwrap_or_else(PoisonError::into_inner).clone();
                let raw = serving.clone();
                async move {
                    raw.serve_port(io, &endpoint).await;
                    drop(guard);
                }
            };
            raw.rt.spawn(accept(raw.rt.clone(), listener, port.stop.clone(), tasks.clone(), serve));
        }
    }
}

/// The raw ports of a node.
pub(crate) struct RawPorts<R: Runtime> {
    rt: R,
    inner: Mutex<Inner<R>>,
}

/// The entries with their numbers among those of one address.
fn numbered(options: &ServerOptions) -> impl Iterator<Item = (usize, &TcpPortOptions)> {
    let ports = &options.proxy.tcp.ports;
    ports.iter().enumerate().map(move |(at, port)| {
        (ports.iter().take(at).filter(|before| before.bind == port.bind).count(), port)
    })
}

impl<R: Runtime> RawPorts<R> {
    /// Opens the ports. Connections queue in the kernel until [`Self::start`].
    ///
    /// # Errors
    /// Which one could not be opened.
    pub(crate) async fn bind(rt: &R, options: &ServerOptions) -> Result<Arc<Self>, StartError> {
        let mut opened = Vec::new();
        for (nth, port) in numbered(options) {
            let name = format!("tcp port of {}", port.endpoint);
            let bound = ports::listen(rt, &name, &port.bind).await?;
            opened.push(RawPort::new(port, nth, bound).map_err(|error| {
                StartError::of(&name, io::Error::new(io::ErrorKind::InvalidInput, error))
            })?);
        }
        let mut sni = None;
        if let Some(options) = &options.proxy.tcp.sni {
            let (listener, addr) = ports::listen(rt, "sni", &options.bind).await?;
            let names = Names { domain: options.domain.as_deref().map(Arc::from) };
            sni = Some(SniPort { listener, addr, names });
        }
        let inner = Inner { ports: opened, sni, sni_stop: Shutdown::new(), serving: None, ended: false };
        let inner = Mutex::new(inner);
        Ok(Arc::new(Self { rt: rt.clone(), inner }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections, which count among `tasks`.
    pub(crate) fn start(&self, raw: Arc<Raw<R>>, tasks: &Tasks) {
        let mut inner = self.lock();
        inner.serving = Some(Serving { raw, tasks: tasks.clone() });
        inner.start();
    }

    /// Accepts no more connections; those that are open go on.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.sni = None;
        inner.sni_stop.trigger();
        for port in inner.ports.drain(..) {
            port.stop.trigger();
        }
    }

    /// Opens what is new in `options`, and accepts nothing on it yet.
    fn open_new(&self, options: &ServerOptions) -> Result<Vec<RawPort<R>>, String> {
        let inner = self.lock();
        let mut opened = Vec::new();
        for (nth, port) in numbered(options) {
            let is_known = |known: &RawPort<R>| known.bind == port.bind && known.nth == nth;
            if inner.ended || inner.ports.iter().any(is_known) {
                continue;
            }
            let fail = |error| format!("tcp port of {} listen: {}: {error}", port.endpoint, port.bind);
            let bound = listen_now(&self.rt, &port.bind).map_err(fail)?;
            opened.push(RawPort::new(port, nth, bound)?);
        }
        Ok(opened)
    }

    /// Goes on with the ports of `options`, for which `opened` is what was not there.
    fn take_over(&self, options: &[(usize, TcpPortOptions)], opened: Vec<RawPort<R>>) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        inner.ports.retain(|known| {
            let wanted = options.iter().find(|(nth, port)| known.bind == port.bind && known.nth == *nth);
            let endpoint = wanted.and_then(|(_, port)| endpoint(port).ok());
            match endpoint {
                Some(endpoint) => {
                    *known.endpoint.write().unwrap_or_else(PoisonError::into_inner) = endpoint;
                    true
                }
                None => {
                    tracing::info!(target: "proxy", { addr = %known.addr }, "closing tcp port");
                    known.stop.trigger();
                    false
                }
            }
        });
        inner.ports.extend(opened);
        inner.start();
    }
}

/// Listens without waiting, which a numeric address allows on every runtime.
fn listen_now<R: Runtime>(rt: &R, bind: &BindAddr) -> io::Result<(R::Listener, SocketAddr)> {
    let Some(addrs) = bind.socket_addrs() else {
        let why = "a host name in a new entry needs a restart: give its address";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    };
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    for addr in addrs {
        let at = Addr::Ip(addr);
        let mut listening = pin!(rt.listen(&at, ListenOptions::default()));
        match listening.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(listener)) => {
                let bound = listener.local_addr().unwrap_or(addr);
                return Ok((listener, bound));
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Poll::Ready(Err(error)) => last = error,
            Poll::Pending => last = io::ErrorKind::WouldBlock.into(),
        }
    }
    Err(last)
}

/// [`Part`] for an [`Arc`], since what is prepared outlives the question.
pub(crate) struct RawPart<R: Runtime>(pub(crate) Arc<RawPorts<R>>);

impl<R: Runtime> Part<ServerOptions> for RawPart<R> {
    fn prepare(&self, options: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let opened = self.0.open_new(options)?;
        let wanted: Vec<_> = numbered(options).map(|(nth, port)| (nth, port.clone())).collect();
        let ports = self.0.clone();
        Ok(Box::new(move || ports.take_over(&wanted, opened)))
    }
}
