//! Both legs of an exchange while bytes flow: requests up, responses down, each as far as the other takes them.

use super::Service;
use super::client::Client;
use super::exchange::{Outcome, Stop, Work, timeout, watch};
use super::up::{Up, with_scratch};
use crate::buffer::with_read_buffer;
use crate::runtime::{Fetched, Io, Runtime, Timer};
use crate::wire::room;
use bytes::BytesMut;
use piko_core::http1::{self, BodyLength, Fields, Next, Part};
use piko_core::proxy::fields::rewrite_trailers;
use piko_core::proxy::{Failure, Leg, Step, cause};
use piko_core::time::Instant;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Rounds of one poll before the task wakes itself and lets others run.
const ROUNDS_MAX: usize = 16;

/// Both legs while bytes flow.
pub(super) struct Legs<'a, R: Runtime, C, S: Service> {
    client: &'a mut Client<R, C>,
    service: &'a S,
    work: &'a mut Work<S>,
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

impl<'a, R: Runtime, C: Io, S: Service> Legs<'a, R, C, S> {
    pub(super) fn new(
        client: &'a mut Client<R, C>,
        service: &'a S,
        work: &'a mut Work<S>,
        target: &'a mut S::Target,
        up: &'a mut Up,
        io: S::Up,
        pooled: bool,
    ) -> Self {
        let now = client.now();
        Self { client, service, work, target, up, io, pooled, cut: None, answered: false, now }
    }

    /// What is left when it is over.
    pub(super) fn into_parts(self) -> (S::Up, &'a mut Up) {
        (self.io, self.up)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.now = self.client.now();
        for _ in 0..ROUNDS_MAX {
            match self.round(cx) {
                Ok(true) => {}
                Ok(false) => {
                    let due = self.work.exchange.poll_timeout().map(|d| d.at);
                    self.client.end_turn();
                    if self.client.timer.poll_until(cx, due).is_pending() {
                        return Poll::Pending;
                    }
                    self.now = self.client.now();
                    if let Some(stop) = timeout(self.now, &mut self.work.exchange) {
                        return Poll::Ready(Outcome::Ended(stop));
                    }
                }
                Err(outcome) => return Poll::Ready(outcome),
            }
        }
        self.client.end_turn();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Each direction once. `Ok(true)` when there may be more to read: what was written stays written, and what came
    /// of it stands further down in the same round.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        self.write_up(cx);
        let mut progress = false;
        if !self.up.uploaded {
            // The end of the request brings nothing more.
            progress = self.read_client(cx)? && !self.up.uploaded;
        }
        self.write_client(cx)?;
        if self.client.out.queue.is_empty() {
            self.done()?;
        }
        progress |= self.read_up(cx)?;
        if !self.client.out.blocked {
            // The last bytes go out in `finish`, together with what was just queued.
            self.done()?;
        }
        if self.up.uploaded {
            // Behind the response: one that is all there has nobody waiting for it whose going away would matter.
            if let Some(stop) = watch(self.client, &mut self.work.exchange, cx) {
                return Err(Outcome::Ended(stop));
            }
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
        let step = self.work.exchange.handle_failed(now, leg, why);
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

    /// As [`Self::broken`], for an upstream that may have said why.
    fn broken_by(&mut self, error: &io::Error) -> Outcome {
        let is_new = !self.up.heard && !self.pooled;
        match if is_new { self.service.unheard(self.target, error) } else { None } {
            Some(why) => self.fail(Leg::Upstream, why),
            None => self.broken(),
        }
    }

    fn write_up(&mut self, cx: &mut Context<'_>) {
        if self.up.deaf || self.up.out.queue.is_empty() {
            return;
        }
        match self.up.out.flush(&mut self.io, cx) {
            Ok(moved) => self.note_up(moved),
            // The answer may have been sent before the upstream stopped listening.
            Err(_) => self.up.deaf = true,
        }
    }

    fn note_up(&mut self, moved: usize) {
        let now = self.now;
        self.work.exchange.handle_progress(now, Leg::Upstream, moved);
        self.work.exchange.handle_blocked(now, Leg::Upstream, self.up.out.blocked);
        let Self { client, work: Work { exchange, .. }, up, .. } = self;
        if !up.out.queue.keeps() {
            return;
        }
        if exchange.may_replay() && !client.share.keep(up.out.queue.held()) {
            exchange.forgo_replay();
        }
        if !exchange.may_replay() {
            up.out.queue.set_keep(false);
            client.share.forget_copy();
        }
    }

    /// Request bytes: client → upstream.
    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
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
                    self.work.exchange.handle_body(Leg::Upstream, data.len());
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
                    self.work.exchange.handle_request_end(now);
                }
                Some(_) => {}
            }
            used += n;
        }
        self.write_up(cx);
        Ok(used)
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> Result<(), Outcome> {
        if self.client.out.queue.is_empty() {
            return Ok(());
        }
        let Client { io, out, .. } = &mut *self.client;
        match out.flush(io, cx) {
            Ok(moved) => {
                self.note_down(moved);
                Ok(())
            }
            Err(_) => {
                self.client.eof = true;
                Err(self.fail(Leg::Client, Failure::ClientGone))
            }
        }
    }

    fn note_down(&mut self, moved: usize) {
        let now = self.now;
        self.work.exchange.handle_progress(now, Leg::Client, moved);
        self.work.exchange.handle_blocked(now, Leg::Client, self.client.out.blocked);
    }

    /// Response bytes: upstream → client.
    fn read_up(&mut self, cx: &mut Context<'_>) -> Result<bool, Outcome> {
        if self.cut.is_some() || self.client.out.blocked {
            return Ok(false);
        }
        let Poll::Ready(room) = room(&mut self.client.io, cx) else { return Ok(false) };
        let progress = with_read_buffer(|buf| match self.io.poll_fetch(cx, room.of(buf)) {
            Poll::Pending => {
                room.give_back(&mut self.client.io);
                Ok(false)
            }
            Poll::Ready(Err(error)) => Err(self.broken_by(&error)),
            Poll::Ready(Ok(Fetched::Here(0))) => self.up_eof(cx).map(|()| true),
            Poll::Ready(Ok(fetched)) => self.take(cx, fetched.bytes(buf)).map(|()| true),
        })?;
        if progress {
            self.write_client(cx)?;
        }
        Ok(progress)
    }

    /// Bytes of the response, behind what is left of earlier ones.
    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), Outcome> {
        self.up.heard = true;
        if self.up.rest.is_empty() {
            let used = self.download(cx, bytes, false)?;
            self.up.rest.extend(&bytes[used..]);
        } else {
            self.up.rest.extend(bytes);
            let mut rest = std::mem::take(&mut self.up.rest);
            let used = self.download(cx, rest.pending(), false)?;
            rest.consume(used);
            self.up.rest = rest;
        }
        Ok(())
    }

    /// Takes response parts from `input`, whose folded lines are `unfolded` or not. Gives what was used.
    fn download(&mut self, cx: &mut Context<'_>, input: &[u8], unfolded: bool) -> Result<usize, Outcome> {
        let now = self.now;
        let mut used = 0;
        while self.cut.is_none() {
            let (n, part) = match self.up.http.handle_input(now, &input[used..]) {
                Ok(step) => step,
                Err(fault) if fault.is_folded() && !unfolded => {
                    // RFC 9112 5.2: a proxy replaces folding in responses by spaces.
                    let mut input = input[used..].to_vec();
                    http1::unfold(&mut input);
                    return Ok(used + self.download(cx, &input, true)?);
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
                        let why = Failure::Refused(cause::TLS_FAILED);
                        if head.status == 400 && refusal == Some(why) {
                            // What a port says that was spoken to in a way it does not know is no answer to a request. Those
                            // who say it of somebody behind them, agents say, have a better one.
                            let step = self.work.exchange.handle_failed(now, Leg::Upstream, why);
                            return Err(Outcome::Ended(Stop::new(step, None)));
                        }
                    }
                    let step = self.work.exchange.handle_response(now, &head);
                    // The response is accepted: there is no thought of a retry any more.
                    self.up.out.queue.set_keep(false);
                    self.client.share.forget_copy();
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
                        self.work.exchange.handle_body(Leg::Client, data.len());
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
    fn turn_away(&mut self, now: Instant, why: Failure) -> Option<Box<Stop>> {
        if !self.work.exchange.may_retry(why) || !self.service.again(self.target, why) {
            return None;
        }
        let step = self.work.exchange.handle_failed(now, Leg::Upstream, why);
        Some(Stop::moved(step))
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
        let date = if head.status >= 200 { self.service.date(self.now) } else { None };
        with_scratch(|block| {
            let head = self.work.exchange.rewrite_response(head, date.as_ref().map(|d| &d[..]), block);
            if head.status >= 200 || head.status == 101 {
                self.service.note_response(&mut self.work.note, &head);
            }
            let Client { http, out, io, .. } = &mut *self.client;
            let written = http.send_head(&head, out.queue.tail());
            debug_assert_eq!(written, Ok(()), "a response head in another state");
            if head.status >= 200 && http.cut() == Next::Abort {
                // A process that is killed says no more than one that has said all.
                io.cut_at_end(true);
            }
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
                self.write_client(cx)
            }
            Ok(false) | Err(_) => Err(self.broken()),
        }
    }
}
