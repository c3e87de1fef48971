//! What a peer says when it ends a connection, and what is said of a peer.

use super::itself::is_authority;
use super::x509::OldVersion;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};
use std::{fmt, io};

/// The peer ended the connection because of what it was shown.
#[derive(Clone, Copy, Debug)]
struct Refused {
    alert: AlertDescription,
    /// It is a client, and we are its server.
    by_client: bool,
}

impl Refused {
    /// What it refused, and its reason in the words of RFC 8446 6.2; `None` for alerts about something else.
    fn words(alert: AlertDescription) -> Option<(&'static str, &'static str)> {
        use AlertDescription as A;
        const CERTIFICATE: &str = "our certificate";
        const HANDSHAKE: &str = "the handshake";
        Some(match alert {
            A::AccessDenied => (CERTIFICATE, "access denied"),
            A::BadCertificate => (CERTIFICATE, "bad certificate"),
            A::CertificateExpired => (CERTIFICATE, "certificate expired"),
            A::CertificateRequired => (CERTIFICATE, "certificate required, and it was shown none"),
            A::CertificateRevoked => (CERTIFICATE, "certificate revoked"),
            A::CertificateUnknown => (CERTIFICATE, "certificate unknown"),
            A::DecryptError => (HANDSHAKE, "decrypt error"),
            A::HandshakeFailure => {
                (HANDSHAKE, "handshake failure (no cipher in common, or a certificate is missing)")
            }
            A::InsufficientSecurity => (HANDSHAKE, "insufficient security"),
            A::ProtocolVersion => (HANDSHAKE, "protocol version (TLS 1.2 and 1.3 are spoken here)"),
            A::UnknownCA => (CERTIFICATE, "unknown CA"),
            A::UnrecognisedName => ("the name that it was asked for", "unrecognised name"),
            A::UnsupportedCertificate => (CERTIFICATE, "unsupported certificate"),
            _ => return None,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.by_client { "client" } else { "server" };
        let (what, why) = Self::words(self.alert).unwrap_or(("us", "no reason"));
        write!(f, "the {who} refused {what}: {why}")
    }
}

impl std::error::Error for Refused {}

/// Whether the peer refused what it was shown: a certificate, its absence, a name, a version. In TLS 1.3 a server says
/// so only after the client has finished the handshake, in place of its first data (RFC 8446 4.4.2.4 and 6.2); it has
/// looked at nothing that was sent to it then.
pub fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>()).is_some()
}

/// The error of a connection: what is wrong with some certificates rustls has no words for, and for the rest its words
/// are those of programmers. `by_client` says that the peer is a client; `early` that nothing of it was understood yet.
pub(super) fn in_words(error: Error, by_client: bool, early: bool) -> io::Error {
    let why = match &error {
        Error::AlertReceived(alert) if Refused::words(*alert).is_some() => {
            return io::Error::new(io::ErrorKind::InvalidData, Refused { alert: *alert, by_client });
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) if early => {
            let who = if by_client { "client" } else { "server" };
            return io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the {who} does not speak TLS on this port"),
            );
        }
        Error::PeerIncompatible(why) => match of_versions(why) {
            Some(words) => return io::Error::new(io::ErrorKind::InvalidData, format!("{words} ({why:?})")),
            None => return io::Error::new(io::ErrorKind::InvalidData, error),
        },
        error if is_authority(error) => {
            "that of an authority (CA:TRUE; webpki: CaUsedAsEndEntity), and none of the roots".to_owned()
        }
        Error::InvalidCertificate(why) => match of_certificate(why) {
            Some(words) => words,
            None => return io::Error::new(io::ErrorKind::InvalidData, error),
        },
        _ => return io::Error::new(io::ErrorKind::InvalidData, error),
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("invalid peer certificate: {why}"))
}

/// What there is to say when no version is spoken on both sides. Signature algorithms are a part of TLS 1.2 and later,
/// and rustls misses them before it looks at the version.
fn of_versions(why: &PeerIncompatible) -> Option<&'static str> {
    use PeerIncompatible as P;
    match why {
        P::SignatureAlgorithmsExtensionRequired => Some(
            "the client offers no TLS version that is accepted: TLS 1.1 or older, or 1.2 without signature algorithms",
        ),
        P::SupportedVersionsExtensionRequired | P::Tls12NotOffered | P::Tls12NotOfferedOrEnabled => {
            Some("the client offers no TLS version that is accepted")
        }
        P::ServerDoesNotSupportTls12Or13 | P::ServerTlsVersionIsDisabledByOurConfig => {
            Some("the server speaks no TLS version that is accepted")
        }
        _ => None,
    }
}

fn of_certificate(why: &CertificateError) -> Option<String> {
    Some(match why {
        CertificateError::Other(OtherError(inner)) if inner.is::<OldVersion>() => inner.to_string(),
        CertificateError::UnknownIssuer => {
            "signed by none of the authorities that are trusted here (UnknownIssuer)".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired {} ago", span(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let span = span(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("not valid yet, for another {span} by the clock of this machine")
        }
        _ => return None,
    })
}

/// A length of time in the largest unit of which it has two.
fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} seconds"),
        120..7_200 => format!("{} minutes", secs / 60),
        7_200..172_800 => format!("{} hours", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use std::time::Duration;

    fn told(alert: AlertDescription) -> io::Error {
        in_words(Error::AlertReceived(alert), false, false)
    }

    #[test]
    fn only_what_the_peer_said_of_us_is_a_refusal() {
        assert!(is_refusal(&told(AlertDescription::CertificateRequired)));
        assert!(is_refusal(&told(AlertDescription::UnknownCA)));
        // The request may have been read by then.
        assert!(!is_refusal(&told(AlertDescription::InternalError)));
        assert!(!is_refusal(&in_words(Error::DecryptError, false, false)));
        assert!(!is_refusal(&io::ErrorKind::InvalidData.into()));
    }

    #[test]
    fn a_refusal_names_what_was_refused_and_by_whom() {
        let unknown = told(AlertDescription::UnknownCA);
        assert_eq!(unknown.to_string(), "the server refused our certificate: unknown CA");
        assert_eq!(unknown.kind(), io::ErrorKind::InvalidData);
        let by_client = in_words(Error::AlertReceived(AlertDescription::UnknownCA), true, true);
        assert_eq!(by_client.to_string(), "the client refused our certificate: unknown CA");
        let none = told(AlertDescription::CertificateRequired).to_string();
        assert_eq!(none, "the server refused our certificate: certificate required, and it was shown none");
        assert_eq!(told(AlertDescription::InternalError).to_string(), "received fatal alert: InternalError");
    }

    #[test]
    fn dates_are_told_as_people_count() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let words = |why: CertificateError| in_words(Error::InvalidCertificate(why), false, true).to_string();
        let expired = |secs| words(CertificateError::ExpiredContext { time: at(secs), not_after: at(0) });
        assert_eq!(expired(90), "invalid peer certificate: expired 90 seconds ago");
        assert_eq!(expired(7_199), "invalid peer certificate: expired 119 minutes ago");
        assert_eq!(expired(7_200), "invalid peer certificate: expired 2 hours ago");
        assert_eq!(expired(172_800), "invalid peer certificate: expired 2 days ago");
        let early = words(CertificateError::NotValidYetContext { time: at(0), not_before: at(200_000) });
        assert!(early.contains("not valid yet, for another 2 days"), "{early}");
    }

    #[test]
    fn versions_that_are_not_accepted_are_told_as_such() {
        let words = |why: PeerIncompatible| in_words(why.into(), true, true).to_string();
        let old = words(PeerIncompatible::SignatureAlgorithmsExtensionRequired);
        assert!(
            old.starts_with("the client offers no TLS version that is accepted: TLS 1.1 or older"),
            "{old}"
        );
        assert!(old.ends_with("(SignatureAlgorithmsExtensionRequired)"), "{old}");
        let not_13 = words(PeerIncompatible::SupportedVersionsExtensionRequired);
        assert!(not_13.starts_with("the client offers no TLS version that is accepted"), "{not_13}");
        assert!(words(PeerIncompatible::NoKxGroupsInCommon).contains("NoKxGroupsInCommon"));
    }

    #[test]
    fn something_else_than_tls_is_told_only_of_a_beginning() {
        let garbage = || Error::InvalidMessage(InvalidMessage::InvalidContentType);
        let words = in_words(garbage(), false, true).to_string();
        assert_eq!(words, "the server does not speak TLS on this port");
        assert!(in_words(garbage(), false, false).to_string().contains("InvalidContentType"));
    }
}
