//! What a driver tells an exchange, and what it is told.

use super::answer::Answer;
use crate::http1::Fault;
use core::net::IpAddr;

/// One of the two connections of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Whoever sent the request.
    Client,
    /// Whoever is to answer it: a tunnel stream, another node, the service.
    Upstream,
}

/// Why a leg failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A leg broke while bytes were expected. On the upstream leg before the response head: no byte of a
    /// response was received (else it is [`Cut`](Self::Cut) or [`Protocol`](Self::Protocol)).
    Broken,
    /// The client closed before its answer.
    ClientGone,
    /// The upstream could not be reached: refused, reset before a byte, go-away, no stream. Names the
    /// [`cause`](super::cause), a fixed word in kebab-case.
    Connect(&'static str),
    /// The upstream ended within its response head.
    Cut,
    /// No upstream is registered, or none is left that was not tried.
    NoUpstream,
    /// The peer of that leg broke HTTP, or cut its message short.
    Protocol(Fault),
    /// The upstream answered that it did not serve the request and has not acted on it: a node without an
    /// upstream, an agent whose service is down (see [`trouble`](super::trouble)). Names the cause.
    Refused(&'static str),
    /// The pooled connection had been closed by the service before any response byte.
    Stale,
    /// No response, or nobody took the request, in time. What [`Exchange::handle_timeout`](super::Exchange::handle_timeout) says follows from the deadline.
    TimedOut,
}

/// What the driver does next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give up: reset the upstream leg and cut the client's connection, so that nobody takes what was sent
    /// for a complete message.
    Abort,
    /// Give up the upstream leg and send this.
    Answer(Answer),
    /// Send the head on, rewritten by [`Exchange::rewrite_request`](super::Exchange::rewrite_request) or [`Exchange::rewrite_response`](super::Exchange::rewrite_response).
    Forward,
    /// Nothing. An interim response is dropped.
    Nothing,
    /// Give up the upstream leg, choose another route (or a fresh connection) and send the request again.
    Retry,
    /// Behind a request: a TCP connection, which the driver opens. Behind a response: send the 101 on, then
    /// copy bytes both ways.
    Switch,
}

/// What is known of the client apart from its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; `None` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// It came by TLS.
    pub tls: bool,
}
