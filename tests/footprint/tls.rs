//! Tunnels over TLS. Their clients are another process: this one's allocations are the proxy's.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::{MANY, SWITCH, Setup, UPGRADE, head, setup_at};

const NAME: &str = "app.example.com";
/// Where the proxy is and what it is trusted by: only the process of clients has it.
const TO: &str = "STICKYD_FOOTPRINT_TO";
const READY: &str = "all tunnels are open";

pub(super) struct Secure {
    pub(super) setup: Setup,
    files: TempDir,
}

impl Secure {
    fn cert(&self) -> PathBuf {
        self.files.path().join("cert.pem")
    }
}

pub(super) fn setup() -> Secure {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let listen = format!(
        "listen = [{{ address = \"127.0.0.1:0\", tls = {{ cert = \"{}\", key = \"{}\" }} }}]\n",
        path("cert.pem").display(),
        path("key.pem").display()
    );
    Secure { setup: setup_at(&listen, ""), files }
}

/// Tunnels, and who holds them open.
pub(super) struct Tunnels {
    clients: Child,
    _instances: Vec<TcpStream>,
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        let _ = self.clients.kill();
        let _ = self.clients.wait();
    }
}

pub(super) fn tunnels(setup: &Setup, secure: &Secure) -> Tunnels {
    let mut clients = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tls::clients", "--nocapture"])
        .env(TO, format!("{} {}", setup.proxy, secure.cert().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut instances = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        let mut instance = setup.accept();
        head(&mut instance);
        instance.write_all(SWITCH).unwrap();
        instances.push(instance);
    }
    let mut said = BufReader::new(clients.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(READY)));
    Tunnels { clients, _instances: instances }
}

/// The process of clients.
#[test]
fn clients() {
    let Ok(to) = env::var(TO) else { return };
    let (proxy, cert) = to.split_once(' ').unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    let open = || {
        let name = ServerName::try_from(NAME).unwrap();
        let tls = ClientConnection::new(config.clone(), name).unwrap();
        let mut client = StreamOwned::new(tls, TcpStream::connect(proxy).unwrap());
        client.write_all(UPGRADE).unwrap();
        head(&mut client);
        client
    };
    let open: Vec<_> = (0..MANY).map(|_| open()).collect();
    println!("{READY}");
    let _ = std::io::stdin().read(&mut [0]);
    drop(open);
}
