//! The agent's metrics port: `GET /metrics` and nothing else.
//!
//! It answers by itself, without the driver's exchanges: the second copy of those, for another kind of socket, would be a
//! tenth of the whole agent.

use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use piko_core::http1::{
    BodyLength, Config, Fields, Next, Part, RequestHead, ResponseHead, ServerConn, Version,
};
use piko_core::proxy::{Answer, Place};
use piko_core::time::Instant;
use piko_driver::{Io, Reloader, Runtime, Shutdown, Timer, timeout_at, with_read_buffer};
use piko_observe::metrics::{
    CONTENT_TYPE, HttpMetrics, TcpMetrics, render_all, render_build_info, render_process, render_tcp,
};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// One read takes this much: a scraper's request is some hundred bytes.
const READ_BYTES: usize = 4 * 1024;
/// How long a scraper may take to read its answer.
const WRITE: Duration = Duration::from_secs(10);
/// How long, and how many reads, the rest of a refused request is waited for, so that the answer is not overtaken by a
/// reset (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_READS: usize = 256;

/// The counters of every endpoint, which all its listeners share, and which stay when a listener goes. Clones are the same
/// ones.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<Counters>>);

#[derive(Default)]
struct Counters {
    http: Vec<Arc<HttpMetrics>>,
    tcp: Vec<Arc<TcpMetrics>>,
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of an HTTP endpoint.
    pub(crate) fn http(&self, endpoint: &str) -> Arc<HttpMetrics> {
        let all = &mut self.lock().http;
        if let Some(metrics) = all.iter().find(|metrics| metrics.is_of(endpoint)) {
            return metrics.clone();
        }
        let metrics = Arc::new(HttpMetrics::new("piko_agent", Some(endpoint)));
        all.push(metrics.clone());
        metrics
    }

    /// Those of a TCP endpoint.
    pub(crate) fn tcp(&self, endpoint: &str) -> Arc<TcpMetrics> {
        let all = &mut self.lock().tcp;
        if let Some(metrics) = all.iter().find(|metrics| metrics.is_of(endpoint)) {
            return metrics.clone();
        }
        let metrics = Arc::new(TcpMetrics::new("piko_agent", Some(endpoint)));
        all.push(metrics.clone());
        metrics
    }
}

/// Shows the counters of every listener.
pub(crate) struct Metrics {
    counted: Counted,
    #[cfg(feature = "tls-of-caller")]
    reloader: Reloader,
}

impl Metrics {
    #[cfg(feature = "tls-of-caller")]
    pub(crate) fn new(counted: Counted, reloader: Reloader) -> Self {
        Self { counted, reloader }
    }

    /// Without TLS there is nothing that is read again.
    #[cfg(not(feature = "tls-of-caller"))]
    pub(crate) fn new(counted: Counted, _: Reloader) -> Self {
        Self { counted }
    }

    /// Answers the requests of one connection until it ends, or is idle when `quit` is given.
    pub(crate) async fn serve<R: Runtime>(&self, rt: &R, mut io: R::Tcp, quit: &Shutdown) {
        let mut conn = Conn::new(rt.now());
        loop {
            let Some(next) = conn.turn(rt.now(), self) else {
                if read(rt, &mut io, &mut conn, quit).await {
                    continue;
                } else {
                    return;
                };
            };
            let until = rt.now() + WRITE;
            let written = timeout_at(rt, Some(until), io.write_all(&conn.output)).await;
            conn.output = Vec::new();
            match next {
                Next::KeepAlive if matches!(written, Ok(Ok(()))) => {}
                Next::Close if matches!(written, Ok(Ok(()))) => return linger(rt, io).await,
                _ => return io.abort(),
            }
        }
    }

    fn answer(&self, head: &RequestHead<'_>) -> Answer {
        let path = head.target.split(|&b| b == b'?').next().unwrap_or_default();
        let (status, reason, content_type, body) = if head.method == b"GET" && path == b"/metrics" {
            (200, "OK", CONTENT_TYPE, self.render())
        } else {
            (404, "Not Found", "text/plain", "404 page not found".to_owned())
        };
        let fields = ["Content-Type: ", content_type, "\r\n"].concat().into_bytes();
        Answer { status, reason, fields, body: body.into_bytes(), close: false }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        let counted = self.counted.lock();
        let http: Vec<&HttpMetrics> = counted.http.iter().map(|metrics| &**metrics).collect();
        render_all(&http, &mut text);
        let tcp: Vec<&TcpMetrics> = counted.tcp.iter().map(|metrics| &**metrics).collect();
        render_tcp(&tcp, &mut text);
        #[cfg(feature = "tls-of-caller")]
        piko_observe::metrics::render_reloads(self.reloader.counts(), self.reloader.is_current(), &mut text);
        render_build_info(env!("CARGO_PKG_VERSION"), &mut text);
        render_process(&mut text);
        text
    }
}

/// One connection without its socket.
struct Conn {
    http: ServerConn,
    /// A head that is not complete, a pipelined request.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Conn {
    fn new(now: Instant) -> Self {
        Self { http: ServerConn::new(Config::default(), now), input: Vec::new(), output: Vec::new() }
    }

    /// Answers the next request of the input and says what becomes of the connection behind the answer; `None` while
    /// there is no whole head.
    fn turn(&mut self, now: Instant, metrics: &Metrics) -> Option<Next> {
        // Behind an answer this starts the keep-alive deadline.
        self.http.handle_timeout(now);
        let mut pending = None;
        loop {
            let used = match self.http.handle_input(now, &self.input) {
                Ok((used, Some(Part::Head(head)))) => {
                    pending = Some(metrics.answer(&head));
                    used
                }
                Ok((_, Some(Part::Switched))) => return Some(Next::Abort),
                Ok((used, Some(_))) => used,
                // A body that is not there yet is not waited for: the answer then ends the connection.
                Ok((used, None)) => {
                    self.input.drain(..used);
                    return pending.map(|answer| self.write(&answer));
                }
                Err(fault) => {
                    self.http.close_after_response();
                    return Some(
                        self.write(&pending.unwrap_or_else(|| Answer::for_fault(Place::Agent, &fault))),
                    );
                }
            };
            self.input.drain(..used);
            if let Some(answer) = pending.take_if(|_| self.http.request_done()) {
                return Some(self.write(&answer));
            }
        }
    }

    fn write(&mut self, answer: &Answer) -> Next {
        let head = ResponseHead {
            status: answer.status,
            reason: answer.reason.as_bytes(),
            version: Version::Http11,
            fields: Fields::from_block(&answer.fields),
            body: BodyLength::Known(answer.body.len() as u64),
        };
        if self.http.send_head(&head, &mut self.output).is_err() {
            return self.http.cut();
        }
        if self.http.response_has_body() && self.http.send_data(answer.body.len(), &mut self.output).is_ok() {
            self.output.extend_from_slice(&answer.body);
        }
        self.http.send_end(&mut self.output)
    }
}

/// Waits for more input. False when the connection is over.
async fn read<R: Runtime>(rt: &R, io: &mut R::Tcp, conn: &mut Conn, quit: &Shutdown) -> bool {
    let (mut timer, mut quit) = (rt.timer(), quit.listener());
    poll_fn(|cx| {
        loop {
            if conn.http.is_idle() && conn.input.is_empty() && quit.poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            let read = with_read_buffer(|buf| {
                let read = Pin::new(&mut *io).poll_read(cx, &mut buf[..READ_BYTES]);
                if let Poll::Ready(Ok(n)) = read {
                    conn.input.extend_from_slice(&buf[..n]);
                }
                read
            });
            match read {
                Poll::Ready(Ok(n)) => return Poll::Ready(n > 0),
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    if timer.poll_until(cx, conn.http.poll_timeout().map(|due| due.at)).is_pending() {
                        return Poll::Pending;
                    }
                    conn.http.handle_timeout(rt.now());
                    if conn.http.is_expired() {
                        return Poll::Ready(false);
                    }
                }
            }
        }
    })
    .await
}

/// Ends our direction and passes over what still comes.
async fn linger<R: Runtime>(rt: &R, mut io: R::Tcp) {
    let until = rt.now() + LINGER;
    let mut closed = false;
    let mut left = LINGER_READS;
    let over = poll_fn(|cx| {
        if !closed {
            closed = Pin::new(&mut io).poll_close(cx).is_ready();
        }
        while left > 0 {
            match with_read_buffer(|buf| Pin::new(&mut io).poll_read(cx, &mut buf[..READ_BYTES])) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => left -= 1,
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    });
    let _ = timeout_at(rt, Some(until), over).await;
}

#[cfg(test)]
mod tests;
