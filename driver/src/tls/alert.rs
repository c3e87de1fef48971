//! What a peer says when it ends a connection, and what is said of a peer.

use super::itself::is_authority;
use super::x509::OldVersion;
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use std::io;

/// Whether the peer refused what it was shown: a certificate, its absence, a name, a version. In TLS 1.3 a server says
/// so only after the client has finished the handshake, in place of its first data (RFC 8446 4.4.2.4 and 6.2); it has
/// looked at nothing that was sent to it then.
pub fn is_refusal(error: &io::Error) -> bool {
    let refused = |alert: &AlertDescription| {
        use AlertDescription as A;
        matches!(
            *alert,
            A::AccessDenied
                | A::BadCertificate
                | A::CertificateExpired
                | A::CertificateRequired
                | A::CertificateRevoked
                | A::CertificateUnknown
                | A::DecryptError
                | A::HandshakeFailure
                | A::InsufficientSecurity
                | A::ProtocolVersion
                | A::UnknownCA
                | A::UnrecognisedName
                | A::UnsupportedCertificate
        )
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(alert)) if refused(alert))
}

/// The error of a connection. rustls has no words for what is wrong with some certificates.
pub(super) fn in_words(error: Error) -> io::Error {
    let why = match &error {
        error if is_authority(error) => {
            "that of an authority (CA:TRUE; webpki: CaUsedAsEndEntity), and none of the roots".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) if inner.is::<OldVersion>() => {
            inner.to_string()
        }
        _ => return io::Error::new(io::ErrorKind::InvalidData, error),
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("invalid peer certificate: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_peer_said_of_us_is_a_refusal() {
        let told = |alert| io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert));
        assert!(is_refusal(&told(AlertDescription::CertificateRequired)));
        assert!(is_refusal(&told(AlertDescription::UnknownCA)));
        // The request may have been read by then.
        assert!(!is_refusal(&told(AlertDescription::InternalError)));
        assert!(!is_refusal(&io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError)));
        assert!(!is_refusal(&io::ErrorKind::InvalidData.into()));
    }
}
