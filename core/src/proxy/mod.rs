//! One proxied request: routing fields, header rules, deadlines, retries, local answers. Knows no framing.
#![allow(missing_docs, clippy::todo, unused_variables)] // SKELETON: goes away with the implementation
use crate::http1::{RequestHead, ResponseHead};
use crate::id::EndpointId;
use crate::time::{Deadline, Instant};
use alloc::vec::Vec;
use bytes::BytesMut;
use core::net::IpAddr;
use core::time::Duration;

/// Whose exchange this is: which field rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place { /** The agent's hop to the service. */ Agent, /** A server node. */ Server }

#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    pub place: Place,
    /// Until the response head (`proxy.timeout`; agent: dial and response head). None: no limit.
    pub response_timeout: Option<Duration>,
    /// No progress while a write is blocked or an announced request body is missing.
    pub stall_timeout: Option<Duration>,
    /// Go's `read_timeout`/`write_timeout`: longest pause without progress; None is off.
    pub read_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    /// Bytes of a request body kept for a retry.
    pub replay_bytes_max: u64,
    pub retries_max: u32,
}
impl Config { pub fn new(place: Place) -> Self { todo!() } }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg { Client, Upstream }

/// Why a leg failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /** A leg broke while bytes were expected. */ Broken,
    /** The client closed before its answer. */ ClientGone,
    /** The upstream could not be reached: refused, reset before a byte, go-away, no stream. */ Connect(&'static str),
    /** No upstream is registered. */ NoUpstream,
    /** The peer of that leg broke HTTP. */ Protocol(crate::http1::Fault),
    /** The pooled connection had been closed by the service before any response byte. */ Stale,
}

/// An answer made here: status, JSON body and the `x-piko-error` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer { pub status: u16, pub reason: &'static str, /** field block, framing excluded */ pub fields: Vec<u8>, pub body: Vec<u8>, /** close the client's connection behind it */ pub close: bool }

#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step { Abort, Answer(Answer), Forward, Nothing, Retry, Switch }

/// Plain facts about a finished exchange, for the access log, metrics and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record { pub endpoint: Option<EndpointId>, pub status: u16, pub method: Vec<u8>, pub request_bytes: u64, pub response_bytes: u64, pub started: Instant, pub head_at: Option<Instant>, pub ended: Instant, pub retries: u32, pub how: Ended }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended { Aborted, Answered, ClientGone, Complete, Switched, TimedOut }

/// What the request asks for, apart from its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer { pub ip: Option<IpAddr>, pub tls: bool }

pub struct Exchange {}
impl Exchange {
    pub fn new(config: &Config, peer: Peer, now: Instant) -> Self { todo!() }
    pub fn handle_request(&mut self, now: Instant, head: &RequestHead<'_>) -> Step { todo!() }
    pub fn endpoint(&self) -> Option<&EndpointId> { todo!() }
    /// `x-piko-forward: true` came with the request.
    pub fn hop(&self) -> crate::route::Hop { todo!() }
    /// Writes the field block of the forwarded request into `block` (framing and connection fields left out) and gives the head over it.
    pub fn rewrite_request<'b>(&self, head: &RequestHead<'b>, to_tunnel: bool, block: &'b mut BytesMut) -> RequestHead<'b> { todo!() }
    /// Writes the fields of the response to the client into `block`; adds Date when absent and `date` is given.
    pub fn rewrite_response<'b>(&self, head: &ResponseHead<'b>, date: Option<&[u8]>, block: &'b mut BytesMut) -> ResponseHead<'b> { todo!() }
    pub fn handle_response(&mut self, now: Instant, head: &ResponseHead<'_>) -> Step { todo!() }
    pub fn handle_progress(&mut self, now: Instant, leg: Leg, bytes: usize) { todo!() }
    pub fn handle_blocked(&mut self, now: Instant, leg: Leg, blocked: bool) { todo!() }
    pub fn handle_failed(&mut self, now: Instant, leg: Leg, why: Failure) -> Step { todo!() }
    pub fn handle_timeout(&mut self, now: Instant) -> Step { todo!() }
    pub fn poll_timeout(&self) -> Option<Deadline> { todo!() }
    pub fn finish(self, now: Instant) -> Record { todo!() }
}
