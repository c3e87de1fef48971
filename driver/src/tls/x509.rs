//! The little that has to be known of a certificate or a key which nobody else can read.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;

/// A certificate of X.509 version 1 or 2, which have no extensions: no names for servers, no limits of use. Go takes them
/// from clients; webpki reads version 3 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OldVersion(u8);

impl fmt::Display for OldVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.0;
        write!(
            f,
            "a certificate of X.509 version {version}; make one of version 3 (openssl x509 -req -extfile …)"
        )
    }
}

impl std::error::Error for OldVersion {}

/// What is inside an element of DER with this tag, and what is behind it. Lengths of up to four bytes, as nobody has a
/// certificate that needs more.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let bytes = usize::from(first & 0x7f);
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(bytes)?;
            (len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(len) } else { None }
}

/// Refuses a certificate of an old version (RFC 5280 4.1.2.1); what is no certificate at all is for others to refuse.
pub(super) fn is_current(cert: &CertificateDer<'_>) -> Result<(), OldVersion> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let inner = element(SEQUENCE, cert).and_then(|(cert, _)| element(SEQUENCE, cert));
    let Some((inner, _)) = inner else { return Ok(()) };
    // Version 1 is the default, and a default is left out: the serial number comes first.
    if element(INTEGER, inner).is_some() {
        return Err(OldVersion(1));
    }
    let version = element(0xa0, inner).and_then(|(version, _)| element(INTEGER, version));
    match version {
        Some(([old @ (0 | 1)], _)) => Err(OldVersion(old + 1)),
        _ => Ok(()),
    }
}

fn contains(der: &[u8], part: &[u8]) -> bool {
    der.windows(part.len()).any(|found| found == part)
}

/// Whether a server could be found under a name in it: there is a subjectAltName (RFC 5280 4.2.1.6). May be wrong about
/// one that has the bytes of its identifier elsewhere.
pub(super) fn may_have_names(cert: &CertificateDer<'_>) -> bool {
    contains(cert, &[0x06, 0x03, 0x55, 0x1d, 0x11])
}

/// Kinds of keys by the bytes of their identifiers with tag and length (RFC 5480 2.1.1.1, RFC 8017 A, RFC 8410 3). Those
/// of curves come before that of keys on any curve.
const KINDS: [(&str, &[u8]); 11] = [
    ("ECDSA P-224", &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21]),
    ("ECDSA P-256", &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
    ("ECDSA P-384", &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]),
    ("ECDSA P-521", &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]),
    ("ECDSA secp256k1", &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]),
    ("ECDSA on another curve", &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
    ("RSA", &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
    ("RSA-PSS", &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]),
    ("DSA", &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01]),
    ("Ed25519", &[0x06, 0x03, 0x2b, 0x65, 0x70]),
    ("Ed448", &[0x06, 0x03, 0x2b, 0x65, 0x71]),
];

/// Of what kind a key is, where it says so.
pub(super) fn kind_of_key(key: &PrivateKeyDer<'_>) -> Option<&'static str> {
    let der = match key {
        // The curve is behind the secret.
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
        PrivateKeyDer::Pkcs1(_) => return Some("RSA"),
        // It is in front of the secret, which is random.
        PrivateKeyDer::Pkcs8(key) => &key.secret_pkcs8_der()[..key.secret_pkcs8_der().len().min(48)],
        _ => return None,
    };
    KINDS.iter().find(|(_, id)| contains(der, id)).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

    fn version(der: &[u8]) -> Result<(), OldVersion> {
        is_current(&CertificateDer::from(der))
    }

    #[test]
    fn versions_are_told_apart_and_nonsense_is_none() {
        // The serial number comes first; a version that is stated though it is the default; 2; 3.
        assert_eq!(version(&[0x30, 5, 0x30, 3, 0x02, 1, 9]), Err(OldVersion(1)));
        assert_eq!(version(&[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 0]), Err(OldVersion(1)));
        assert_eq!(version(&[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 1]), Err(OldVersion(2)));
        assert_eq!(version(&[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2]), Ok(()));
        // Long lengths.
        let long = [&[0x30, 0x81, 134, 0x30, 0x82, 0, 130, 0x02, 0x81, 127][..], &[1; 127]].concat();
        assert_eq!(version(&long), Err(OldVersion(1)));
        for cut in 0..9 {
            assert_eq!(version(&long[..cut]), Ok(()), "{cut}");
        }
        assert_eq!(version(&[0x30, 0x80, 0x30, 0x85, 1, 1, 1, 1, 1]), Ok(()));
        assert_eq!(version(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Ok(()));
    }

    #[test]
    fn keys_say_what_they_are() {
        let head =
            [0x30, 0x81, 0xee, 0x02, 1, 0, 0x30, 0x10, 0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        let pkcs8 = |tail: &[u8]| PrivateKeyDer::from(PrivatePkcs8KeyDer::from([&head[..], tail].concat()));
        assert_eq!(kind_of_key(&pkcs8(&[0x06, 5, 0x2b, 0x81, 4, 0, 0x23])), Some("ECDSA P-521"));
        assert_eq!(kind_of_key(&pkcs8(&[])), Some("ECDSA on another curve"));
        let sec1 = [&[0x30, 0x81, 0xdc, 2, 1, 1][..], &[7; 60], &[0x06, 5, 0x2b, 0x81, 4, 0, 0x23]].concat();
        assert_eq!(kind_of_key(&PrivateSec1KeyDer::from(sec1).into()), Some("ECDSA P-521"));
        assert_eq!(kind_of_key(&PrivatePkcs1KeyDer::from(vec![0x30, 0]).into()), Some("RSA"));
        assert_eq!(kind_of_key(&PrivatePkcs8KeyDer::from(vec![0x30, 0]).into()), None);
    }
}
