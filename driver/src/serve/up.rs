//! The upstream side of a request, apart from its connection.

use super::RequestBudget;
use crate::buffer::Queue;
use crate::wire::Out;
use bytes::BytesMut;
use piko_core::http1::{self, ClientConn, Part, RequestHead, ServerConn};
use piko_core::proxy::Exchange;
use piko_core::time::Instant;
use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<BytesMut> = Cell::new(BytesMut::new());
}
/// More than this is not kept for the next head.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// Lends an empty place for a rewritten field block, between the parser and the writer.
pub(super) fn with_scratch(f: impl FnOnce(&mut BytesMut)) {
    let mut block = SCRATCH.take();
    f(&mut block);
    give_back(block);
}

/// Not inlined: that would be twice the code.
#[inline(never)]
fn give_back(mut block: BytesMut) {
    if block.capacity() <= SCRATCH_BYTES_MAX {
        block.clear();
        SCRATCH.set(block);
    }
}

/// What is sent to the upstream, and what has come from it.
pub(super) struct Up {
    pub(super) http: ClientConn,
    pub(super) out: Out,
    pub(super) rest: Queue,
    pub(super) idempotent: bool,
    /// The whole request has been written out.
    pub(super) uploaded: bool,
    /// The upstream does not take the request any further; its answer may still come.
    pub(super) deaf: bool,
    /// A response byte has arrived.
    pub(super) heard: bool,
    keep_alive: bool,
    /// The head was written for a tunnel.
    to_tunnel: bool,
    /// How long the head is at the front of what is kept.
    head_bytes: usize,
    /// The head as it came, for the case that it has to be written anew.
    head: Queue,
}

impl Up {
    pub(super) fn new(now: Instant, responses: http1::Config) -> Self {
        Self {
            http: ClientConn::new(responses, now),
            out: Out::default(),
            rest: Queue::new(),
            idempotent: false,
            uploaded: false,
            deaf: false,
            heard: false,
            keep_alive: false,
            to_tunnel: false,
            head_bytes: 0,
            head: Queue::new(),
        }
    }

    /// Writes the head out for its next hop.
    pub(super) fn begin(
        &mut self,
        head: &RequestHead<'_>,
        exchange: &Exchange,
        to_tunnel: bool,
        keep_alive: bool,
    ) {
        self.idempotent =
            matches!(head.method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE");
        self.to_tunnel = to_tunnel;
        self.keep_alive = keep_alive;
        // What is written is kept until the response head, where a retry is possible.
        self.out.queue.set_keep(exchange.may_replay());
        write_head(&mut self.http, head, exchange, to_tunnel, keep_alive, &mut self.out.queue);
        self.head_bytes = self.out.queue.len();
    }

    /// Keeps the head as it came.
    pub(super) fn keep_head(&mut self, text: &[u8]) {
        self.head.extend(text);
    }

    /// Makes everything that was sent wait again, for a new connection. False when the head cannot be written
    /// for that kind of target.
    pub(super) fn start_again(&mut self, now: Instant, exchange: &Exchange, to_tunnel: bool) -> bool {
        self.out.queue.rewind();
        self.out.blocked = false;
        self.deaf = false;
        self.heard = false;
        self.rest.clear();
        self.http.start_again();
        if to_tunnel != self.to_tunnel && !self.rewrite(now, exchange, to_tunnel) {
            return false;
        }
        self.out.queue.set_keep(exchange.may_replay());
        true
    }

    /// Puts another head in front of what waits. The body's framing is the same on every hop.
    fn rewrite(&mut self, now: Instant, exchange: &Exchange, to_tunnel: bool) -> bool {
        let mut config = http1::Config::default();
        config.set_head_bytes_max(RequestBudget::HEAD_BYTES);
        let mut reader = ServerConn::new(config, now);
        let Ok((_, Some(Part::Head(head)))) = reader.handle_input(now, self.head.pending()) else {
            return false;
        };
        let mut queue = Queue::new();
        // The connection that goes on knows this request already; a fresh one writes the head.
        let mut writer = ClientConn::new(http1::Config::default(), now);
        write_head(&mut writer, &head, exchange, to_tunnel, self.keep_alive, &mut queue);
        let head_bytes = queue.len();
        queue.extend(self.out.queue.pending().get(self.head_bytes..).unwrap_or_default());
        self.out.queue = queue;
        self.head_bytes = head_bytes;
        self.to_tunnel = to_tunnel;
        true
    }
}

fn write_head(
    http: &mut ClientConn,
    head: &RequestHead<'_>,
    exchange: &Exchange,
    to_tunnel: bool,
    keep_alive: bool,
    queue: &mut Queue,
) {
    with_scratch(|block| {
        let head = exchange.rewrite_request(head, to_tunnel, block);
        // A fresh machine takes a head, and a `Vec` has room for all of it.
        let written = http.send_head(&head, keep_alive, queue.tail());
        debug_assert_eq!(written, Ok(()));
    });
}
