//! Masking of payload (RFC 6455 5.3): byte `i` is combined with byte `i mod 4` of the key.

/// Combines `data` with `key`, whose first byte belongs to the first byte of `data`.
///
/// Masking twice with the same key restores the data. Eight bytes are done at a time, which the compiler
/// widens further; masking byte by byte costs ten times as much.
pub(super) fn apply(data: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = data.chunks_exact_mut(8);
    for word in words.by_ref() {
        // An array, because a slice's length is forgotten where code is made small: each copy is then a call.
        if let Ok(word) = <&mut [u8; 8]>::try_from(word) {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// As [`apply`], for frames that may not be masked: a key of zeroes changes nothing and costs nothing.
pub(super) fn apply_unless_zero(data: &mut [u8], key: [u8; 4]) {
    if key != [0; 4] {
        apply(data, key);
    }
}

/// The key for what follows after `done` bytes of a frame that `key` was right for.
pub(super) fn rotated(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn slow(data: &[u8], key: [u8; 4]) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn masks_like_the_definition_at_every_length_and_split() {
        let key = [0x7d, 0x4f, 0x9a, 0xaf];
        for len in 0..70 {
            let plain: Vec<u8> = (0..len as u8).map(|i| i.wrapping_mul(37)).collect();
            let expected = slow(&plain, key);
            for split in 0..=len {
                let mut data = plain.clone();
                let (left, right) = data.split_at_mut(split);
                apply(left, key);
                apply(right, rotated(key, split));
                assert_eq!(data, expected, "length {len}, split {split}");
            }
        }
    }

    #[test]
    fn masks_at_every_alignment() {
        let key = [1, 2, 3, 4];
        for start in 0..16 {
            let mut data: Vec<u8> = (0..100).collect();
            let expected = slow(&data[start..], key);
            apply(&mut data[start..], key);
            assert_eq!(data[start..], expected);
            assert!(data[..start].iter().enumerate().all(|(i, byte)| usize::from(*byte) == i));
        }
    }
}
