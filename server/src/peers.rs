//! The other nodes, as this one is told about them.

use crate::node::Node;
use crate::nodes::Follow;
use piko_core::id::{EndpointId, NodeId};
use piko_core::route::Advert;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Tells a [`Server`](crate::Server) about the other nodes, and learns what they are to be told.
///
/// The calls come in any order, as gossip brings them, and are about other nodes only. They are quick, and
/// hold for the next request. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    node: Arc<Node>,
    pools: Arc<dyn Follow>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    pub(crate) fn new(node: Arc<Node>, pools: Arc<dyn Follow>) -> Self {
        Self { node, pools }
    }

    /// A node is active, and takes requests at `proxy`; or its address has changed.
    pub fn node_up(&self, node: &NodeId, proxy: SocketAddr) {
        self.pools.up(node, proxy);
        self.node.node_up(node, proxy);
    }

    /// A node is unreachable or has left: no more requests, and its idle connections are closed. What it
    /// listens on is kept for its return.
    pub fn node_down(&self, node: &NodeId) {
        self.node.node_down(node);
        self.pools.down(node);
    }

    /// A node is about to go, or is not: it gets requests only while nobody else can serve them.
    pub fn node_draining(&self, node: &NodeId, draining: bool) {
        self.node.update(|router| router.node_draining(node, draining));
    }

    /// A node takes many requests over one connection (a link), or does not. Until this says so it is taken for one that
    /// does not.
    pub fn node_takes_links(&self, node: &NodeId, takes: bool) {
        self.pools.takes_links(node, takes);
    }

    /// A node has expired: all that is known about it goes.
    pub fn node_forget(&self, node: &NodeId) {
        self.node.update(|router| router.node_forget(node));
        self.pools.forget(node);
        self.node.remote_requests.remove(node.as_str());
    }

    /// A node has so many listeners on an endpoint; 0 is none.
    pub fn remote(&self, node: &NodeId, endpoint: EndpointId, listeners: u32) {
        self.node.remote(node, endpoint, listeners);
    }

    /// Which endpoints of this node have changed since the last call, with their present number of listeners
    /// (0: none any more): what the others are to be told. The first call gives all that there are. For one
    /// task; of several, the last to wait is woken.
    pub fn poll_adverts(&self, cx: &mut Context<'_>) -> Poll<Vec<Advert>> {
        self.node.poll_adverts(cx)
    }
}
