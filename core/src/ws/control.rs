//! Control frames to the wire: pong and close (RFC 6455 5.5).

use super::frame::{self, CONTROL_BYTES_MAX, Opcode};
use super::mask;
use bytes::{BufMut, BytesMut};

/// The close code for a violation (RFC 6455 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

/// Also the start of the reason that a close frame gives for it.
pub(super) const BAD_CLOSE_CODE: &str = "bad close code";

/// What a close frame carries (RFC 6455 5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseFrame {
    /// The peer closed with this code, which may not be sent.
    BadCode(u16),
    /// A code, or nothing, and never a reason: Go echoes that way (wire protocol 3.6).
    Code(Option<u16>),
    /// The peer broke RFC 6455 in this way.
    Violation(&'static str),
}

impl CloseFrame {
    /// Appends the payload: at most 2 + 41 bytes, since every reason is one of ours.
    pub(super) fn put(self, out: &mut BytesMut) {
        match self {
            Self::BadCode(code) => {
                out.put_u16(PROTOCOL_ERROR);
                out.put_slice(BAD_CLOSE_CODE.as_bytes());
                out.put_u8(b' ');
                put_decimal(code, out);
            }
            Self::Code(None) => {}
            Self::Code(Some(code)) => out.put_u16(code),
            Self::Violation(reason) => {
                out.put_u16(PROTOCOL_ERROR);
                out.put_slice(reason.as_bytes());
            }
        }
    }
}

fn put_decimal(number: u16, out: &mut BytesMut) {
    let mut digits = [0; 5];
    let mut start = digits.len();
    let mut rest = number;
    while start > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

/// Appends a control frame around what `payload` writes, at most 125 bytes.
pub(super) fn put_control(
    out: &mut BytesMut,
    opcode: Opcode,
    key: Option<[u8; 4]>,
    payload: impl FnOnce(&mut BytesMut),
) {
    // A control header has a fixed size, so it can be written before the length is known and patched.
    let (blank, start) = frame::encode(opcode, 0, key);
    out.reserve(blank.len() - start + CONTROL_BYTES_MAX);
    let at = out.len();
    out.put_slice(&blank[start..]);
    let body = out.len();
    payload(out);
    let len = out.len() - body;
    debug_assert!(len <= CONTROL_BYTES_MAX);
    if let Some(key) = key {
        mask::apply(&mut out[body..], key);
    }
    let (header, start) = frame::encode(opcode, len, key);
    out[at..body].copy_from_slice(&header[start..]);
}

/// Codes that may stand in a close frame: those that the registry defines and the two free ranges
/// (RFC 6455 7.4).
pub(super) fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
