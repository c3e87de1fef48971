//! Sends WebSocket messages back (RFC 6455 5), text and binary, frame by frame.
//!
//! The machine of `piko-core` speaks binary only, as tunnels do; browsers mostly send text.

use bytes::{Buf, BufMut, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest frame that is sent back, in bytes: it is kept as a whole.
const FRAME_BYTES_MAX: u64 = 1 << 20;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Code 1002, a broken protocol, and 1009, too big (RFC 6455 7.4.1).
const BROKEN: [u8; 4] = [0x88, 2, 0x03, 0xEA];
const TOO_BIG: [u8; 4] = [0x88, 2, 0x03, 0xF1];

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// FIN and opcode, and the payload, unmasked.
    Frame(u8, BytesMut),
    /// Nothing whole yet.
    More,
    /// The end, with this close frame.
    Refused([u8; 4]),
}

/// Echoes until the peer closes. `input` holds what came behind the handshake.
pub(super) async fn echo(tcp: &mut TcpStream, input: &mut BytesMut) -> io::Result<()> {
    let mut out = BytesMut::new();
    loop {
        let ended = answer_all(input, &mut out);
        tcp.write_all_buf(&mut out).await?;
        if ended || tcp.read_buf(input).await? == 0 {
            return tcp.shutdown().await;
        }
    }
}

/// Answers every whole frame in `input`; true when that was the last one.
fn answer_all(input: &mut BytesMut, out: &mut BytesMut) -> bool {
    loop {
        match read(input) {
            Read::Frame(first, payload) => match first & 0x0F {
                PONG => {}
                PING => put(out, 0x80 | PONG, &payload),
                opcode => {
                    put(out, first, &payload);
                    if opcode == CLOSE {
                        return true;
                    }
                }
            },
            Read::More => return false,
            Read::Refused(close) => {
                out.put_slice(&close);
                return true;
            }
        }
    }
}

/// Takes one frame off the input.
fn read(input: &mut BytesMut) -> Read {
    let [first, second, ..] = input[..] else { return Read::More };
    // Reserved bits have no meaning here, and clients mask (RFC 6455 5.1, 5.2).
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Read::Refused(BROKEN);
    }
    let (len, header) = match second & 0x7F {
        126 => match input[2..] {
            [a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 4),
            _ => return Read::More,
        },
        127 => match input[2..] {
            [a, b, c, d, e, f, g, h, ..] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
            _ => return Read::More,
        },
        len => (u64::from(len), 2),
    };
    // Control frames are short and whole (RFC 6455 5.5).
    if first & 0x08 != 0 && (len > 125 || first & 0x80 == 0) {
        return Read::Refused(BROKEN);
    }
    if len > FRAME_BYTES_MAX {
        return Read::Refused(TOO_BIG);
    }
    let len = len as usize;
    if input.len() < header + 4 + len {
        return Read::More;
    }
    input.advance(header);
    let mask = input.split_to(4);
    let mut payload = input.split_to(len);
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    Read::Frame(first, payload)
}

fn put(out: &mut BytesMut, first: u8, payload: &[u8]) {
    out.put_u8(first);
    match payload.len() {
        len @ 0..=125 => out.put_u8(len as u8),
        len @ 126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> BytesMut {
        let mut plain = BytesMut::new();
        put(&mut plain, first, payload);
        let header = plain.len() - payload.len();
        let mut frame = BytesMut::from(&plain[..header]);
        frame[1] |= 0x80;
        frame.put_slice(&[1, 2, 3, 4]);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        frame
    }

    fn answers(mut input: BytesMut) -> (Vec<u8>, bool) {
        let mut out = BytesMut::new();
        let ended = answer_all(&mut input, &mut out);
        (out.to_vec(), ended)
    }

    #[test]
    fn messages_of_every_length_come_back() {
        for len in [0, 1, 125, 126, 0xFFFF, 0x10000] {
            let payload = vec![7; len];
            let mut expected = BytesMut::new();
            put(&mut expected, 0x81, &payload);
            assert_eq!(answers(masked(0x81, &payload)), (expected.to_vec(), false), "{len}");
        }
    }

    #[test]
    fn a_frame_that_comes_byte_by_byte_is_waited_for() {
        let whole = masked(0x82, &[9; 300]);
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        for (at, byte) in whole.iter().enumerate() {
            assert!(out.is_empty(), "answered after {at} bytes");
            input.put_u8(*byte);
            assert!(!answer_all(&mut input, &mut out));
        }
        assert_eq!(out.len(), 4 + 300);
    }

    #[test]
    fn control_frames_are_answered_and_faults_refused() {
        assert_eq!(answers(masked(0x89, b"hi")), (b"\x8a\x02hi".to_vec(), false));
        assert_eq!(answers(masked(0x8A, b"hi")), (Vec::new(), false));
        assert_eq!(answers(masked(0x88, b"\x03\xe8")), (b"\x88\x02\x03\xe8".to_vec(), true));
        assert_eq!(answers(masked(0xC1, b"x")), (BROKEN.to_vec(), true));
        assert_eq!(answers(masked(0x09, b"x")), (BROKEN.to_vec(), true));
        assert_eq!(answers(BytesMut::from(&[0x81, 0x01, b'x'][..])), (BROKEN.to_vec(), true));
        let huge = BytesMut::from(&[0x82, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0][..]);
        assert_eq!(answers(huge), (TOO_BIG.to_vec(), true));
    }
}
