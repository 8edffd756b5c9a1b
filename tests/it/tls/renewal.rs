//! Certificates that are replaced while clients come and go.

use std::fs;
use std::os::unix::fs::symlink;

use rustls::pki_types::CertificateDer;

use super::{Edge, NAME, toml};
use crate::support::tls::{Authority, Files, Issued, connect};
use crate::support::ws::{self, Frame};
use crate::support::{Socket, eventually};

impl Edge {
    /// What the proxy shows now.
    fn shown(&self) -> Vec<CertificateDer<'static>> {
        connect(self.proxy.address(), &self.client, NAME).tls().peer_certificates().unwrap().to_vec()
    }

    fn shows(&self, issued: &Issued) {
        eventually("the certificate is shown", || (self.shown() == issued.chain()).then_some(()));
    }

    /// Waits until changed files have been refused so often.
    fn refuses(&self, count: u64) {
        self.proxy.counts("stickyd_tls_certificate_reloads_total", &[("result", "refused")], count);
    }
}

/// A tunnel that was open before, and goes on.
fn goes_on((client, far): &mut (Socket, Socket)) {
    client.send(Frame::masked(ws::TEXT, "x").bytes());
    far.expect(Frame::masked(ws::TEXT, "x").bytes());
    far.send(Frame::new(ws::TEXT, "y").bytes());
    client.expect(Frame::new(ws::TEXT, "y").bytes());
}

/// As certbot and most others do it: another file takes the place.
fn rename_into(files: &Files, name: &str, content: &str) {
    let new = files.write("new", content);
    fs::rename(new, files.path(name)).unwrap();
}

#[test]
fn a_renamed_pair_is_read_and_what_does_not_fit_is_not() {
    let edge = Edge::start("");
    let mut tunnel = edge.tunnel();
    let (first, second) = (edge.authority.issue(&[NAME]), edge.authority.issue(&[NAME]));
    rename_into(&edge.files, "app.pem", &first.cert);
    rename_into(&edge.files, "app.key", &first.key);
    edge.shows(&first);
    goes_on(&mut tunnel);

    // The certificate alone: it is not of that key.
    rename_into(&edge.files, "app.pem", &second.cert);
    edge.refuses(1);
    assert_eq!(edge.shown(), first.chain());
    // Its key follows.
    rename_into(&edge.files, "app.key", &second.key);
    edge.shows(&second);

    // Half a file; and none.
    fs::write(edge.files.path("app.pem"), &first.cert[..first.cert.len() / 2]).unwrap();
    edge.refuses(2);
    fs::remove_file(edge.files.path("app.pem")).unwrap();
    edge.refuses(3);
    assert_eq!(edge.shown(), second.chain());
    edge.proxy.counts("stickyd_tls_certificate_reloads_total", &[("result", "ok")], 2);
    goes_on(&mut tunnel);
    edge.proxy.counts("stickyd_tunnels_opened_total", &[], 1);
    edge.proxy.counts("stickyd_tunnels_open", &[], 1);
}

/// As Kubernetes does it, and certbot's `live` folder: what is named is a link, and what that leads to is another.
#[test]
fn what_a_link_leads_to_is_followed() {
    let (authority, files) = (Authority::new(), Files::new());
    let (first, second) = (authority.issue(&[NAME]), authority.issue(&[NAME]));
    for (folder, issued) in [("1", &first), ("2", &second)] {
        fs::create_dir(files.path(folder)).unwrap();
        files.write(&format!("{folder}/both.pem"), &format!("{}{}", issued.key, issued.cert));
    }
    symlink("1", files.path("data")).unwrap();
    symlink("data/both.pem", files.path("app.pem")).unwrap();
    let tls = format!("{{ cert = \"{}\" }}", files.path("app.pem").display());
    let edge = Edge::with(authority, files, &tls, "");
    assert_eq!(edge.shown(), first.chain());
    let mut tunnel = edge.tunnel();
    symlink("2", edge.files.path("next")).unwrap();
    fs::rename(edge.files.path("next"), edge.files.path("data")).unwrap();
    edge.shows(&second);
    goes_on(&mut tunnel);
}

#[test]
fn a_reload_reads_them_and_is_refused_as_a_whole_if_it_cannot() {
    let edge = Edge::start("");
    let mut tunnel = edge.tunnel();
    let tls = |name| {
        let path = |end| edge.files.path(&format!("{name}.{end}")).display().to_string();
        format!("{{ cert = \"{}\", key = \"{}\" }}", path("pem"), path("key"))
    };
    let before = edge.shown();
    // Other files, that are not there; and something else that would have changed.
    let refused = edge.proxy.reload(&toml(
        &edge.instance,
        &tls("none"),
        "[upstream.other]\ninstances = [\"127.0.0.1:9\"]\n[[route]]\nupstream = \"app\"\n",
    ));
    assert!(refused.as_ref().is_err_and(|why| why.contains("none.pem")), "{refused:?}");
    assert_eq!(edge.shown(), before);
    assert_eq!(edge.proxy.count("stickyd_upgrades_in_flight", &[("upstream", "other")]), 0);

    let other = edge.authority.issue(&[NAME]);
    edge.files.put("other", &other);
    let plan = edge.proxy.reload(&toml(&edge.instance, &tls("other"), "")).unwrap();
    assert!(plan.contains("tls ") && !plan.contains("next start"), "{plan}");
    assert_eq!(edge.shown(), other.chain());
    goes_on(&mut tunnel);

    // Also off, and on again, for whoever comes next.
    edge.proxy.reload(&toml(&edge.instance, "\"off\"", "")).unwrap();
    let mut plain = edge.proxy.connect();
    plain.send(ws::handshake("/ws", ""));
    edge.instance.accept().head();
    edge.proxy.reload(&toml(&edge.instance, &tls("other"), "")).unwrap();
    assert_eq!(edge.shown(), other.chain());
    goes_on(&mut tunnel);
}

#[test]
fn when_they_expire_is_shown() {
    let (authority, files) = (Authority::new(), Files::new());
    let tls = format!(
        "[{}, {}]",
        files.put("a", &authority.issue_until(&[NAME], 2030)),
        files.put("b", &authority.issue_until(&["b.example.com", "c.example.com"], 2040))
    );
    let edge = Edge::with(authority, files, &tls, "");
    let expiry = |subject| {
        edge.proxy.count("stickyd_tls_certificate_expiry_timestamp_seconds", &[("subject", subject)])
    };
    assert_eq!((expiry(NAME), expiry("b.example.com")), (1_893_456_000, 2_208_988_800));
}
