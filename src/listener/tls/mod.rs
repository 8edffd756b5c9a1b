//! How the clients of a listener are met over TLS: files become what a handshake needs.
//!
//! Protocols and ciphers are those of Mozilla's "intermediate" configuration, which are all that rustls has: TLS 1.3 and 1.2, with
//! forward secrecy and authenticated encryption only. Sessions are resumed by tickets alone, so workers share no table of them.
//!
//! Must not: watch files, or publish what it loads (`control::certificates` does).

mod choice;
mod tickets;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use crate::certificates::{self, Facts, Unusable, provider};
use crate::config::model::ListenTls;
use choice::Choice;

pub use tickets::Tickets;

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

/// Reads what `tls` names. `tickets`: those of this listener.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(tls: &ListenTls, tickets: &Arc<Tickets>) -> Result<Loaded, Unusable> {
    let (mut pairs, mut warnings) = (Vec::new(), Vec::new());
    for files in &tls.certificates {
        pairs.push(certificates::pair(files)?);
        warnings.extend(certificates::seen_by_others(&files.key));
    }
    let facts = pairs.iter().map(|pair| pair.facts.clone()).collect();
    let builder = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the library has these protocols");
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(certificates::authorities(path)?);
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
