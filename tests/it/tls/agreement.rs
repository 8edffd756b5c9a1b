//! What is agreed upon: versions, ciphers, certificates by name, sessions that go on. Asked by `openssl` and `curl` too.

use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};

use super::{Edge, NAME};
use crate::support::tls::{Authority, Files, Issued, connect, provider, try_connect};
use crate::support::{Answering, Proxy, Socket};

/// What `openssl s_client` says of the proxy, with these arguments besides; and whether hands were shaken.
fn s_client(edge: &Edge, arguments: &[&str]) -> (bool, String) {
    let ca = edge.files.write("ca.pem", &edge.authority.pem());
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &edge.proxy.address().to_string(), "-CAfile", ca.to_str().unwrap()])
        .arg("-verify_return_error")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn versions_and_ciphers_are_those_of_today() {
    let edge = Edge::start("");
    let check = |arguments: &[&str], expected: Option<&str>| {
        let (shaken, text) = s_client(&edge, &[&["-servername", NAME], arguments].concat());
        assert_eq!(shaken, expected.is_some(), "{arguments:?}: {text}");
        assert!(expected.is_none_or(|expected| text.contains(expected)), "{arguments:?}: {text}");
    };
    check(&[], Some("TLSv1.3"));
    check(&["-tls1_3"], Some("TLSv1.3"));
    check(&["-tls1_2"], Some("TLSv1.2"));
    // `@SECLEVEL=0`: else openssl itself would refuse.
    check(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None);
    check(&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], None);
    check(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], Some("ECDHE-ECDSA-AES128-GCM-SHA256"));
    check(&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], Some("ECDHE-ECDSA-CHACHA20-POLY1305"));
    // No authenticated encryption, no forward secrecy, nothing of the key's kind.
    check(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"], None);
    check(&["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES128-SHA:@SECLEVEL=0"], None);
    check(&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], None);
    check(&["-alpn", "http/1.1"], Some("ALPN protocol: http/1.1"));
    check(&["-alpn", "h2,http/1.1"], Some("ALPN protocol: http/1.1"));
    check(&["-alpn", "gopher"], None);
    edge.proxy.counts_at_least("stickyd_refused_total", &[("reason", "tls")], 6);
    edge.proxy.counts_at_least("stickyd_tls_handshakes_total", &[("result", "failed")], 6);
}

#[test]
fn curl_asks() {
    let (authority, files) = (Authority::new(), Files::new());
    let tls = files.put("app", &authority.issue(&[NAME]));
    let instance = Answering::start("a");
    let proxy = Proxy::start(&format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {tls}\n[upstream.app]\ninstances = [\"{instance}\"]\n"
    ));
    let (ca, port) = (files.write("ca.pem", &authority.pem()), proxy.address().port());
    let output = Command::new("curl")
        .args(["-sSi", "--cacert", ca.to_str().unwrap(), "--max-time", "20"])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1"), &format!("https://{NAME}:{port}/a")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // `secure = "auto"`: it came by https.
    let cookie = text.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[test]
fn the_name_chooses_the_certificate() {
    let (authority, files) = (Authority::new(), Files::new());
    let put = |name: &str, names: &[&str]| files.put(name, &authority.issue(names));
    let tls = format!(
        "[{}, {}, {}]",
        put("default", &[NAME]),
        put("wild", &["*.example.org", "example.org"]),
        put("one", &["one.example.org"])
    );
    let edge = Edge::with(authority, files, &tls, "");
    let serial = |issued: &str| {
        let pem = std::fs::read_to_string(edge.files.path(&format!("{issued}.pem"))).unwrap();
        Issued { cert: pem, key: String::new() }.chain()
    };
    let check = |name: &str, issued: &str| {
        let mut client = connect(edge.proxy.address(), &edge.client, name);
        assert_eq!(client.tls().peer_certificates(), Some(&serial(issued)[..]), "{name}");
    };
    check(NAME, "default");
    check("one.example.org", "one");
    check("two.example.org", "wild");
    check("example.org", "wild");
    // Whoever asks for nobody's name gets the default, and does not like it.
    let refused = try_connect(edge.proxy.address(), &edge.client, "nobody.example.net").unwrap_err();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    let (shaken, text) = s_client(&edge, &["-noservername"]);
    assert!(shaken && text.contains("TLSv1.3"), "{text}");
}

/// One request; whether its session went on from an earlier one.
fn asks(edge: &Edge, config: &Arc<ClientConfig>) -> bool {
    let mut client: Socket = connect(edge.proxy.address(), config, NAME);
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    let mut far = edge.instance.accept();
    far.request();
    far.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    client.tls().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
}

#[test]
fn sessions_go_on_by_ticket() {
    let edge = Edge::start("");
    for version in [&TLS13, &TLS12] {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
        let mut config =
            builder.unwrap().with_root_certificates(edge.authority.roots()).with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        assert!(!asks(&edge, &config), "{version:?}");
        // A ticket is good once with TLS 1.3, so each handshake has to bring another.
        for _ in 0..3 {
            assert!(asks(&edge, &config), "{version:?}");
        }
    }
    edge.proxy.counts("stickyd_tls_handshakes_total", &[("result", "full")], 2);
    edge.proxy.counts("stickyd_tls_handshakes_total", &[("result", "resumed")], 6);
    // What was learned of a session outlives a reload and its certificate.
    let config = edge.authority.client();
    assert!(!asks(&edge, &config));
    let tls = edge.files.put("app", &edge.authority.issue(&[NAME]));
    edge.proxy.reload(&super::toml(&edge.instance, &tls, "")).unwrap();
    assert!(asks(&edge, &config));
}

#[test]
fn clients_need_a_certificate_where_they_are_asked_for_one() {
    let (authority, files) = (Authority::new(), Files::new());
    let (strangers, clients) = (Authority::new(), Authority::new());
    let tls = files.put("app", &authority.issue(&[NAME]));
    let ca = files.write("clients.pem", &clients.pem());
    let tls = tls.replace(" }", &format!(", client_ca = \"{}\" }}", ca.display()));
    // The proxy itself answers whoever is let in.
    let nowhere = "[[route]]\nhost = \"x\"\nupstream = \"app\"\n";
    let edge = Edge::with(authority, files, &tls, nowhere);
    let shakes = |config: &Arc<ClientConfig>| {
        // With TLS 1.3 a client hears only later that it is not welcome.
        let Ok(mut client) = try_connect(edge.proxy.address(), config, NAME) else { return false };
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        sent.is_ok() && client.try_answer().is_ok_and(|answer| answer.status() == 404)
    };
    assert!(shakes(&edge.authority.client_with(&clients.issue(&["client"]))));
    assert!(!shakes(&edge.client));
    assert!(!shakes(&edge.authority.client_with(&strangers.issue(&["client"]))));
    assert!(!shakes(&edge.authority.client_with(&clients.issue_until(&["client"], 2021))));
    edge.proxy.counts("stickyd_refused_total", &[("reason", "tls")], 3);
    // What was promised to a client of one authority is nothing where another is asked.
    let known = edge.authority.client_with(&clients.issue(&["client"]));
    assert!(shakes(&known));
    edge.files.write("clients.pem", &strangers.pem());
    edge.proxy.reload(&super::toml(&edge.instance, &tls, nowhere)).unwrap();
    assert!(!shakes(&known));
}
