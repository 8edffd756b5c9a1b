//! Certificates, keys and authorities as files have them, for both ends of TLS.
//!
//! Must not: know who uses them, keep or watch files.

mod expiry;
mod pair;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::model::Certificate;
use crate::observe::owner;

pub use pair::{Facts, Pair};

/// Largest file that is taken for certificates, in bytes: more is another file, named by mistake.
const LARGEST: u64 = 4 << 20;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which.
    pub path: PathBuf,
    /// The file, and what is wrong with it; never what is in it.
    pub why: String,
}

impl Unusable {
    /// Of the file at `path`.
    pub fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Unusable { path: path.to_owned(), why: format!("{}: {why}", path.display()) }
    }
}

/// The library that does the arithmetic, with all that it can.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Reads a certificate and its key.
///
/// # Errors
/// Which of the files cannot be used.
pub fn pair(files: &Certificate) -> Result<Pair, Unusable> {
    let Certificate { cert, key } = files;
    let chain = read(cert)?;
    let secret = if key == cert { None } else { Some(read(key)?) };
    pair::pair(&chain, secret.as_deref().unwrap_or(&chain), cert).map_err(|(part, why)| match part {
        pair::Part::Certificate => Unusable::new(cert, why),
        pair::Part::Key => Unusable::new(key, why),
    })
}

/// Whom the certificates in the file at `path` make us trust.
///
/// # Errors
/// When there is none in it, or one that cannot be used.
pub fn authorities(path: &Path) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        let certificate = certificate.map_err(|error| Unusable::new(path, error))?;
        roots.add(certificate).map_err(|error| Unusable::new(path, pair::words(&error)))?;
    }
    if roots.is_empty() {
        return Err(Unusable::new(path, "there is no certificate in it (PEM)"));
    }
    Ok(roots)
}

/// What is in the file at `path`.
///
/// # Errors
/// Why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let failed =
        |error: &std::io::Error| Unusable { path: path.to_owned(), why: owner::explained(error, path) };
    let meta = fs::metadata(path).map_err(|error| failed(&error))?;
    if !meta.is_file() {
        return Err(Unusable::new(path, "this is no regular file"));
    }
    if meta.len() > LARGEST {
        return Err(Unusable::new(path, "the file is larger than 4 MiB: is it the right one?"));
    }
    fs::read(path).map_err(|error| failed(&error))
}

/// A key that everybody may read is no secret.
pub fn seen_by_others(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        format!("{}: everybody may read this key (mode {:04o}): chmod 0640 it", key.display(), mode & 0o7777)
    })
}

/// Of PEM in memory.
#[cfg(test)]
pub(crate) fn of_pem(cert: &str, key: &str) -> Pair {
    pair::pair(cert.as_bytes(), key.as_bytes(), Path::new("/x.pem")).unwrap()
}
