//! Upgrade, WebSocket, tunnel and services as one machine: a composed machine drains its parts in its own
//! `handle_*`, so that its host sees four verbs and nothing else.

use crate::service::Service;
use bytes::BytesMut;
use piko_core::id::{EndpointId, StreamId};
use piko_core::mux::Config;
use piko_core::time::{Deadline, Instant};
use piko_core::tunnel::{TransportEnd, Tunnel, TunnelEvent};
use piko_core::ws::handshake::{Answer, Ask, judge_response, write_request};
use piko_core::ws::{Conn, End, FRONT_ROOM, Role};
use std::collections::BTreeMap;

/// One connection from the upgrade request to its end.
pub(crate) struct Agent {
    phase: Phase,
    ws: Conn,
    tunnel: Tunnel,
    streams: BTreeMap<StreamId, Service>,
    outbox: BytesMut,
    /// Where in the outbox the bytes for the socket begin.
    start: usize,
}

enum Phase {
    /// The request is in the outbox until it was handed out; the answer is collected.
    Upgrading {
        key: [u8; 16],
        request: BytesMut,
        answer: Vec<u8>,
    },
    Connected,
    Ended,
}

impl Agent {
    /// Asks `host` for a tunnel of `endpoint`.
    pub(crate) fn new(key: [u8; 16], host: &[u8], endpoint: &[u8], now: Instant) -> Option<Self> {
        let id = EndpointId::new(endpoint).ok()?;
        let target = [b"/piko/v1/upstream/".as_slice(), &percent_encoded(endpoint)].concat();
        let mut request = BytesMut::new();
        write_request(&Ask { host, target: &target, key, fields: &[] }, &mut request);
        let mut config = Config::default();
        config.front_room = FRONT_ROOM;
        Some(Self {
            phase: Phase::Upgrading { key, request, answer: Vec::new() },
            ws: Conn::new(Role::Client),
            tunnel: Tunnel::dialled(id, config, now),
            streams: BTreeMap::new(),
            outbox: BytesMut::new(),
            start: 0,
        })
    }

    pub(crate) fn handle_input(&mut self, now: Instant, input: &mut [u8]) {
        match &mut self.phase {
            Phase::Upgrading { answer, .. } => {
                answer.extend_from_slice(input);
                self.judge(now, false);
            }
            Phase::Connected => self.receive(now, input),
            Phase::Ended => {}
        }
    }

    pub(crate) fn handle_eof(&mut self, now: Instant) {
        match self.phase {
            Phase::Upgrading { .. } => self.judge(now, true),
            Phase::Connected => {
                self.tunnel.handle_end(now, TransportEnd::Closed);
                self.drain(now);
            }
            Phase::Ended => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.tunnel.handle_timeout(now);
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in streams {
            self.serve(now, id);
        }
        self.drain(now);
    }

    /// The next piece for the socket; empty when there is none. One WebSocket message at most, so that `mask` is
    /// used once.
    pub(crate) fn poll_transmit(&mut self, now: Instant, mask: [u8; 4]) -> &[u8] {
        self.outbox.clear();
        self.start = 0;
        if let Phase::Upgrading { request, .. } = &mut self.phase {
            self.outbox = std::mem::take(request);
            return &self.outbox;
        }
        if self.tunnel.wants_transmit() && !self.ws.is_closing() {
            let n = self.tunnel.poll_transmit(now, &mut self.outbox);
            if n > 0 {
                self.start = self.ws.frame(&mut self.outbox, mask);
                // The host takes all of it. What the kernel has not taken yet, the keep-alive cannot know here.
                self.tunnel.handle_sent(now, n, true);
                self.drain(now);
            }
        }
        if self.outbox.is_empty() {
            self.ws.poll_transmit(&mut self.outbox, mask);
        }
        self.transmit()
    }

    /// What the latest [`poll_transmit`](Self::poll_transmit) gave.
    pub(crate) fn transmit(&self) -> &[u8] {
        self.outbox.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        match self.phase {
            // How long to wait for the answer is the host's decision.
            Phase::Upgrading { .. } | Phase::Ended => None,
            Phase::Connected => {
                let services = self.streams.values().map(Service::poll_timeout);
                services.fold(self.tunnel.poll_timeout(), Deadline::earliest)
            }
        }
    }

    /// False while so much is buffered that the socket is not to be read. A deadline ends that at the latest.
    pub(crate) fn wants_input(&self) -> bool {
        self.tunnel.wants_input()
    }

    /// 0 upgrading, 1 connected, 2 ended.
    pub(crate) fn state(&self) -> u32 {
        match self.phase {
            Phase::Upgrading { .. } => 0,
            Phase::Connected => 1,
            Phase::Ended => 2,
        }
    }

    fn judge(&mut self, now: Instant, eof: bool) {
        let Phase::Upgrading { key, answer, .. } = &mut self.phase else { return };
        match judge_response(key, answer, eof, &mut |_| ()) {
            Answer::Partial => {}
            Answer::Upgraded { head_bytes } => {
                let mut early = answer.split_off(head_bytes);
                self.phase = Phase::Connected;
                self.receive(now, &mut early);
            }
            Answer::Bad(_) | Answer::Refused { .. } => self.phase = Phase::Ended,
        }
    }

    fn receive(&mut self, now: Instant, input: &mut [u8]) {
        let taken = self.ws.handle_input(input);
        // The error comes as an event too.
        let _ = self.tunnel.handle_chunk(now, input.get(taken.payload).unwrap_or_default());
        match taken.end {
            None => {}
            Some(End::Close(_)) => self.tunnel.handle_end(now, TransportEnd::Closed),
            Some(_) => self.tunnel.handle_end(now, TransportEnd::Failed),
        }
        self.drain(now);
    }

    /// Turns events into answers until there are none.
    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                TunnelEvent::Closed(_) => self.phase = Phase::Ended,
                TunnelEvent::Incoming => {
                    while let Some(id) = self.tunnel.accept() {
                        self.streams.insert(id, Service::new("hello from wasm", now));
                        self.serve(now, id);
                    }
                }
                TunnelEvent::Readable(id) | TunnelEvent::Writable(id) => self.serve(now, id),
                _ => {}
            }
        }
    }

    fn serve(&mut self, now: Instant, id: StreamId) {
        if self.streams.get_mut(&id).is_some_and(|service| service.pump(now, &mut self.tunnel, id)) {
            self.streams.remove(&id);
            self.tunnel.release(now, id);
        }
    }
}

/// In a path, most of what an endpoint id may hold needs an escape (RFC 3986 2.3).
fn percent_encoded(id: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(id.len());
    for byte in id {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}
