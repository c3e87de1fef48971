//! What is remembered of one request until its line is written.

use super::fields::Gathered;
use super::{Shared, target};
use crate::json;
use piko_core::http1::{BodyLength, Fields, RequestHead, ResponseHead, Version};
use piko_core::id::EndpointId;
use piko_core::proxy::{Answer, Ended, Record};
use std::cell::RefCell;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Notes that a thread keeps for its next requests.
const POOL_NOTES_MAX: usize = 32;
/// A note whose line was longer gives its memory back.
const POOL_LINE_BYTES_MAX: usize = 4 * 1024;
/// Most lines of a browser's request and its response fit.
const LINE_BYTES: usize = 1024;
/// Causes are words of Piko; a longer one comes from a service that uses the field's name for itself.
const CAUSE_BYTES_MAX: usize = 64;

/// One request on its way through: the beginning of its line. See [`AccessLog::note`](super::AccessLog::note).
pub struct AccessNote {
    log: Option<Arc<Shared>>,
    /// The object `request` without its end.
    line: Vec<u8>,
    /// Where the response headers begin in `line`, once they are there.
    response_at: Option<usize>,
    peer: Option<IpAddr>,
    /// The word behind `cause=` in the response's `x-piko-error`.
    cause: String,
}

thread_local! {
    // A request that ends on another thread than it began on merely moves its note there.
    #[expect(clippy::vec_box, reason = "the boxes are what is recycled")]
    static POOL: RefCell<Vec<Box<AccessNote>>> = const { RefCell::new(Vec::new()) };
}

impl AccessNote {
    pub(super) fn new(log: &Arc<Shared>, peer: Option<IpAddr>, head: &RequestHead<'_>) -> Box<Self> {
        let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop()).ok().flatten();
        let mut note = kept.unwrap_or_else(|| {
            Box::new(Self {
                log: None,
                line: Vec::with_capacity(LINE_BYTES),
                response_at: None,
                peer: None,
                cause: String::new(),
            })
        });
        note.log = Some(Arc::clone(log));
        note.peer = peer;
        note.request(log, head);
        note
    }

    fn request(&mut self, log: &Shared, head: &RequestHead<'_>) {
        let out = &mut self.line;
        out.extend_from_slice(match head.version {
            Version::Http10 => b"{\"proto\":\"HTTP/1.0\",\"method\":",
            Version::Http11 => b"{\"proto\":\"HTTP/1.1\",\"method\":",
        });
        json::string(out, head.method);
        let target = target::split(head.target);
        json::key(out, "host");
        let fields = Gathered::new(&head.fields, &log.options.request_headers, "host");
        json::string(out, target.authority.or(fields.asked).unwrap_or_default());
        json::key(out, "path");
        json::string(out, &target::decode(target.path));
        json::key(out, "request_headers");
        fields.write(out);
    }

    /// The final response head, as the client gets it. A later one takes the place of an earlier one.
    pub fn response(&mut self, head: &ResponseHead<'_>) {
        // The framing of a response that passes through stands apart from its fields.
        let length = if let BodyLength::Known(length) = head.body { Some(length) } else { None };
        self.response_fields(&head.fields, length);
    }

    /// The answer that is made here, in place of a response.
    pub fn answer(&mut self, answer: &Answer) {
        self.response_fields(&Fields::from_block(&answer.fields), Some(answer.body.len() as u64));
    }

    fn response_fields(&mut self, head: &Fields<'_>, length: Option<u64>) {
        let Some(log) = &self.log else { return };
        let at = *self.response_at.get_or_insert(self.line.len());
        self.line.truncate(at);
        json::key(&mut self.line, "response_headers");
        let mut digits = [0; json::DIGITS];
        let filter = &log.options.response_headers;
        let mut fields = Gathered::new(head, filter, "x-piko-error");
        if let Some(length) = length {
            fields.add((b"content-length", json::digits(&mut digits, length)), filter);
        }
        self.cause.clear();
        if let Some(cause) = fields.asked.and_then(cause_in) {
            self.cause.push_str(cause);
        }
        fields.write(&mut self.line);
    }

    /// What its log was told when the request began.
    pub(super) fn take_log(&mut self) -> Option<Arc<Shared>> {
        self.log.take()
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.line
    }

    pub(super) fn has_response(&self) -> bool {
        self.response_at.is_some()
    }

    pub(super) fn cause(&self) -> Option<&str> {
        Some(self.cause.as_str()).filter(|cause| !cause.is_empty())
    }

    pub(super) fn peer_to(&self, out: &mut Vec<u8>) {
        if let Some(peer) = self.peer {
            json::key(out, "client_ip");
            // A dual-stack socket shows IPv4 peers inside IPv6; they are logged as what they are.
            let _ = write!(json::Raw(out), "\"{}\"", peer.to_canonical());
        }
    }

    /// Keeps the memory for the thread's next request.
    pub(super) fn recycle(mut self: Box<Self>) {
        self.log = None;
        self.line.clear();
        self.response_at = None;
        self.cause.clear();
        if self.line.capacity() > POOL_LINE_BYTES_MAX {
            return;
        }
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                if pool.len() < POOL_NOTES_MAX {
                    pool.push(self);
                }
            }
        });
    }
}

impl fmt::Debug for AccessNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessNote").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The word behind `cause=` in `hop=server; cause=no-upstream`.
fn cause_in(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let cause = text.split(';').find_map(|member| member.trim().strip_prefix("cause="))?;
    Some(cause).filter(|cause| !cause.is_empty() && cause.len() <= CAUSE_BYTES_MAX)
}

/// What a line needs of a [`Record`].
pub(super) struct Facts<'a> {
    pub(super) endpoint: Option<&'a [u8]>,
    pub(super) status: u16,
    pub(super) duration: Duration,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) retries: u32,
    /// Why the request failed, as far as its end tells.
    pub(super) cause: Option<&'static str>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            endpoint: record.endpoint.as_ref().map(EndpointId::as_bytes),
            status: record.status,
            duration: record.ended.since(record.started),
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            retries: record.retries,
            cause: failure(record.how),
        }
    }
}

/// What an end that is a failure is called in a line.
pub(super) fn failure(how: Ended) -> Option<&'static str> {
    match how {
        Ended::Aborted => Some("aborted"),
        Ended::ClientGone => Some("client-gone"),
        Ended::TimedOut => Some("timed-out"),
        Ended::Answered | Ended::Complete | Ended::Switched => None,
    }
}
