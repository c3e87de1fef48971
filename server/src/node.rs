//! What the ports of one node share: the routes, the tunnels, the counters.

use piko_core::id::{EndpointId, TunnelId};
use piko_core::route::{Hop, Pick, Preference, Route, Router};
use piko_core::time::Instant;
use piko_driver::TunnelHandle;
use piko_observe::metrics::{Counter, HttpMetrics};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One server node.
#[derive(Debug)]
pub(crate) struct Node {
    router: RwLock<Router>,
    tunnels: RwLock<BTreeMap<TunnelId, TunnelHandle>>,
    next_tunnel: AtomicU64,
    ready: AtomicBool,
    pub(crate) requests: HttpMetrics,
    pub(crate) upstream_requests: Counter,
}

/// Never held across an await; poison only follows a panic, which ends the process in releases.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            router: RwLock::new(Router::new(Preference::default())),
            tunnels: RwLock::new(BTreeMap::new()),
            next_tunnel: AtomicU64::new(1),
            ready: AtomicBool::new(false),
            requests: HttpMetrics::new("piko_proxy", None),
            upstream_requests: Counter::new(),
        })
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Makes a tunnel routable; it is forgotten when the registration is dropped.
    pub(crate) fn attach(self: &Arc<Self>, endpoint: &EndpointId, tunnel: TunnelHandle) -> Registration {
        let id = TunnelId(self.next_tunnel.fetch_add(1, Ordering::Relaxed));
        write(&self.tunnels).insert(id, tunnel.clone());
        let _ = write(&self.router).attach(endpoint.clone(), id);
        Registration { node: self.clone(), id, tunnel }
    }

    /// The tunnel for a request, which is counted in for as long as the pick exists.
    pub(crate) fn select(
        &self,
        now: Instant,
        endpoint: &EndpointId,
        hop: Hop,
        tried: &[Route],
    ) -> Option<(Pick, TunnelHandle)> {
        let mut tried_here = None;
        loop {
            let exclude = tried_here.as_deref().unwrap_or(tried);
            let pick = read(&self.router).select(now, endpoint.as_bytes(), hop, fastrand::u64(..), exclude)?;
            let handle = match pick.route() {
                Route::Local(id) => read(&self.tunnels).get(id).cloned(),
                Route::Remote { .. } => None,
            };
            match handle {
                Some(handle) => return Some((pick, handle)),
                // The tunnel left between the two looks.
                None => tried_here.get_or_insert_with(|| tried.to_vec()).push(pick.route().clone()),
            }
        }
    }

    /// (endpoint, listeners) of this node.
    pub(crate) fn endpoints(&self) -> Vec<(EndpointId, u32)> {
        read(&self.router).local().map(|(endpoint, listeners)| (endpoint.clone(), listeners)).collect()
    }

    /// Tunnels that are routable.
    pub(crate) fn routable(&self) -> usize {
        read(&self.router).tunnels()
    }

    /// Every tunnel, also those that take no new streams.
    pub(crate) fn tunnels(&self) -> Vec<TunnelHandle> {
        read(&self.tunnels).values().cloned().collect()
    }
}

/// A tunnel in the tables, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    node: Arc<Node>,
    id: TunnelId,
    pub(crate) tunnel: TunnelHandle,
}

impl Registration {
    /// Takes the tunnel out of the routes; its open streams go on. Counted once, however often called.
    pub(crate) fn detach(&self) {
        let _ = write(&self.node.router).detach(self.id);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.detach();
        write(&self.node.tunnels).remove(&self.id);
        // If its loop never ran, whoever opened a stream meanwhile must not wait for ever.
        self.tunnel.fail();
    }
}
