//! The authorities that a machine trusts, found as Go finds them.
//!
//! A loader of its own rather than a crate: it is a list of paths, the agent runs on images that have none of them, and
//! there the error should say what helps.

use super::files::{certs, existing};
use super::itself::of_own;
use super::x509::may_have_names;
use crate::reload::LoadError;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::env;
use std::path::{Path, PathBuf};

/// The first that exists is taken: Debian and Alpine, Fedora and RHEL 6, OpenSUSE, OpenELEC, CentOS and RHEL 7, Alpine
/// and the BSDs and macOS.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Folders of certificates, one in a file.
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Authorities, and their certificates as they are.
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    /// Only those that may be shown by a server under a name, where they are those of a machine.
    pub(super) certs: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn empty() -> Self {
        Self { store: RootCertStore::empty(), certs: Vec::new() }
    }

    /// What cannot be parsed is passed over. Machines trust hundreds, and few of them have names.
    fn add_parsable(&mut self, certs: Vec<CertificateDer<'static>>) {
        self.certs.extend(certs.iter().filter(|cert| may_have_names(cert)).cloned());
        self.store.add_parsable_certificates(certs);
    }
}

/// Those in a PEM file, all of which must be usable.
pub(super) fn of_file(path: &Path) -> Result<Roots, LoadError> {
    let mut store = RootCertStore::empty();
    let certs = certs(path).map_err(|error| LoadError::new(format!("open root cas: {error}")))?;
    for cert in &certs {
        let fail = |why: String| LoadError::new(format!("parse root cas: {}: {why}", path.display()));
        store.add(cert.clone()).map_err(|error| fail(of_own(&error)))?;
    }
    Ok(Roots { store, certs })
}

/// Those of the machine: the file and the folders that `SSL_CERT_FILE` and `SSL_CERT_DIR` name (several with `:`), else
/// where distributions put them. What cannot be parsed is passed over, as old authorities sometimes cannot.
pub(super) fn of_machine() -> Result<Roots, LoadError> {
    let named = |name: &str| env::var_os(name).filter(|text| !text.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let file = file.map(PathBuf::from).or_else(|| existing(FILES.map(PathBuf::from)).next());
    let mut roots = Roots::empty();
    if let Some(file) = &file {
        roots.add_parsable(certs(file).unwrap_or_default());
    }
    let folders: Vec<PathBuf> = match folders {
        Some(folders) => env::split_paths(&folders).collect(),
        None if roots.store.is_empty() => FOLDERS.map(PathBuf::from).to_vec(),
        None => Vec::new(),
    };
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
            roots.add_parsable(certs(&path).unwrap_or_default());
        }
    }
    if roots.store.is_empty() {
        let tried =
            file.map_or_else(|| "none of the usual places".to_owned(), |path| path.display().to_string());
        return Err(LoadError::new(format!(
            "no trusted authorities on this machine ({tried}): set SSL_CERT_FILE, or name a file of root CAs"
        )));
    }
    Ok(roots)
}
