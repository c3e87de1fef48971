//! TLS of ports and of outgoing connections: which files, and what is asked of the other side.
//!
//! The files are read by whoever opens the port or connects, at the start and again whenever they change.

use super::fault;
use crate::error::UsageError;
#[cfg(feature = "server")]
use crate::error::quoted;
use crate::values::Values;

/// A certificate chain and its key, as paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The chain, leaf first.
    pub cert: String,
    /// The private key: PKCS #8, PKCS #1 or SEC 1. May be the same file.
    pub key: String,
}

/// The oldest version of TLS that a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), the default as in Go.
    #[default]
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

#[cfg(feature = "server")]
impl TlsVersion {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "1.2" => Some(Self::V12),
            "1.3" => Some(Self::V13),
            _ => None,
        }
    }
}

/// TLS of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerTlsOptions {
    /// The first one is for clients that ask for none of the names of the others; never empty.
    pub certs: Vec<KeyPairFiles>,
    /// A PEM file of the authorities whose certificates clients must show; `None` asks for none.
    pub client_cas: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// TLS of outgoing connections. Whether it is spoken says the address, not these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTlsOptions {
    /// What to show to a server that asks for a certificate.
    pub cert: Option<KeyPairFiles>,
    /// Take whatever certificate the server shows.
    pub insecure_skip_verify: bool,
    /// A PEM file of the authorities to trust; `None` is those of the machine.
    pub root_cas: Option<String>,
    /// The name to ask for and to find in the certificate; `None` is the host of the address.
    pub server_name: Option<String>,
}

/// The value under `<prefix>.<name>`, `None` when empty.
fn text<'v>(values: &'v Values, prefix: &str, name: &str) -> Option<&'v str> {
    Some(values.text(&format!("{prefix}.{name}"))).filter(|text| !text.is_empty())
}

/// A certificate and its key: both or neither. `section` begins the complaint, such as
/// `proxy: tls: `.
fn pair(values: &Values, prefix: &str, section: &str) -> Result<Option<KeyPairFiles>, UsageError> {
    let [cert_key, key_key] = [format!("{prefix}.cert"), format!("{prefix}.key")];
    match (text(values, prefix, "cert"), text(values, prefix, "key")) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(fault(values, &[&cert_key], &format!("{section}missing key"))),
        (None, Some(_)) => Err(fault(values, &[&key_key], &format!("{section}missing cert"))),
        (Some(cert), Some(key)) => Ok(Some(KeyPairFiles { cert: cert.to_owned(), key: key.to_owned() })),
    }
}

#[cfg(feature = "server")]
impl ServerTlsOptions {
    /// The settings under `prefix`, such as `proxy.tls`; `None` is a port without TLS, which is one without a
    /// certificate.
    ///
    /// # Errors
    /// Half a pair of files, an unknown version, and settings that would do nothing without a certificate: whoever
    /// asks clients for certificates must not get a port that takes everybody.
    pub(crate) fn from_values(
        values: &Values,
        prefix: &str,
        section: &str,
    ) -> Result<Option<Self>, UsageError> {
        let first = pair(values, prefix, section)?;
        let sni_key = format!("{prefix}.sni-certs");
        let version_key = format!("{prefix}.min-version");
        let min_version = TlsVersion::parse(values.text(&version_key)).ok_or_else(|| {
            let given = quoted(values.text(&version_key));
            let message = format!("{section}unsupported min version: {given} (1.2 or 1.3)");
            fault(values, &[&version_key], &message)
        })?;
        let client_cas = text(values, prefix, "client-cas").map(str::to_owned);
        let Some(first) = first else {
            let cas_key = format!("{prefix}.client-cas");
            let set = [
                (&cas_key, client_cas.is_some()),
                (&sni_key, !values.list(&sni_key).is_empty()),
                (&version_key, min_version != TlsVersion::default()),
            ];
            return match set.iter().find(|(_, set)| *set) {
                Some((key, _)) => Err(fault(values, &[key], &format!("{section}missing cert"))),
                None => Ok(None),
            };
        };
        let mut certs = vec![first];
        for entry in values.list(&sni_key) {
            // One file may hold both.
            let (cert, key) = entry.split_once(':').unwrap_or((entry, entry));
            if cert.is_empty() || key.is_empty() {
                let message = format!("{section}sni certs: {} is no <cert>:<key>", quoted(entry));
                return Err(fault(values, &[&sni_key], &message));
            }
            certs.push(KeyPairFiles { cert: cert.to_owned(), key: key.to_owned() });
        }
        Ok(Some(Self { certs, client_cas, min_version }))
    }
}

impl ClientTlsOptions {
    /// The settings under `prefix`, such as `connect.tls`; `section` begins a complaint, such as `connect: tls: `. A
    /// program whose table has no `<prefix>.server-name` asks for the host.
    ///
    /// # Errors
    /// A certificate without its key, or a key without its certificate; a `server-name` that is none.
    pub(crate) fn from_values(
        values: &Values,
        prefix: &str,
        section: &str,
        has_server_name: bool,
    ) -> Result<Self, UsageError> {
        if cfg!(not(feature = "tls")) {
            // The flags are refused.
            return Ok(Self::default());
        }
        #[cfg(feature = "server")]
        let server_name = if has_server_name { server_name(values, prefix, section)? } else { None };
        // Only a server's table has the key.
        #[cfg(not(feature = "server"))]
        let server_name = {
            let _ = has_server_name;
            None
        };
        Ok(Self {
            cert: pair(values, prefix, section)?,
            insecure_skip_verify: values.flag(&format!("{prefix}.insecure-skip-verify")),
            root_cas: text(values, prefix, "root-cas").map(str::to_owned),
            server_name,
        })
    }
}

/// The name to ask for under `<prefix>.server-name`. What no certificate can be for is refused here: every connection
/// would fail of it, long after the start.
#[cfg(feature = "server")]
fn server_name(values: &Values, prefix: &str, section: &str) -> Result<Option<String>, UsageError> {
    match text(values, prefix, "server-name") {
        Some(name) if !is_server_name(name) => {
            let what = "is no name of a host and no address (names have no wildcards here)";
            let message = format!("{section}server name: {} {what}", quoted(name));
            Err(fault(values, &[&format!("{prefix}.server-name")], &message))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// Whether TLS can ask for this name: an IP address, or labels of letters, digits, hyphens and underscores (RFC 1035
/// 2.3.1, loosened by RFC 2181 11), at most 253 bytes and the last one not only digits, with or without the dot of the root.
#[cfg(feature = "server")]
fn is_server_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = name.strip_suffix('.').unwrap_or(name);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name =
        host.len() <= 253 && host.split('.').all(is_label) && !host.rsplit('.').next().is_some_and(is_number);
    is_name || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(all(test, feature = "server"))]
#[path = "tls_tests.rs"]
mod tests;
