//! One proxied request: two legs, one [`Exchange`]. Bytes stream both ways at once.

use super::client::{Client, head_of};
use super::up::{SCRATCH, Up};
use super::{Attempt, Connected, Decision, Opaque, Service};
use crate::buffer::with_read_buffer;
use crate::relay::Relayed;
use crate::runtime::{Io, Runtime, Timer};
use crate::wire::room;
use bytes::BytesMut;
use futures::io::AsyncRead;
use piko_core::http1::{self, BodyLength, Fields, Next, Part, RequestHead, Reuse};
use piko_core::proxy::fields::rewrite_trailers;
use piko_core::proxy::{Answer, Exchange, Failure, Leg, Step};
use piko_core::time::Instant;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Rounds of one poll before the task wakes itself and lets others run.
const ROUNDS_MAX: usize = 16;
/// A pipelined request is read ahead up to here; more stays with the kernel.
const AHEAD_BYTES: usize = 16 * 1024;

/// A request that has been read, judged and written out for the next hop.
pub(super) struct Begun<S: Service> {
    exchange: Exchange,
    note: S::Note,
    plan: Plan<S>,
}

enum Plan<S: Service> {
    Answer(Answer),
    Proxy { target: S::Target, up: Box<Up> },
    Switch(Answer, S::Switched),
}

impl<S: Service> Begun<S> {
    /// `text` is what `head` was read from.
    pub(super) fn new(
        now: Instant,
        head: &RequestHead<'_>,
        text: &[u8],
        service: &S,
        exchange: Exchange,
        decision: Decision<S::Target, S::Switched>,
        note: S::Note,
    ) -> Self {
        let plan = match decision {
            Decision::Answer(answer) => Plan::Answer(answer),
            Decision::Switch(answer, switched) => Plan::Switch(answer, switched),
            Decision::Proxy { target, keep_alive, keep_head } => {
                let mut up = Box::new(Up::new(now, head, &exchange, service.is_tunnel(&target), keep_alive));
                if keep_head {
                    up.keep_head(text);
                }
                Plan::Proxy { target, up }
            }
        };
        Self { exchange, note, plan }
    }
}

/// What an exchange leaves behind.
pub(super) enum Ended<S: Service> {
    /// The client's connection has to be cut visibly.
    Abort,
    /// The client's connection ends behind what is queued.
    Close,
    /// Switched to something that the caller does.
    Handed(S::Switched),
    /// The next request may come.
    KeepAlive,
    /// Switched: both legs are opaque pipes.
    Piped(Box<Piped<S>>),
}

/// An exchange that goes on as two opaque directions.
pub(super) struct Piped<S: Service> {
    pub(super) up: S::Up,
    /// What came behind the upstream's 101.
    pub(super) rest: Vec<u8>,
    pub(super) target: S::Target,
    pub(super) exchange: Exchange,
    pub(super) note: S::Note,
    /// The client speaks WebSocket, and the target what is inside.
    pub(super) opaque: Option<Opaque>,
}

impl<S: Service> From<Next> for Ended<S> {
    fn from(next: Next) -> Self {
        match next {
            Next::Abort => Self::Abort,
            Next::Close => Self::Close,
            Next::KeepAlive => Self::KeepAlive,
        }
    }
}

pub(super) async fn run<R: Runtime, C: Io, S: Service>(
    rt: &R,
    client: &mut Client<R, C>,
    service: &S,
    begun: Begun<S>,
) -> Ended<S> {
    let Begun { mut exchange, mut note, plan } = begun;
    if client.is_leaving() {
        client.http.close_after_response();
    }
    let (mut target, mut up) = match plan {
        Plan::Answer(answer) => {
            drain_small_body(client);
            let next = say(client, service, &mut exchange, &mut note, &answer);
            return finish(rt, client, service, exchange, note, next).await;
        }
        Plan::Switch(answer, switched) => {
            let _ = say(client, service, &mut exchange, &mut note, &answer);
            let written = client.flush().await;
            service.record(exchange.finish(rt.now()), note);
            return if written.is_ok() { Ended::Handed(switched) } else { Ended::Close };
        }
        Plan::Proxy { target, up } => (target, up),
    };
    let mut fresh = false;
    loop {
        let attempt =
            Attempt { idempotent: up.idempotent, fresh, until: exchange.poll_timeout().map(|d| d.at) };
        let connected = connect(client, service, &mut exchange, &target, attempt).await;
        let opaque = if connected.is_ok() { service.opaque(&target) } else { None };
        let mut why = match connected {
            Ok(Connected { io, .. }) if opaque.is_some() => {
                let piped = Piped { up: io, rest: Vec::new(), target, exchange, note, opaque };
                return open(rt, client, service, piped).await;
            }
            Ok(Connected { io, pooled }) => {
                let mut legs = Legs {
                    client,
                    service,
                    exchange: &mut exchange,
                    note: &mut note,
                    target: &mut target,
                    up: &mut up,
                    io,
                    pooled,
                    cut: None,
                    answered: false,
                    now: rt.now(),
                };
                let outcome = poll_fn(|cx| legs.poll(cx)).await;
                let Legs { mut io, .. } = legs;
                match outcome {
                    Outcome::Done(next) => {
                        let whole = up.uploaded && up.out.queue.is_empty() && !up.deaf;
                        let reusable = whole && up.rest.is_empty() && up.http.reuse() == Reuse::Reuse;
                        if reusable {
                            service.release(target, Some(io));
                        } else {
                            if whole {
                                io.finish_lazily();
                            } else {
                                io.abort();
                            }
                            drop(io);
                            service.release(target, None);
                        }
                        return finish(rt, client, service, exchange, note, next).await;
                    }
                    Outcome::Switched => {
                        let rest = up.rest.pending().to_vec();
                        return Ended::Piped(Box::new(Piped {
                            up: io,
                            rest,
                            target,
                            exchange,
                            note,
                            opaque: None,
                        }));
                    }
                    Outcome::Ended(stop) => {
                        io.abort();
                        stop
                    }
                }
            }
            Err(stop) => stop,
        };
        if let Some(failure) = why.failure {
            service.failed(&mut target, failure);
        }
        if matches!(why.step, Step::Retry) {
            let moved = why.moved || service.again(&mut target, why.failure.unwrap_or(Failure::Broken));
            let now = rt.now();
            if moved && up.start_again(now, &exchange, service.is_tunnel(&target)) {
                fresh = true;
                continue;
            }
            why.step = exchange.handle_failed(now, Leg::Upstream, Failure::NoUpstream);
        }
        match why {
            Stop { step: Step::Answer(answer), .. } => {
                service.release(target, None);
                let next = say(client, service, &mut exchange, &mut note, &answer);
                return finish(rt, client, service, exchange, note, next).await;
            }
            Stop { .. } => {
                service.release(target, None);
                let next = if client.eof { Next::Abort } else { client.http.cut() };
                service.record(exchange.finish(rt.now()), note);
                return next.into();
            }
        }
    }
}

/// Answers a request for a connection whose target is reached.
async fn open<R: Runtime, C: Io, S: Service>(
    rt: &R,
    client: &mut Client<R, C>,
    service: &S,
    mut piped: Piped<S>,
) -> Ended<S> {
    piped.exchange.handle_switched(rt.now());
    if let Some(opaque) = &piped.opaque {
        let _ = say(client, service, &mut piped.exchange, &mut piped.note, &opaque.answer);
    }
    let Err(error) = client.flush().await else { return Ended::Piped(Box::new(piped)) };
    let Piped { mut up, target, exchange, note, .. } = piped;
    up.abort();
    service.relayed(&target, &Relayed { from_a: 0, from_b: 0, result: Err(error) });
    drop(up);
    service.release(target, None);
    service.record(exchange.finish(rt.now()), note);
    Ended::Abort
}

/// Queues an answer made here, which the record of the request shows like any other.
pub(super) fn say<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    exchange: &mut Exchange,
    note: &mut S::Note,
    answer: &Answer,
) -> Next {
    tracing::debug!(status = answer.status, "answered here");
    service.note_response(note, &head_of(answer));
    let (next, body_bytes) = client.answer(answer);
    exchange.handle_body(Leg::Client, body_bytes);
    next
}

/// Ends an exchange whose answer is queued: writes it out and keeps the record.
async fn finish<R: Runtime, C: Io, S: Service>(
    rt: &R,
    client: &mut Client<R, C>,
    service: &S,
    exchange: Exchange,
    note: S::Note,
    next: Next,
) -> Ended<S> {
    let flushed = client.out.queue.is_empty() || client.flush().await.is_ok();
    service.record(exchange.finish(rt.now()), note);
    if flushed { next.into() } else { Ended::Abort }
}

/// A request that is answered here loses its body where it has already arrived, so that the
/// connection can be kept.
fn drain_small_body<R: Runtime, C: Io>(client: &mut Client<R, C>) {
    while !client.http.request_done() {
        let now = client.rt.now();
        match client.http.handle_input(now, client.rest.pending()) {
            Ok((used, Some(_))) => client.rest.consume(used),
            Ok((used, None)) => {
                client.rest.consume(used);
                return;
            }
            Err(_) => return,
        }
    }
}

/// Why an attempt stopped, and what the exchange says to it.
struct Stop {
    step: Step,
    /// What the upstream did wrong before its response, if it was to blame.
    failure: Option<Failure>,
    /// The target is another one already.
    moved: bool,
}

impl Stop {
    fn new(step: Step, failure: Option<Failure>) -> Self {
        Self { step, failure, moved: false }
    }
}

enum Outcome {
    Done(Next),
    Ended(Stop),
    Switched,
}

/// Reaches the target while the client's connection and the clock are watched.
async fn connect<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    exchange: &mut Exchange,
    target: &S::Target,
    attempt: Attempt,
) -> Result<Connected<S::Up>, Stop> {
    let mut connecting = pin!(service.connect(target, attempt));
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                let now = client.rt.now();
                return Poll::Ready(
                    result
                        .map_err(|why| Stop::new(exchange.handle_failed(now, Leg::Upstream, why), Some(why))),
                );
            }
            if let Some(stop) = watch(client, exchange, cx) {
                return Poll::Ready(Err(stop));
            }
            if client.timer.poll_until(cx, exchange.poll_timeout().map(|d| d.at)).is_pending() {
                return Poll::Pending;
            }
            if let Some(stop) = timeout(client.rt.now(), exchange) {
                return Poll::Ready(Err(stop));
            }
        }
    })
    .await
}

fn timeout(now: Instant, exchange: &mut Exchange) -> Option<Stop> {
    if exchange.poll_timeout().is_none_or(|d| d.at > now) {
        return None;
    }
    match exchange.handle_timeout(now) {
        Step::Nothing => None,
        step => Some(Stop::new(step, exchange.is_upstream_late().then_some(Failure::TimedOut))),
    }
}

/// After a complete request the client has nothing to say but the next one: a FIN cancels.
fn watch<R: Runtime, C: Io>(
    client: &mut Client<R, C>,
    exchange: &mut Exchange,
    cx: &mut Context<'_>,
) -> Option<Stop> {
    if !client.http.request_done() || !client.rest.is_empty() {
        return None;
    }
    let Client { io, rest, eof, rt, .. } = client;
    let gone = with_read_buffer(|buf| match Pin::new(io).poll_read(cx, &mut buf[..AHEAD_BYTES]) {
        Poll::Pending => false,
        Poll::Ready(Ok(n)) if n > 0 => {
            rest.extend(&buf[..n]);
            false
        }
        Poll::Ready(_) => true,
    });
    if !gone {
        return None;
    }
    *eof = true;
    let step = exchange.handle_failed(rt.now(), Leg::Client, Failure::ClientGone);
    Some(Stop::new(step, None))
}

/// Both legs while bytes flow.
struct Legs<'a, R: Runtime, C, S: Service> {
    client: &'a mut Client<R, C>,
    service: &'a S,
    exchange: &'a mut Exchange,
    note: &'a mut S::Note,
    target: &'a mut S::Target,
    up: &'a mut Up,
    io: S::Up,
    pooled: bool,
    /// The response is complete; what becomes of the client's connection once it is written out.
    cut: Option<Next>,
    /// The final response head has come.
    answered: bool,
    /// When this poll began: one look at the clock for all that it does (performance guide 6).
    now: Instant,
}

impl<R: Runtime, C: Io, S: Service> Legs<'_, R, C, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.now = self.client.rt.now();
        for _ in 0..ROUNDS_MAX {
            match self.round(cx) {
                Ok(true) => {}
                Ok(false) => {
                    let due = self.exchange.poll_timeout().map(|d| d.at);
                    if self.client.timer.poll_until(cx, due).is_pending() {
                        return Poll::Pending;
                    }
                    self.now = self.client.rt.now();
                    if let Some(stop) = timeout(self.now, self.exchange) {
                        return Poll::Ready(Outcome::Ended(stop));
                    }
                }
                Err(outcome) => return Poll::Ready(outcome),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Each direction once. `Ok(true)` when something moved.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        let mut progress = self.write_up(cx);
        progress |= self.read_client(cx)?;
        progress |= self.write_client(cx)?;
        if self.client.out.queue.is_empty() {
            self.done()?;
        }
        progress |= self.read_up(cx)?;
        if !self.client.out.blocked {
            // The last bytes go out in `finish`, together with what was just queued.
            self.done()?;
        }
        Ok(progress)
    }

    /// Ends the exchange once the response is complete.
    fn done(&self) -> Result<(), Outcome> {
        self.cut.map_or(Ok(()), |next| Err(Outcome::Done(next)))
    }

    fn fail(&mut self, leg: Leg, why: Failure) -> Outcome {
        let now = self.now;
        // Behind the response head nothing is held against the upstream: services may cut what they send.
        let to_blame = leg == Leg::Upstream && self.cut.is_none() && !self.answered;
        let step = self.exchange.handle_failed(now, leg, why);
        Outcome::Ended(Stop::new(step, to_blame.then_some(why)))
    }

    /// What a broken upstream means at this point.
    fn broken(&mut self) -> Outcome {
        let why = match (self.up.heard, self.pooled) {
            (true, _) => Failure::Cut,
            (false, true) => Failure::Stale,
            (false, false) => Failure::Broken,
        };
        self.fail(Leg::Upstream, why)
    }

    fn write_up(&mut self, cx: &mut Context<'_>) -> bool {
        if self.up.deaf || self.up.out.queue.is_empty() {
            return false;
        }
        match self.up.out.flush(&mut self.io, cx) {
            Ok(moved) => {
                self.note_up(moved);
                moved > 0
            }
            Err(_) => {
                // The answer may have been sent before the upstream stopped listening.
                self.up.deaf = true;
                true
            }
        }
    }

    fn note_up(&mut self, moved: usize) {
        let now = self.now;
        self.exchange.handle_progress(now, Leg::Upstream, moved);
        self.exchange.handle_blocked(now, Leg::Upstream, self.up.out.blocked);
        if self.up.out.queue.keeps() && !self.exchange.may_replay() {
            self.up.out.queue.set_keep(false);
        }
    }

    /// Request bytes: client → upstream.
    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        if self.up.uploaded {
            return match watch(self.client, self.exchange, cx) {
                Some(stop) => Err(Outcome::Ended(stop)),
                None => Ok(false),
            };
        }
        if self.up.deaf || self.up.out.blocked || self.cut.is_some() {
            return Ok(false);
        }
        if !self.client.rest.is_empty() || self.client.http.request_done() {
            let mut rest = std::mem::take(&mut self.client.rest);
            let used = self.upload(cx, rest.pending());
            if let Ok(used) = used {
                rest.consume(used);
            }
            self.client.rest = rest;
            let used = used?;
            if used > 0 || self.up.uploaded {
                return Ok(true);
            }
        }
        let Poll::Ready(room) = room(&mut self.io, cx) else { return Ok(false) };
        with_read_buffer(|buf| match Pin::new(&mut self.client.io).poll_read(cx, room.of(buf)) {
            Poll::Pending => {
                room.give_back(&mut self.io);
                Ok(false)
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                self.client.eof = true;
                Err(self.fail(Leg::Client, Failure::ClientGone))
            }
            Poll::Ready(Ok(n)) if self.client.rest.is_empty() => {
                let used = self.upload(cx, &buf[..n])?;
                self.client.rest.extend(&buf[used..n]);
                Ok(true)
            }
            Poll::Ready(Ok(n)) => {
                self.client.rest.extend(&buf[..n]);
                Ok(true)
            }
        })
    }

    /// Takes request parts from `input` until it is used up or the request ends. Gives what was used.
    fn upload(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Result<usize, Outcome> {
        let now = self.now;
        let mut used = 0;
        while !self.up.uploaded {
            let here = &input[used..];
            let (n, part) = match self.client.http.handle_input(now, here) {
                Ok(step) => step,
                Err(fault) => return Err(self.fail(Leg::Client, Failure::Protocol(fault))),
            };
            let up = &mut *self.up;
            match part {
                None => {
                    used += n;
                    break;
                }
                Some(Part::Data(range)) => {
                    let data = &here[range];
                    self.exchange.handle_body(Leg::Upstream, data.len());
                    match up.http.send_data(data.len(), up.out.queue.tail()) {
                        Ok(suffix) => match up.out.push(&mut self.io, cx, data, suffix) {
                            Ok(moved) => self.note_up(moved),
                            Err(_) => up.deaf = true,
                        },
                        Err(_) => up.deaf = true,
                    }
                }
                Some(Part::Trailers(fields)) => {
                    let mut block = BytesMut::new();
                    rewrite_trailers(&fields, &mut block);
                    let _ = up.http.send_trailers(&Fields::from_block(&block), up.out.queue.tail());
                }
                Some(Part::End) => {
                    let _ = up.http.send_end(up.out.queue.tail());
                    up.uploaded = true;
                    self.exchange.handle_request_end(now);
                }
                Some(_) => {}
            }
            used += n;
        }
        self.write_up(cx);
        Ok(used)
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        if self.client.out.queue.is_empty() {
            return Ok(false);
        }
        let Client { io, out, .. } = &mut *self.client;
        match out.flush(io, cx) {
            Ok(moved) => {
                self.note_down(moved);
                Ok(moved > 0)
            }
            Err(_) => {
                self.client.eof = true;
                Err(self.fail(Leg::Client, Failure::ClientGone))
            }
        }
    }

    fn note_down(&mut self, moved: usize) {
        let now = self.now;
        self.exchange.handle_progress(now, Leg::Client, moved);
        self.exchange.handle_blocked(now, Leg::Client, self.client.out.blocked);
    }

    /// Response bytes: upstream → client.
    fn read_up(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        if self.cut.is_some() || self.client.out.blocked {
            return Ok(false);
        }
        let Poll::Ready(room) = room(&mut self.client.io, cx) else { return Ok(false) };
        let progress = with_read_buffer(|buf| {
            let had = self.up.rest.len();
            let result = Pin::new(&mut self.io).poll_read(cx, room.of(buf));
            match result {
                Poll::Pending => {
                    room.give_back(&mut self.client.io);
                    Ok(false)
                }
                Poll::Ready(Err(_)) => Err(self.broken()),
                Poll::Ready(Ok(0)) => self.up_eof(cx).map(|()| true),
                Poll::Ready(Ok(n)) => {
                    self.up.heard = true;
                    if had == 0 {
                        let used = self.download(cx, &mut buf[..n])?;
                        self.up.rest.extend(&buf[used..n]);
                    } else {
                        self.up.rest.extend(&buf[..n]);
                        let mut rest = std::mem::take(&mut self.up.rest);
                        let used = self.download(cx, rest.pending_mut())?;
                        rest.consume(used);
                        self.up.rest = rest;
                    }
                    Ok(true)
                }
            }
        })?;
        if progress {
            self.write_client(cx)?;
        }
        Ok(progress)
    }

    /// Takes response parts from `input`. Gives what was used.
    fn download(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Result<usize, Outcome> {
        let now = self.now;
        let mut used = 0;
        let mut unfolded = false;
        while self.cut.is_none() {
            let (n, part) = match self.up.http.handle_input(now, &input[used..]) {
                Ok(step) => step,
                Err(fault) if fault.is_folded() && !unfolded => {
                    // RFC 9112 5.2: a proxy replaces folding in responses by spaces.
                    unfolded = true;
                    http1::unfold(&mut input[used..]);
                    continue;
                }
                Err(fault) => return Err(self.fail(Leg::Upstream, Failure::Protocol(fault))),
            };
            let here = &input[used..];
            used += n;
            match part {
                None => break,
                Some(Part::Interim(head) | Part::Head(head)) => {
                    if head.status >= 200 || head.status == 101 {
                        self.answered = true;
                        let refusal = self.service.answered(self.target, &head, &input[used..]);
                        if let Some(stop) = refusal.and_then(|why| self.turn_away(now, why)) {
                            return Err(Outcome::Ended(stop));
                        }
                    }
                    let step = self.exchange.handle_response(now, &head);
                    // The response is accepted: there is no thought of a retry any more.
                    self.up.out.queue.set_keep(false);
                    match step {
                        Step::Nothing => {}
                        Step::Forward | Step::Switch => {
                            if self.client.is_leaving() || self.is_early(&head, input.len() - used) {
                                self.client.http.close_after_response();
                            }
                            self.send_head(&head);
                        }
                        step => return Err(Outcome::Ended(Stop::new(step, None))),
                    }
                }
                Some(Part::Data(range)) => {
                    let data = &here[range];
                    let Client { http, out, io, .. } = &mut *self.client;
                    if let Ok(suffix) = http.send_data(data.len(), out.queue.tail()) {
                        self.exchange.handle_body(Leg::Client, data.len());
                        match out.push(io, cx, data, suffix) {
                            Ok(moved) => self.note_down(moved),
                            Err(_) => {
                                self.client.eof = true;
                                return Err(self.fail(Leg::Client, Failure::ClientGone));
                            }
                        }
                    }
                }
                Some(Part::Trailers(fields)) => {
                    let mut block = BytesMut::new();
                    rewrite_trailers(&fields, &mut block);
                    let Client { http, out, .. } = &mut *self.client;
                    let _ = http.send_trailers(&Fields::from_block(&block), out.queue.tail());
                }
                Some(Part::End) => self.end(),
                Some(Part::Switched) => {
                    self.up.rest.extend(&input[used..]);
                    return Err(Outcome::Switched);
                }
            }
        }
        Ok(used)
    }

    /// The upstream says that it did not serve the request: sends it elsewhere, if there is anybody else.
    fn turn_away(&mut self, now: Instant, why: Failure) -> Option<Stop> {
        if !self.exchange.may_retry(why) || !self.service.again(self.target, why) {
            return None;
        }
        let step = self.exchange.handle_failed(now, Leg::Upstream, why);
        Some(Stop { step, failure: None, moved: true })
    }

    /// The response is through before the request is, behind which the connection ends: the head should say so
    /// (RFC 9112 9.6). That is certain when the whole response is among the `arrived` bytes behind the head, and
    /// meant when the request is refused. Others may well end after their requests, as an echo does.
    fn is_early(&self, head: &http1::ResponseHead<'_>, arrived: usize) -> bool {
        let whole = match head.body {
            BodyLength::None => true,
            BodyLength::Known(bytes) => bytes <= arrived as u64,
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        head.status >= 200 && !self.client.http.request_done() && (whole || head.status >= 400)
    }

    fn send_head(&mut self, head: &http1::ResponseHead<'_>) {
        let date = if head.status >= 200 { self.service.date() } else { None };
        SCRATCH.with_borrow_mut(|block| {
            block.clear();
            let head = self.exchange.rewrite_response(head, date.as_ref().map(|d| &d[..]), block);
            if head.status >= 200 || head.status == 101 {
                self.service.note_response(self.note, &head);
            }
            let Client { http, out, .. } = &mut *self.client;
            let written = http.send_head(&head, out.queue.tail());
            debug_assert_eq!(written, Ok(()), "a response head in another state");
        });
    }

    fn end(&mut self) {
        let Client { http, out, .. } = &mut *self.client;
        self.cut = Some(http.send_end(out.queue.tail()));
    }

    /// The upstream has ended its direction: the end of a close-delimited body, or a cut.
    fn up_eof(&mut self, cx: &mut Context<'_>) -> Result<(), Outcome> {
        let now = self.now;
        match self.up.http.handle_eof(now) {
            Ok(true) => {
                self.end();
                self.write_client(cx)?;
                Ok(())
            }
            Ok(false) | Err(_) => Err(self.broken()),
        }
    }
}
