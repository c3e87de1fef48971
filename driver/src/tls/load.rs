//! Files to configurations of rustls.

use super::files::{certs, key};
use super::itself::{OrItself, of_own};
use super::roots::{self, Roots};
use super::sni::Certificates;
use super::trust::TrustAnybody;
use super::x509::{is_current, kind_of_key, may_have_names};
use crate::reload::{LoadError, Stamp};
use rustls::client::{ClientConfig, Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, SignatureScheme, WantsVerifier};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is spoken inside: HTTP/1.1 and nothing else yet (RFC 7301). Clients that ask for none are served too, as agents
/// in Go do.
const ALPN: &[u8] = b"http/1.1";
/// Session tickets that a client keeps, of all its servers.
const SESSIONS_MAX: usize = 256;

/// A maker of session tickets with fresh keys; an error where there is no entropy.
pub type Tickets = fn() -> Result<Arc<dyn ProducesTickets>, rustls::Error>;

/// The cryptography of a program.
#[derive(Clone)]
pub struct Crypto {
    /// Ciphers, signatures and randomness.
    pub provider: Arc<CryptoProvider>,
    /// Keys for resuming sessions; only servers need some, and those without resume nothing.
    pub tickets: Option<Tickets>,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").finish_non_exhaustive()
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key; may be the same file.
    pub key: PathBuf,
}

/// What a port's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The first is for clients that ask for no name of the others; at least one.
    pub certs: Vec<PairFiles>,
    /// Authorities, of one of which every client must show a certificate; `None` asks for none.
    pub client_cas: Option<PathBuf>,
    /// TLS 1.2 is not spoken.
    pub only_tls13: bool,
}

/// What the TLS of outgoing connections is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// What to show to servers that ask.
    pub cert: Option<PairFiles>,
    /// Authorities to trust; `None` is those of the machine.
    pub root_cas: Option<PathBuf>,
    /// A machine that trusts nobody is no mistake: then no server is believed.
    pub may_trust_nobody: bool,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
    /// The name to ask for and to find, rather than the host that is dialled.
    pub server_name: Option<String>,
}

fn pair(files: &PairFiles, crypto: &Crypto) -> Result<CertifiedKey, LoadError> {
    let fail = |error: String| LoadError::new(format!("load key pair: {error}"));
    let (chain, key) = (certs(&files.cert).map_err(fail)?, key(&files.key).map_err(fail)?);
    if let Some(Err(old)) = chain.first().map(is_current) {
        return Err(fail(format!("{}: {old}", files.cert.display())));
    }
    let refused = unusable_key(&key, &crypto.provider);
    let key = crypto.provider.key_provider.load_private_key(key);
    let key = key.map_err(|_| fail(format!("{}: {refused}", files.key.display())))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(fail(format!("{} is not the key of {}", files.key.display(), files.cert.display())))
        }
        Err(error) => Err(fail(format!("{}: {}", files.cert.display(), of_own(&error)))),
    }
}

/// What to say of a key that the cryptography does not take: it says the same of all.
fn unusable_key(key: &PrivateKeyDer<'_>, provider: &CryptoProvider) -> String {
    let kind = kind_of_key(key).unwrap_or("an unknown kind");
    let verified = provider.signature_verification_algorithms.supported_schemes();
    // Whoever verifies signatures of this curve also makes them.
    let curves = match verified.contains(&SignatureScheme::ECDSA_NISTP521_SHA512) {
        true => "P-256, P-384 and P-521",
        false => "P-256 and P-384",
    };
    format!(
        "a private key that cannot be used ({kind}): RSA of at least 2048 bits, ECDSA {curves}, and Ed25519 can"
    )
}

/// Believes servers with a certificate of these authorities, and those that are one of them.
fn trust(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    mut trusted: Roots,
    crypto: &Crypto,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, LoadError> {
    if trusted.store.is_empty() {
        return Ok(builder.with_root_certificates(trusted.store));
    }
    trusted.certs.retain(may_have_names);
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(trusted.store), crypto.provider.clone());
    let verifier = OrItself::new(verifier.build().map_err(unusable)?, trusted.certs);
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn unusable(error: impl fmt::Display) -> LoadError {
    LoadError::new(error.to_string())
}

impl PairFiles {
    fn paths(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

impl ServerFiles {
    /// What the files look like.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(self.certs.iter().flat_map(PairFiles::paths).chain(self.client_cas.as_deref()))
    }

    /// Reads the files. Every configuration has ticket keys of its own: whoever was let in by authorities that are gone
    /// must not come back with a ticket.
    pub(super) fn load(&self, crypto: &Crypto) -> Result<Arc<ServerConfig>, LoadError> {
        let certs: Result<Vec<_>, _> =
            self.certs.iter().map(|files| pair(files, crypto).map(Arc::new)).collect();
        let certs = certs?;
        // The first is for whoever asks for another name, or for none.
        for (files, pair) in self.certs.iter().zip(&certs).skip(1) {
            if !pair.cert.first().is_some_and(may_have_names) {
                let (cert, error) = (files.cert.display(), "no subjectAltName in it, so it is for no name");
                tracing::warn!(target: "tls", { %cert, error }, "no client gets this certificate");
            }
        }
        let versions: &[_] = if self.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(crypto.provider.clone());
        let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
        let builder = match &self.client_cas {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let cas = roots::of_file(path)
                    .map_err(|error| LoadError::new(error.to_string().replace("root cas", "client cas")))?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(cas.store), crypto.provider.clone());
                let verifier: Arc<dyn ClientCertVerifier> = verifier.build().map_err(unusable)?;
                builder.with_client_cert_verifier(Arc::new(OrItself::new(verifier, cas.certs)))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(certs)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        if let Some(tickets) = crypto.tickets {
            config.ticketer = tickets().map_err(unusable)?;
        }
        Ok(Arc::new(config))
    }
}

impl ClientFiles {
    /// What the files look like. Those of the machine are read once.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(self.cert.iter().flat_map(PairFiles::paths).chain(self.root_cas.as_deref()))
    }

    pub(super) fn load(&self, crypto: &Crypto) -> Result<Arc<ClientConfig>, LoadError> {
        let builder = ClientConfig::builder_with_provider(crypto.provider.clone());
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(unusable)?;
        // Broken files are mistakes also where nobody looks at what is in them.
        let own = self.root_cas.as_deref().map(roots::of_file).transpose()?;
        let builder = if self.insecure_skip_verify {
            let verifier = Arc::new(TrustAnybody(crypto.provider.clone()));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            let trusted = match own.map_or_else(roots::of_machine, Ok) {
                Err(_) if self.may_trust_nobody => Roots::empty(),
                trusted => trusted?,
            };
            trust(builder, trusted, crypto)?
        };
        let mut config = match &self.cert {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let pair = Arc::new(pair(files, crypto)?);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Arc::new(config))
    }
}
