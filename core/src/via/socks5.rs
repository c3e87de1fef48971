//! SOCKS5 (RFC 1928) with user name and password (RFC 1929).

use super::{Destination, Fault, Login, TEXT_BYTES_MAX, Unfit};
use alloc::vec::Vec;
use bytes::{BufMut, BytesMut};
use core::net::IpAddr;

const VERSION: u8 = 5;
/// The version of the conversation about a login.
const LOGIN_VERSION: u8 = 1;
const WITHOUT_LOGIN: u8 = 0;
const WITH_LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What we say later, and what the proxy has said of the message that it is in.
///
/// ```text
///   Greeted ──► method 0 ──────────────────► Asked ──► reply 0 ──► done
///      └──────► method 2 ──► LoggingIn ─ 0 ──┘
/// ```
#[derive(Debug)]
pub(super) struct Dialogue {
    step: Step,
    /// The message about the login, where there is one; taken when it is sent.
    login: Vec<u8>,
    request: Vec<u8>,
    /// At most the longest reply: four bytes, a name with its length, a port.
    input: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Asked,
    Greeted,
    LoggingIn,
}

impl Dialogue {
    /// Appends the greeting.
    pub(super) fn new(login: Option<&Login>, to: Destination<'_>, out: &mut BytesMut) -> Result<Self, Unfit> {
        let login = login.map(login_message).transpose()?;
        // A proxy that wants no login may say so also where there is one.
        out.put_slice(match login {
            None => &[VERSION, 1, WITHOUT_LOGIN],
            Some(_) => &[VERSION, 2, WITHOUT_LOGIN, WITH_LOGIN],
        });
        let request = request(to)?;
        Ok(Self { step: Step::Greeted, login: login.unwrap_or_default(), request, input: Vec::new() })
    }

    /// True behind a reply that says yes.
    pub(super) fn handle_byte(&mut self, byte: u8, out: &mut BytesMut) -> Result<bool, Fault> {
        self.input.push(byte);
        match (self.step, &self.input[..]) {
            (Step::Greeted | Step::Asked, [version, ..]) if *version != VERSION => {
                return Err(Fault::NotAProxy("answer is not SOCKS5"));
            }
            (Step::Greeted, [_, WITHOUT_LOGIN]) => self.say(Step::Asked, out),
            (Step::Greeted, [_, WITH_LOGIN]) if !self.login.is_empty() => self.say(Step::LoggingIn, out),
            (Step::Greeted, [_, NO_METHOD | WITH_LOGIN]) => return Err(Fault::Method),
            (Step::Greeted, [_, _]) => return Err(Fault::NotAProxy("a method that was not offered")),
            (Step::LoggingIn, [LOGIN_VERSION, 0]) => self.say(Step::Asked, out),
            (Step::LoggingIn, [LOGIN_VERSION, _]) => return Err(Fault::Login),
            (Step::LoggingIn, [version, ..]) if *version != LOGIN_VERSION => {
                return Err(Fault::NotAProxy("answer to the login is none"));
            }
            // The rest of a refusal is of no interest, and some proxies do not send it.
            (Step::Asked, [_, reply]) if *reply != 0 => return Err(Fault::Reply(*reply)),
            (Step::Asked, [_, _, _, kind @ (IPV4 | NAME | IPV6), rest @ ..]) => {
                return Ok(rest.len() == addr_bytes(*kind, rest) + 2);
            }
            (Step::Asked, [_, _, _, _]) => return Err(Fault::NotAProxy("reply with an unknown address")),
            _ => {}
        }
        Ok(false)
    }

    /// The next message of ours.
    fn say(&mut self, step: Step, out: &mut BytesMut) {
        let message = if let Step::LoggingIn = step { &mut self.login } else { &mut self.request };
        out.put_slice(&core::mem::take(message));
        self.step = step;
        self.input.clear();
    }
}

/// How long the address in a reply is, its own length included; a name's length is its first byte.
fn addr_bytes(kind: u8, rest: &[u8]) -> usize {
    match kind {
        IPV4 => 4,
        IPV6 => 16,
        _ => 1 + rest.first().map_or(TEXT_BYTES_MAX, |len| usize::from(*len)),
    }
}

/// RFC 1929 2.
fn login_message(login: &Login) -> Result<Vec<u8>, Unfit> {
    let mut message = Vec::new();
    message.push(LOGIN_VERSION);
    if login.user.is_empty() {
        return Err(Unfit::User);
    }
    put_text(&login.user, &mut message).ok_or(Unfit::User)?;
    put_text(&login.password, &mut message).ok_or(Unfit::Password)?;
    Ok(message)
}

/// RFC 1928 4. A name stays one: the proxy resolves it.
fn request(to: Destination<'_>) -> Result<Vec<u8>, Unfit> {
    let mut message = Vec::new();
    message.extend_from_slice(&[VERSION, CONNECT, 0]);
    match to.host.parse() {
        Ok(IpAddr::V4(addr)) => {
            message.push(IPV4);
            message.extend_from_slice(&addr.octets());
        }
        Ok(IpAddr::V6(addr)) => {
            message.push(IPV6);
            message.extend_from_slice(&addr.octets());
        }
        Err(_) => {
            message.push(NAME);
            put_text(to.host, &mut message).ok_or(Unfit::Host)?;
        }
    }
    message.extend_from_slice(&to.port.to_be_bytes());
    Ok(message)
}

/// A byte with the length in front, which must fit.
fn put_text(text: &str, message: &mut Vec<u8>) -> Option<()> {
    message.push(u8::try_from(text.len()).ok()?);
    message.extend_from_slice(text.as_bytes());
    Some(())
}
