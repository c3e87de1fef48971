//! The state machine of one proxied request.

use super::answer::{Answer, cause};
use super::config::{Config, Place};
use super::deadlines::{Deadlines, Expired};
use super::endpoint::{Asked, CONNECTION_OPTIONS_MAX, Seen};
use super::fields::{self, RequestRules};
use super::record::{Ended, Method, Record};
use super::retry::Retry;
use super::step::{Failure, Leg, Peer, Step};
use super::target::Target;
use crate::http1::{BodyLength, Fields, RequestHead, ResponseHead, Version, list_members};
use crate::id::EndpointId;
use crate::route::Hop;
use crate::time::{Deadline, Instant};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::BytesMut;

/// Of a request's start line, what is neither method nor target: two blanks, the version, the line break.
const START_LINE_REST_BYTES: usize = b"  HTTP/1.1\r\n".len();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ended,
    Idle,
    /// A TCP connection is asked for, and the 101 was not sent.
    Opening,
    Responding,
    Switched,
    Waiting,
}

/// One proxied request.
///
/// # Contract
///
/// 1. [`handle_request`](Self::handle_request) with the head decides. `Forward`: choose a route, write the
///    head from [`rewrite_request`](Self::rewrite_request), then the body. `Switch`: a TCP connection to
///    [`endpoint`](Self::endpoint). To a local tunnel: open a stream, answer 101, and say so with
///    [`handle_switched`](Self::handle_switched). To another node: as with `Forward`.
/// 2. Report each piece that was handed on, heads included, with [`handle_progress`](Self::handle_progress); the
///    payload in it with [`handle_body`](Self::handle_body);
///    writes that must wait with [`handle_blocked`](Self::handle_blocked); the end of the request's body with
///    [`handle_request_end`](Self::handle_request_end).
/// 3. Each response head, interim ones too, goes to [`handle_response`](Self::handle_response).
/// 4. Whatever breaks goes to [`handle_failed`](Self::handle_failed), and the time to
///    [`handle_timeout`](Self::handle_timeout) whenever [`poll_timeout`](Self::poll_timeout) has passed.
///    Every `handle_*` call may move the deadline.
/// 5. [`finish`](Self::finish) when both messages are through, an answer was sent, or all was given up.
///
/// Calls out of order change nothing and give `Nothing`. An upgrade's protocol is the only heap memory it
/// holds, besides methods and endpoint ids of more than 22 bytes.
#[derive(Debug)]
pub struct Exchange {
    config: Config,
    peer: Peer,
    phase: Phase,
    hop: Hop,
    endpoint: Option<EndpointId>,
    /// Another node asked how busy this one is.
    asks_load: bool,
    /// What it is told.
    load: Option<usize>,
    proof: Option<Arc<[u8]>>,
    client_version: Version,
    /// The request is a CONNECT: a 2xx turns the connections into a tunnel (RFC 9110 9.3.6).
    connect: bool,
    /// The request's Upgrade fields, joined by commas, when it asked for an upgrade.
    upgrade: Option<Vec<u8>>,
    deadlines: Deadlines,
    retry: Retry,
    method: Method,
    status: u16,
    request_head_bytes: u64,
    request_bytes: u64,
    response_bytes: u64,
    started: Instant,
    head_at: Option<Instant>,
    upstream_late: bool,
    how: Ended,
}

impl Exchange {
    /// An exchange that waits for its request.
    pub fn new(config: &Config, peer: Peer, now: Instant) -> Self {
        Self {
            config: config.clone(),
            peer,
            phase: Phase::Idle,
            hop: Hop::First,
            endpoint: None,
            asks_load: false,
            load: None,
            proof: None,
            client_version: Version::Http11,
            connect: false,
            upgrade: None,
            deadlines: Deadlines::new(config, now),
            retry: Retry::new(config),
            method: Method::EMPTY,
            status: 0,
            request_head_bytes: 0,
            request_bytes: 0,
            response_bytes: 0,
            started: now,
            head_at: None,
            upstream_late: false,
            how: Ended::Aborted,
        }
    }

    /// Judges the request: `Forward`, `Switch` (a TCP connection; server only) or `Answer`. An agent
    /// and an admin port forward everything but an absurd number of connection options.
    pub fn handle_request(&mut self, now: Instant, head: &RequestHead<'_>) -> Step {
        if self.phase != Phase::Idle {
            return Step::Nothing;
        }
        self.note_request(head);
        self.client_version = head.version;
        self.connect = head.method == b"CONNECT";
        self.retry.set_method(head.method);
        self.upgrade = head.upgrade.then(|| join_upgrades(&head.fields));
        let body_announced = !matches!(head.body, BodyLength::None | BodyLength::Known(0));
        let awaits_continue = head.expects_continue && head.version == Version::Http11;
        self.deadlines.handle_request(now, body_announced, awaits_continue);
        self.phase = Phase::Waiting;
        let seen = Seen::of(&head.fields);
        if let Err(fault) = seen.judge_connection() {
            return self.answer(Answer::for_fault(self.config.place, &fault), Ended::Answered);
        }
        if self.config.place == Place::Agent {
            return Step::Forward;
        }
        if seen.is_forwarded() {
            self.hop = Hop::Forwarded;
            self.asks_load = seen.asks_load();
        }
        if self.config.place == Place::Admin {
            return Step::Forward;
        }
        match seen.judge(head) {
            Ok(Asked::Http(endpoint)) => {
                self.endpoint = Some(endpoint);
                Step::Forward
            }
            Ok(Asked::Tcp(endpoint)) => {
                self.endpoint = Some(endpoint);
                self.phase = Phase::Opening;
                Step::Switch
            }
            Err(answer) => self.answer(answer, Ended::Answered),
        }
    }

    /// The request was refused by HTTP itself and never judged here: `answer` is what the client gets. `head` is as much
    /// of it as could be read, for the [`Record`].
    pub fn handle_refused(&mut self, head: &RequestHead<'_>, answer: &Answer) {
        if self.phase == Phase::Idle {
            self.note_request(head);
            self.status = answer.status;
            self.phase = Phase::Ended;
            self.how = Ended::Answered;
            self.deadlines.stop();
        }
    }

    fn note_request(&mut self, head: &RequestHead<'_>) {
        self.method = Method::new(head.method);
        let bytes = head.method.len() + head.target.len() + START_LINE_REST_BYTES + head.fields.block().len();
        self.request_head_bytes = bytes as u64;
    }

    /// The endpoint that the request asks for; `None` before the request, after a refusal and on an agent.
    pub fn endpoint(&self) -> Option<&EndpointId> {
        self.endpoint.as_ref()
    }

    /// Whether another node sent the request (`x-piko-forward: true`, exactly).
    pub fn hop(&self) -> Hop {
        self.hop
    }

    /// Who sent the request.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whoever sent the request is no node of the cluster, whatever it says: it counts as a client's, and gets the
    /// fields of one. (Whether it may leave this node is the caller's to decide.)
    pub fn distrust(&mut self) {
        self.hop = Hop::First;
        self.asks_load = false;
    }

    /// What shows other nodes that the request comes from one of the cluster (see [`NODE_FIELD`](super::NODE_FIELD)).
    pub fn set_proof(&mut self, proof: Arc<[u8]>) {
        self.proof = Some(proof);
    }

    /// Another node sent the request and wants to know how busy this one is.
    pub fn asks_load(&self) -> bool {
        self.asks_load
    }

    /// Tells the node that [asked](Self::asks_load): requests for the endpoint that are under way here.
    pub fn set_load(&mut self, outstanding: usize) {
        self.load = Some(outstanding);
    }

    /// There may be upstreams that refuse what they have not acted on, and others to turn to: requests that
    /// are not idempotent are to be kept too. Before [`handle_progress`](Self::handle_progress).
    pub fn keep_request(&mut self) {
        self.retry.keep_all();
    }

    /// The driver has no memory for a copy of the request: [`may_replay`](Self::may_replay) is false from here on, and
    /// only a request of which nothing was handed over is tried again.
    pub fn forgo_replay(&mut self) {
        self.retry.forgo();
    }

    /// There is a connection to the upstream; `pooled`: it has carried a request before. An agent that has a new one keeps
    /// no copy, since it repeats only what an old one may have swallowed.
    pub fn handle_connected(&mut self, pooled: bool) {
        self.retry.handle_connected(pooled);
    }

    /// Whether this failure of the upstream would lead to a `Retry`. A driver that has another upstream to
    /// turn to reports what a response says of its sender (see [`trouble`](super::trouble)) as a failure; one
    /// that has not hands it on like any other response.
    pub fn may_retry(&self, why: Failure) -> bool {
        self.phase_is_open() && self.retry.allows(why)
    }

    fn phase_is_open(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Opening | Phase::Waiting)
    }

    /// The driver must keep a copy of what it hands to the upstream, so that it can send it again. Once false
    /// it stays false, and the copy is of no more use. (Where nothing was handed over, what is unsent is
    /// still there, and no copy is needed for a `Retry`.)
    pub fn may_replay(&self) -> bool {
        self.phase_is_open() && self.retry.is_kept()
    }

    /// Appends the target, when it changes, and the fields of the request for the next hop to `block`, and
    /// gives the head over them. Framing and connection fields are left out: the connection adds them from
    /// `body` and `upgrade`. `to_tunnel`: to a tunnel rather than to another node.
    ///
    /// `head` is the one that [`handle_request`](Self::handle_request) was given.
    pub fn rewrite_request<'b>(
        &self,
        head: &RequestHead<'b>,
        to_tunnel: bool,
        block: &'b mut BytesMut,
    ) -> RequestHead<'b> {
        let target = Target::parse(head.method, head.target);
        let start = block.len();
        let is_new = target.write(head.method, &self.config, block);
        let middle = block.len();
        let rules = RequestRules {
            place: self.config.place,
            hop: self.hop,
            to_tunnel,
            ip: self.peer.ip,
            tls: self.peer.tls,
            authority: target.authority(),
            endpoint: self.endpoint.as_ref().map(EndpointId::as_bytes),
            proof: self.proof.as_deref(),
        };
        let clean = fields::write_request(head, &rules, block);
        let block: &'b BytesMut = block;
        let new_target = block.get(start..middle).unwrap_or_default();
        let written = block.get(middle..).unwrap_or_default();
        RequestHead {
            target: if is_new { new_target } else { head.target },
            version: Version::Http11,
            fields: if clean { Fields::clean(written) } else { Fields::from_block(written) },
            ..*head
        }
    }

    /// Appends the fields of the response for the client to `block` and gives the head over them. `date` (an
    /// IMF-fixdate) is added to final responses that have none.
    pub fn rewrite_response<'b>(
        &self,
        head: &ResponseHead<'b>,
        date: Option<&[u8]>,
        block: &'b mut BytesMut,
    ) -> ResponseHead<'b> {
        let start = block.len();
        let clean =
            fields::write_response(head, self.config.place, date, self.load, self.client_version, block);
        let block: &'b BytesMut = block;
        let written = block.get(start..).unwrap_or_default();
        let fields = if clean { Fields::clean(written) } else { Fields::from_block(written) };
        ResponseHead { version: Version::Http11, fields, ..*head }
    }

    /// Judges a response head, interim ones too: `Forward`, `Nothing` (drop this interim response),
    /// `Switch`, or the `Answer` that takes its place.
    pub fn handle_response(&mut self, now: Instant, head: &ResponseHead<'_>) -> Step {
        if !matches!(self.phase, Phase::Opening | Phase::Waiting) {
            return Step::Nothing;
        }
        self.retry.handle_response_seen();
        if head.status < 100 || has_absurd_connection(&head.fields) {
            let answer = Answer::unreachable(self.config.place, cause::MALFORMED_RESPONSE);
            return self.answer(answer, Ended::Answered);
        }
        match head.status {
            101 if self.is_switch_asked_for(&head.fields) => {
                self.switch(now, 101);
                Step::Switch
            }
            101 => self.answer(Answer::unreachable(self.config.place, cause::BAD_UPGRADE), Ended::Answered),
            100..=199 => {
                if head.status == 100 {
                    self.deadlines.handle_continue(now);
                }
                // RFC 9110 15.2: HTTP/1.0 has no interim responses.
                if self.client_version == Version::Http10 { Step::Nothing } else { Step::Forward }
            }
            200..=299 if self.connect => {
                self.switch(now, head.status);
                Step::Switch
            }
            _ => {
                self.head_at = Some(now);
                self.status = head.status;
                self.phase = Phase::Responding;
                self.deadlines.handle_response(now);
                Step::Forward
            }
        }
    }

    /// The driver answered the request for a TCP connection with a 101 of its own.
    pub fn handle_switched(&mut self, now: Instant) {
        if self.phase == Phase::Opening {
            self.switch(now, 101);
        }
    }

    /// The driver sent the client a 100 of its own: the body may be expected. (One of the upstream's is seen
    /// by [`handle_response`](Self::handle_response).)
    pub fn handle_continue(&mut self, now: Instant) {
        self.deadlines.handle_continue(now);
    }

    /// The whole request has come from the client; a missing body is no longer waited for.
    pub fn handle_request_end(&mut self, now: Instant) {
        self.deadlines.handle_request_end(now);
    }

    /// `bytes` were handed on *towards* `leg`: of the request to the upstream, of the response to the client.
    /// Heads count, so that it is known whether any byte of the request is on its way.
    pub fn handle_progress(&mut self, now: Instant, leg: Leg, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if bytes == 0 {
            return;
        }
        let new = match leg {
            Leg::Client => true,
            Leg::Upstream => self.retry.handle_sent(bytes),
        };
        self.deadlines.handle_progress(now, leg, new);
    }

    /// `bytes` of payload, without any framing, go *towards* `leg`, answers made here included; each of them once,
    /// however often a request is sent. They show in the [`Record`] and nowhere else.
    pub fn handle_body(&mut self, leg: Leg, bytes: usize) {
        let sum = match leg {
            Leg::Client => &mut self.response_bytes,
            Leg::Upstream => &mut self.request_bytes,
        };
        *sum = sum.saturating_add(bytes as u64);
    }

    /// A write *towards* `leg` has to wait, or no longer does.
    pub fn handle_blocked(&mut self, now: Instant, leg: Leg, blocked: bool) {
        self.deadlines.handle_blocked(now, leg, blocked);
    }

    /// A leg failed: `Retry`, `Answer` while the client has seen no response, else `Abort`. `Nothing` when
    /// the upstream fails behind the end.
    pub fn handle_failed(&mut self, _now: Instant, leg: Leg, why: Failure) -> Step {
        match (self.phase, leg) {
            (Phase::Ended, Leg::Upstream) => Step::Nothing,
            (Phase::Ended, Leg::Client) => Step::Abort,
            (Phase::Idle | Phase::Opening | Phase::Waiting, Leg::Client) => match why {
                Failure::Protocol(fault) => {
                    self.answer(Answer::for_fault(self.config.place, &fault), Ended::Answered)
                }
                _ => self.abort(Ended::ClientGone),
            },
            (Phase::Idle | Phase::Opening | Phase::Waiting, Leg::Upstream) => self.fail_upstream(why),
            (Phase::Responding, Leg::Upstream) => self.abort(Ended::Aborted),
            (Phase::Responding, Leg::Client) => match why {
                Failure::Protocol(_) => self.abort(Ended::Aborted),
                _ => self.abort(Ended::ClientGone),
            },
            (Phase::Switched, _) => self.abort(Ended::Switched),
        }
    }

    /// Gives up what has waited too long: 504 before the response head, `Abort` behind it. `Nothing` when
    /// called early.
    pub fn handle_timeout(&mut self, now: Instant) -> Step {
        let Some(expired) = self.deadlines.expired(now) else { return Step::Nothing };
        tracing::debug!(?expired, "exchange timed out");
        let cause = match expired {
            // The service has not even taken the request.
            Expired::ResponseHead if self.config.place == Place::Agent && !self.deadlines.has_reached() => {
                cause::CONNECT_TIMEOUT
            }
            Expired::ResponseHead => cause::RESPONSE_TIMEOUT,
            Expired::UpstreamBlocked => cause::UPSTREAM_STALLED,
            Expired::ReadPause | Expired::RequestMissing => cause::REQUEST_STALLED,
            Expired::ClientBlocked | Expired::WritePause => return self.abort(Ended::TimedOut),
        };
        if self.phase == Phase::Responding {
            return self.abort(Ended::TimedOut);
        }
        self.upstream_late = cause != cause::REQUEST_STALLED;
        let answer = Answer::timeout(self.config.place, cause);
        // The rest of a body that stalled may still come, and must not be read as the next request.
        let answer = if cause == cause::REQUEST_STALLED { answer.and_close() } else { answer };
        self.answer(answer, Ended::TimedOut)
    }

    /// What [`handle_timeout`](Self::handle_timeout) gave up was waiting for the upstream, before its response.
    pub fn is_upstream_late(&self) -> bool {
        self.upstream_late
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next. A pure read, O(1).
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.deadlines.poll()
    }

    /// Ends the exchange. One that had its response head counts as complete: what cut it short was told by
    /// [`handle_failed`](Self::handle_failed) or [`handle_timeout`](Self::handle_timeout).
    pub fn finish(self, now: Instant) -> Record {
        let how = match self.phase {
            Phase::Responding => Ended::Complete,
            Phase::Switched => Ended::Switched,
            Phase::Ended | Phase::Idle | Phase::Opening | Phase::Waiting => self.how,
        };
        Record {
            endpoint: self.endpoint,
            status: self.status,
            method: self.method,
            request_head_bytes: self.request_head_bytes,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            started: self.started,
            head_at: self.head_at,
            ended: now,
            retries: self.retry.retries(),
            how,
        }
    }

    fn fail_upstream(&mut self, why: Failure) -> Step {
        let place = self.config.place;
        let cause = match why {
            Failure::Broken | Failure::ClientGone => cause::STREAM_RESET,
            Failure::Connect(cause) => cause,
            Failure::Cut => cause::CUT_RESPONSE,
            Failure::NoUpstream => cause::NO_UPSTREAM,
            Failure::Protocol(fault) if fault.is_bad_switch() => cause::BAD_UPGRADE,
            Failure::Protocol(fault) if fault.is_too_large() => cause::HEAD_TOO_LARGE,
            Failure::Protocol(_) => cause::MALFORMED_RESPONSE,
            Failure::Refused(cause) => cause,
            Failure::Stale => cause::CONNECTION_CLOSED,
            Failure::TimedOut => cause::RESPONSE_TIMEOUT,
        };
        if self.retry.handle_failed(why, cause) {
            tracing::debug!(cause, retries = self.retry.retries(), "request is sent again");
            self.deadlines.handle_retry();
            return Step::Retry;
        }
        let answer = match (why, self.retry.last_cause()) {
            (Failure::NoUpstream, None | Some(cause::NO_UPSTREAM)) => Answer::no_upstream(place),
            // There was an upstream; that no other is left is not what went wrong.
            (Failure::NoUpstream, Some(last)) => Answer::unreachable(place, last),
            _ => Answer::unreachable(place, cause),
        };
        self.answer(answer, Ended::Answered)
    }

    /// The 101 is to a protocol that the request offered (RFC 9110 7.8), compared without case as in Go.
    fn is_switch_asked_for(&self, fields: &Fields<'_>) -> bool {
        let Some(asked) = &self.upgrade else { return false };
        let mut any = false;
        let offered = |protocol: &[u8]| list_members(asked).any(|offer| offer.eq_ignore_ascii_case(protocol));
        let all = fields.all("upgrade").flat_map(list_members).all(|protocol| {
            any = true;
            offered(protocol)
        });
        any && all
    }

    fn switch(&mut self, now: Instant, status: u16) {
        self.head_at = Some(now);
        self.status = status;
        self.phase = Phase::Switched;
        self.deadlines.stop();
    }

    fn answer(&mut self, answer: Answer, how: Ended) -> Step {
        self.status = answer.status;
        self.phase = Phase::Ended;
        self.how = how;
        self.deadlines.stop();
        Step::Answer(answer)
    }

    fn abort(&mut self, how: Ended) -> Step {
        tracing::debug!(?how, "exchange is given up");
        self.phase = Phase::Ended;
        self.how = how;
        self.deadlines.stop();
        Step::Abort
    }
}

/// More connection options than are worth comparing with every field. Small heads, which cannot hold enough of
/// both to matter (half a million comparisons, a millisecond), are not searched.
fn has_absurd_connection(fields: &Fields<'_>) -> bool {
    const SMALL_HEAD_BYTES: usize = 4096;
    fields.block().len() > SMALL_HEAD_BYTES
        && fields.all("connection").flat_map(list_members).count() > CONNECTION_OPTIONS_MAX
}

fn join_upgrades(fields: &Fields<'_>) -> Vec<u8> {
    let mut joined = Vec::new();
    for value in fields.all("upgrade") {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(value);
    }
    joined
}
