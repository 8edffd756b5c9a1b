//! How the clients of a listener are met over TLS: files become what a handshake needs.
//!
//! Protocols and ciphers are those of Mozilla's "intermediate" configuration, which are all that rustls has: TLS 1.3 and 1.2, with
//! forward secrecy and authenticated encryption only. Sessions are resumed by tickets alone, so workers share no table of them.
//!
//! Must not: watch files, or publish what it loads (`control::certificates` does).

mod certificates;
mod expiry;
mod tickets;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::config::model::{Certificate, ListenTls};
use crate::observe::owner;

pub use certificates::{Choice, Facts, Part};
pub use tickets::Tickets;

/// Largest file that is taken for certificates, in bytes: more is another file, named by mistake.
const LARGEST: u64 = 4 << 20;

/// What is said over TLS; until HTTP/2 is served, this alone.
const ALPN: &[&[u8]] = &[b"http/1.1"];

/// What a listener's handshakes need.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Of each certificate.
    pub facts: Vec<Facts>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

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

/// Reads what `tls` names. `tickets`: those of this listener.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(tls: &ListenTls, tickets: &Arc<Tickets>) -> Result<Loaded, Unusable> {
    let (mut pairs, mut warnings) = (Vec::new(), Vec::new());
    for Certificate { cert, key } in &tls.certificates {
        let chain = read(cert)?;
        let secret = if key == cert { chain.clone() } else { read(key)? };
        warnings.extend(seen_by_others(key));
        let pair = certificates::pair(&chain, &secret, cert).map_err(|(part, why)| {
            Unusable::new(if part == Part::Key { key } else { cert }, why)
        })?;
        pairs.push(pair);
    }
    let facts = pairs.iter().map(|pair| pair.facts.clone()).collect();
    let builder = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the library has these protocols");
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider().clone()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| Unusable::new(path, error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice::of(pairs)));
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets.clone();
    // One more would only be more bytes. With none, clients that wait for our acknowledgement would be slower.
    config.send_tls13_tickets = 1;
    Ok(Loaded { config: Arc::new(config), facts, warnings })
}

/// Whom the certificates in the file at `path` make us trust.
///
/// # Errors
/// When there is none in it, or one that cannot be used.
pub fn authorities(path: &Path) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        let certificate = certificate.map_err(|error| Unusable::new(path, error))?;
        roots.add(certificate).map_err(|error| Unusable::new(path, certificates::words(&error)))?;
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
    let failed = |error: &std::io::Error| Unusable {
        path: path.to_owned(),
        why: owner::explained(error, path),
    };
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
fn seen_by_others(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        format!("{}: everybody may read this key (mode {:04o}): chmod 0640 it", key.display(), mode & 0o7777)
    })
}
