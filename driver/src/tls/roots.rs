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
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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

/// The certificates in a file of a machine that can be decoded; at least one.
fn decodable(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs: Vec<_> = sections(path)?.into_iter().filter_map(|section| section.cert.ok()).collect();
    match certs.is_empty() {
        true => Err(none_in(path)),
        false => Ok(certs),
    }
}

fn none_in(path: &Path) -> String {
    format!("{}: no certificate in it", path.display())
}

const FILE: &str = "SSL_CERT_FILE";
const FOLDER: &str = "SSL_CERT_DIR";

/// What was found on a machine.
struct Machine {
    roots: Roots,
    /// The file that was looked at, if any.
    file: Option<PathBuf>,
    /// The files and folders that authorities came from.
    from: Vec<String>,
    /// Variables that name what holds none, each with the reason.
    useless: Vec<(&'static str, String)>,
}

impl Machine {
    fn look() -> Self {
        let named = |name: &str| env::var_os(name).filter(|text| !text.is_empty());
        let (file, folders) = (named(FILE).map(PathBuf::from), named(FOLDER));
        let (is_file_named, are_folders_named) = (file.is_some(), folders.is_some());
        let file = file.or_else(|| existing(FILES.map(PathBuf::from)).next());
        let mut machine = Self { roots: Roots::empty(), file, from: Vec::new(), useless: Vec::new() };
        if let Some(file) = machine.file.clone() {
            let added = decodable(&file).and_then(|certs| machine.add(&file, [certs]));
            machine.note(FILE, is_file_named, added);
        }
        let folders: Vec<PathBuf> = match folders {
            Some(folders) => env::split_paths(&folders).collect(),
            None if machine.roots.store.is_empty() => FOLDERS.map(PathBuf::from).to_vec(),
            None => Vec::new(),
        };
        for folder in folders {
            let entries = std::fs::read_dir(&folder);
            let added =
                entries.map_err(|error| format!("open {}: {error}", folder.display())).and_then(|entries| {
                    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
                    machine.add(&folder, paths.filter_map(|path| decodable(&path).ok()))
                });
            machine.note(FOLDER, are_folders_named, added);
        }
        machine
    }

    /// What of `certs` can be parsed. There should be some.
    fn add(
        &mut self,
        place: &Path,
        certs: impl IntoIterator<Item = Vec<CertificateDer<'static>>>,
    ) -> Result<(), String> {
        let before = self.roots.store.len();
        certs.into_iter().for_each(|certs| self.roots.add_parsable(certs));
        if self.roots.store.len() == before {
            return Err(none_in(place));
        }
        self.from.push(place.display().to_string());
        Ok(())
    }

    fn note(&mut self, variable: &'static str, is_named: bool, added: Result<(), String>) {
        if let Some(why) = added.err().filter(|_| is_named) {
            self.useless.push((variable, why));
        }
    }

    fn trusted(&self) -> String {
        if self.from.is_empty() { "nobody".to_owned() } else { self.from.join(", ") }
    }
}

/// What is wrong with the authorities that the environment names for this machine, one line for each of its variables:
/// for programs without a log, which others say it in.
pub fn useless_authorities() -> Vec<String> {
    let machine = Machine::look();
    let line = |(variable, why): &(&str, String)| {
        format!("{variable} names no authorities: {why} (trusted: {})", machine.trusted())
    };
    machine.useless.iter().map(line).collect()
}

/// Those of the machine: the file and the folders that `SSL_CERT_FILE` and `SSL_CERT_DIR` name (several with `:`), else
/// where distributions put them. What cannot be parsed is passed over, as old authorities sometimes cannot. A variable
/// that leads to none is told, once in a process: as in Go, others may be trusted then than those who set it meant.
pub(super) fn of_machine() -> Result<Roots, LoadError> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let machine = Machine::look();
    if !machine.useless.is_empty() && !TOLD.swap(true, Relaxed) {
        let trusted = machine.trusted();
        for (variable, error) in &machine.useless {
            tracing::warn!(target: "config", variable, error, trusted, "a variable that names no authorities");
        }
    }
    if machine.roots.store.is_empty() {
        let none = || "none of the usual places".to_owned();
        let tried = machine.file.map_or_else(none, |path| path.display().to_string());
        return Err(LoadError::new(format!(
            "no trusted authorities on this machine ({tried}): set SSL_CERT_FILE, or name a file of root CAs"
        )));
    }
    Ok(machine.roots)
}
