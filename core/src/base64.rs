//! Base64 with the standard alphabet and padding (RFC 4648 4), for the WebSocket handshake's two values and for logins.

use bytes::{BufMut, BytesMut};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes `data` into `out`, four bytes for each three begun. `OUT` must be just that long.
pub(crate) fn encode<const OUT: usize>(data: &[u8]) -> [u8; OUT] {
    debug_assert_eq!(OUT, data.len().div_ceil(3) * 4);
    let mut out = [b'='; OUT];
    for (three, four) in data.chunks(3).zip(out.chunks_exact_mut(4)) {
        four.copy_from_slice(&letters(three));
    }
    out
}

/// Appends `data`, however long it is.
pub(crate) fn put(data: &[u8], out: &mut BytesMut) {
    for three in data.chunks(3) {
        out.put_slice(&letters(three));
    }
}

/// The letters of one to three bytes.
fn letters(three: &[u8]) -> [u8; 4] {
    let mut four = [b'='; 4];
    let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
    for (i, byte) in four.iter_mut().take(three.len() + 1).enumerate() {
        *byte = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
    }
    four
}

/// Whether `text` stands for exactly 16 bytes: 22 letters of the alphabet and two signs of padding.
///
/// Unused bits of the last letter may be set, as Go's decoder allows.
pub(crate) fn is_16_bytes(text: &[u8]) -> bool {
    text.len() == 24 && text.ends_with(b"==") && text[..22].iter().all(|byte| ALPHABET.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        assert_eq!(&encode::<0>(b""), b"");
        assert_eq!(&encode::<4>(b"f"), b"Zg==");
        assert_eq!(&encode::<4>(b"fo"), b"Zm8=");
        assert_eq!(&encode::<4>(b"foo"), b"Zm9v");
        assert_eq!(&encode::<8>(b"foob"), b"Zm9vYg==");
        assert_eq!(&encode::<8>(b"fooba"), b"Zm9vYmE=");
        assert_eq!(&encode::<8>(b"foobar"), b"Zm9vYmFy");
        assert_eq!(&encode::<4>(&[0xfb, 0xff, 0xbf]), b"+/+/");
        let mut out = BytesMut::from(&b"Basic "[..]);
        put(b"fooba", &mut out);
        assert_eq!(&out[..], b"Basic Zm9vYmE=");
    }

    #[test]
    fn keys_are_judged_by_length_alphabet_and_padding() {
        assert!(is_16_bytes(&encode::<24>(&[0xff; 16])));
        assert!(is_16_bytes(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQQ=",
            b"dGhlIHNhbXBsZSBub25jZQ==x",
            b"dGhlIHNhbXBs-SBub25jZQ==",
        ] {
            assert!(!is_16_bytes(bad), "{}", bad.escape_ascii());
        }
    }
}
