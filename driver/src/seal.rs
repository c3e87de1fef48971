//! Sealing of gossip with a secret that the cluster's nodes share (design guide A.4).
//!
//! XChaCha20-Poly1305: its nonce of 24 random bytes needs no counter that would have to survive a restart. What is
//! sealed is authenticated and encrypted; what was not sealed with the same secret does not open. A recorded
//! message can be played back: versions make old news harmless, and a node is proven by its address only.

use crate::entropy::random_bytes;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The first byte of what is sealed: the version of this form. No message of gossip begins with it.
const VERSION: u8 = 0xA1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// What the key of gossip is derived with, so that other uses of the secret have other keys.
const LABEL: &[u8] = b"piko gossip seal 1";

/// Seals and opens messages. Cheap to clone.
#[derive(Clone)]
pub struct Seal(Arc<XChaCha20Poly1305>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// What sealing adds to a message, in bytes.
    pub const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + TAG_BYTES;

    /// From the cluster's secret, which should hold at least 16 random bytes: it is not stretched.
    pub fn new(secret: &[u8]) -> Self {
        let key = Sha256::new().chain_update(LABEL).chain_update([0]).chain_update(secret).finalize();
        Self(Arc::new(XChaCha20Poly1305::new(Key::from_slice(&key))))
    }

    /// One datagram. `None` without entropy.
    pub fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(plain.len() + Self::OVERHEAD_BYTES);
        self.append(plain, &mut out)?;
        Some(out)
    }

    /// One message of a stream: its length in four bytes, and the sealed bytes.
    pub fn record(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(plain.len() + Self::OVERHEAD_BYTES).ok()?;
        let mut out = Vec::with_capacity(4 + plain.len() + Self::OVERHEAD_BYTES);
        out.extend_from_slice(&length.to_be_bytes());
        self.append(plain, &mut out)?;
        Some(out)
    }

    fn append(&self, plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let nonce: [u8; NONCE_BYTES] = random_bytes().ok()?;
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.0.encrypt_in_place_detached(XNonce::from_slice(&nonce), &[VERSION], &mut out[start..]);
        out.extend_from_slice(&tag.ok()?);
        Some(())
    }

    /// Appends what was sealed to `plain`. `None` when it was not sealed with this secret.
    pub fn open(&self, sealed: &[u8], plain: &mut Vec<u8>) -> Option<()> {
        let body = sealed.strip_prefix(&[VERSION])?;
        let (nonce, body) = body.split_at_checked(NONCE_BYTES)?;
        let (body, tag) = body.split_at_checked(body.len().checked_sub(TAG_BYTES)?)?;
        let start = plain.len();
        plain.extend_from_slice(body);
        let opened = self.0.decrypt_in_place_detached(
            XNonce::from_slice(nonce),
            &[VERSION],
            &mut plain[start..],
            Tag::from_slice(tag),
        );
        if opened.is_err() {
            plain.truncate(start);
        }
        opened.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let (seal, other) = (Seal::new(b"one"), Seal::new(b"two"));
        let sealed = seal.seal(b"message").unwrap();
        assert_eq!(sealed.len(), 7 + Seal::OVERHEAD_BYTES);
        let mut plain = b"before ".to_vec();
        assert_eq!(seal.open(&sealed, &mut plain), Some(()));
        assert_eq!(plain, b"before message");
        assert_eq!(other.open(&sealed, &mut plain), None);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(seal.open(&bad, &mut plain), None, "byte {at}");
            assert_eq!(seal.open(&sealed[..at], &mut plain), None, "cut at {at}");
        }
        assert_eq!(plain, b"before message");
        assert_ne!(seal.seal(b"message"), Some(sealed), "a nonce of its own");
    }
}
