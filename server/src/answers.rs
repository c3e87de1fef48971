//! Answers that server ports make without an upstream.

use piko_core::proxy::Answer;
use piko_core::tunnel::Caps;
use piko_core::ws::handshake::Refusal;

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

/// The answer to what is no upgrade to a WebSocket (wire protocol 3.3).
pub(crate) fn no_upgrade(refusal: Refusal) -> Answer {
    let plain = "text/plain; charset=utf-8";
    match refusal {
        Refusal::ForeignOrigin => body(403, plain, b"Forbidden\n".to_vec()),
        Refusal::BadRequest => {
            let mut answer = body(400, plain, b"Bad Request\n".to_vec());
            answer.fields.extend_from_slice(b"Sec-Websocket-Version: 13\r\n");
            answer
        }
    }
}

/// The fields of a 101 (wire protocol 3.2). Go peers never state capabilities, and get an answer without.
pub(crate) fn switch_fields(accept: &[u8; 28], caps: Option<&Caps>) -> Vec<u8> {
    let mut fields = b"Upgrade: websocket\r\nSec-WebSocket-Accept: ".to_vec();
    fields.extend_from_slice(accept);
    fields.extend_from_slice(b"\r\n");
    if let Some(caps) = caps {
        fields.extend_from_slice(format!("X-Piko-Caps: {}\r\n", caps.to_value()).as_bytes());
    }
    fields
}

pub(crate) fn json(text: String) -> Answer {
    json_of(200, text)
}

/// JSON with a status that [`reason`] knows.
pub(crate) fn json_of(status: u16, text: String) -> Answer {
    body(status, "application/json; charset=utf-8", text.into_bytes())
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        414 => "URI Too Long",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// Appends a JSON string of bytes that need not be UTF-8, with the escapes that Go's encoder chooses: what could
/// end a script in a page is escaped too, and what is no UTF-8 becomes U+FFFD.
pub(crate) fn push_json_string(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    out.push('"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::push_json_string;

    #[test]
    fn strings_have_the_escapes_of_go() {
        let mut out = String::new();
        push_json_string(&mut out, b"a\"b\\c\n\r\t\x08\x0c\x01<&>\xff\x7f\xe2\x80\xa8/");
        let want = "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u003c\\u0026\\u003e\u{fffd}\u{7f}\\u2028/\"";
        assert_eq!(out, want);
    }
}
