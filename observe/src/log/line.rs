//! One line: its fixed head and the fields of an event.

use super::Level;
use super::list::debug_value;
use crate::json;
use std::fmt::{self, Write};
use std::time::SystemTime;
use tracing::Event;
use tracing::field::{Field, Visit};

/// A line under construction in a caller's buffer.
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Level and time.
    pub(crate) fn start(out: &'a mut Vec<u8>, level: Level, at: SystemTime) -> Self {
        out.extend_from_slice(b"{\"level\":\"");
        out.extend_from_slice(level.as_str().as_bytes());
        out.extend_from_slice(b"\",\"ts\":\"");
        crate::stamp::timestamp(out, at);
        out.push(b'"');
        Self { out }
    }

    pub(crate) fn subsystem(&mut self, name: &str) {
        self.text("subsystem", name.as_bytes());
    }

    /// The message first, then the other fields in the order of the macro.
    pub(crate) fn fields(&mut self, event: &Event<'_>) {
        self.key("msg");
        let before = self.out.len();
        event.record(&mut Message(self.out));
        if self.out.len() == before {
            self.out.extend_from_slice(b"\"\"");
        }
        event.record(&mut Others(self.out));
    }

    /// The message of a line that is no event.
    pub(crate) fn message(&mut self, text: &str) {
        self.text("msg", text.as_bytes());
    }

    /// A field that is a string; `key` needs no escapes.
    pub(crate) fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        json::string(self.out, value);
    }

    /// A field that is a number; `key` needs no escapes.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        json::decimal(self.out, value);
    }

    /// The key of a field whose value the caller appends to what this gives.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        json::key(self.out, key);
        self.out
    }

    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

const MESSAGE: &str = "message";

/// Takes the message and passes over everything else.
struct Message<'a>(&'a mut Vec<u8>);

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            json::string(self.0, value.as_bytes());
        }
    }

    // The default would format it, with code that nothing else in the agent needs.
    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            debug_value(self.0, value);
        }
    }
}

/// Takes everything but the message.
struct Others<'a>(&'a mut Vec<u8>);

impl Others<'_> {
    /// Writes the key and gives the buffer for the value; nothing for the message.
    fn key(&mut self, field: &Field) -> Option<&mut Vec<u8>> {
        if field.name() == MESSAGE {
            return None;
        }
        self.0.push(b',');
        // `r#type` is how a macro must spell a field that is a word of the language.
        json::string(self.0, field.name().trim_start_matches("r#").as_bytes());
        self.0.push(b':');
        Some(self.0)
    }

    fn bare(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if let Some(out) = self.key(field) {
            // Writing to a vector cannot fail.
            let _ = json::Raw(out).write_fmt(value);
        }
    }
}

impl Visit for Others<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if let Some(out) = self.key(field) {
            json::decimal(out, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if let Some(out) = self.key(field) {
            json::float(out, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(out) = self.key(field) {
            json::string(out, value.as_bytes());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(out) = self.key(field) {
            debug_value(out, value);
        }
    }
}
