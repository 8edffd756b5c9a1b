//! TLS at both ends: what is agreed upon, certificates and how they are replaced, tunnels, and the way to https.

mod agreement;
mod clients;
mod ends;
mod handshakes;
mod instances;
mod process;
mod redirect;
mod renewal;

use std::sync::Arc;

use rustls::ClientConfig;

use crate::support::tls::{Authority, Files, connect};
use crate::support::{Instance, Proxy, Socket, ws};

/// The name in the certificate.
const NAME: &str = "app.example.com";

/// A proxy in front of one instance, with a certificate.
struct Edge {
    authority: Authority,
    files: Files,
    instance: Instance,
    proxy: Proxy,
    client: Arc<ClientConfig>,
}

impl Edge {
    fn start(more: &str) -> Self {
        let (authority, files) = (Authority::new(), Files::new());
        let tls = files.put("app", &authority.issue(&[NAME]));
        Self::with(authority, files, &tls, more)
    }

    /// `tls`: as the file has it.
    fn with(authority: Authority, files: Files, tls: &str, more: &str) -> Self {
        let instance = Instance::start();
        let proxy = Proxy::start(&toml(&instance, tls, more));
        let client = authority.client();
        Edge { authority, files, instance, proxy, client }
    }

    fn connect(&self) -> Socket {
        connect(self.proxy.address(), &self.client, NAME)
    }

    /// The client's and the instance's end of a tunnel.
    fn tunnel(&self) -> (Socket, Socket) {
        tunnel_over(self.connect(), &self.instance)
    }
}

fn toml(instance: &Instance, tls: &str, more: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {tls}\n\
         [upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = []\n{more}"
    )
}

fn tunnel_over(mut client: Socket, instance: &Instance) -> (Socket, Socket) {
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    assert!(far.head().starts_with("GET /ws HTTP/1.1\r\n"));
    far.send(ws::switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (client, far)
}
