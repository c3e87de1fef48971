//! A listener: one endpoint, one tunnel at a time, reconnected until closed.

use crate::error::DialError;
use crate::reach::{ATTEMPT_MAX, Reached, Wish};
use crate::upstream::Upstream;
use crate::url::Url;
use piko_core::id::EndpointId;
use piko_core::mux::{CloseReason, GoAway};
use piko_core::tunnel::{Action, Reconnector, Tunnel};
use piko_core::ws::{self, Role};
use piko_driver::{
    Io, Runtime, Shutdown, Stream, TunnelHandle, TunnelLoop, Upgraded, WsTransport, random_bytes, sleep_until,
};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What happens to a listener's tunnel.
///
/// ```text
///   Connecting ──► Connected ──► Lost ──┐
///     ▲    └─────► Failed ──────────────┤
///     └─────────────────────────────────┤
///                                       └──► Ended, from anywhere
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The tunnel is up.
    Connected {
        /// What it serves.
        endpoint: &'a EndpointId,
        /// Where it leads.
        url: &'a Url,
    },
    /// An attempt begins.
    Connecting {
        /// What it is for.
        endpoint: &'a EndpointId,
        /// Where it leads.
        url: &'a Url,
    },
    /// The listener dials no more. The last event.
    Ended {
        /// What it served.
        endpoint: &'a EndpointId,
        /// The refusal that ended it; `None` when it was closed or dropped.
        error: Option<&'a DialError>,
    },
    /// An attempt failed; the next one follows after `wait`, which is nothing while there are further servers to try.
    Failed {
        /// What it was for.
        endpoint: &'a EndpointId,
        /// Why.
        error: &'a DialError,
        /// `None`: no further attempt.
        wait: Option<Duration>,
        /// Where it should have led.
        url: &'a Url,
    },
    /// The tunnel ended without being asked to; another one is dialled.
    Lost {
        /// What it served.
        endpoint: &'a EndpointId,
        /// Why.
        reason: &'a CloseReason,
    },
}

/// The listener was closed, or its server refused it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

#[derive(Default)]
struct State {
    /// The tunnel, and older ones that still finish their streams.
    tunnels: Vec<TunnelHandle>,
    wakers: Vec<Waker>,
    /// A tunnel has been up.
    up: bool,
    refused: Option<DialError>,
    /// No further tunnel will come.
    ended: bool,
}

impl State {
    /// Wakes the task at the next change.
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
    }
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.lock();
            f(&mut state);
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

/// Accepts the streams that the server opens for one endpoint. Dropping it ends the tunnel at once.
pub struct Listener<R: Runtime> {
    rt: R,
    endpoint: EndpointId,
    shared: Arc<Shared>,
    stop: Shutdown,
}

impl<R: Runtime> fmt::Debug for Listener<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<R: Runtime> Listener<R> {
    pub(crate) fn start(upstream: Upstream<R>, endpoint: EndpointId) -> Self {
        let shared = Arc::new(Shared::default());
        let stop = Shutdown::new();
        let rt = upstream.reach.rt.clone();
        rt.spawn(supervise(upstream, endpoint.clone(), shared.clone(), stop.clone()));
        Self { rt, endpoint, shared, stop }
    }

    /// The endpoint it listens on.
    pub fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }

    /// True while a tunnel is up.
    pub fn is_connected(&self) -> bool {
        self.shared.lock().tunnels.iter().any(|tunnel| tunnel.close_reason().is_none())
    }

    /// Ready once a tunnel has been up; fails when the server refused for good.
    pub async fn connected(&self) -> Result<(), DialError> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.up {
                return Poll::Ready(Ok(()));
            }
            if state.ended {
                let refused = state.refused.take();
                return Poll::Ready(Err(refused.unwrap_or(DialError::Closed)));
            }
            state.wait(cx);
            Poll::Pending
        })
        .await
    }

    /// The next stream, with the IO traits of the runtime. Any number of tasks may wait, and a wait that is
    /// given up loses nothing. Streams come from one tunnel after the other: a lost one is replaced while
    /// this waits. Fails once the listener is closed and its last tunnel is over.
    pub async fn accept(&self) -> Result<R::Stream, Closed> {
        poll_fn(|cx| self.poll_accept(cx)).await.map(R::Stream::from)
    }

    /// As [`Self::accept`]: the stream as the driver knows it, with the traits of futures-io.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<Stream, Closed>> {
        let mut state = self.shared.lock();
        let mut at = 0;
        while at < state.tunnels.len() {
            match state.tunnels[at].poll_accept(cx) {
                Poll::Ready(Some(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(None) => {
                    state.tunnels.remove(at);
                }
                Poll::Pending => at += 1,
            }
        }
        if state.ended && state.tunnels.is_empty() {
            return Poll::Ready(Err(Closed));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Stops gently: no reconnects, no new streams; open ones go on for at most `grace`. Ready when
    /// the last tunnel is over.
    pub async fn close(&self, grace: Duration) {
        self.stop.trigger();
        let tunnels = self.shared.lock().tunnels.clone();
        for tunnel in &tunnels {
            tunnel.drain(grace);
        }
        for tunnel in &tunnels {
            poll_fn(|cx| tunnel.poll_closed(cx)).await;
        }
    }

    /// Ends the tunnel and every stream at once.
    pub fn shutdown(&self) {
        self.stop.trigger();
        let tunnels = self.shared.lock().tunnels.clone();
        for tunnel in tunnels {
            tunnel.abort(GoAway::Normal);
        }
    }

    /// The refusal that ended this listener, once.
    pub fn take_refusal(&self) -> Option<DialError> {
        self.shared.lock().refused.take()
    }

    /// The runtime it lives on.
    pub fn runtime(&self) -> &R {
        &self.rt
    }
}

impl<R: Runtime> Drop for Listener<R> {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Runs `work` unless the listener is closed first.
async fn unless_stopped<T>(stop: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut listener = stop.listener();
    poll_fn(|cx| {
        if listener.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn supervise<R: Runtime>(
    upstream: Upstream<R>,
    endpoint: EndpointId,
    shared: Arc<Shared>,
    stop: Shutdown,
) {
    let refused = reconnect(&upstream, &endpoint, &shared, &stop).await;
    (upstream.on_event)(&Event::Ended { endpoint: &endpoint, error: refused.as_ref() });
    shared.change(|state| {
        state.refused = refused;
        state.ended = true;
    });
}

/// Keeps a tunnel up. Gives the refusal that ended it, or nothing when it was closed.
async fn reconnect<R: Runtime>(
    upstream: &Upstream<R>,
    endpoint: &EndpointId,
    shared: &Shared,
    stop: &Shutdown,
) -> Option<DialError> {
    let rt = &upstream.reach.rt;
    // Without entropy listeners would come back in step, which is better than not at all.
    let seed = random_bytes().map(u64::from_ne_bytes).unwrap_or_default();
    let targets = u16::try_from(upstream.reach.urls.len()).unwrap_or(u16::MAX);
    let mut reconnector = Reconnector::new(targets, upstream.backoff.clone(), seed, rt.now());
    let mut last = None;
    loop {
        match reconnector.poll_action() {
            Some(Action::Dial { attempt, target, limit }) => {
                let url = &upstream.reach.urls[usize::from(target)];
                (upstream.on_event)(&Event::Connecting { endpoint, url });
                match unless_stopped(stop, Box::pin(dial(upstream, url, endpoint, limit))).await? {
                    Ok(reached) => {
                        reconnector.handle_connected(rt.now(), attempt);
                        let tunnel = start(upstream, endpoint, reached);
                        shared.change(|state| {
                            state.up = true;
                            state.tunnels.push(tunnel.clone());
                        });
                        // `close` gives the signal before it looks at the list: one of both sees the other.
                        if stop.is_triggered() {
                            tunnel.abort(GoAway::Normal);
                            return None;
                        }
                        (upstream.on_event)(&Event::Connected { endpoint, url });
                        unless_stopped(stop, poll_fn(|cx| tunnel.poll_going_away(cx))).await?;
                        let reason = tunnel.close_reason().unwrap_or(CloseReason::GoAway(GoAway::Normal));
                        (upstream.on_event)(&Event::Lost { endpoint, reason: &reason });
                        reconnector.handle_lost(rt.now());
                    }
                    Err(error) => {
                        reconnector.handle_failed(rt.now(), attempt, error.failure());
                        let wait = reconnector.poll_wait(rt.now());
                        (upstream.on_event)(&Event::Failed { endpoint, error: &error, wait, url });
                        last = Some(error);
                    }
                }
            }
            Some(Action::GiveUp(_)) => return last,
            None => {
                let Some(deadline) = reconnector.poll_timeout() else {
                    // Nothing to wait for would be a bug of the machine; do not spin.
                    return last;
                };
                unless_stopped(stop, sleep_until(rt, deadline.at)).await?;
                reconnector.handle_timeout(rt.now());
            }
        }
    }
}

/// One attempt for a tunnel.
async fn dial<R: Runtime>(
    upstream: &Upstream<R>,
    url: &Url,
    endpoint: &EndpointId,
    limit: Option<Duration>,
) -> Result<Reached<R>, DialError> {
    let tenant = upstream.tenant.as_deref();
    let wish = Wish { path: "/piko/v1/upstream/", endpoint, tenant, caps: upstream.caps.clone() };
    let until = upstream.reach.rt.now() + limit.unwrap_or(ATTEMPT_MAX);
    upstream.reach.reach(url, &wish, until).await
}

fn start<R: Runtime>(upstream: &Upstream<R>, endpoint: &EndpointId, reached: Reached<R>) -> TunnelHandle {
    let rt = &upstream.reach.rt;
    let (Upgraded { io, early }, caps) = reached;
    let mut config = upstream.mux.clone();
    config.front_room = ws::FRONT_ROOM;
    let mut tunnel = Tunnel::dialled(endpoint.clone(), config, rt.now());
    tunnel.set_caps(caps);
    let info = *io.info();
    let transport = WsTransport::new(io, Role::Client, early);
    let (handle, work) = TunnelLoop::new(rt.clone(), transport, tunnel, info);
    rt.spawn(async move {
        let reason = work.await;
        tracing::debug!(%reason, "tunnel over");
    });
    handle
}
