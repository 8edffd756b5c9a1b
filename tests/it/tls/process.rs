//! What people see of it at the process: `validate`, `status`, the log; and `upgrade`, which the certificates survive.

use rustix::process::{Pid, Signal, kill_process};

use super::NAME;
use crate::support::process::Home;
use crate::support::tls::{Authority, Files, connect, try_connect};
use crate::support::ws::{self, Frame};
use crate::support::{Instance, eventually};

fn toml(instance: &Instance, tls: &str) -> String {
    format!(
        "workers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {tls}\n[upstream.app]\ninstances = [\"{instance}\"]\nhealth.check = \"off\"\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"off\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
    )
}

#[test]
fn what_is_wrong_is_shown_where_it_is_named() {
    let (authority, files, home, instance) = (Authority::new(), Files::new(), Home::new(), Instance::start());
    let good = files.put("app", &authority.issue(&[NAME]));
    let config = home.write("config.toml", &toml(&instance, &good));
    let says = |code, arguments: &[&str], parts: &[&str]| {
        let text = home.says(code, arguments);
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
    };
    let cert = files.path("app.pem").display().to_string();
    // Everybody may read it: the test wrote it so.
    let readable = format!("warning: {}: everybody may read this key", files.path("app.key").display());
    says(0, &["validate", &config], &[&format!("certificate {cert}: {NAME}; valid for "), &readable]);

    files.put("app", &authority.issue_until(&[NAME], 2021));
    says(0, &["validate", &config], &["warning: ", "EXPIRED "]);

    let other = authority.issue(&[NAME]);
    files.write("app.key", &other.key);
    says(78, &["validate", &config], &["config.toml:4:", "it is not the key of the certificate in", "^^^^"]);
    says(78, &["run", "--config", &config], &["config.toml:4:", "it is not the key of the certificate in"]);
    files.write("app.pem", "nothing\n");
    says(78, &["validate", &config], &["config.toml:4:", "there is no certificate in it"]);
}

#[test]
fn a_process_is_asked_and_another_takes_over() {
    let (authority, files, home, instance) = (Authority::new(), Files::new(), Home::new(), Instance::start());
    let tls = files.put("app", &authority.issue(&[NAME]));
    let text = toml(&instance, &tls);
    let config = home.write("config.toml", &text);
    let mut process = home.start(&["run", "--config", &config]);
    let address = process.address();
    let status = |parts: &[&str]| {
        eventually(&format!("{parts:?}"), || {
            let text = home.says(0, &["status", "--config", &config]);
            parts.iter().all(|part| text.contains(part)).then_some(())
        });
    };
    status(&["tls      127.0.0.1:", &format!(": {NAME}; valid for ")]);

    // A file that cannot be used, at a reload and without one.
    home.write("config.toml", &text.replace("app.key", "none.key"));
    let refused = home.says(78, &["reload", "--config", &config]);
    assert!(refused.contains("config.toml:4:") && refused.contains("none.key: "), "{refused}");
    home.write("config.toml", &text);
    files.write("app.key", &authority.issue(&[NAME]).key);
    status(&["CHANGED FILE REFUSED, the old one stays: ", "it is not the key"]);
    process.says(&["a changed certificate is refused, the old one stays"]);
    let issued = authority.issue(&[NAME]);
    files.put("app", &issued);
    process.says(&["the certificate is read anew"]);

    let client = authority.client();
    let (mut old, mut far) = super::tunnel_over(connect(address, &client, NAME), &instance);
    let said = home.says(0, &["upgrade", "--config", &config]);
    let pid = said.split_ascii_whitespace().find_map(|word| {
        word.trim_matches(|c: char| !c.is_ascii_digit())
            .parse::<i32>()
            .ok()
            .filter(|pid| *pid > 1 && pid.cast_unsigned() != process.pid())
    });
    let pid = pid.and_then(Pid::from_raw).unwrap_or_else(|| panic!("{said}"));
    // Served by the new one, with certificates that it has read itself; the tunnel goes on at the old one.
    let mut new = try_connect(address, &client, NAME).unwrap();
    assert_eq!(new.tls().peer_certificates(), Some(&issued.chain()[..]));
    old.send(Frame::masked(ws::TEXT, "x").bytes());
    far.expect(Frame::masked(ws::TEXT, "x").bytes());
    kill_process(pid, Signal::KILL).unwrap();
}
