//! Kept connections to the proxy ports of other nodes: plain HTTP/1.1 keep-alive, which Go nodes speak too.

use piko_core::id::NodeId;
use piko_core::proxy::{Failure, cause};
use piko_core::time::Instant;
use piko_driver::tls::Connector;
use piko_driver::{Addr, Attempt, Connected, Io, MaybeTls, Pool, Runtime, timeout_at};
use piko_observe::metrics::Counter;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Connections to one node that wait: as many as requests are usually under way to it at once. More are
/// opened when needed, and closed behind their request.
const IDLE_MAX: usize = 256;
/// How long one waits. Go closes after 5 minutes, and firewalls forget idle connections after some more.
const IDLE: Duration = Duration::from_secs(60);
/// How long a node may take to accept. Nodes are close to each other; a retry elsewhere is better than a
/// second SYN after a lost one, which comes after 1 s, and a third after 3 s.
const DIAL: Duration = Duration::from_secs(2);
/// TCP asks a silent peer after this long whether it is still there: a request may wait for long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a node is, and its connections.
type Place<R> = (SocketAddr, Arc<Pool<R>>);

/// The pools of all nodes that are up.
pub(crate) struct Nodes<R: Runtime> {
    rt: R,
    /// Nodes are reached by TLS when this one is.
    tls: Option<Arc<Connector>>,
    pools: RwLock<BTreeMap<NodeId, Place<R>>>,
    /// Connections that were opened, for the metrics.
    pub(crate) dials: Arc<Counter>,
}

impl<R: Runtime> fmt::Debug for Nodes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("dials", &self.dials).finish_non_exhaustive()
    }
}

/// What follows the membership; apart from the runtime, so that its owner needs none.
pub(crate) trait Follow: Send + Sync {
    /// A node is up at this address.
    fn up(&self, node: &NodeId, proxy: SocketAddr);
    /// A node is gone: its connections are closed once their requests are done, idle ones at once.
    fn down(&self, node: &NodeId);
}

impl<R: Runtime> Follow for Nodes<R> {
    fn up(&self, node: &NodeId, proxy: SocketAddr) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.get(node).is_some_and(|(addr, _)| *addr == proxy) {
            return;
        }
        let pool = Arc::new(Pool::new(self.rt.clone(), IDLE_MAX, IDLE));
        let old = pools.insert(node.clone(), (proxy, pool));
        drop(pools);
        if let Some((_, old)) = old {
            old.close();
        }
    }

    fn down(&self, node: &NodeId) {
        let gone = self.pools.write().unwrap_or_else(PoisonError::into_inner).remove(node);
        if let Some((_, pool)) = gone {
            pool.close();
        }
    }
}

impl<R: Runtime> Nodes<R> {
    pub(crate) fn new(rt: R, tls: Option<Arc<Connector>>, dials: Arc<Counter>) -> Self {
        Self { rt, tls, pools: RwLock::default(), dials }
    }

    fn pool(&self, node: &NodeId, proxy: SocketAddr) -> Option<Arc<Pool<R>>> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        // Connections to the old address of a node are not for requests to the new one.
        pools.get(node).filter(|(addr, _)| *addr == proxy).map(|(_, pool)| pool.clone())
    }

    /// A kept connection to the node, or a new one.
    pub(crate) async fn connect(
        &self,
        node: &NodeId,
        proxy: SocketAddr,
        attempt: Attempt,
    ) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        if !attempt.fresh
            && let Some(io) = self.pool(node, proxy).and_then(|pool| pool.take(attempt.idempotent))
        {
            return Ok(Connected { io, pooled: true });
        }
        let until = self.rt.now() + DIAL;
        let until = attempt.until.map_or(until, |at: Instant| at.min(until));
        self.dials.inc();
        let cause = match timeout_at(&self.rt, Some(until), self.dial(proxy)).await {
            Ok(Ok(io)) => return Ok(Connected { io, pooled: false }),
            Ok(Err(error)) => {
                tracing::debug!(target: "proxy.http", { "node-id" = %node, %proxy, %error }, "failed to dial node");
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => cause::CONNECT_REFUSED,
                    io::ErrorKind::TimedOut => cause::CONNECT_TIMEOUT,
                    _ => cause::CONNECT_FAILED,
                }
            }
            Err(_) => cause::CONNECT_TIMEOUT,
        };
        Err(Failure::Connect(cause))
    }

    async fn dial(&self, proxy: SocketAddr) -> io::Result<MaybeTls<R::Tcp>> {
        let io = self.rt.connect(&Addr::Ip(proxy)).await?;
        io.keep_alive(Some(KEEP_ALIVE));
        match &self.tls {
            None => Ok(MaybeTls::Plain(io)),
            // Boxed: most dials are plain, and the handshake's state would be part of every exchange.
            Some(tls) => Box::pin(tls.connect(io, &proxy.ip().to_string())).await,
        }
    }

    /// Keeps a connection for the next request to the node, if that is still there.
    pub(crate) fn keep(&self, node: &NodeId, proxy: SocketAddr, io: MaybeTls<R::Tcp>) {
        if let Some(pool) = self.pool(node, proxy) {
            pool.put(io);
        }
    }
}
