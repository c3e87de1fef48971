//! The name in a TLS ClientHello (RFC 8446 4.1.2, RFC 5246 7.4.1.2, RFC 6066 3), read without taking part in TLS.

use super::Judged;
use alloc::vec::Vec;

/// The most bytes, record headers included, that a ClientHello may take. Those of browsers with post-quantum key shares
/// are below 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// A host name is no longer (RFC 1035 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;

const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// A record holds at most this much (RFC 8446 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Why bytes are no ClientHello that can be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloFault {
    /// What stands in it breaks the syntax of TLS.
    #[error("malformed client hello")]
    Malformed,
    /// It asks for no host name, or for one that is none.
    #[error("no server name")]
    NoName,
    /// The first record is none of a handshake.
    #[error("not TLS")]
    NotTls,
    /// More than [`HELLO_BYTES_MAX`].
    #[error("client hello is too long")]
    TooLong,
}

/// Reads forward; `None` when there is not so much.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    /// A number of `bytes` bytes, most significant first.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// What a number of `bytes` bytes is the length of.
    fn vector(&mut self, bytes: usize) -> Option<Self> {
        let length = self.number(bytes)?;
        self.take(length).map(Self)
    }
}

/// Looks for the name that a client asks for in the first bytes that it sent. The name is as it was sent but for a dot at
/// its end, and holds nothing but letters, digits, hyphens, dots and underscores.
///
/// The hello may come in any number of records (RFC 8446 5.1) and pieces; what follows it is not looked at.
pub fn server_name(input: &[u8]) -> Judged<Vec<u8>, HelloFault> {
    let mut hello = Vec::new();
    let mut rest = input;
    loop {
        // Judged early, so that whoever speaks something else is not waited for.
        match rest {
            [kind, ..] if *kind != HANDSHAKE => return Judged::Bad(not_a_record(input, rest)),
            [_, major, ..] if *major != 3 => return Judged::Bad(not_a_record(input, rest)),
            _ => {}
        }
        if input.len() - rest.len() + RECORD_HEADER_BYTES > HELLO_BYTES_MAX {
            return Judged::Bad(HelloFault::TooLong);
        }
        let [_, _, _, high, low, payload @ ..] = rest else { return Judged::Partial };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Judged::Bad(HelloFault::Malformed);
        }
        hello.extend_from_slice(payload.get(..length).unwrap_or(payload));
        match message(&hello) {
            Judged::Partial => {}
            Judged::Bad(fault) => return Judged::Bad(fault),
            Judged::Done(body) => return body_name(body),
        }
        match payload.get(length..) {
            Some(next) => rest = next,
            None if input.len() >= HELLO_BYTES_MAX => return Judged::Bad(HelloFault::TooLong),
            None => return Judged::Partial,
        }
    }
}

/// Another protocol, or TLS that goes on with something else in the middle of its hello.
fn not_a_record(input: &[u8], rest: &[u8]) -> HelloFault {
    if input.len() == rest.len() { HelloFault::NotTls } else { HelloFault::Malformed }
}

/// The body of the handshake message, once all of it is there.
fn message(hello: &[u8]) -> Judged<&[u8], HelloFault> {
    match hello {
        [kind, ..] if *kind != CLIENT_HELLO => Judged::Bad(HelloFault::Malformed),
        [_, a, b, c, body @ ..] => {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if length > HELLO_BYTES_MAX {
                return Judged::Bad(HelloFault::TooLong);
            }
            body.get(..length).map_or(Judged::Partial, Judged::Done)
        }
        _ => Judged::Partial,
    }
}

fn body_name(body: &[u8]) -> Judged<Vec<u8>, HelloFault> {
    match find_name(body) {
        None => Judged::Bad(HelloFault::Malformed),
        Some(None) => Judged::Bad(HelloFault::NoName),
        Some(Some(name)) => normal(name).map_or(Judged::Bad(HelloFault::NoName), Judged::Done),
    }
}

/// `None`: malformed. `Some(None)`: well-formed, without a name.
fn find_name(body: &[u8]) -> Option<Option<&[u8]>> {
    let mut hello = Reader(body);
    // Version and random.
    hello.take(2 + 32)?;
    let session = hello.vector(1)?;
    let suites = hello.vector(2)?;
    let compressions = hello.vector(1)?;
    if session.0.len() > 32 || suites.0.is_empty() || suites.0.len() % 2 != 0 || compressions.0.is_empty() {
        return None;
    }
    if hello.0.is_empty() {
        // TLS 1.2 allows a hello without extensions.
        return Some(None);
    }
    let mut extensions = hello.vector(2)?;
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            // Nothing may be there twice (RFC 8446 4.2): two readers could see two names.
            if found.replace(host_name(content)?).is_some() {
                return None;
            }
        }
    }
    Some(found)
}

/// The one name of a list; RFC 6066 3 forbids a second one of the same kind, and there is no other kind.
fn host_name(mut content: Reader<'_>) -> Option<&[u8]> {
    let mut list = content.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    let is_good = content.0.is_empty() && list.0.is_empty() && kind == usize::from(HOST_NAME);
    (is_good && !name.0.is_empty()).then_some(name.0)
}

fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_name = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX && name.iter().all(is_name)).then(|| name.to_vec())
}

/// A fatal alert in plain text (RFC 8446 6), as a server sends it before anything is agreed on.
pub const fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
