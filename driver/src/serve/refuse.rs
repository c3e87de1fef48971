//! Requests that HTTP itself refuses: answered, recorded, and the connection is over.

use super::Service;
use super::client::Client;
use super::exchange::{Work, say};
use crate::runtime::{Io, Runtime};
use piko_core::http1::{BodyLength, Fault, Fields, RequestHead, Version, peek_request_line};

/// A target longer than this is not worth being kept for the log: the request is refused.
const TARGET_BYTES_MAX: usize = 2 * 1024;

/// What was wrong, and what is known of the request.
pub(super) struct Refused {
    fault: Fault,
    /// Empty where the start line could not be read.
    method: Vec<u8>,
    target: Vec<u8>,
}

impl Refused {
    /// `input` begins where the request does.
    pub(super) fn new(fault: Fault, input: &[u8]) -> Self {
        let (method, target) = peek_request_line(input).unwrap_or_default();
        let target = &target[..target.len().min(TARGET_BYTES_MAX)];
        Self { fault, method: method.to_vec(), target: target.to_vec() }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            target: &self.target,
            version: Version::Http11,
            fields: Fields::from_block(b""),
            body: BodyLength::None,
            expects_continue: false,
            upgrade: false,
        }
    }
}

/// Answers, keeps the record, and closes.
pub(super) async fn answer<R: Runtime, C: Io, S: Service>(
    client: &mut Client<R, C>,
    service: &S,
    refused: &Refused,
) {
    // What came is of no more use; it must not be held through the lingering close.
    client.rest.clear();
    let (now, head) = (client.now(), refused.head());
    let answer = service.refuse(&refused.fault);
    let note = service.note(client.io.info(), &head);
    let mut exchange = service.exchange(now, client.io.info());
    exchange.handle_refused(&head, &answer);
    let mut work = Work::new(exchange, note);
    let _ = say(client, service, &mut work, &answer);
    work.record(client, service);
    client.close_lingering().await;
}
