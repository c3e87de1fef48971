//! What stands behind a listener, and the streams that come to it.

use super::workers::{Job, Workers};
use crate::agent::memory_bytes;
use crate::dial::{Dial, Roomy};
use crate::http::{HttpService, header_version};
use crate::metrics::Counted;
use crate::tcp::TcpService;
use crate::tls::Link;
use piko_client::Listener;
use piko_config::{ListenerOptions, Protocol};
use piko_core::http1;
use piko_driver::{Pool, Port, RequestBudget, Runtime, Shutdown, Tasks};
use piko_observe::access::AccessLog;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

/// Idle connections to one service when no number is set: the pool has some bound in any case.
const IDLE_CONNS_MAX: usize = 4096;
/// A kept connection that no setting limits still ends.
const IDLE_CONN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What stands behind an endpoint.
pub(super) enum Service<R: Runtime> {
    Http(HttpService<R>),
    Tcp(TcpService<R>),
}

/// The service that streams of one listener get when they begin.
#[cfg(feature = "yaml")]
pub(super) type Slot<R> = piko_driver::Setting<Arc<Service<R>>>;
/// The service of one listener: without files it stays what it is.
#[cfg(not(feature = "yaml"))]
pub(super) type Slot<R> = Arc<Service<R>>;

#[cfg(feature = "yaml")]
fn service_of<R: Runtime>(slot: &Slot<R>) -> Arc<Service<R>> {
    slot.get()
}

#[cfg(not(feature = "yaml"))]
fn service_of<R: Runtime>(slot: &Slot<R>) -> Arc<Service<R>> {
    slot.clone()
}

/// Makes services, and serves streams with them.
pub(super) struct Maker<R> {
    pub(super) rt: R,
    pub(super) counted: Counted,
    /// The streams, and whatever else has to be over before the agent ends.
    pub(super) tasks: Tasks,
    pub(super) memory: Arc<RequestBudget>,
}

impl<R: Runtime> Maker<R> {
    pub(super) fn slot(&self, listener: &ListenerOptions, link: &Link, access: &Arc<AccessLog>) -> Slot<R> {
        let service = Arc::new(self.service(listener, link, access));
        #[cfg(feature = "yaml")]
        let service = service.into();
        service
    }

    /// The service of a listener, which is announced in the log.
    pub(super) fn service(
        &self,
        listener: &ListenerOptions,
        link: &Link,
        access: &Arc<AccessLog>,
    ) -> Service<R> {
        let ListenerOptions { endpoint, addr, pool, timeout, protocol, .. } = listener;
        let roomy = Roomy::new(self.tasks.clone(), memory_bytes());
        let dial =
            Dial::new(self.rt.clone(), endpoint.clone(), addr.clone(), pool.keep_alive, link.clone(), roomy);
        // The subsystem is part of a record's static description, hence one call site for each.
        match protocol {
            Protocol::Http => {
                tracing::info!(target: "proxy.http", { "endpoint-id" = endpoint, service = %addr }, "starting reverse proxy");
                let kept = Pool::new(
                    self.rt.clone(),
                    pool.max_idle.unwrap_or(IDLE_CONNS_MAX).min(IDLE_CONNS_MAX),
                    pool.idle_timeout.unwrap_or(IDLE_CONN_TIMEOUT_MAX),
                );
                let metrics = self.counted.http(endpoint);
                Service::Http(HttpService::new(dial, listener, kept, access.clone(), metrics))
            }
            Protocol::Tcp => {
                tracing::info!(target: "proxy.tcp", { "endpoint-id" = endpoint, service = %addr }, "starting tcp proxy");
                Service::Tcp(TcpService {
                    dial,
                    timeout: *timeout,
                    access: access.clone(),
                    proxy_header: header_version(listener),
                    metrics: self.counted.tcp(endpoint),
                })
            }
        }
    }

    /// Serves the streams of a listener until it is over, one task for each at a time.
    pub(super) async fn accept(self: Arc<Self>, listener: &Listener<R>, slot: Slot<R>) {
        // The tunnel's drain ends streams; a connection's own shutdown signal would be a second one.
        let mut http = http1::Config::default();
        // The server's limit is the one that counts; here only the memory of all heads together is bounded.
        http.set_head_bytes_max(RequestBudget::HEAD_BYTES);
        let port = Arc::new(Port {
            http: http.into(),
            leaving: Shutdown::new(),
            shutdown: Shutdown::new(),
            memory: self.memory.clone(),
        });
        let workers = Workers::new(self.rt.clone(), port);
        while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
            workers.serve(Job { stream, service: service_of(&slot), guard: self.tasks.enter() });
        }
    }
}
