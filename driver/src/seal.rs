//! Sealing of gossip with a secret that the cluster's nodes share (design guide A.4).
//!
//! XChaCha20-Poly1305: its nonce of 24 random bytes needs no counter that would have to survive a restart. What is
//! sealed is authenticated and encrypted; what was not sealed with the same secret does not open. A recorded
//! message can be played back: versions make old news harmless, and a node is proven by its address only.

use crate::entropy::random_bytes;
use crate::sync::Mutex;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use piko_core::gossip::StreamError;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The first byte of what is sealed: the version of this form. No message of gossip begins with it.
const VERSION: u8 = 0xA1;
/// What a node answers on a stream to a request that was sealed in another way than its own gossip: a record of one
/// byte, which no other record is, the version of its seal or 0 for none. It tells an operator what is wrong, and
/// nobody more than the missing answer would. A node of Go's, or of ours without a secret, takes it for no message.
const NOTICE: [u8; 4] = [0, 0, 0, 1];
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

/// The notice of a node that heard a request which begins with these bytes and is none to it; `None` when they are no
/// gossip of any kind.
pub(crate) fn notice(seal: Option<&Seal>, begin: &[u8]) -> Option<[u8; NOTICE.len() + 1]> {
    let [a, b, c, d] = NOTICE;
    match (seal, begin) {
        // A record of somebody who has a secret.
        (None, [0, ..]) => Some([a, b, c, d, 0]),
        // A join or a leave of somebody who has none (wire protocol 7.1), or another secret.
        (Some(_), [3 | 4, 0, ..] | [_, _, _, _, VERSION, ..]) => Some([a, b, c, d, VERSION]),
        _ => None,
    }
}

/// What an answer that begins with these bytes says of the secrets of both, if it is a notice.
pub(crate) fn noticed(seal: Option<&Seal>, begin: &[u8]) -> Option<StreamError> {
    match (seal, begin.strip_prefix(&NOTICE)?.first()?) {
        (None, &VERSION) => Some(StreamError::SecretThere),
        (Some(_), &VERSION) => Some(StreamError::SecretDiffers),
        (Some(_), 0) => Some(StreamError::SecretHere),
        _ => None,
    }
}

/// What the key of the proof is derived with.
const PROOF_LABEL: &[u8] = b"piko node proof 1";
/// A proof is of one minute, and believed for so many before and after: clocks of a cluster differ by less.
const PROOF_MINUTES: u64 = 5;

/// What a proof shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// That its sender knows the secret.
    Good,
    /// That somebody who knows the secret made it, so many minutes from now: by a clock that is wrong, unless somebody
    /// repeats what he read.
    Old {
        /// Between its minute and this one.
        minutes: u64,
    },
    /// Nothing.
    Bad,
}

/// Shows other nodes that this one knows the cluster's secret, on the HTTP connections between them, and judges
/// who shows it.
///
/// The value is `1.<minute>.<mac>`, the same for all requests of a minute, so that both sides compute it once and
/// compare bytes from then on. Whoever reads the traffic between nodes can repeat it for ten minutes: where that
/// network is not trusted, TLS is what helps.
pub struct Members {
    mac: Hmac<Sha256>,
    own: Mutex<(u64, Arc<[u8]>)>,
    /// Proofs that were found good, with their minutes; at most one for each minute that is believed.
    good: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Members")
    }
}

impl Members {
    /// From the cluster's secret.
    pub fn new(secret: &[u8]) -> Self {
        let key = Sha256::new().chain_update(PROOF_LABEL).chain_update([0]).chain_update(secret).finalize();
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("HMAC takes keys of any length");
        Self { mac, own: Mutex::new((u64::MAX, Arc::from(&[][..]))), good: Mutex::new(Vec::new()) }
    }

    /// The proof for the time `unix_secs`.
    pub fn proof(&self, unix_secs: u64) -> Arc<[u8]> {
        let minute = unix_secs / 60;
        let mut own = self.own.lock();
        if own.0 != minute {
            *own = (minute, Arc::from(self.make(minute)));
        }
        own.1.clone()
    }

    fn make(&self, minute: u64) -> Vec<u8> {
        let mac = self.mac.clone().chain_update(minute.to_be_bytes()).finalize().into_bytes();
        let mut text = format!("1.{minute}.").into_bytes();
        for byte in mac {
            text.extend(format!("{byte:02x}").into_bytes());
        }
        text
    }

    /// Whether `proof` shows the secret at the time `unix_secs`.
    pub fn is_member(&self, proof: &[u8], unix_secs: u64) -> bool {
        self.judge(proof, unix_secs) == Proof::Good
    }

    /// What `proof` shows at the time `unix_secs`.
    pub fn judge(&self, proof: &[u8], unix_secs: u64) -> Proof {
        let now = unix_secs / 60;
        let is_current = |minute: u64| minute.abs_diff(now) <= PROOF_MINUTES;
        let minute = std::str::from_utf8(proof).ok().and_then(|text| {
            let (minute, _) = text.strip_prefix("1.")?.split_once('.')?;
            minute.parse::<u64>().ok()
        });
        let Some(minute) = minute else { return Proof::Bad };
        if !is_current(minute) {
            let minutes = minute.abs_diff(now);
            return if is_same(&self.make(minute), proof) { Proof::Old { minutes } } else { Proof::Bad };
        }
        let mut good = self.good.lock();
        good.retain(|(minute, _)| is_current(*minute));
        let known = match good.iter().position(|(known, _)| *known == minute) {
            Some(at) => at,
            None => {
                good.push((minute, self.make(minute)));
                good.len() - 1
            }
        };
        if is_same(&good[known].1, proof) { Proof::Good } else { Proof::Bad }
    }
}

/// No early way out, which would tell how much was right.
fn is_same(expected: &[u8], proof: &[u8]) -> bool {
    expected.len() == proof.len()
        && expected.iter().zip(proof).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
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

    #[test]
    fn a_notice_says_who_has_a_secret() {
        let seal = Seal::new(b"one");
        let record = seal.record(b"message").unwrap();
        let open: &[u8] = &[3, 0, 0x82];
        let heard = |by: Option<&Seal>, begin: &[u8], at: Option<&Seal>| noticed(by, &notice(at, begin)?);
        assert_eq!(heard(None, open, Some(&seal)), Some(StreamError::SecretThere));
        assert_eq!(heard(Some(&seal), &record, Some(&seal)), Some(StreamError::SecretDiffers));
        assert_eq!(heard(Some(&seal), &record, None), Some(StreamError::SecretHere));
        for garbage in [&b"GET / HTTP/1.1"[..], &[0x16, 3, 1], &[]] {
            assert_eq!((notice(None, garbage), notice(Some(&seal), garbage)), (None, None));
        }
        assert_eq!(noticed(Some(&seal), &record), None);
    }

    #[test]
    fn members_know_each_other_by_the_secret_and_the_time() {
        let (one, two, other) = (Members::new(b"one"), Members::new(b"one"), Members::new(b"two"));
        let now = 1_800_000_000;
        let proof = one.proof(now);
        assert_eq!(proof, one.proof(now + 1), "one for a minute");
        for skew in [0, 60, 299] {
            assert!(two.is_member(&proof, now + skew) && two.is_member(&proof, now - skew), "{skew}");
        }
        assert!(!two.is_member(&proof, now + 400) && !two.is_member(&proof, now - 400));
        assert_eq!(two.judge(&proof, now + 600), Proof::Old { minutes: 10 });
        assert_eq!(other.judge(&proof, now + 600), Proof::Bad, "of another secret");
        assert!(!other.is_member(&proof, now));
        for at in 0..proof.len() {
            let mut bad = proof.to_vec();
            bad[at] ^= 1;
            assert!(!two.is_member(&bad, now), "byte {at}");
            assert!(!two.is_member(&proof[..at], now), "cut at {at}");
        }
        assert!(two.is_member(&proof, now));
        assert!(two.good.lock().len() <= 11);
    }
}
