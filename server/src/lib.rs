//! A Piko server node, generic over its runtime: the proxy, upstream and admin ports.

mod admin;
mod answers;
mod date;
mod leg;
mod local;
mod node;
mod nodes;
mod path;
mod peers;
mod proxy;
mod server;
mod upstream;

pub mod program;

pub use peers::Peers;
pub use server::{Bound, Server, StartError};
