//! The PROXY protocol where TLS is spoken: its header comes before the handshake, in and out, and so do the limits by address.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ClientConfig;
use stickyd::listener::proxy_protocol::{Parsed, parse};

use super::{GET, LINE, LOCAL, binary, known_as};
use crate::support::tls::{Authority, Files, accept, try_connect_behind};
use crate::support::{Answering, Proxy, Socket};

const NAME: &str = "app.example.com";

/// A proxy with a certificate that expects a header.
struct Edge {
    instance: Answering,
    proxy: Proxy,
    client: Arc<ClientConfig>,
    _files: Files,
}

impl Edge {
    fn start(mode: &str, more: &str) -> Self {
        let (authority, files, instance) = (Authority::new(), Files::new(), Answering::start("blue"));
        let tls = files.put("app", &authority.issue(&[NAME]));
        let proxy = Proxy::start(&format!(
            "trusted_proxies = [\"127.0.0.1\"]\n\
             listen = [{{ address = \"127.0.0.1:0\", proxy_protocol = \"{mode}\", tls = {tls} }}]\n\
             [upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n{more}\n"
        ));
        Edge { instance, proxy, client: authority.client(), _files: files }
    }

    fn try_connect(&self, header: &[u8]) -> std::io::Result<Socket> {
        try_connect_behind(header, self.proxy.address(), &self.client, NAME)
    }

    fn connect(&self, header: &[u8]) -> Socket {
        self.try_connect(header).unwrap()
    }
}

#[test]
fn a_header_before_the_handshake_names_the_client() {
    for mode in ["optional", "required"] {
        let edge = Edge::start(mode, "");
        for (header, address) in
            [(&binary()[..], "192.0.2.7"), (LINE.as_bytes(), "192.0.2.7"), (LOCAL, "127.0.0.1")]
        {
            let mut client = edge.connect(header);
            client.send(GET);
            assert_eq!(client.answer().text(), "blue");
            assert_eq!(known_as(&edge.instance), address, "{mode}");
            let request = edge.instance.requests().pop().unwrap();
            assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("https"), "{mode}");
            assert_eq!(request.field("x-forwarded-for").as_deref(), Some(address), "{mode}");
        }
        assert_eq!(edge.proxy.count("stickyd_refused_total", &[]), 0);
    }
}

#[test]
fn without_a_header() {
    let edge = Edge::start("optional", "");
    let mut client = edge.connect(b"");
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");
    assert_eq!(known_as(&edge.instance), "127.0.0.1");
    let edge = Edge::start("required", "");
    assert!(edge.try_connect(b"").is_err());
    edge.proxy.counts("stickyd_refused_total", &[("reason", "proxy_protocol")], 1);
    edge.proxy.counts("stickyd_connections_open", &[], 0);
}

/// Whoever is not let in costs no handshake, and hears nothing that it could not read.
#[test]
fn limits_of_the_client_that_it_names_come_before_the_handshake() {
    let edge = Edge::start("required", "[limits]\nconnections_per_ip = 1\ndeny = [\"192.0.2.66\"]");
    let mut first = edge.connect(&binary());
    let end = |header: &[u8]| {
        let mut client = Socket::connect(edge.proxy.address());
        client.send(header);
        client.is_gone();
    };
    end(&binary());
    edge.proxy.counts("stickyd_refused_total", &[("reason", "per_ip")], 1);
    end(LINE.replace("192.0.2.7", "192.0.2.66").as_bytes());
    edge.proxy.counts("stickyd_refused_total", &[("reason", "denied")], 1);
    edge.connect(LINE.replace("192.0.2.7", "192.0.2.8").as_bytes());
    edge.proxy.counts("stickyd_tls_handshakes_total", &[], 2);
    first.send(GET);
    assert_eq!(first.answer().text(), "blue");
}

#[test]
fn an_instance_gets_its_header_before_the_handshake() {
    let (authority, files) = (Authority::new(), Files::new());
    let instance = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Arc::new(authority.issue(&["127.0.0.1"]).serves());
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{}\"]\nsticky.by = []\nsend_proxy_protocol = \"v2\"\ntls.ca = \"{}\"\n",
        instance.local_addr().unwrap(),
        files.write("ca.pem", &authority.pem()).display()
    ));
    let mut client = proxy.connect();
    client.send(GET);
    let (mut far, _) = instance.accept().unwrap();
    let mut header = [0; 16 + 12];
    far.read_exact(&mut header).unwrap();
    let Ok(Parsed::Header { len: 28, source }) = parse(&header) else { panic!("no header: {header:?}") };
    assert_eq!(source, Some::<SocketAddr>(client.local()));
    let mut far = accept(far, &config).unwrap();
    assert_eq!(far.request().field("x-real-ip").as_deref(), Some("127.0.0.1"));
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}
