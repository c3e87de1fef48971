//! Strong random bytes of the operating system, bought in bulk.

use rand::TryRng;
use rand::rngs::SysRng;
use std::cell::RefCell;
use std::io;

/// One system call gives the mask keys of 64 frames, and 256 bytes are what the kernel promises to give at once
/// (getrandom(2)). A generator of our own would save little more, and costs the agent 8 KiB.
const BLOCK_BYTES: usize = 256;

struct Block {
    bytes: [u8; BLOCK_BYTES],
    used: usize,
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES }) };
}

/// `N` bytes of strong entropy, 256 at most: mask keys (RFC 6455 10.3), handshake keys, seeds.
///
/// # Errors
/// When the operating system gives none, which no supported one does once it has booted.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= BLOCK_BYTES) };
    let mut out = [0; N];
    BLOCK.with_borrow_mut(|block| {
        if block.used + N > BLOCK_BYTES {
            SysRng.try_fill_bytes(&mut block.bytes).map_err(|_| io::Error::other("no random bytes"))?;
            block.used = 0;
        }
        let end = block.used + N;
        out.copy_from_slice(&block.bytes[block.used..end]);
        block.used = end;
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_bytes_are_given_twice() {
        // Sixteen bytes that are equal by chance are not met in the life of this test.
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            assert!(seen.insert(random_bytes::<16>().expect("entropy")));
            let _ = random_bytes::<3>().expect("entropy");
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| random_bytes::<16>().expect("entropy"));
            assert!(seen.insert(other.join().expect("no panic")));
        });
    }

    #[test]
    fn every_byte_of_a_key_varies() {
        let keys: Vec<[u8; 4]> = (0..256).map(|_| random_bytes().expect("entropy")).collect();
        for at in 0..4 {
            let values: BTreeSet<_> = keys.iter().map(|key| key[at]).collect();
            assert!(values.len() > 100, "byte {at}: {} values in 256 keys", values.len());
        }
        assert_eq!(random_bytes::<256>().expect("entropy").len(), 256);
    }
}
