//! Files of certificates and keys.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file that is larger is none of certificates; the authorities of a machine are half a megabyte.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("open {}: {error}", path.display());
    let file = fs::File::open(path).map_err(fail)?;
    let mut text = Vec::new();
    let is_dir = file.metadata().map_err(fail)?.is_dir();
    if !is_dir {
        // One byte more than what is allowed: a device that never ends has no length to ask for.
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(fail)?;
    }
    match is_dir || text.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("{}: not a file of certificates", path.display())),
        false => Ok(text),
    }
}

/// The certificates in a PEM file; anything else in it is passed over. At least one.
pub(super) fn certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(certs) if certs.is_empty() => Err(format!("{}: no certificate in it", path.display())),
        Ok(certs) => Ok(certs),
    }
}

/// One certificate of a bundle, or why there is none where one begins.
pub(super) struct Section {
    /// Its number in the file, from one.
    pub(super) number: usize,
    /// The line on which it begins, from one.
    pub(super) line: usize,
    pub(super) cert: Result<CertificateDer<'static>, String>,
}

/// The certificates in a PEM file one by one, so that a broken one costs only itself; anything else in it is passed over.
pub(super) fn sections(path: &Path) -> Result<Vec<Section>, String> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let text = read(path)?;
    let mut starts: Vec<usize> = (0..text.len())
        .filter(|&at| text[at..].starts_with(BEGIN) && (at == 0 || text[at - 1] == b'\n'))
        .collect();
    starts.push(text.len());
    let mut line = 1 + starts.first().map_or(0, |&first| lines(&text[..first]));
    let mut found = Vec::new();
    for (n, range) in starts.windows(2).enumerate() {
        let part = &text[range[0]..range[1]];
        let cert = match CertificateDer::pem_slice_iter(part).next() {
            Some(cert) => cert.map_err(|error| error.to_string()),
            None => Err("it does not end".to_owned()),
        };
        found.push(Section { number: n + 1, line, cert });
        line += lines(part);
    }
    Ok(found)
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

/// The first private key in a PEM file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if is_encrypted(&text) => {
            format!("{}: the key is encrypted; piko takes keys without a passphrase", path.display())
        }
        rustls::pki_types::pem::Error::NoItemsFound => format!("{}: no private key in it", path.display()),
        error => format!("{}: {error}", path.display()),
    })
}

/// Whether there is a key in it that wants a passphrase: PKCS #8 (RFC 7468 11), or the older form with headers of its own
/// (RFC 1421 4.6.1.1).
fn is_encrypted(text: &[u8]) -> bool {
    const MARKS: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    MARKS.iter().any(|mark| text.windows(mark.len()).any(|found| found == *mark))
}

/// The paths that are there.
pub(super) fn existing(paths: impl IntoIterator<Item = PathBuf>) -> impl Iterator<Item = PathBuf> {
    paths.into_iter().filter(|path| path.exists())
}
