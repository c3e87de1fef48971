//! What the tests share: golden vectors, reference models, processes.

pub mod model;
pub mod vectors;

pub mod http;
pub mod process;
pub mod service;
