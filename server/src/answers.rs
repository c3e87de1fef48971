//! Answers that server ports make without an upstream.

use piko_core::proxy::Answer;

/// A body of this type. `status` must be one that [`reason`] knows.
pub(crate) fn body(status: u16, content_type: &str, body: Vec<u8>) -> Answer {
    let fields = format!("Content-Type: {content_type}\r\n").into_bytes();
    Answer { status, reason: reason(status), fields, body, close: false }
}

/// Nothing but a status.
pub(crate) fn empty(status: u16) -> Answer {
    Answer { status, reason: reason(status), fields: Vec::new(), body: Vec::new(), close: false }
}

/// The answer to a path that does not exist, as Go's router gives it.
pub(crate) fn not_found() -> Answer {
    body(404, "text/plain", b"404 page not found".to_vec())
}

/// To the same path without its trailing slash.
pub(crate) fn moved(to: &[u8]) -> Answer {
    let mut answer = empty(301);
    answer.fields.extend_from_slice(b"Location: ");
    answer.fields.extend_from_slice(to);
    answer.fields.extend_from_slice(b"\r\n");
    answer
}

pub(crate) fn json(text: String) -> Answer {
    body(200, "application/json; charset=utf-8", text.into_bytes())
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        414 => "URI Too Long",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// A JSON string of bytes that need not be UTF-8.
pub(crate) fn push_json_string(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    out.push('"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
