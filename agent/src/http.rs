//! The HTTP listener: each stream of the tunnel carries requests for one service.

use crate::dial::{Dial, Failed};
use piko_config::{ListenerOptions, ProxyProtocol};
use piko_core::http1::{Fault, RequestHead, ResponseHead};
use piko_core::preface::{HeaderVersion, Source, write_header};
#[cfg(feature = "tls-of-caller")]
use piko_core::proxy::cause;
use piko_core::proxy::fields::forwarded_for;
use piko_core::proxy::{self, Answer, Exchange, Failure, Peer, Place, Record, Step};
use piko_core::time::Instant;
use piko_driver::{Attempt, Connected, Decision, IoInfo, MaybeTls, Pool, Runtime, Service};
use piko_observe::access::{AccessLog, AccessNote};
use piko_observe::metrics::HttpMetrics;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// One service behind one endpoint.
pub(crate) struct HttpService<R: Runtime> {
    dial: Dial<R>,
    config: proxy::Config,
    pool: Pool<R>,
    access: Arc<AccessLog>,
    metrics: Arc<HttpMetrics>,
    /// What the service wants to find in front of each connection, which is that of one client then and not kept.
    proxy_header: Option<HeaderVersion>,
}

impl<R: Runtime> HttpService<R> {
    pub(crate) fn new(
        dial: Dial<R>,
        listener: &ListenerOptions,
        pool: Pool<R>,
        access: Arc<AccessLog>,
        metrics: Arc<HttpMetrics>,
    ) -> Self {
        let mut config = proxy::Config::new(Place::Agent);
        config.response_timeout = listener.timeout;
        config.base_path = (!dial.addr.path.is_empty()).then(|| Arc::from(dial.addr.path.as_bytes()));
        config.base_query = dial.addr.query.as_ref().map(|query| Arc::from(query.as_bytes()));
        Self { dial, config, pool, access, metrics, proxy_header: header_version(listener) }
    }
}

/// The version of the header that the service wants; none in a build that writes none, which then carries nothing for
/// them.
pub(crate) fn header_version(listener: &ListenerOptions) -> Option<HeaderVersion> {
    listener.proxy_protocol.filter(|_| cfg!(feature = "proxy-protocol")).map(|version| match version {
        ProxyProtocol::V1 => HeaderVersion::V1,
        ProxyProtocol::V2 => HeaderVersion::V2,
    })
}

/// A header of a client of which nothing but the address is known, if that.
fn header_of(version: HeaderVersion, ip: Option<IpAddr>) -> Vec<u8> {
    let source = match ip.map(|ip| ip.to_canonical()) {
        None => Source::Unknown,
        Some(ip) => {
            let any = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            Source::Client { peer: SocketAddr::new(ip, 0), local: SocketAddr::new(any, 0) }
        }
    };
    let mut head = Vec::new();
    write_header(version, source, &mut head);
    head
}

impl<R: Runtime> HttpService<R> {
    /// Known to be nothing where it is built without, so that all that depends on it goes.
    fn header(&self) -> Option<HeaderVersion> {
        if cfg!(feature = "proxy-protocol") { self.proxy_header } else { None }
    }
}

impl<R: Runtime> Service for HttpService<R> {
    type Up = MaybeTls<R::Tcp>;
    /// The client, where the service wants to know it.
    type Target = Option<IpAddr>;
    type Switched = ();
    type Note = Option<Box<AccessNote>>;

    fn exchange(&self, now: Instant, info: &IoInfo) -> Exchange {
        self.metrics.begin();
        Exchange::new(&self.config, Peer { ip: info.peer.map(|peer| peer.ip()), tls: info.tls }, now)
    }

    fn decide(
        &self,
        _: Instant,
        step: Step,
        _: &mut Exchange,
        _: &Self::Note,
        head: &RequestHead<'_>,
    ) -> Decision<Self::Target, ()> {
        match step {
            Step::Answer(answer) => Decision::Answer(answer),
            _ => {
                let target = self.header().and_then(|_| forwarded_for(&head.fields));
                Decision::Proxy { target, keep_alive: self.header().is_none(), keep_head: false }
            }
        }
    }

    async fn connect(
        &self,
        client: &Self::Target,
        attempt: Attempt,
    ) -> Result<Connected<MaybeTls<R::Tcp>>, Failure> {
        let head = self.header().map(|version| header_of(version, *client)).unwrap_or_default();
        if !attempt.fresh && head.is_empty() {
            #[cfg(feature = "tls-of-caller")]
            self.pool.only_since(self.dial.link.version());
            if let Some(io) = self.pool.take(attempt.idempotent) {
                return Ok(Connected { io, pooled: true });
            }
        }
        // Apart, so that not every stream has the room for it.
        match Box::pin(self.dial.dial(attempt.until, &head)).await {
            Ok(io) => Ok(Connected { io, pooled: false }),
            Err(Failed { cause, addr, error }) => {
                let endpoint = &self.dial.endpoint;
                tracing::warn!(
                    target: "proxy.http",
                    { "endpoint-id" = endpoint, addr, cause, %error }, "failed to dial service");
                Err(Failure::Connect(cause))
            }
        }
    }

    /// There is one service; a stale connection to it is worth a fresh one.
    fn again(&self, _: &mut Self::Target, why: Failure) -> bool {
        why == Failure::Stale
    }

    /// In TLS 1.3 a service that wants another certificate says so in place of its first data.
    #[cfg(feature = "tls-of-caller")]
    fn unheard(&self, _: &Self::Target, error: &std::io::Error) -> Option<Failure> {
        if error.kind() != std::io::ErrorKind::InvalidData {
            return None;
        }
        let addr = &self.dial.addr;
        tracing::warn!(target: "proxy.http", %error, %addr, "the service ended the TLS connection");
        piko_driver::tls::is_refusal(error).then_some(Failure::Connect(cause::TLS_FAILED))
    }

    fn release(&self, _: Self::Target, reusable: Option<MaybeTls<R::Tcp>>) {
        if let Some(io) = reusable.filter(|_| self.header().is_none()) {
            self.pool.put(io);
        }
    }

    fn note(&self, info: &IoInfo, head: &RequestHead<'_>) -> Self::Note {
        self.access.note(info.peer.map(|peer| peer.ip()), head)
    }

    fn note_response(&self, note: &mut Self::Note, head: &ResponseHead<'_>) {
        if let Some(note) = note {
            note.response(head);
        }
    }

    fn record(&self, record: Record, note: Self::Note) {
        self.metrics.record(&record);
        if let Some(note) = note {
            self.access.write(note, &record);
        }
    }

    fn refuse(&self, fault: &Fault) -> Answer {
        Answer::for_fault(Place::Agent, fault)
    }
}
