//! The client's side of a connection: heads in, answers out, and its end.

use super::exchange::{Begun, Forward};
use super::memory::Share;
use super::refuse::Refused;
use super::{Port, Service};
use crate::buffer::{Queue, with_read_buffer};
use crate::runtime::{Io, Runtime, Timer};
use crate::shutdown::{Shutdown, ShutdownListener};
use crate::wire::Out;
use piko_core::http1::{BodyLength, Fault, Fields, Next, Part, ResponseHead, ServerConn, Version};
use piko_core::proxy::Answer;
use piko_core::time::Instant;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A lingering close reads at most this much and this long, so that an answer to an unfinished
/// upload is not overtaken by a reset (RFC 9112 9.6).
const LINGER_BYTES: usize = 4 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);
/// How long the last bytes of an answer may take to leave once nothing else happens.
const LAST_FLUSH: Duration = Duration::from_secs(10);
/// A connection this young may have a request under way to it: its client has only just learnt that it is open. It is
/// waited for behind a shutdown, since nobody may send it again for the client.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Why there is no next request.
pub(super) enum Idle {
    /// The connection is broken.
    Broken,
    /// Nothing was under way: close.
    Closed,
    /// It took too long: close without an answer.
    Expired,
    /// What came was no request.
    Refused(Refused),
}

pub(super) struct Client<R: Runtime, C> {
    pub(super) rt: R,
    pub(super) io: C,
    pub(super) http: ServerConn,
    /// Input that is not yet done with: a partial head, a pipelined request.
    pub(super) rest: Queue,
    pub(super) out: Out,
    pub(super) timer: R::Timer,
    leaving: Shutdown,
    shutdown: Shutdown,
    /// The client has ended its direction.
    pub(super) eof: bool,
    listener: ShutdownListener,
    /// Until then the first request is waited for in any case; `None` once it has come.
    young_until: Option<Instant>,
    pub(super) share: Share,
    /// When this turn began; `None` once something was waited for.
    turn: Option<Instant>,
}

impl<R: Runtime, C: Io> Client<R, C> {
    pub(super) fn new(rt: &R, io: C, port: &Port) -> Self {
        let now = rt.now();
        Self {
            rt: rt.clone(),
            io,
            http: ServerConn::new(port.http.get(), now),
            rest: Queue::new(),
            out: Out::default(),
            timer: rt.timer(),
            leaving: port.leaving.clone(),
            shutdown: port.shutdown.clone(),
            eof: false,
            listener: port.shutdown.listener(),
            young_until: Some(now + FIRST_REQUEST),
            share: Share::new(port.memory.clone()),
            turn: Some(now),
        }
    }

    /// The time, looked at once for all that is done until something has to be waited for (performance guide 6).
    /// Nothing here works so long between two waits that it would matter.
    pub(super) fn now(&mut self) -> Instant {
        let Self { rt, turn, .. } = self;
        *turn.get_or_insert_with(|| rt.now())
    }

    /// Something was waited for, or is going to be.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// The connection ends behind the response that is under way.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_triggered() || self.shutdown.is_triggered()
    }

    /// Reads up to the next request's head and begins its exchange.
    pub(super) async fn next_request<S: Service>(&mut self, service: &S) -> Result<Begun<S>, Idle> {
        self.share.end_request();
        let begun = poll_fn(|cx| self.poll_request(cx, service)).await;
        self.share.release();
        self.share.note_ahead(self.rest.len());
        self.young_until = None;
        begun
    }

    fn poll_request<S: Service>(
        &mut self,
        cx: &mut Context<'_>,
        service: &S,
    ) -> Poll<Result<Begun<S>, Idle>> {
        loop {
            let now = self.now();
            // Behind an answer this starts the keep-alive deadline. The timer's wake-up comes in here too, so
            // this is where a deadline is found to have passed.
            self.http.handle_timeout(now);
            if self.http.is_expired() {
                // As Go: a head that does not come gets no answer.
                return Poll::Ready(Err(Idle::Expired));
            }
            if !self.rest.is_empty() {
                let (used, outcome) = step(&mut self.http, now, self.rest.pending(), service, &self.io);
                self.rest.consume(used);
                if let Some(result) = outcome {
                    return Poll::Ready(result);
                }
            }
            if self.share.is_evicted() {
                self.http.refuse_request();
                let what = "too many unfinished request heads: this is the largest";
                let refused = Refused::new(Fault { status: 431, what }, self.rest.pending());
                return Poll::Ready(Err(Idle::Refused(refused)));
            }
            if self.eof {
                let clean = self.rest.is_empty() && self.http.is_idle();
                return Poll::Ready(Err(if clean { Idle::Closed } else { Idle::Broken }));
            }
            let Self { io, http, rest, share, .. } = self;
            let read = with_read_buffer(|buf| {
                // Not more: of a body nobody knows yet who takes it, and what is no body waits here.
                let limit = share.read_bytes();
                match Pin::new(&mut *io).poll_read(cx, &mut buf[..limit]) {
                    Poll::Pending => Read::Nothing,
                    Poll::Ready(Ok(0)) => Read::End,
                    Poll::Ready(Err(_)) => Read::Broken,
                    Poll::Ready(Ok(n)) if rest.is_empty() => {
                        // The usual case: the whole head is parsed where the socket put it.
                        let (used, outcome) = step(http, now, &buf[..n], service, io);
                        rest.extend(&buf[used..n]);
                        outcome.map_or(Read::Some, Read::Outcome)
                    }
                    Poll::Ready(Ok(n)) => {
                        rest.extend(&buf[..n]);
                        Read::Some
                    }
                }
            });
            match read {
                Read::Outcome(result) => return Poll::Ready(result),
                Read::Broken => return Poll::Ready(Err(Idle::Broken)),
                Read::End => self.eof = true,
                Read::Some => self.share.hold(cx, self.rest.len()),
                Read::Nothing => {
                    // Only here: a request that has arrived already is still answered.
                    let mut due = self.http.poll_timeout().map(|d| d.at);
                    if self.http.is_idle() && self.rest.is_empty() && self.listener.poll(cx).is_ready() {
                        match self.young_until.filter(|until| *until > now) {
                            Some(until) => due = Some(due.map_or(until, |at| at.min(until))),
                            None => return Poll::Ready(Err(Idle::Closed)),
                        }
                    }
                    self.end_turn();
                    if self.timer.poll_until(cx, due).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Queues an answer made here. Gives what becomes of the connection, and the bytes of the body (none for HEAD).
    pub(super) fn answer(&mut self, answer: &Answer) -> (Next, usize) {
        // Nobody will read the rest of a body, so the connection ends here, and the answer says so (RFC 9112 9.3,
        // 9.6).
        if answer.close || !self.http.request_done() {
            self.http.close_after_response();
        }
        let out = self.out.queue.tail();
        if self.http.send_head(&head_of(answer), out).is_err() {
            if out.is_empty() {
                // The room for it goes back to the pool.
                self.out.queue.clear();
            }
            return (self.http.cut(), 0);
        }
        let mut body_bytes = 0;
        if !answer.body.is_empty() && self.http.send_data(answer.body.len(), out).is_ok() {
            out.extend_from_slice(&answer.body);
            body_bytes = answer.body.len();
        }
        (self.http.send_end(out), body_bytes)
    }

    /// Writes what is queued, or fails when the client does not take it.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let until = self.now() + LAST_FLUSH;
        poll_fn(|cx| {
            loop {
                self.out.flush(&mut self.io, cx)?;
                if self.out.queue.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.end_turn();
                if self.timer.poll_until(cx, Some(until)).is_pending() {
                    return Poll::Pending;
                }
                if self.rt.now() >= until {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        })
        .await
    }

    /// Ends the connection behind what is queued.
    pub(super) async fn close(&mut self) {
        let unread = !self.http.request_done() && !self.http.is_idle();
        if unread {
            self.close_lingering().await;
        } else if self.flush().await.is_ok() {
            self.io.cut_at_end(false);
            let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_close(cx)).await;
        }
    }

    pub(super) async fn close_lingering(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        self.io.cut_at_end(false);
        let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_close(cx)).await;
        let until = self.rt.now() + LINGER;
        let mut left = LINGER_BYTES;
        poll_fn(|cx| {
            while left > 0 {
                let Self { io, timer, rt, .. } = self;
                match with_read_buffer(|buf| Pin::new(io).poll_read(cx, buf)) {
                    Poll::Ready(Ok(0) | Err(_)) => break,
                    Poll::Ready(Ok(n)) => left = left.saturating_sub(n),
                    Poll::Pending => {
                        if timer.poll_until(cx, Some(until)).is_pending() {
                            return Poll::Pending;
                        }
                    }
                }
                if rt.now() >= until {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// The head of an answer made here.
pub(super) fn head_of(answer: &Answer) -> ResponseHead<'_> {
    ResponseHead {
        status: answer.status,
        reason: answer.reason.as_bytes(),
        version: Version::Http11,
        fields: Fields::from_block(&answer.fields),
        body: BodyLength::Known(answer.body.len() as u64),
    }
}

enum Read<T> {
    Broken,
    End,
    Nothing,
    Outcome(T),
    Some,
}

/// Looks for a head at the start of `input`.
fn step<S: Service, C: Io>(
    http: &mut ServerConn,
    now: Instant,
    input: &[u8],
    service: &S,
    io: &C,
) -> (usize, Option<Result<Begun<S>, Idle>>) {
    match http.handle_input(now, input) {
        Ok((used, Some(Part::Head(head)))) => {
            if !service.admits(io.info(), &head, used, http.config()) {
                let refused = Refused::new(Fault::TOO_LARGE, input);
                return (used, Some(Err(Idle::Refused(refused))));
            }
            let note = service.note(io.info(), &head);
            let forward = Forward::new(now, service, service.exchange(now, io.info()), note);
            (used, Some(Ok(forward.begin(now, &head, &input[..used], service))))
        }
        Ok((used, _)) => (used, None),
        Err(fault) => (0, Some(Err(Idle::Refused(Refused::new(fault, input))))),
    }
}
