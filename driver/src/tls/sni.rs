//! Which certificate a client gets.

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Certificates by the names in them.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first that is valid for the name that the client asks for (RFC 6066 3), wildcards by the rules of RFC 6125
    /// 6.4.3, and the very first where none is or none is asked for, as in Go.
    ///
    /// Each is parsed again for it: a microsecond, and only where there are several, beside the hundreds of a handshake.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.0.first()?;
        if self.0.len() == 1 {
            return Some(first.clone());
        }
        let name = hello.server_name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let found = name.and_then(|name| self.0.iter().find(|cert| is_for(cert, &name)));
        Some(found.unwrap_or(first).clone())
    }
}

fn is_for(cert: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = cert.end_entity_cert().ok().and_then(|cert| ParsedCertificate::try_from(cert).ok());
    parsed.is_some_and(|cert| verify_server_name(&cert, name).is_ok())
}
