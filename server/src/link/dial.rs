//! The entry's end of a link: opened on first need, closed when nobody has used it for a while.

use super::{PATH, label};
use crate::date;
use crate::nodes::Nodes;
use piko_core::id::NodeId;
use piko_core::proxy::NODE_FIELD;
use piko_core::time::Instant;
use piko_core::tunnel::{Grant, Tunnel};
use piko_core::ws::Role;
use piko_driver::{
    Clock, Io, IoInfo, MaybeTls, Runtime, Timer, TunnelHandle, TunnelLoop, UpgradeError, Upgraded,
    WsTransport, timeout_at, upgrade,
};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// Connection, TLS and upgrade together; requests do not wait for it.
const DIAL: Duration = Duration::from_secs(5);
/// The wait behind a link that could not be opened, or was lost soon; it doubles up to [`REST_MAX`].
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(32);
/// A link that lived for so long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// A link without a request for so long, or up to twice as long, is closed; as kept connections are.
const IDLE: Duration = Duration::from_secs(60);
/// What is under way when a link is given up takes as long as it takes: requests have limits of their own.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The way to one node at one address.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// How often in a row it could not be opened, or was lost soon.
    failures: u32,
    /// Which opening is the present one: what is said of earlier ones is old news.
    number: u64,
    /// Requests that were given it.
    used: u64,
    /// What the node was judged by when it was asked for ([`Connector::version`](piko_driver::tls::Connector::version)).
    version: u32,
}

#[derive(Debug, Default)]
enum State {
    /// For good: the node is gone.
    Closed,
    #[default]
    Down,
    Opening,
    /// It is not tried again before.
    Resting(Instant),
    Up(TunnelHandle),
}

/// What a request finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A link, which may end at any moment.
    Up(TunnelHandle),
    /// None, and whoever asks is to open it, under this number.
    Dial(u64),
    /// None for now.
    Nothing,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for a request, while nodes are judged by this version of certificates and authorities. A link of an
    /// older one gets no more requests, and ends with those that are under way.
    pub(crate) fn find(&self, version: u32, now: impl FnOnce() -> Instant) -> Found {
        let mut inner = self.lock();
        if inner.version < version && !matches!(inner.state, State::Closed) {
            (inner.version, inner.failures) = (version, 0);
            if let State::Up(handle) = std::mem::take(&mut inner.state) {
                handle.drain(NO_LIMIT);
            }
        }
        match &inner.state {
            State::Up(handle) => {
                let handle = handle.clone();
                inner.used += 1;
                Found::Up(handle)
            }
            State::Resting(until) if *until > now() => Found::Nothing,
            State::Down | State::Resting(_) => {
                inner.state = State::Opening;
                inner.number += 1;
                Found::Dial(inner.number)
            }
            State::Closed | State::Opening => Found::Nothing,
        }
    }

    /// Ends it for good, once its requests are done.
    pub(crate) fn close(&self) {
        let old = std::mem::replace(&mut self.lock().state, State::Closed);
        if let State::Up(handle) = old {
            handle.drain(NO_LIMIT);
        }
    }

    /// False when it was closed meanwhile.
    fn came_up(&self, number: u64, handle: &TunnelHandle) -> bool {
        let mut inner = self.lock();
        let wanted = inner.number == number && matches!(inner.state, State::Opening);
        if wanted {
            inner.state = State::Up(handle.clone());
        }
        wanted
    }

    /// It takes no more requests; the next one may ask for another.
    fn give_up(&self, number: u64) {
        let mut inner = self.lock();
        if inner.number == number && matches!(inner.state, State::Up(_)) {
            inner.state = State::Down;
        }
    }

    /// It could not be opened, or has ended.
    pub(super) fn ended(&self, number: u64, now: Instant, was_good: bool) {
        let mut inner = self.lock();
        if inner.number != number || matches!(inner.state, State::Closed) {
            return;
        }
        if was_good {
            inner.failures = 0;
            inner.state = State::Down;
        } else {
            let wait = REST.saturating_mul(1 << inner.failures.min(8)).min(REST_MAX);
            inner.failures = inner.failures.saturating_add(1);
            inner.state = State::Resting(now + wait);
        }
    }

    /// Requests that were given it so far.
    fn used(&self) -> u64 {
        self.lock().used
    }
}

/// Opens a link, and carries it until it ends.
pub(crate) async fn dial<R: Runtime>(
    nodes: Arc<Nodes<R>>,
    link: Arc<Link>,
    node: NodeId,
    proxy: SocketAddr,
    number: u64,
) {
    let rt = nodes.rt.clone();
    let opened = timeout_at(&rt, Some(rt.now() + DIAL), open(&nodes, proxy)).await;
    let opened = opened.unwrap_or_else(|_| Err(UpgradeError::Io(io::ErrorKind::TimedOut.into())));
    let began = rt.now();
    match opened {
        Ok((transport, info)) => {
            let tunnel = Tunnel::accepted(label(), Grant::default(), nodes.links.clone(), began);
            let handle = TunnelHandle::detached(Clock::of(&rt), tunnel, info);
            if !link.came_up(number, &handle) {
                handle.drain(Duration::ZERO);
            }
            tracing::debug!(target: "proxy.http", { "node-id" = %node, %proxy }, "link to node opened");
            carry(&rt, &link, number, transport, handle).await;
            let now = rt.now();
            tracing::debug!(target: "proxy.http", { "node-id" = %node, %proxy }, "link to node ended");
            link.ended(number, now, now.since(began) >= STEADY);
        }
        Err(error) => {
            if let UpgradeError::Io(error) = &error {
                nodes.is_no_tls(&node, proxy, error);
            }
            tracing::debug!(target: "proxy.http", { "node-id" = %node, %proxy, %error }, "no link to node");
            link.ended(number, began, false);
        }
    }
}

type Opened<R> = (WsTransport<MaybeTls<<R as Runtime>::Tcp>>, IoInfo);

async fn open<R: Runtime>(nodes: &Nodes<R>, proxy: SocketAddr) -> Result<Opened<R>, UpgradeError> {
    nodes.dials.inc();
    let io = nodes.dial(proxy).await.map_err(UpgradeError::Io)?;
    let info = *io.info();
    let proof = nodes.members.as_ref().map(|members| members.proof(date::unix_secs()));
    let mut fields: Vec<(&str, &[u8])> =
        vec![("User-Agent", concat!("piko-rust/", env!("CARGO_PKG_VERSION")).as_bytes())];
    fields.extend(proof.as_ref().map(|proof| (NODE_FIELD, &proof[..])));
    let Upgraded { io, early } =
        upgrade(io, proxy.to_string().as_bytes(), PATH, &fields, &mut |_| {}).await?;
    Ok((WsTransport::new(io, Role::Client, early), info))
}

/// Runs the loop of a link. Given up when the owner takes no more streams, and when nobody opens any.
async fn carry<R: Runtime>(
    rt: &R,
    link: &Link,
    number: u64,
    transport: WsTransport<MaybeTls<R::Tcp>>,
    handle: TunnelHandle,
) {
    let mut work = TunnelLoop::with_handle(rt.clone(), transport, handle.clone());
    let mut timer = rt.timer();
    let mut look_at = rt.now() + IDLE;
    let mut used_before = 0;
    let mut is_wanted = true;
    poll_fn(|cx| {
        if Pin::new(&mut work).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !is_wanted {
            return Poll::Pending;
        }
        if handle.poll_going_away(cx).is_ready() {
            is_wanted = false;
        }
        while is_wanted && timer.poll_until(cx, Some(look_at)).is_ready() {
            let now = rt.now();
            if now < look_at {
                continue;
            }
            look_at = now + IDLE;
            let used = link.used();
            is_wanted = used != used_before || handle.streams() > 0;
            used_before = used;
        }
        if !is_wanted {
            link.give_up(number);
            // What was opened meanwhile is waited for.
            handle.drain(NO_LIMIT);
        }
        Poll::Pending
    })
    .await;
}
