//! A Piko server node, generic over its runtime: the proxy, upstream and admin ports.

mod admin;
mod answers;
mod date;
mod local;
mod node;
mod path;
mod proxy;
mod server;
mod upstream;

pub mod program;

pub use server::{Bound, Server, StartError};
