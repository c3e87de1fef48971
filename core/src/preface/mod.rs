//! What a connection may begin with before its own bytes: a TLS ClientHello, which names the service that is wanted, and
//! a PROXY protocol header, which names the client.
//!
//! Both are pure parsers of whatever has come so far: [`Judged`] says whether that is enough.

mod client_hello;
mod proxy_header;

pub use client_hello::{HELLO_BYTES_MAX, HelloFault, NAME_BYTES_MAX, alert, server_name};
pub use proxy_header::{
    HEADER_BYTES_MAX, HeaderFault, HeaderVersion, Source, begins_header, parse_header, write_header,
};

/// What is known of a beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judged<T, E> {
    /// It never becomes one, whatever follows.
    Bad(E),
    /// It is complete.
    Done(T),
    /// More bytes are needed.
    Partial,
}

#[cfg(test)]
mod tests;
