//! The access log: one JSON line per request, in the shape of Go Piko v0.9 (behaviour of the server,
//! section 12), formatted by hand and written in batches by a thread of its own.
//!
//! ```text
//! {"level":"info","ts":"…","subsystem":"proxy.access","msg":"request","request":{"proto":"HTTP/1.1",
//!  "method":"GET","host":"a.b","path":"/x","request_headers":{"Accept":["*/*"]},
//!  "response_headers":{"Content-Length":["2"]},"status":200,"duration":"304.658549ms",
//!  "client_ip":"192.0.2.1","endpoint_id":"a","request_bytes":0,"response_bytes":2}}
//! ```
//!
//! What comes after `duration` is not in Go's line. `endpoint_id` is left out where none is known, `retries`
//! where there was none, and `cause` (why the request failed, in a word) where it did not fail.
//!
//! A request's life: [`AccessLog::note`] when its head was read, [`AccessNote::response`] with the head that
//! goes to the client, [`AccessLog::write`] when it is over. The line is built along the way in one recycled
//! buffer; nothing is allocated per request once the thread has served a few.
//!
//! Values of `Authorization`, `Proxy-Authorization`, `X-Piko-Authorization`, `Cookie` and `Set-Cookie` are
//! secrets and always written as `[redacted]` (rough edge R8), and so is the user info of URLs in other values. Filters work on the line, never on the
//! message (R6).

mod fields;
mod note;
mod target;

pub use fields::HeaderFilter;
pub use note::AccessNote;

use crate::json;
use crate::log::{self, Level, Line};
use crate::sink::{Patience, Sink};
use crate::stamp;
use note::Facts;
use piko_core::http1::RequestHead;
use piko_core::proxy::Record;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

/// How long a dropped log waits for its last lines: a reader may be slow to start, or have much to read.
const DROP_PATIENCE: Patience = Patience { quiet: Duration::from_secs(1), total: Duration::from_secs(5) };
/// From this status on a line is at least a warning.
const WARN_STATUS: u16 = 500;

/// What the access log of one port or listener writes (`access_log` in the configuration).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccessOptions {
    /// The level of a line; raised to [`Level::Warn`] for statuses from 500 on.
    pub level: Level,
    /// Write nothing.
    pub disable: bool,
    /// `proxy.access` on the server, `proxy.http.access` on the agent.
    pub subsystem: &'static str,
    /// The agent's listener: a field `endpoint-id` beside `request`.
    pub endpoint: Option<String>,
    /// Which request headers are written.
    pub request_headers: HeaderFilter,
    /// Which response headers are written.
    pub response_headers: HeaderFilter,
    /// Which levels and subsystems the process writes at all.
    pub log: log::Options,
}

impl AccessOptions {
    /// Everything at level info.
    pub fn new(subsystem: &'static str) -> Self {
        Self {
            level: Level::Info,
            disable: false,
            subsystem,
            endpoint: None,
            request_headers: HeaderFilter::default(),
            response_headers: HeaderFilter::default(),
            log: log::Options::default(),
        }
    }
}

/// The access log of one port or listener. All of a process share one buffer and one thread.
///
/// A stderr that is slow or closed never holds up a request: at most 1 MiB waits, lines beyond it are dropped
/// and counted ([`AccessLog::dropped`]). Dropping the log waits for the last lines, up to 5 s and at most 1 s in
/// which no byte moves; a process that ends in another way calls [`AccessLog::flush`]. What the reader has not
/// taken by then is lost.
pub struct AccessLog {
    /// What is written of requests that begin.
    shared: RwLock<Arc<Shared>>,
    /// Beside the lock, since a log that is off should cost a request nothing.
    silent: AtomicBool,
    sink: Arc<Sink>,
}

/// What notes need of their log.
pub(crate) struct Shared {
    options: AccessOptions,
}

impl Shared {
    /// No line of any level is written.
    fn is_silent(&self) -> bool {
        let options = &self.options;
        options.disable || !options.log.allows(options.level.max(Level::Warn), options.subsystem)
    }
}

impl AccessLog {
    /// A log that writes to stderr.
    pub fn new(options: AccessOptions) -> Self {
        let sink = Sink::stderr(options.subsystem);
        Self::to(options, sink)
    }

    fn to(options: AccessOptions, sink: Arc<Sink>) -> Self {
        let shared = Arc::new(Shared { options });
        Self { silent: shared.is_silent().into(), shared: RwLock::new(shared), sink }
    }

    /// Writes what these options ask for, of requests that begin from here on; the subsystem stays.
    pub fn set(&self, options: AccessOptions) {
        let shared = Arc::new(Shared { options });
        let silent = shared.is_silent();
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = shared;
        // Whoever reads the one before the other writes or leaves out one request too many.
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Its owner was asked to log nothing.
    pub fn is_disabled(&self) -> bool {
        self.shared().options.disable
    }

    fn shared(&self) -> RwLockReadGuard<'_, Arc<Shared>> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request. `None` when nothing will be written: the log is disabled, or the path is one of
    /// Piko's own (`/_piko…`).
    pub fn note(&self, peer: Option<IpAddr>, head: &RequestHead<'_>) -> Option<Box<AccessNote>> {
        if self.silent.load(Ordering::Relaxed) || target::is_internal(head.target) {
            return None;
        }
        Some(AccessNote::new(&self.shared(), peer, head))
    }

    /// Writes the line of a request that is over. Takes what [`AccessLog::note`] gave, also a `None`.
    pub fn write(&self, note: impl Into<Option<Box<AccessNote>>>, record: &Record) {
        if let Some(note) = note.into() {
            self.write_facts(note, &Facts::of(record));
        }
    }

    fn write_facts(&self, mut note: Box<AccessNote>, facts: &Facts<'_>) {
        // As the request began, so it ends.
        let shared = note.take_log().unwrap_or_else(|| self.shared().clone());
        let options = &shared.options;
        let level = if facts.status >= WARN_STATUS { options.level.max(Level::Warn) } else { options.level };
        if options.log.allows(level, options.subsystem) {
            let at = SystemTime::now();
            self.sink.push(|out| {
                let mut line = Line::start(out, level, at);
                line.subsystem(options.subsystem);
                line.message("request");
                if let Some(endpoint) = &options.endpoint {
                    line.text("endpoint-id", endpoint.as_bytes());
                }
                request(line.key("request"), &note, facts);
                line.end();
            });
        }
        note.recycle();
    }

    /// Writes what waits and blocks for at most `timeout`. True when nothing waits any more.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.sink.flush(Patience { quiet: timeout, total: timeout })
    }

    /// How many lines this process has dropped, of all access logs together.
    pub fn dropped(&self) -> u64 {
        self.sink.dropped()
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.sink.flush_unless_stuck(DROP_PATIENCE);
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("options", &self.shared().options).finish_non_exhaustive()
    }
}

/// The object of one request: what the note has written, and how it ended.
fn request(out: &mut Vec<u8>, note: &AccessNote, facts: &Facts<'_>) {
    out.extend_from_slice(note.text());
    if !note.has_response() {
        out.extend_from_slice(b",\"response_headers\":{}");
    }
    json::key(out, "status");
    json::decimal(out, u64::from(facts.status));
    json::key(out, "duration");
    out.push(b'"');
    stamp::go_duration(out, facts.duration);
    out.push(b'"');
    note.peer_to(out);
    if let Some(endpoint) = facts.endpoint {
        json::key(out, "endpoint_id");
        json::string(out, endpoint);
    }
    json::key(out, "request_bytes");
    json::decimal(out, facts.request_bytes);
    json::key(out, "response_bytes");
    json::decimal(out, facts.response_bytes);
    if facts.retries > 0 {
        json::key(out, "retries");
        json::decimal(out, u64::from(facts.retries));
    }
    // The field of an error answer, made here or at another hop, says more than how the exchange ended.
    if let Some(cause) = note.cause().or(facts.cause) {
        json::key(out, "cause");
        json::string(out, cause.as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests;
