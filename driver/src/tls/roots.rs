//! The authorities that a machine trusts, found as Go finds them.
//!
//! A loader of its own rather than a crate: it is a list of paths, the agent runs on images that have none of them, and
//! there the error should say what helps.

use super::files::{certs, existing};
use crate::reload::LoadError;
use rustls::RootCertStore;
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

/// Those in a PEM file, all of which must be usable.
pub(super) fn of_file(path: &Path) -> Result<RootCertStore, LoadError> {
    let mut store = RootCertStore::empty();
    for cert in certs(path).map_err(|error| LoadError::new(format!("open root cas: {error}")))? {
        let added = store.add(cert);
        added.map_err(|error| LoadError::new(format!("parse root cas: {}: {error}", path.display())))?;
    }
    Ok(store)
}

/// Those of the machine: the file and the folders that `SSL_CERT_FILE` and `SSL_CERT_DIR` name (several with `:`), else
/// where distributions put them. What cannot be parsed is passed over, as old authorities sometimes cannot.
pub(super) fn of_machine() -> Result<RootCertStore, LoadError> {
    let named = |name: &str| env::var_os(name).filter(|text| !text.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let file = file.map(PathBuf::from).or_else(|| existing(FILES.map(PathBuf::from)).next());
    let mut store = RootCertStore::empty();
    if let Some(file) = &file {
        store.add_parsable_certificates(certs(file).unwrap_or_default());
    }
    let folders: Vec<PathBuf> = match folders {
        Some(folders) => env::split_paths(&folders).collect(),
        None if store.is_empty() => FOLDERS.map(PathBuf::from).to_vec(),
        None => Vec::new(),
    };
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
            store.add_parsable_certificates(certs(&path).unwrap_or_default());
        }
    }
    if store.is_empty() {
        let tried =
            file.map_or_else(|| "none of the usual places".to_owned(), |path| path.display().to_string());
        return Err(LoadError::new(format!(
            "no trusted authorities on this machine ({tried}): set SSL_CERT_FILE, or name a file of root CAs"
        )));
    }
    Ok(store)
}
