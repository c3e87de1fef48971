//! One request from its judgement to its record: answered here, or tried upstream until there is a response.

use super::client::{Client, head_of};
use super::legs::Legs;
use super::up::Up;
use super::{Attempt, Connected, Decision, Opaque, Service};
use crate::buffer::with_read_buffer;
use crate::relay::{CLIENT_PROBES, Ends, Relayed, relay_from};
use crate::runtime::{Io, Runtime, Timer};
use crate::wire::Out;
use piko_core::http1::{Next, RequestHead, Reuse};
use piko_core::proxy::{Answer, Exchange, Failure, Leg, Step};
use piko_core::time::Instant;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// A request that has been read and judged, and what becomes of it. Large things lie on the heap, so that a connection
/// between two requests does not carry the room for them.
pub(super) enum Begun<S: Service> {
    Answer(Box<Here<S>>),
    Proxy(Box<Forward<S>>),
}

/// A request that is answered here, and what its connection is for from then on, if not for requests.
pub(super) struct Here<S: Service> {
    work: Work<S>,
    answer: Answer,
    switched: Option<S::Switched>,
}

/// What is kept of every request until its record.
pub(super) struct Work<S: Service> {
    pub(super) exchange: Exchange,
    pub(super) note: S::Note,
}

/// A request that was written out for the next hop.
pub(super) struct Forward<S: Service> {
    work: Work<S>,
    up: Up,
    /// Where to, until it is under way.
    target: Option<S::Target>,
}

impl<S: Service> Forward<S> {
    /// A request before it is judged. It is not moved any more: what is large in it would be copied each time.
    pub(super) fn new(now: Instant, service: &S, exchange: Exchange, note: S::Note) -> Box<Self> {
        Box::new(Self { work: Work { exchange, note }, up: Up::new(now, service.responses()), target: None })
    }

    /// Judges the request. `text` is what `head` was read from.
    pub(super) fn begin(
        mut self: Box<Self>,
        now: Instant,
        head: &RequestHead<'_>,
        text: &[u8],
        service: &S,
    ) -> Begun<S> {
        let Self { work: Work { exchange, note }, up, .. } = &mut *self;
        let step = exchange.handle_request(now, head);
        match service.decide(now, step, exchange, note, head) {
            Decision::Answer(answer) => {
                Begun::Answer(Box::new(Here { work: self.work, answer, switched: None }))
            }
            Decision::Switch(answer, switched) => {
                Begun::Answer(Box::new(Here { work: self.work, answer, switched: Some(switched) }))
            }
            Decision::Proxy { target, keep_alive, keep_head } => {
                up.begin(head, exchange, service.is_tunnel(&target), keep_alive);
                if keep_head {
                    up.keep_head(text);
                }
                self.target = Some(target);
                Begun::Proxy(self)
            }
        }
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
    up: S::Up,
    /// What came behind the upstream's 101.
    rest: Vec<u8>,
    target: S::Target,
    work: Work<S>,
    /// The client speaks WebSocket, and the target what is inside.
    opaque: Option<Opaque>,
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

/// Gives an answer made here.
pub(super) async fn answer_here<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    mut here: Box<Here<S>>,
) -> Ended<S> {
    if here.switched.is_none() {
        drain_small_body(client);
    }
    let next = say(client, service, &mut here.work, &here.answer);
    let written = write_out(client).await;
    let Here { work, switched, .. } = *here;
    match (end(client, service, work, next, written), switched) {
        (_, Some(switched)) if written => Ended::Handed(switched),
        (_, Some(_)) => Ended::Close,
        (ended, None) => ended,
    }
}

/// Answers a request for a connection whose target is reached.
async fn open<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    mut piped: Box<Piped<S>>,
) -> Ended<S> {
    piped.work.exchange.handle_switched(client.now());
    if let Some(opaque) = &piped.opaque {
        let _ = say(client, service, &mut piped.work, &opaque.answer);
    }
    let Err(error) = client.flush().await else { return Ended::Piped(piped) };
    let Piped { mut up, target, work, .. } = *piped;
    up.abort();
    service.relayed(&target, &Relayed { from_a: 0, from_b: 0, result: Err(error) });
    drop(up);
    service.release(target, None);
    work.record(client, service);
    Ended::Abort
}

/// What is left of a switched exchange: bytes both ways, until both have ended.
pub(super) async fn pipe<R: Runtime, C: Io, S: Service>(
    mut client: Client<R, C>,
    service: &S,
    piped: Box<Piped<S>>,
) {
    let Piped { mut up, rest, target, work, opaque } = *piped;
    let Work { mut exchange, note } = work;
    let rt = client.rt.clone();
    // Nobody else would notice that a client is gone which owes nothing.
    client.io.keep_alive(Some(CLIENT_PROBES));
    let relayed = match opaque {
        Some(opaque) => {
            let early = client.rest.pending().to_vec();
            let relayed = service.carry(&rt, (client.io, &mut up), early, opaque).await;
            service.relayed(&target, &relayed);
            relayed
        }
        None => {
            client.out.queue.extend(&rest);
            let mut up_out = Out::default();
            up_out.queue.extend(client.rest.pending());
            let early = client.rest.len();
            client.rest.clear();
            let out = std::mem::take(&mut client.out);
            let ends = Ends::default();
            let mut relayed =
                relay_from(&rt, &mut client.io, out, &mut up, up_out, ends, service.cutter()).await;
            // What came right behind the request and behind its 101 has been read before.
            relayed.from_a += early as u64;
            relayed.from_b += rest.len() as u64;
            relayed
        }
    };
    let Relayed { from_a, from_b, result } = relayed;
    if let Err(error) = result {
        tracing::debug!(%error, "switched connection cut");
    }
    exchange.handle_body(Leg::Upstream, usize::try_from(from_a).unwrap_or(usize::MAX));
    exchange.handle_body(Leg::Client, usize::try_from(from_b).unwrap_or(usize::MAX));
    drop(up);
    service.release(target, None);
    service.record(exchange.finish(rt.now()), note);
}

/// Tries until there is an answer, the upstream's or one made here.
pub(super) async fn proxy<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    mut forward: Box<Forward<S>>,
) -> Ended<S> {
    // Only what has one comes here.
    let Some(mut target) = forward.target.take() else { return Ended::Abort };
    let mut fresh = false;
    let next = loop {
        let mut settled = Ok(());
        if service.is_held(&target) {
            settled = Box::pin(settle(client, service, &mut forward, &mut target)).await;
        }
        let tried = match settled {
            Ok(()) => try_once(client, service, &mut forward, &mut target, fresh).await,
            Err(stop) => Tried::Stopped(stop),
        };
        let stop = match tried {
            Tried::Done(next, reusable) => {
                service.release(target, reusable);
                break next;
            }
            Tried::Switched(up) => {
                let Forward { work, up: Up { rest, .. }, .. } = *forward;
                let rest = rest.pending().to_vec();
                return Ended::Piped(Box::new(Piped { up, rest, target, work, opaque: None }));
            }
            Tried::Opened(up, opaque) => {
                let Forward { work, .. } = *forward;
                let piped = Piped { up, rest: Vec::new(), target, work, opaque: Some(*opaque) };
                return Box::pin(open(client, service, Box::new(piped))).await;
            }
            Tried::Stopped(stop) => stop,
        };
        match stopped(client, service, &mut forward, &mut target, *stop) {
            None => fresh = true,
            Some(Step::Answer(answer)) => {
                service.release(target, None);
                break say(client, service, &mut forward.work, &answer);
            }
            Some(_) => {
                service.release(target, None);
                let next = if client.eof { Next::Abort } else { client.http.cut() };
                forward.work.record(client, service);
                return next.into();
            }
        }
    };
    let written = write_out(client).await;
    end(client, service, forward.work, next, written)
}

/// How a try ended.
enum Tried<S: Service> {
    /// With a response; a connection that can carry another request is given back.
    Done(Next, Option<S::Up>),
    /// With a connection to the target, which is what was asked for.
    Opened(S::Up, Box<Opaque>),
    Stopped(Box<Stop>),
    Switched(S::Up),
}

async fn try_once<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    forward: &mut Forward<S>,
    target: &mut S::Target,
    fresh: bool,
) -> Tried<S> {
    let Forward { work, up, .. } = forward;
    let until = work.exchange.poll_timeout().map(|d| d.at);
    let attempt = Attempt { idempotent: up.idempotent, fresh, until };
    let connected = {
        let connecting = pin!(service.connect(target, attempt));
        attend(client, &mut work.exchange, connecting).await
    };
    let (mut io, pooled) = match connected {
        Ok(Connected { io, pooled }) => (io, pooled),
        Err(stop) => return Tried::Stopped(stop),
    };
    if let Some(opaque) = service.opaque(target, &mut io) {
        return Tried::Opened(io, Box::new(opaque));
    }
    work.exchange.handle_connected(pooled);
    if up.out.queue.keeps() && !work.exchange.may_replay() {
        up.out.queue.set_keep(false);
    }
    let mut legs = Legs::new(client, service, work, target, up, io, pooled);
    let outcome = poll_fn(|cx| legs.poll(cx)).await;
    let (mut io, up) = legs.into_parts();
    match outcome {
        Outcome::Done(next) => {
            let whole = up.uploaded && up.out.queue.is_empty() && !up.deaf;
            if whole && up.rest.is_empty() && up.http.reuse() == Reuse::Reuse {
                return Tried::Done(next, Some(io));
            }
            if whole {
                io.finish_lazily();
            } else {
                io.abort();
            }
            Tried::Done(next, None)
        }
        Outcome::Switched => {
            service.switched(target, &mut io);
            Tried::Switched(io)
        }
        Outcome::Ended(stop) => {
            io.abort();
            Tried::Stopped(stop)
        }
    }
}

/// What comes after a try that brought no answer: another one (`None`), or what the exchange says.
fn stopped<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    forward: &mut Forward<S>,
    target: &mut S::Target,
    stop: Stop,
) -> Option<Step> {
    if let Some(failure) = stop.failure {
        service.failed(target, failure);
    }
    if !matches!(stop.step, Step::Retry) {
        return Some(stop.step);
    }
    let moved = stop.moved || service.again(target, stop.failure.unwrap_or(Failure::Broken));
    let now = client.now();
    let Forward { work, up, .. } = forward;
    if moved && up.start_again(now, &work.exchange, service.is_tunnel(target)) {
        return None;
    }
    Some(work.exchange.handle_failed(now, Leg::Upstream, Failure::NoUpstream))
}

impl<S: Service> Work<S> {
    /// Of a request that is answered here.
    pub(super) fn new(exchange: Exchange, note: S::Note) -> Self {
        Self { exchange, note }
    }

    /// The exchange is over.
    pub(super) fn record<R: Runtime, C: Io>(self, client: &mut Client<R, C>, service: &S) {
        service.record(self.exchange.finish(client.now()), self.note);
    }
}

/// Waits until the target is somewhere, and writes the head for it.
async fn settle<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    forward: &mut Forward<S>,
    target: &mut S::Target,
) -> Result<(), Box<Stop>> {
    let Forward { work, up, .. } = forward;
    attend(client, &mut work.exchange, pin!(service.settle(target))).await?;
    let now = client.now();
    if up.start_again(now, &work.exchange, service.is_tunnel(target)) {
        return Ok(());
    }
    Err(Stop::new(work.exchange.handle_failed(now, Leg::Upstream, Failure::NoUpstream), None))
}

/// RFC 9110 6.6.1: an origin server with a clock says when it made an answer.
fn with_date(answer: &Answer, date: &[u8]) -> Answer {
    let mut answer = answer.clone();
    for part in [b"Date: ", date, b"\r\n"] {
        answer.fields.extend_from_slice(part);
    }
    answer
}

/// Queues an answer made here, which the record of the request shows like any other.
pub(super) fn say<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    work: &mut Work<S>,
    answer: &Answer,
) -> Next {
    tracing::debug!(status = answer.status, "answered here");
    let date = service.date(client.now()).filter(|_| answer.status >= 200);
    let dated = date.map(|date| with_date(answer, &date));
    let answer = dated.as_ref().unwrap_or(answer);
    service.note_response(&mut work.note, &head_of(answer));
    let (next, body_bytes) = client.answer(answer);
    work.exchange.handle_body(Leg::Client, body_bytes);
    next
}

/// Writes out what is queued for the client. False when that fails.
async fn write_out<R: Runtime, C: Io>(client: &mut Client<R, C>) -> bool {
    client.out.queue.is_empty() || client.flush().await.is_ok()
}

/// Ends an exchange whose answer was written, or was not.
fn end<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    work: Work<S>,
    next: Next,
    written: bool,
) -> Ended<S> {
    work.record(client, service);
    if written { next.into() } else { Ended::Abort }
}

/// A request that is answered here loses its body where it has already arrived, so that the
/// connection can be kept.
fn drain_small_body<R: Runtime, C: Io>(client: &mut Client<R, C>) {
    while !client.http.request_done() {
        let now = client.now();
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
pub(super) struct Stop {
    step: Step,
    /// What the upstream did wrong before its response, if it was to blame.
    failure: Option<Failure>,
    /// The target is another one already.
    moved: bool,
}

impl Stop {
    /// On the heap: it is rare, and what carries it is in every connection.
    pub(super) fn new(step: Step, failure: Option<Failure>) -> Box<Self> {
        Box::new(Self { step, failure, moved: false })
    }

    /// The target is another one already.
    pub(super) fn moved(step: Step) -> Box<Self> {
        Box::new(Self { step, failure: None, moved: true })
    }
}

pub(super) enum Outcome {
    Done(Next),
    Ended(Box<Stop>),
    Switched,
}

/// Does `work` for the request while the client's connection and the clock are watched.
async fn attend<R: Runtime, C: Io, T>(
    client: &mut Client<R, C>,
    exchange: &mut Exchange,
    mut work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Box<Stop>> {
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|why| {
                    Stop::new(exchange.handle_failed(client.now(), Leg::Upstream, why), Some(why))
                }));
            }
            if let Some(stop) = watch(client, exchange, cx) {
                return Poll::Ready(Err(stop));
            }
            client.end_turn();
            if client.timer.poll_until(cx, exchange.poll_timeout().map(|d| d.at)).is_pending() {
                return Poll::Pending;
            }
            if let Some(stop) = timeout(client.now(), exchange) {
                return Poll::Ready(Err(stop));
            }
        }
    })
    .await
}

pub(super) fn timeout(now: Instant, exchange: &mut Exchange) -> Option<Box<Stop>> {
    if exchange.poll_timeout().is_none_or(|d| d.at > now) {
        return None;
    }
    match exchange.handle_timeout(now) {
        Step::Nothing => None,
        step => Some(Stop::new(step, exchange.is_upstream_late().then_some(Failure::TimedOut))),
    }
}

/// After a complete request the client has nothing to say but the next one: a FIN cancels.
pub(super) fn watch<R: Runtime, C: Io>(
    client: &mut Client<R, C>,
    exchange: &mut Exchange,
    cx: &mut Context<'_>,
) -> Option<Box<Stop>> {
    if !client.http.request_done() || !client.rest.is_empty() {
        return None;
    }
    let Client { io, rest, eof, share, .. } = &mut *client;
    let limit = share.read_bytes();
    let gone = with_read_buffer(|buf| match Pin::new(io).poll_read(cx, &mut buf[..limit]) {
        Poll::Pending => false,
        Poll::Ready(Ok(n)) if n > 0 => {
            rest.extend(&buf[..n]);
            share.note_ahead(n);
            false
        }
        Poll::Ready(_) => true,
    });
    if !gone {
        return None;
    }
    *eof = true;
    let step = exchange.handle_failed(client.now(), Leg::Client, Failure::ClientGone);
    Some(Stop::new(step, None))
}
