//! The frame header in and out (RFC 6455 5.2), nothing else.

/// Bytes in front of a payload that the longest frame header needs: two, eight for the length, four for
/// the mask key (RFC 6455 5.2).
pub const FRONT_ROOM: usize = 14;

/// Longest payload of a control frame, in bytes (RFC 6455 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Which end of the connection this is. The client masks what it sends, the server does not, and each
/// refuses the opposite (RFC 6455 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent the upgrade request.
    Client,
    /// Answered it.
    Server,
}

/// What a frame is (RFC 6455 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn to_bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Judges the first two bytes of a frame, which are enough to find every violation but one: the length
/// that [`rest`] refuses. `role` is the receiver's; `message_open` says that a fragmented message is
/// unfinished. The reasons are those of wire protocol 3.6.
pub(super) fn judge(first: [u8; 2], role: Role, message_open: bool) -> Result<Opcode, &'static str> {
    let [bits, length] = first;
    if bits & 0x40 != 0 {
        return Err("RSV1 set");
    }
    if bits & 0x20 != 0 {
        return Err("RSV2 set");
    }
    if bits & 0x10 != 0 {
        return Err("RSV3 set");
    }
    let opcode = opcode(bits & 0x0f)?;
    if opcode.is_control() {
        if length & LENGTH >= LENGTH_16 {
            return Err("len > 125 for control");
        }
        if !is_final(bits) {
            return Err("FIN not set on control");
        }
    } else if opcode == Opcode::Continuation && !message_open {
        return Err("continuation after FIN");
    } else if opcode != Opcode::Continuation && message_open {
        return Err("data before FIN");
    }
    if (length & MASKED != 0) != (role == Role::Server) {
        return Err("bad MASK");
    }
    Ok(opcode)
}

fn opcode(bits: u8) -> Result<Opcode, &'static str> {
    match bits {
        0 => Ok(Opcode::Continuation),
        1 => Ok(Opcode::Text),
        2 => Ok(Opcode::Binary),
        8 => Ok(Opcode::Close),
        9 => Ok(Opcode::Ping),
        10 => Ok(Opcode::Pong),
        3 => Err("bad opcode 3"),
        4 => Err("bad opcode 4"),
        5 => Err("bad opcode 5"),
        6 => Err("bad opcode 6"),
        7 => Err("bad opcode 7"),
        11 => Err("bad opcode 11"),
        12 => Err("bad opcode 12"),
        13 => Err("bad opcode 13"),
        14 => Err("bad opcode 14"),
        _ => Err("bad opcode 15"),
    }
}

/// Whether the frame that starts with `bits` ends its message.
pub(super) const fn is_final(bits: u8) -> bool {
    bits & FIN != 0
}

/// How many bytes the header has whose second byte is `length`: 2 to [`FRONT_ROOM`].
pub(super) const fn header_bytes(length: u8) -> usize {
    let key = if length & MASKED != 0 { 4 } else { 0 };
    key + match length & LENGTH {
        LENGTH_16 => 4,
        LENGTH_64 => 10,
        _ => 2,
    }
}

/// Payload length in bytes and mask key of a complete header; the key is zero when there is none, which
/// masks nothing.
///
/// A length that a shorter form could have carried is taken as it is, as Go's reader does. A set top bit
/// is refused (RFC 6455 5.2).
pub(super) fn rest(header: &[u8; FRONT_ROOM]) -> Result<(u64, [u8; 4]), &'static str> {
    let [_, length, a, b, c, d, e, f, g, h, ..] = *header;
    let payload = match length & LENGTH {
        LENGTH_16 => u64::from(u16::from_be_bytes([a, b])),
        LENGTH_64 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        short => u64::from(short),
    };
    if payload >> 63 != 0 {
        return Err("length with top bit set");
    }
    let mut key = [0; 4];
    if length & MASKED != 0 {
        key.copy_from_slice(&header[header_bytes(length) - 4..][..4]);
    }
    Ok((payload, key))
}

/// The header of an unfragmented frame, right-aligned: it ends where the array ends. Gives the array and
/// where the header starts in it. The shortest form of the length is used (RFC 6455 5.2).
pub(super) fn encode(opcode: Opcode, len: usize, mask: Option<[u8; 4]>) -> ([u8; FRONT_ROOM], usize) {
    let mut header = [0; FRONT_ROOM];
    let mut end = FRONT_ROOM;
    let mut masked = 0;
    if let Some(key) = mask {
        masked = MASKED;
        end -= 4;
        header[end..].copy_from_slice(&key);
    }
    let short = match u16::try_from(len) {
        Ok(len @ 0..126) => len as u8,
        Ok(len) => {
            header[end - 2..end].copy_from_slice(&len.to_be_bytes());
            end -= 2;
            LENGTH_16
        }
        Err(_) => {
            header[end - 8..end].copy_from_slice(&(len as u64).to_be_bytes());
            end -= 8;
            LENGTH_64
        }
    };
    header[end - 2] = FIN | opcode.to_bits();
    header[end - 1] = masked | short;
    (header, end - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_uses_the_shortest_form() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 40] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let (bytes, start) = encode(Opcode::Binary, len, mask);
                let mut header = [0; FRONT_ROOM];
                header[..FRONT_ROOM - start].copy_from_slice(&bytes[start..]);
                assert_eq!(header_bytes(header[1]), FRONT_ROOM - start);
                assert_eq!(rest(&header), Ok((len as u64, mask.unwrap_or_default())));
                let role = if mask.is_some() { Role::Server } else { Role::Client };
                assert_eq!(judge([header[0], header[1]], role, false), Ok(Opcode::Binary));
                let extended = match len {
                    0..=125 => 0,
                    126..=65_535 => 2,
                    _ => 8,
                };
                assert_eq!(FRONT_ROOM - start, 2 + extended + mask.map_or(0, |_| 4));
            }
        }
    }

    #[test]
    fn every_pair_of_first_bytes_is_judged_by_one_rule() {
        for bits in 0..=255_u8 {
            for length in 0..=255_u8 {
                for (role, open) in
                    [(Role::Client, false), (Role::Client, true), (Role::Server, false), (Role::Server, true)]
                {
                    let known = matches!(bits & 15, 0..=2 | 8..=10);
                    let control = bits & 8 != 0;
                    let fragment_ok = control || (bits & 15 == 0) == open;
                    let control_ok = !control || (bits & 0x80 != 0 && length & 0x7f < 126);
                    let mask_ok = (length & 0x80 != 0) == (role == Role::Server);
                    let good = known && bits & 0x70 == 0 && fragment_ok && control_ok && mask_ok;
                    assert_eq!(judge([bits, length], role, open).is_ok(), good, "{bits:x} {length:x}");
                }
            }
        }
    }

    #[test]
    fn the_reasons_are_those_of_go() {
        let judge = |a, b| judge([a, b], Role::Server, false);
        assert_eq!(judge(0x82, 0x01), Err("bad MASK"));
        assert_eq!(judge(0xc2, 0x81), Err("RSV1 set"));
        assert_eq!(judge(0x83, 0x81), Err("bad opcode 3"));
        assert_eq!(judge(0x80, 0x81), Err("continuation after FIN"));
        assert_eq!(judge(0x09, 0x81), Err("FIN not set on control"));
        assert_eq!(judge(0x89, 0xfe), Err("len > 125 for control"));
    }

    #[test]
    fn a_length_with_the_top_bit_is_refused_and_the_largest_below_is_not() {
        let mut header = [0xff; FRONT_ROOM];
        assert!(rest(&header).is_err());
        header[2] = 0x7f;
        assert_eq!(rest(&header), Ok((u64::MAX >> 1, [0xff; 4])));
    }
}
