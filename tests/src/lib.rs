//! What the tests share: golden vectors, reference models, processes.

pub mod model;
pub mod vectors;

pub mod certs;
pub mod cluster;
pub mod flags;
pub mod http;
pub mod process;
pub mod proxies;
pub mod rig;
pub mod runs;
pub mod service;
pub mod tls;
