//! The 12-byte header (wire protocol 4.2), encode and decode, nothing else.

/// Bytes of every header.
pub(super) const HEADER_BYTES: usize = 12;

/// Version, type, flags, stream id, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) id: u32,
    /// Body bytes, credit, opaque value or code, by `kind`.
    pub(super) length: u32,
}

impl Header {
    /// A frame of `kind` with `flags` for stream `id`.
    pub(super) const fn new(kind: Kind, flags: Flags, id: u32, length: u32) -> Self {
        Self { kind, flags, id, length }
    }

    /// Reads a header; unknown flag bits are kept and ignored by everybody (wire protocol 4.9).
    pub(super) const fn decode(b: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        if b[0] != 0 {
            return Err(Malformed::Version);
        }
        let kind = match b[1] {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            _ => return Err(Malformed::Kind),
        };
        let flags = Flags(u16::from_be_bytes([b[2], b[3]]));
        let id = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
        let length = u32::from_be_bytes([b[8], b[9], b[10], b[11]]);
        Ok(Self { kind, flags, id, length })
    }

    /// The bytes on the wire.
    pub(super) const fn encode(self) -> [u8; HEADER_BYTES] {
        let f = self.flags.0.to_be_bytes();
        let i = self.id.to_be_bytes();
        let l = self.length.to_be_bytes();
        [0, self.kind as u8, f[0], f[1], i[0], i[1], i[2], i[3], l[0], l[1], l[2], l[3]]
    }
}

/// The type field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Data = 0,
    WindowUpdate = 1,
    Ping = 2,
    GoAway = 3,
}

/// The flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u16);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    pub(super) const SYN: Self = Self(1);
    pub(super) const ACK: Self = Self(2);
    pub(super) const FIN: Self = Self(4);
    pub(super) const RST: Self = Self(8);

    /// Whether a bit of `other` is set.
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why twelve bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Kind,
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_a_round_trip() {
        for kind in [Kind::Data, Kind::WindowUpdate, Kind::Ping, Kind::GoAway] {
            for flags in [0, 1, 2, 4, 8, 15, 0x8000, 0xffff] {
                for n in [0, 1, 0x0102_0304, u32::MAX] {
                    let header = Header::new(kind, Flags(flags), n, !n);
                    assert_eq!(Header::decode(&header.encode()), Ok(header));
                }
            }
        }
    }

    #[test]
    fn the_fields_stand_where_the_protocol_says() {
        let header = Header::new(Kind::WindowUpdate, Flags::RST, 0xa1a2_a3a4, 0xb1b2_b3b4);
        assert_eq!(header.encode(), [0, 1, 0, 8, 0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2, 0xb3, 0xb4]);
        // The highest id that a Go server hands out (vector `last_stream_id_server`).
        let last = Header::new(Kind::WindowUpdate, Flags::SYN, 0xffff_fffc, 0);
        assert_eq!(last.encode(), [0, 1, 0, 1, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0]);
    }

    #[test]
    fn unknown_versions_and_types_are_refused() {
        for first in 1..=255 {
            assert_eq!(Header::decode(&[first, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Version));
        }
        for kind in 4..=255 {
            assert_eq!(Header::decode(&[0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Kind));
        }
    }
}
