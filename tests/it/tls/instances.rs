//! Instances behind TLS: traffic, tunnels and checks; whom the proxy believes, and what it shows.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use crate::support::tls::{Authority, Files, Issued, accept, provider};
use crate::support::ws::{self, Frame};
use crate::support::{Proxy, Socket};

/// An instance that speaks TLS.
struct Secure {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Secure {
    fn start(config: ServerConfig) -> Self {
        Secure { listener: TcpListener::bind("127.0.0.1:0").unwrap(), config: Arc::new(config) }
    }

    fn of(issued: &Issued) -> Self {
        Self::start(issued.serves())
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    fn accept(&self) -> Socket {
        self.try_accept().unwrap()
    }

    fn try_accept(&self) -> std::io::Result<Socket> {
        accept(self.listener.accept().unwrap().0, &self.config)
    }
}

/// `tls`: as the file has it.
fn toml(instance: &Secure, tls: &str, more: &str) -> String {
    format!(
        "[upstream.app]\ninstances = [\"{}\"]\ntls = {tls}\n[upstream.app.sticky]\nby = []\n{more}",
        instance.address()
    )
}

fn ca(files: &Files, authority: &Authority) -> String {
    format!("ca = \"{}\"", files.write("ca.pem", &authority.pem()).display())
}

#[test]
fn requests_and_tunnels_go_to_an_instance_of_a_private_authority() {
    let (authority, files) = (Authority::new(), Files::new());
    let instance = Secure::of(&authority.issue(&["127.0.0.1"]));
    let proxy = Proxy::start(&toml(&instance, &format!("{{ {} }}", ca(&files, &authority)), ""));
    let mut client = proxy.connect();
    client.send("GET /a HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    assert_eq!(far.request().line(), "GET /a HTTP/1.1");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    // The connection serves again: the ticket that came in between is no news.
    client.send("GET /b HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(far.request().line(), "GET /b HTTP/1.1");
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);

    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.head();
    far.send(ws::switch(""));
    client.head();
    client.send(Frame::masked(ws::TEXT, "up").bytes());
    far.expect(Frame::masked(ws::TEXT, "up").bytes());
    far.send(Frame::new(ws::TEXT, "down").bytes());
    client.expect(Frame::new(ws::TEXT, "down").bytes());
    // The instance ends: its client is told, and so is TLS.
    far.send(Frame::close(1001).bytes());
    client.expect(Frame::close(1001).bytes());
    client.send(Frame::masked(ws::CLOSE, 1001_u16.to_be_bytes()).bytes());
    far.expect(Frame::masked(ws::CLOSE, 1001_u16.to_be_bytes()).bytes());
    client.close();
    far.ends();
    proxy.counts("stickyd_connect_errors_total", &[], 0);
}

#[test]
fn who_is_not_trusted_gets_nothing() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let check = |issued: &Issued, sni: &str| {
        let files = Files::new();
        let instance = Secure::of(issued);
        let tls = format!("{{ {}{sni} }}", ca(&files, &authority));
        let proxy = Proxy::start(&toml(&instance, &tls, ""));
        let address = instance.address();
        let serving = thread::spawn(move || instance.try_accept().is_err());
        assert_eq!(proxy.get("/", "").status(), 503, "{address}");
        assert!(serving.join().unwrap());
        proxy.counts("stickyd_connect_errors_total", &[("kind", "tls")], 1);
    };
    check(&authority.issue(&["127.0.0.2"]), "");
    check(&authority.issue(&["127.0.0.1"]), ", sni = \"instances.example.com\"");
    check(&authority.issue_until(&["127.0.0.1"], 2021), "");
    check(&strangers.issue(&["127.0.0.1"]), "");
}

#[test]
fn the_name_and_the_certificate_that_are_shown_are_those_of_the_file() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let issued = authority.issue(&["instances.example.com"]);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider());
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    let instance = Secure::start(builder.with_single_cert(issued.chain(), issued.secret()).unwrap());
    files.put("client", &clients.issue(&["stickyd"]));
    let tls = format!(
        "{{ {}, sni = \"instances.example.com\", client_cert = \"{}\", client_key = \"{}\" }}",
        ca(&files, &authority),
        files.path("client.pem").display(),
        files.path("client.key").display()
    );
    let proxy = Proxy::start(&toml(&instance, &tls, ""));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    assert_eq!(far.server_name(), Some("instances.example.com"));
    far.request();
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn checks_go_over_tls_too() {
    let (authority, files) = (Authority::new(), Files::new());
    let instance = Secure::of(&authority.issue(&["127.0.0.1"]));
    let tls = format!("{{ {} }}", ca(&files, &authority));
    let health = "[upstream.app.health]\ncheck = \"http\"\ninterval = \"100ms\"\n";
    let proxy = Proxy::start(&toml(&instance, &tls, health));
    let mut checked = instance.accept();
    assert!(checked.request().line().starts_with("GET / "));
    checked.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    proxy.counts_at_least("stickyd_health_checks_total", &[("result", "passed")], 1);
    assert_eq!(proxy.count("stickyd_instance_up", &[]), 1);
}

/// Without a length the end of the connection is the end of the body: and that must have been said.
#[test]
fn a_body_that_is_cut_off_is_not_taken_for_whole() {
    let (authority, files) = (Authority::new(), Files::new());
    let instance = Secure::of(&authority.issue(&["127.0.0.1"]));
    let proxy = Proxy::start(&toml(&instance, &format!("{{ {} }}", ca(&files, &authority)), ""));
    let ask = || {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let mut far = instance.accept();
        far.request();
        far.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome of it");
        (client, far)
    };
    let (mut client, mut far) = ask();
    far.say_bye();
    assert_eq!(client.answer().text(), "some of it");
    let (mut client, far) = ask();
    // FIN, and no close_notify.
    far.half_close();
    assert!(client.try_answer().is_err());
}

/// What is spoken to the same address is not what it was: a connection that was kept is of no use.
#[test]
fn a_reload_changes_the_way_for_whoever_comes_next() {
    let (authority, files) = (Authority::new(), Files::new());
    let instance = Secure::of(&authority.issue(&["127.0.0.1"]));
    let proxy = Proxy::start(&toml(&instance, "\"off\"", ""));
    let mut client = proxy.connect();
    client.send("GET /plain HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = Socket::of(instance.listener.accept().unwrap().0);
    far.request();
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    proxy.reload(&toml(&instance, &format!("{{ {} }}", ca(&files, &authority)), "")).unwrap();
    client.send("GET /secure HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    assert_eq!(far.request().line(), "GET /secure HTTP/1.1");
    far.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    // Nothing changes, and nothing is thrown away.
    proxy.reload(&toml(&instance, &format!("{{ {} }}", ca(&files, &authority)), "")).unwrap();
    client.send("GET /again HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(far.request().line(), "GET /again HTTP/1.1");
    let refused = proxy.reload(&toml(&instance, "{ ca = \"/nowhere/ca.pem\" }", ""));
    assert!(refused.as_ref().is_err_and(|why| why.contains("/nowhere/ca.pem")), "{refused:?}");
}
