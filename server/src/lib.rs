//! A Piko server node, generic over its runtime: the proxy, upstream, admin and gossip ports.

mod admin;
mod answers;
mod cluster;
mod date;
mod front;
mod join;
mod leg;
mod link;
mod live;
mod local;
mod node;
mod nodes;
mod path;
mod peers;
mod ports;
mod proxy;
mod raw;
mod rebalance;
mod reload;
mod seldom;
mod server;
mod settings;
mod sign;
mod tcp;
mod tls;
mod upstream;
mod waiting;
mod watched;

pub mod program;

pub use peers::Peers;
pub use server::{Bound, JoinError, Server, StartError};
