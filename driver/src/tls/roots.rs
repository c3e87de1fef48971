//! The authorities that a machine trusts, found as Go finds them.
//!
//! A loader of its own rather than a crate: it is a list of paths, the agent runs on images that have none of them, and
//! there the error should say what helps.

use super::files::{Section, existing, sections};
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

/// Those in a PEM file. What cannot be used of them is passed over, as in Go (`AppendCertsFromPEM`), and told in one
/// line; there must be one that can.
pub(super) fn of_file(path: &Path) -> Result<Roots, LoadError> {
    let fail = |what: &str, why: String| LoadError::new(format!("{what} root cas: {why}"));
    let sections = sections(path).map_err(|error| fail("open", error))?;
    let mut roots = Roots::empty();
    let mut unusable = Vec::new();
    for Section { number, line, cert } in sections {
        let what = if cert.is_ok() { "parse" } else { "open" };
        let added = cert.and_then(|cert| {
            roots.store.add(cert.clone()).map_err(|error| of_own(&error))?;
            roots.certs.push(cert);
            Ok(())
        });
        if let Err(why) = added {
            unusable.push((what, format!("certificate {number} (line {line}): {why}")));
        }
    }
    match (unusable.first(), roots.store.is_empty()) {
        (None, true) => return Err(fail("open", format!("{}: no certificate in it", path.display()))),
        (Some((what, why)), true) => return Err(fail(what, format!("{}: {why}", path.display()))),
        (Some((_, first)), false) => {
            let (file, count) = (path.display(), unusable.len());
            tracing::warn!(target: "config", %file, count, first, "certificates of authorities that cannot be used are passed over");
        }
        (None, false) => {}
    }
    Ok(roots)
}

/// The certificates in a file of a machine that can be decoded.
fn decodable(path: &Path) -> Vec<CertificateDer<'static>> {
    sections(path).unwrap_or_default().into_iter().filter_map(|section| section.cert.ok()).collect()
}

/// Those of the machine: the file and the folders that `SSL_CERT_FILE` and `SSL_CERT_DIR` name (several with `:`), else
/// where distributions put them. What cannot be parsed is passed over, as old authorities sometimes cannot.
pub(super) fn of_machine() -> Result<Roots, LoadError> {
    let named = |name: &str| env::var_os(name).filter(|text| !text.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let file = file.map(PathBuf::from).or_else(|| existing(FILES.map(PathBuf::from)).next());
    let mut roots = Roots::empty();
    if let Some(file) = &file {
        roots.add_parsable(decodable(file));
    }
    let folders: Vec<PathBuf> = match folders {
        Some(folders) => env::split_paths(&folders).collect(),
        None if roots.store.is_empty() => FOLDERS.map(PathBuf::from).to_vec(),
        None => Vec::new(),
    };
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
            roots.add_parsable(decodable(&path));
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
