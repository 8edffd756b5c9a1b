//! Certificates, made when a test runs, and clients that speak TLS.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::{DEADLINE, Socket};

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2096)
    }

    /// The same, valid until a year begins.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Issued { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this one.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_root_certificates(self.roots()).with_no_client_auth();
        Arc::new(config)
    }

    /// One that shows a certificate besides.
    pub(crate) fn client_with(&self, own: &Issued) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(self.roots());
        Arc::new(builder.with_client_auth_cert(own.chain(), own.secret()).unwrap())
    }
}

impl Issued {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect()
    }

    pub(crate) fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// For an instance.
    pub(crate) fn serves(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        builder.unwrap().with_no_client_auth().with_single_cert(self.chain(), self.secret()).unwrap()
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Files of a test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// As `NAME.pem` and `NAME.key`; the inline table of the configuration that names them.
    pub(crate) fn put(&self, name: &str, issued: &Issued) -> String {
        let cert = self.write(&format!("{name}.pem"), &issued.cert);
        let key = self.write(&format!("{name}.key"), &issued.key);
        format!("{{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display())
    }
}

/// Hands are shaken with `address`, which is to be `name`.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Socket {
    try_connect(address, config, name).unwrap_or_else(|error| panic!("no TLS: {error}"))
}

pub(crate) fn try_connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Socket> {
    try_connect_behind(&[], address, config, name)
}

/// The same, with `first` in one segment with the begin of the handshake, and before it.
pub(crate) fn try_connect_behind(
    first: &[u8],
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Socket> {
    let mut tcp = TcpStream::connect_timeout(&address, DEADLINE)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    tcp.set_write_timeout(Some(DEADLINE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(config.clone(), name).unwrap();
    let mut flight = first.to_vec();
    tls.write_tls(&mut flight)?;
    tcp.write_all(&flight)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(Socket::of_client(StreamOwned::new(tls, tcp)))
}

/// The other end of [`connect`], for an instance.
pub(crate) fn accept(mut tcp: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<Socket> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    tcp.set_write_timeout(Some(DEADLINE))?;
    let mut tls = ServerConnection::new(config.clone()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(Socket::of_server(StreamOwned::new(tls, tcp)))
}
