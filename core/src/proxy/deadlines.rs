//! When an exchange has waited long enough.

use super::config::{Config, Place};
use super::step::Leg;
use crate::time::{Deadline, Instant};
use core::time::Duration;

/// Which deadlines hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The response body is under way.
    Body,
    /// The response head is awaited.
    Head,
    /// Before the request, after the end and behind a switch there are none.
    Off,
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    ClientBlocked,
    ReadPause,
    RequestMissing,
    ResponseHead,
    UpstreamBlocked,
    WritePause,
}

impl Expired {
    const fn why(self) -> &'static str {
        match self {
            Self::ClientBlocked => "write to the client blocked",
            Self::ReadPause => "read timeout",
            Self::RequestMissing => "request body missing",
            Self::ResponseHead => "response head",
            Self::UpstreamBlocked => "write to the upstream blocked",
            Self::WritePause => "write timeout",
        }
    }
}

/// The clocks of one exchange. All calls are O(1); deadlines are derived, so that no call order can leave a
/// stale one behind.
#[derive(Debug)]
pub(super) struct Deadlines {
    response: Option<Duration>,
    stall: Option<Duration>,
    /// For a body that is announced and does not come. Who has it from a server leaves that to the server.
    missing: Option<Duration>,
    read: Option<Duration>,
    write: Option<Duration>,
    stage: Stage,
    /// The request head, or the last new bytes of the request that went on.
    request_at: Instant,
    /// The response head, or the last bytes of the response that went on.
    response_at: Instant,
    /// Since when a write is blocked, or its last progress.
    client_blocked: Option<Instant>,
    upstream_blocked: Option<Instant>,
    /// The upstream has taken something of the request.
    reached: bool,
    /// A request body was announced.
    body_announced: bool,
    /// The whole request has come. Apart from the announcement, so that the two may come in any order.
    request_ended: bool,
    /// The client waits for a 100 before it sends the body: what is missing is not its fault.
    awaits_continue: bool,
}

impl Deadlines {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            response: config.response_timeout,
            stall: config.stall_timeout,
            missing: config.stall_timeout.filter(|_| config.place == Place::Server),
            read: config.read_timeout,
            write: config.write_timeout,
            stage: Stage::Off,
            request_at: now,
            response_at: now,
            client_blocked: None,
            upstream_blocked: None,
            reached: false,
            body_announced: false,
            request_ended: false,
            awaits_continue: false,
        }
    }

    pub(super) fn handle_request(&mut self, now: Instant, body_announced: bool, awaits_continue: bool) {
        self.stage = Stage::Head;
        self.request_at = now;
        self.response_at = now;
        self.body_announced = body_announced;
        self.awaits_continue = awaits_continue;
    }

    pub(super) fn handle_continue(&mut self, now: Instant) {
        if self.awaits_continue {
            self.awaits_continue = false;
            self.request_at = self.request_at.max(now);
        }
    }

    /// Behind a body it is the upstream that is waited for from here on.
    pub(super) fn handle_request_end(&mut self, now: Instant) {
        self.request_ended = true;
        if self.body_announced {
            self.request_at = self.request_at.max(now);
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant) {
        self.stage = Stage::Body;
        self.response_at = self.response_at.max(now);
    }

    pub(super) fn stop(&mut self) {
        self.stage = Stage::Off;
    }

    /// A try ended with its connection, and the next one is not blocked yet.
    pub(super) fn handle_retry(&mut self) {
        self.upstream_blocked = None;
        self.reached = false;
    }

    /// Bytes went on towards `leg`; `new` is false for bytes of the request that an earlier try sent too.
    pub(super) fn handle_progress(&mut self, now: Instant, leg: Leg, new: bool) {
        self.reached |= leg == Leg::Upstream;
        let (at, blocked) = match leg {
            Leg::Client => (&mut self.response_at, &mut self.client_blocked),
            Leg::Upstream => (&mut self.request_at, &mut self.upstream_blocked),
        };
        if new {
            *at = (*at).max(now);
        }
        if let Some(since) = blocked {
            *since = (*since).max(now);
        }
    }

    pub(super) fn handle_blocked(&mut self, now: Instant, leg: Leg, blocked: bool) {
        let since = match leg {
            Leg::Client => &mut self.client_blocked,
            Leg::Upstream => &mut self.upstream_blocked,
        };
        // Being told twice that it is blocked must not push the deadline away.
        *since = if blocked { since.or(Some(now)) } else { None };
    }

    /// The upstream of this try has taken something of the request.
    pub(super) fn has_reached(&self) -> bool {
        self.reached
    }

    /// The earliest deadline and what it stands for.
    pub(super) fn earliest(&self) -> Option<(Instant, Expired)> {
        if self.stage == Stage::Off {
            return None;
        }
        let head = self.stage == Stage::Head;
        // Nobody reads the body while the upstream does not take it: that is the upstream's stall.
        let client_owes = self.body_announced
            && !self.request_ended
            && !self.awaits_continue
            && self.upstream_blocked.is_none();
        let mut earliest = None;
        let mut at = |since: Instant, span: Option<Duration>, what| {
            let Some(span) = span else { return };
            let at = since + span;
            if earliest.is_none_or(|(first, _)| at < first) {
                earliest = Some((at, what));
            }
        };
        if !head {
            at(self.response_at, self.write, Expired::WritePause);
        } else if !(client_owes && self.reached) {
            // Else the upstream waits for the client, as we do.
            at(self.request_at, self.response, Expired::ResponseHead);
        }
        if let Some(since) = self.client_blocked {
            at(since, self.write.or(self.stall), Expired::ClientBlocked);
        }
        if let Some(since) = self.upstream_blocked {
            at(since, self.stall, Expired::UpstreamBlocked);
        } else if client_owes && self.read.is_some() {
            at(self.request_at, self.read, Expired::ReadPause);
        } else if client_owes {
            at(self.request_at.max(self.response_at), self.missing, Expired::RequestMissing);
        }
        earliest
    }

    pub(super) fn poll(&self) -> Option<Deadline> {
        self.earliest().map(|(at, what)| Deadline::new(at, what.why()))
    }

    /// What has passed, if anything.
    pub(super) fn expired(&self, now: Instant) -> Option<Expired> {
        self.earliest().filter(|(at, _)| *at <= now).map(|(_, what)| what)
    }
}
