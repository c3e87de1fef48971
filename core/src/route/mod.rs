//! Which tunnel or node serves an endpoint. Plain data; time and chance are arguments.
#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation
use crate::id::{EndpointId, NodeId, TunnelId};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop { First, Forwarded }
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route { Local(TunnelId), Remote { node: NodeId, proxy: SocketAddr } }
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert { pub endpoint: EndpointId, pub listeners: u32 }
#[derive(Default)]
pub struct Router {}
impl Router {
    pub fn new() -> Self { todo!() }
    pub fn attach(&mut self, endpoint: EndpointId, tunnel: TunnelId) -> Advert { todo!() }
    pub fn detach(&mut self, tunnel: TunnelId) -> Option<Advert> { todo!() }
    pub fn node_up(&mut self, node: NodeId, proxy: SocketAddr) { todo!() }
    pub fn node_down(&mut self, node: &NodeId) { todo!() }
    pub fn remote(&mut self, node: &NodeId, endpoint: EndpointId, listeners: u32) { todo!() }
    pub fn select(&self, now: Instant, endpoint: &[u8], hop: Hop, dice: u64, exclude: &[Route]) -> Option<Route> { todo!() }
    pub fn release(&self, route: &Route) { todo!() }
    pub fn fail(&self, now: Instant, route: &Route) { todo!() }
    pub fn shed(&self, target: usize) -> Vec<TunnelId> { todo!() }
    /// (endpoint, local listeners), in order of the ids.
    pub fn local(&self) -> impl Iterator<Item = (&EndpointId, u32)> { todo!(); #[allow(unreachable_code)] core::iter::empty() }
    pub fn tunnels(&self) -> usize { todo!() }
}
