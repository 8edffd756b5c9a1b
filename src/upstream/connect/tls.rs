//! TLS to instances: whom we trust, how they are called, and what we show them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::{DnsName, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use crate::certificates::{self, Unusable, provider};
use crate::config::model::{Certificate, InstanceTls};
use crate::local::stream::Stream;
use crate::local::tls;

/// How the instances of an upstream are spoken to.
#[derive(Debug)]
pub struct Secured {
    config: Arc<ClientConfig>,
    /// What all of them are called by; `None`: each by its host.
    name: Option<ServerName<'static>>,
    file: InstanceTls,
    /// Of what its files held.
    digest: Vec<u8>,
}

impl Secured {
    /// As `tls` says. `before`: how they were spoken to until now; if nothing has changed, that is how they are.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn load(tls: &InstanceTls, before: Option<&Arc<Secured>>) -> Result<Arc<Self>, Unusable> {
        let InstanceTls { ca, sni, client } = tls;
        let mut digest = Context::new(&SHA256);
        for path in ca.iter().chain(client.iter().flat_map(|Certificate { cert, key }| [cert, key])) {
            digest.update(&certificates::read(path)?);
        }
        let digest = digest.finish().as_ref().to_vec();
        if let Some(before) = before.filter(|before| before.file == *tls && before.digest == digest) {
            return Ok(before.clone());
        }
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the library has these protocols");
        let builder = builder.with_root_certificates(match ca {
            Some(ca) => certificates::authorities(ca)?,
            None => whom_the_system_trusts()?,
        });
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let pair = certificates::pair(files)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = sni.as_deref().and_then(|sni| ServerName::try_from(sni.to_owned()).ok());
        Ok(Arc::new(Secured { config: Arc::new(config), name, file: tls.clone(), digest }))
    }

    /// Shakes hands with the instance at `host`.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn shake(&self, socket: Stream, host: &str) -> io::Result<Stream> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => named(host)?,
        };
        match tls::connect(socket, self.config.clone(), name).await {
            Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
            Err(error) => Err(io::Error::other(format!("TLS: {error}"))),
        }
    }
}

/// A host as it stands in an address: an IP address, or a name, perhaps with a dot at its end.
fn named(host: &str) -> io::Result<ServerName<'static>> {
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    let name = DnsName::try_from(host.trim_end_matches('.').to_owned());
    name.map(ServerName::DnsName).map_err(|error| io::Error::other(format!("TLS: {host}: {error}")))
}

/// The system's own list, and not one that is built in: its packages keep it, also after this program was built, and its administrator
/// adds to it.
fn whom_the_system_trusts() -> Result<RootCertStore, Unusable> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(Unusable {
            path: Path::new("").to_owned(),
            why: format!(
                "this system trusts nobody (no certificates found{why}): install ca-certificates, or name a `ca`"
            ),
        });
    }
    Ok(roots)
}
