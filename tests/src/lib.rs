//! What the tests share: golden vectors, reference models, processes.

pub mod model;
pub mod vectors;
