//! Certificates that are made when they are needed, in a folder that goes with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A folder of its own, removed with this value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When there is no place to write.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("piko-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, as text.
    ///
    /// # Panics
    ///
    /// When it is no text.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("paths of tests are text").to_owned()
    }

    /// Puts a file in its place at once, as careful programs do.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        let fresh = format!("{path}.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM.
    pub cert: String,
    /// PEM (PKCS #8).
    pub key: String,
    /// The certificate as it goes over the wire.
    pub der: Vec<u8>,
}

impl Pair {
    /// Writes both as `<name>.pem` and `<name>.key` and gives their paths.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn write(&self, folder: &Folder, name: &str) -> [String; 2] {
        // The key first: with the old certificate it is refused, and looked at again with the new one.
        let key = folder.put(&format!("{name}.key"), &self.key);
        [folder.put(&format!("{name}.pem"), &self.cert), key]
    }
}

/// Whom to believe.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, with a name and a key that no other has.
    ///
    /// # Panics
    ///
    /// When the machine has no randomness.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("a fresh key signs"))
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for these names and addresses, good for servers and clients.
    ///
    /// # Panics
    ///
    /// When one is no name.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.sign(params(names))
    }

    /// One that ended years ago.
    ///
    /// # Panics
    ///
    /// As [`Self::issue`].
    pub fn issue_expired(&self, names: &[&str]) -> Pair {
        let mut params = params(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(params)
    }

    /// An authority below this one, with these names.
    ///
    /// # Panics
    ///
    /// As [`Self::issue`].
    pub fn issue_authority(&self, names: &[&str]) -> Pair {
        self.sign(params_of_authority(names))
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("randomness");
        let cert = params.signed_by(&key, &self.0).expect("the authority signs");
        Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }
}

impl Pair {
    /// What plain `openssl req -x509` makes: an authority of itself (CA:TRUE), with these names.
    ///
    /// # Panics
    ///
    /// When one is no name.
    pub fn of_itself(names: &[&str]) -> Self {
        Self::self_signed(params_of_authority(names))
    }

    /// One that ended years ago.
    ///
    /// # Panics
    ///
    /// As [`Self::of_itself`].
    pub fn of_itself_expired(names: &[&str]) -> Self {
        let mut params = params_of_authority(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        Self::self_signed(params)
    }

    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("randomness");
        let cert = params.self_signed(&key).expect("a fresh key signs");
        Self { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }
}

fn params_of_authority(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages.clear();
    params
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let first = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names).expect("names and addresses");
    params.distinguished_name.push(DnType::CommonName, first);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
