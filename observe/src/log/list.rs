//! Values that become JSON arrays.

use crate::json::Escaped;
use std::cell::Cell;
use std::fmt::{self, Display, Write};

thread_local! {
    /// Set by [`List`] while it is formatted as a whole value: what follows is JSON already.
    static IS_JSON: Cell<bool> = const { Cell::new(false) };
}

/// A slice as the value of a field, for `"node-ids" = ?List(&ids)`: a JSON array of strings.
///
/// `tracing` has no lists; a plain `?ids` would be one string that looks like Rust.
#[derive(Clone, Copy)]
pub struct List<'a, T>(pub &'a [T]);

impl<T: Display> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IS_JSON.set(true);
        f.write_str("[")?;
        let mut item = Vec::new();
        for (n, value) in self.0.iter().enumerate() {
            item.clear();
            write!(Escaped(&mut item), "{value}")?;
            f.write_str(if n == 0 { "\"" } else { ",\"" })?;
            f.write_str(std::str::from_utf8(&item).unwrap_or_default())?;
            f.write_str("\"")?;
        }
        f.write_str("]")
    }
}

/// Formats a value as JSON: a [`List`] as an array, everything else as a string.
pub(super) fn debug_value(out: &mut Vec<u8>, value: &dyn fmt::Debug) {
    IS_JSON.set(false);
    let mut target = Value { out, kind: Kind::Unknown };
    // A value that cannot be formatted loses its rest; the line stays valid.
    let _ = write!(target, "{value:?}");
    match target.kind {
        Kind::Unknown => out.extend_from_slice(b"\"\""),
        Kind::Text => out.push(b'"'),
        Kind::Json => {}
    }
    IS_JSON.set(false);
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Nothing was written, so that a list may yet come.
    Unknown,
    /// The value is one string. A list inside it is text.
    Text,
    /// The value is a list.
    Json,
}

struct Value<'a> {
    out: &'a mut Vec<u8>,
    kind: Kind,
}

impl Write for Value<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.kind == Kind::Unknown && !text.is_empty() {
            self.kind = if IS_JSON.get() { Kind::Json } else { Kind::Text };
            if self.kind == Kind::Text {
                self.out.push(b'"');
            }
        }
        match self.kind {
            Kind::Json => self.out.extend_from_slice(text.as_bytes()),
            _ => Escaped(self.out).write_str(text)?,
        }
        Ok(())
    }
}
