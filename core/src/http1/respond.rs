//! The writing half of [`ServerConn`]: interim responses, switches, responses.

use super::body::Writer;
use super::error::Refused;
use super::facts::Length;
use super::fields::{Fields, is_value};
use super::head::{BodyLength, ResponseHead, Version};
use super::server::ServerConn;
use super::state::{Event, Half, Offer};
use super::write::{Framing, Start, write_head, write_trailers};
use bytes::BufMut;

/// What the driver does with the connection behind a response.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reset it: a clean close would look like the end of the body.
    Abort,
    /// Close it, lingering while the client still sends.
    Close,
    /// Go on with the next request, first with what was already received.
    KeepAlive,
}

impl ServerConn {
    /// A final response head is out.
    pub fn response_begun(&self) -> bool {
        self.cycle.response() != Half::Idle
    }

    /// The response that was begun has a body: `send_data` takes bytes. False for answers to HEAD, for 204 and
    /// 304, and when no response was begun.
    pub fn response_has_body(&self) -> bool {
        self.cycle.response() == Half::Body && self.writer.is_some()
    }

    /// Writes a head. 1xx goes out as interim (not at all to HTTP/1.0 clients); 101, and 2xx to CONNECT, switch;
    /// others start the response. Writes canonical framing from `head.body` and connection fields; such fields
    /// in `head.fields` are ignored, apart from `content-length` where it describes a body that is not there
    /// (HEAD, 304) and `upgrade` with 101 and 426. Needs at most about twice the size of the fields.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no request waits for this head, a switch
    /// was not asked for, or status or reason cannot be written.
    pub fn send_head(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        let failed = self.cycle.request() == Half::Failed;
        let waiting = failed || matches!(self.cycle.request(), Half::Body | Half::Done);
        let legal = (100..=999).contains(&head.status) && is_value(head.reason);
        if self.expired || !waiting || self.cycle.response() != Half::Idle || !legal {
            return Err(Refused::State);
        }
        match (head.status, self.cycle.offer()) {
            (101, Offer::Upgrade) if !failed => self.send_switch(head, true, out),
            (101, _) => Err(Refused::State),
            (100..=199, _) if failed => Err(Refused::State),
            (100..=199, _) => self.send_interim(head, out),
            (200..=299, Offer::Connect) if !failed => self.send_switch(head, false, out),
            _ => self.send_final(head, out),
        }
    }

    fn send_interim(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        // An HTTP/1.0 client would take it for the answer (RFC 9110 15.2).
        if self.client == Version::Http11 {
            self.put(head, Framing::default(), out)?;
            self.continue_wanted &= head.status != 100;
        }
        Ok(())
    }

    fn send_switch(
        &mut self,
        head: &ResponseHead<'_>,
        upgrade: bool,
        out: &mut impl BufMut,
    ) -> Result<(), Refused> {
        self.put(head, Framing { upgrade, ..Framing::default() }, out)?;
        self.continue_wanted = false;
        self.step(Event::ResponseSwitch);
        Ok(())
    }

    fn send_final(&mut self, head: &ResponseHead<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        let bodyless = self.asked.head || matches!(head.status, 204 | 304);
        let is_11 = self.client == Version::Http11;
        let (writer, length) = match head.body {
            _ if bodyless => (None, self.described_length(head)),
            // Without a length the client would wait for the end of the connection.
            BodyLength::None => (Some(Writer::Known(0)), Some(0)),
            BodyLength::Known(n) => (Some(Writer::Known(n)), Some(n)),
            BodyLength::Chunked | BodyLength::UntilClose if is_11 => (Some(Writer::Chunked), None),
            BodyLength::Chunked | BodyLength::UntilClose => (Some(Writer::UntilClose), None),
        };
        // A client that still waits for its 100 may or may not send the body: what follows cannot be told
        // apart (RFC 9110 10.1.1). The same holds behind a refused CONNECT, where tunnel data may be under way.
        let ambiguous = self.continue_wanted || self.asked.connect;
        let close = !self.cycle.persists() || ambiguous || writer == Some(Writer::UntilClose);
        let framing = Framing {
            length,
            chunked: writer == Some(Writer::Chunked),
            close,
            keep_alive: !is_11,
            upgrade: head.status == 426 && head.fields.first("upgrade").is_some(),
        };
        self.put(head, framing, out)?;
        if close {
            self.cycle.close();
        }
        self.continue_wanted = false;
        self.writer = writer;
        self.step(Event::ResponseHead);
        Ok(())
    }

    /// The length that a response without a body still tells (RFC 9110 8.6): never with 204.
    fn described_length(&self, head: &ResponseHead<'_>) -> Option<u64> {
        if head.status == 204 {
            return None;
        }
        let mut told = Length::Absent;
        head.fields.all("content-length").for_each(|value| told.note(value));
        match (told, head.body) {
            (Length::One(n), _) => Some(n),
            (_, BodyLength::Known(n)) if self.asked.head && head.status != 304 => Some(n),
            _ => None,
        }
    }

    fn put(&self, head: &ResponseHead<'_>, framing: Framing, out: &mut impl BufMut) -> Result<(), Refused> {
        write_head(Start::Status { status: head.status, reason: head.reason }, &head.fields, framing, out)
    }

    /// Writes what stands before `len` bytes of payload (a chunk header, or nothing) and returns what stands
    /// behind them. The caller writes the payload itself, all of it.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no response with a body was begun, or it
    /// would become longer than its head said.
    pub fn send_data(&mut self, len: usize, out: &mut impl BufMut) -> Result<&'static [u8], Refused> {
        match &mut self.writer {
            Some(writer) if self.cycle.response() == Half::Body => writer.data(len, out),
            _ if len == 0 => Ok(b""),
            _ => Err(Refused::State),
        }
    }

    /// Ends a chunked body with trailer fields; without framing for them they are dropped (RFC 9110 6.5.1).
    /// `send_end` comes behind it as usual. Framing fields and `host` are left out.
    ///
    /// # Errors
    /// [`Refused::NoRoom`] leaves `out` untouched. [`Refused::State`]: no response was begun, or its trailers
    /// are out.
    pub fn send_trailers(&mut self, fields: &Fields<'_>, out: &mut impl BufMut) -> Result<(), Refused> {
        if self.cycle.response() != Half::Body {
            return Err(Refused::State);
        }
        match self.writer {
            Some(Writer::ChunkedDone) => Err(Refused::State),
            Some(Writer::Chunked) if !fields.is_empty() => {
                write_trailers(fields, out)?;
                self.writer = Some(Writer::ChunkedDone);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the response, with up to 5 bytes, and says what becomes of the connection. `KeepAlive` only when
    /// the request was read to its end and nobody asked for the end; the machine is then ready for the next
    /// request, whose idle deadline starts with the next call that has a time.
    ///
    /// A body that is shorter than its head said, or no room for its last chunk, is [`Next::Abort`]: never a
    /// complete response.
    pub fn send_end(&mut self, out: &mut impl BufMut) -> Next {
        if self.cycle.response() != Half::Body {
            return self.cut();
        }
        if let Some(writer) = &mut self.writer {
            if writer.end(out).is_err() {
                self.step(Event::ResponseFail);
                return Next::Abort;
            }
        }
        self.step(Event::ResponseEnd);
        if !self.cycle.renew() {
            self.cycle.close();
            return Next::Close;
        }
        self.renew();
        Next::KeepAlive
    }

    /// The response will not be finished: how to end the connection so that nobody takes it for a complete one
    /// (RFC 9112 8). Never `KeepAlive`.
    pub fn cut(&self) -> Next {
        match (self.cycle.response(), self.writer) {
            (Half::Body, Some(Writer::UntilClose)) | (Half::Failed | Half::Switched, _) => Next::Abort,
            _ => Next::Close,
        }
    }
}
