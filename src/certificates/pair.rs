//! A certificate and its key: PEM becomes a key that signs, and what people want to know of it.
//!
//! Pure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::EndEntityCert;

use super::expiry;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What signs.
    pub key: Arc<CertifiedKey>,
    /// What is known of it.
    pub facts: Facts,
}

/// What people want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its file.
    pub file: PathBuf,
    /// The names that it is for, lower-case, as it has them; perhaps none.
    pub names: Vec<String>,
    /// When it begins and ceases to be valid, seconds since the epoch.
    pub valid: (i64, i64),
}

impl Facts {
    /// What it is called: by its first name, or else by its file.
    pub fn subject(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.file.display().to_string())
    }
}

/// What of a pair is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The certificate.
    Certificate,
    /// The key.
    Key,
}

/// The pair of two files. `file`: the name of the first.
///
/// # Errors
/// Which is wrong, and how; says nothing of what is in a key.
pub(super) fn pair(chain: &[u8], key: &[u8], file: &Path) -> Result<Pair, (Part, String)> {
    let in_chain = |error: String| (Part::Certificate, error);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let certificates = certificates.map_err(|error| in_chain(error.to_string()))?;
    let Some(first) = certificates.first() else {
        return Err(in_chain("there is no certificate in it (PEM)".to_owned()));
    };
    let parsed = EndEntityCert::try_from(first)
        .map_err(|error| in_chain(format!("its first certificate cannot be read: {error}")))?;
    let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let valid = expiry::validity(first).ok_or_else(|| in_chain("it has no dates".to_owned()))?;
    let facts = Facts { file: file.to_owned(), names, valid };
    let in_key = |error: String| (Part::Key, error);
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| in_key(no_key(key, &error)))?;
    let key = super::provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| in_key(words(&error)))?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(in_key(format!("it is not the key of the certificate in {}", file.display())));
        }
        Err(error) => return Err(in_key(words(&error))),
    }
    Ok(Pair { key: Arc::new(certified), facts })
}

fn no_key(pem: &[u8], error: &pem::Error) -> String {
    let is_encrypted = pem.windows(21).any(|words| words == b"ENCRYPTED PRIVATE KEY");
    match error {
        _ if is_encrypted => "the key is encrypted, and nobody is there to type its password: \
                              openssl pkey -in KEY -out DECRYPTED"
            .to_owned(),
        pem::Error::NoItemsFound => "there is no private key in it (PEM)".to_owned(),
        error => error.to_string(),
    }
}

/// What rustls says, without its quotation marks.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::General(text) => text.clone(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
