//! skeleton
#![allow(missing_docs, dead_code)]
mod runtime;
mod sync;
pub use runtime::*;
