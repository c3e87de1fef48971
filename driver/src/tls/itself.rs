//! Certificates that are trusted as themselves.
//!
//! What plain `openssl req -x509` makes is an authority (CA:TRUE), and operators give it to a server as its certificate and
//! to those who connect as their root. Go takes it; webpki refuses an authority in the place of a server or client, whoever
//! trusts it. The verifiers here ask webpki, and take that one refusal back where the certificate is byte for byte one of
//! the roots: whoever has its key could sign any other.

use super::x509::is_current;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use std::sync::Arc;

/// A verifier of webpki, and the roots that may stand for themselves.
#[derive(Debug)]
pub(super) struct OrItself<V: ?Sized> {
    roots: Vec<CertificateDer<'static>>,
    inner: Arc<V>,
}

impl<V: ?Sized> OrItself<V> {
    pub(super) fn new(inner: Arc<V>, roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, inner }
    }

    /// Whether all that webpki has against this certificate is that it is an authority, and it is one of the roots.
    ///
    /// Dates are good then: webpki (`check_issuer_independent_properties`) looks at the validity of a certificate before
    /// its basic constraints. It has not looked at the extended key usage, which binds those who are not trusted to sign
    /// whatever they like, and has not compared names.
    fn is_itself(&self, cert: &CertificateDer<'_>, error: &Error) -> bool {
        is_authority(error) && self.roots.iter().any(|root| root == cert)
    }
}

/// Whether webpki found an authority where a server or client should be.
pub(super) fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else { return false };
    matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// What is wrong with a certificate of one's own. rustls calls all that it does not like a peer's.
pub(super) fn of_own(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("an unusable certificate: {why}"),
        error => error.to_string(),
    }
}

/// Says of a certificate that webpki cannot read why that is.
pub(super) fn readable(cert: &CertificateDer<'_>) -> Result<(), Error> {
    is_current(cert).map_err(|old| CertificateError::Other(OtherError(Arc::new(old))).into())
}

impl ServerCertVerifier for OrItself<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        readable(cert)?;
        match self.inner.verify_server_cert(cert, chain, name, ocsp, now) {
            Err(error) if self.is_itself(cert, &error) => {
                verify_server_name(&ParsedCertificate::try_from(cert)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for OrItself<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        readable(cert)?;
        match self.inner.verify_client_cert(cert, chain, now) {
            Err(error) if self.is_itself(cert, &error) => Ok(ClientCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
