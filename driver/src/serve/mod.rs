//! One client connection: its requests in turn, each answered here, proxied, or switched.

mod client;
mod exchange;
mod legs;
mod memory;
mod refuse;
mod up;

pub use memory::RequestBudget;

use crate::relay::{Relayed, never};
use crate::runtime::{Io, IoInfo, Runtime};
use crate::setting::Setting;
use crate::shutdown::Shutdown;
use client::{Client, Idle};
use exchange::{Begun, Ended};
use piko_core::http1::{self, RequestHead, ResponseHead};
use piko_core::proxy::{Answer, Exchange, Failure, Record, Step};
use piko_core::time::Instant;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What the owner of a port decides about its requests. The HTTP of it is done here.
pub trait Service: Send + Sync + 'static {
    /// What requests are proxied over: a tunnel stream, a socket.
    type Up: Io;
    /// Where one request goes, for as long as it is tried there.
    type Target: Send + Sync;
    /// What a switched connection is for.
    type Switched: Send;
    /// What the owner remembers about one request, for its log.
    type Note: Send;

    /// A request has been read and judged: `step` is what [`Exchange::handle_request`] said.
    fn decide(
        &self,
        now: Instant,
        step: Step,
        exchange: &mut Exchange,
        note: &Self::Note,
        head: &RequestHead<'_>,
    ) -> Decision<Self::Target, Self::Switched>;

    /// A new exchange for a connection from `peer`.
    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange;

    /// Reaches the target. `fresh` forbids a pooled connection.
    fn connect(
        &self,
        target: &Self::Target,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Connected<Self::Up>, Failure>> + Send;

    /// The target failed and the request may be tried again: puts another in its place, or the same one when
    /// only its connection was bad. False leaves the target as it was, for its release: there is none.
    fn again(&self, failed: &mut Self::Target, why: Failure) -> bool;

    /// The target has to wait until there is somewhere to send the request: see [`Self::settle`].
    fn is_held(&self, target: &Self::Target) -> bool {
        let _ = target;
        false
    }

    /// Waits, for a short time, until a held target is somewhere. An error says that it is not, and ends the
    /// request.
    fn settle(&self, target: &mut Self::Target) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = target;
        std::future::ready(Ok(()))
    }

    /// The target failed before its response, whatever becomes of the request.
    fn failed(&self, target: &mut Self::Target, why: Failure) {
        let _ = (target, why);
    }

    /// A new connection to the target broke with this error before any byte of a response. What it names is a better word
    /// than that the connection broke; `None` where there is none.
    fn unheard(&self, target: &Self::Target, error: &io::Error) -> Option<Failure> {
        let _ = (target, error);
        None
    }

    /// The target's final response head, with what has arrived `behind` it. A failure when it says that it did
    /// not serve the request, and another target may do better.
    fn answered(&self, target: &mut Self::Target, head: &ResponseHead<'_>, behind: &[u8]) -> Option<Failure> {
        let _ = (target, head, behind);
        None
    }

    /// Requests leave for a tunnel (design guide A.3, fields per leg) rather than for a node or a service.
    fn is_tunnel(&self, target: &Self::Target) -> bool {
        let _ = target;
        false
    }

    /// The target is not spoken HTTP with: the request is for a connection to it (wire protocol 5), which is answered
    /// here once the target is reached, over `up`. By default there is nothing of that kind.
    fn opaque(&self, target: &mut Self::Target, up: &mut Self::Up) -> Option<Opaque> {
        let _ = (target, up);
        None
    }

    /// The target [answered](Self::answered) with a 101: `up` is an opaque pipe from here on.
    fn switched(&self, target: &mut Self::Target, up: &mut Self::Up) {
        let _ = (target, up);
    }

    /// Carries a connection that was [opened](Self::opaque), with [`relay_websocket`](crate::relay_websocket). Not done
    /// for the service, so that one without such targets does not have the code for them.
    fn carry<R: Runtime, C: Io>(
        &self,
        rt: &R,
        ends: (C, &mut Self::Up),
        early: Vec<u8>,
        opaque: Opaque,
    ) -> impl Future<Output = Relayed> + Send {
        drop((rt, ends, early, opaque));
        std::future::ready(Relayed { from_a: 0, from_b: 0, result: Ok(()) })
    }

    /// A connection that was [opened](Self::opaque) is over.
    fn relayed(&self, target: &Self::Target, relayed: &Relayed) {
        let _ = (target, relayed);
    }

    /// The exchange is over; `reusable` is a connection that can carry another request.
    fn release(&self, target: Self::Target, reusable: Option<Self::Up>);

    /// What to remember about a request, before it is decided.
    fn note(&self, info: &IoInfo, head: &RequestHead<'_>) -> Self::Note;

    /// The final response head as the client gets it.
    fn note_response(&self, note: &mut Self::Note, head: &ResponseHead<'_>);

    /// When switched connections are cut, whose ends nobody else brings about: ready then. The end of the process alone
    /// would look like a clean end, and leave no record.
    fn cutter(&self) -> impl FnMut(&mut Context<'_>) -> Poll<()> + Send {
        never
    }

    /// The exchange is over.
    fn record(&self, record: Record, note: Self::Note);

    /// Whether the head of a request, of so many bytes, is small enough for whoever sent it, where that is more than the
    /// `limits` of its connection say.
    fn admits(&self, info: &IoInfo, head: &RequestHead<'_>, bytes: usize, limits: &http1::Config) -> bool {
        let _ = (info, head, bytes, limits);
        true
    }

    /// Limits of the heads of responses.
    fn responses(&self) -> http1::Config {
        http1::Config::default()
    }

    /// The value of a `Date` field to add to final responses without one, and to answers made here; `None` adds none.
    fn date(&self, now: Instant) -> Option<[u8; 29]> {
        let _ = now;
        None
    }

    /// An answer to a request that HTTP itself refused. It is recorded like any other: with an exchange and a note of
    /// its own, over as much of the head as could be read.
    fn refuse(&self, fault: &http1::Fault) -> Answer;
}

/// How a request is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The request's method is idempotent (RFC 9110 9.2.2), so a stale connection costs a retry only.
    pub idempotent: bool,
    /// Only a new connection will do: a pooled one has just failed.
    pub fresh: bool,
    /// When the whole attempt is over, where there is a limit.
    pub until: Option<Instant>,
}

/// A way to the target.
#[derive(Debug)]
pub struct Connected<U> {
    /// The byte stream.
    pub io: U,
    /// It has carried a request before, so it may have been closed meanwhile.
    pub pooled: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision<T, S> {
    /// Answered here.
    Answer(Answer),
    /// Sent on.
    Proxy {
        /// Where to.
        target: T,
        /// The connection may carry more requests.
        keep_alive: bool,
        /// A retry may turn from a tunnel to a node or back, for which the head has to be written anew.
        keep_head: bool,
    },
    /// Answered with this 101 and handed to the caller of [`serve`].
    Switch(Answer, S),
}

/// How a request for a connection is answered, and what is known of both ends.
#[derive(Debug)]
pub struct Opaque {
    /// The 101. Behind it the client speaks WebSocket, whose payload is the connection's.
    pub answer: Answer,
    /// The client knows half closes.
    pub client_half_close: bool,
    /// The target knows half closes.
    pub target_half_close: bool,
}

/// Limits and signals of one port, shared by its connections.
#[derive(Clone, Debug)]
pub struct Port {
    /// Heads, fields and deadlines of requests: those of a connection are what stands here when it begins.
    pub http: Setting<http1::Config>,
    /// Every response announces the end of its connection once it is given, so that clients go elsewhere.
    pub leaving: Shutdown,
    /// No new requests on idle connections once it is given.
    pub shutdown: Shutdown,
    /// Memory that requests hold.
    pub memory: Arc<RequestBudget>,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Served<C, S> {
    /// It is closed.
    Closed,
    /// It was switched: the stream, the bytes that came behind the request, and what it is for.
    Switched(C, Vec<u8>, S),
}

/// Serves `io` until it ends.
pub fn serve<R: Runtime, C: Io, S: Service>(
    rt: &R,
    io: C,
    service: &S,
    port: &Port,
) -> impl Future<Output = Served<C, S::Switched>> + Send {
    // Made here: an `async fn` would keep room for its arguments beside what they turn into, in every connection.
    let mut client = Client::new(rt, io, port);
    async move {
        loop {
            let begun = match client.next_request(service).await {
                Ok(begun) => begun,
                Err(Idle::Closed) => {
                    client.close().await;
                    return Served::Closed;
                }
                // Dropped, not lingered for: nothing was said that a reset could overtake.
                Err(Idle::Broken | Idle::Expired) => return Served::Closed,
                Err(Idle::Refused(refused)) => {
                    Box::pin(refuse::answer(&mut client, service, &refused)).await;
                    return Served::Closed;
                }
            };
            if client.is_leaving() {
                client.http.close_after_response();
            }
            // The exceptions lie on the heap, so that not every connection has the room for them.
            let ended = match begun {
                Begun::Proxy(forward) => exchange::proxy(&mut client, service, forward).await,
                Begun::Answer(here) => Box::pin(exchange::answer_here(&mut client, service, here)).await,
            };
            match ended {
                Ended::KeepAlive => {}
                Ended::Close => {
                    client.close().await;
                    return Served::Closed;
                }
                Ended::Abort => {
                    client.io.abort();
                    return Served::Closed;
                }
                Ended::Handed(switched) => {
                    let rest = client.rest.pending().to_vec();
                    return Served::Switched(client.io, rest, switched);
                }
                Ended::Piped(piped) => {
                    Box::pin(exchange::pipe(client, service, piped)).await;
                    return Served::Closed;
                }
            }
        }
    }
}
