//! Ports for clients that speak neither HTTP nor WebSocket: each connection is carried to an endpoint as it is.
//!
//! What the proxy port's TCP path does for a WebSocket ([`crate::tcp`]) is done here for a bare connection: through a
//! tunnel of this node, or through the TCP path of the node that has the agent (wire protocol 5).

mod carry;
mod ports;
mod reach;
mod sni;

pub(crate) use carry::Raw;
pub(crate) use ports::{RawPart, RawPorts};
