//! `systemd/`: what is shipped there is what systemd understands, and says what the process does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::process::Home;

const BINARY: &str = env!("CARGO_BIN_EXE_stickyd");

/// The most that `systemd-analyze security` may say.
const EXPOSURE_MAX: f64 = 1.6;

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).unwrap()
}

/// Section and key to the values, in their order.
fn keys(unit: &str) -> BTreeMap<String, Vec<String>> {
    let (mut section, mut keys) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else {
            let (key, value) = line.split_once('=').unwrap();
            keys.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    keys
}

/// What systemd itself says, where it is installed: `tests/run` sees to that.
fn analyze(arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    let output = match Command::new("systemd-analyze").args(arguments).arg(file).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: systemd-analyze is not there ({error}); it is of the package systemd");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_understands_the_units_and_finds_them_safe() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["stickyd.service", "stickyd.socket"] {
        // What it starts has to be there.
        fs::write(directory.path().join(name), shipped(name).replace("/usr/bin/stickyd", BINARY)).unwrap();
    }
    for name in ["stickyd.service", "stickyd.socket"] {
        let Some((good, text)) = analyze(&["verify", "--man=no"], &directory.path().join(name)) else {
            return;
        };
        assert!(good && text.trim().is_empty(), "{name}: {text}");
    }
    let service = directory.path().join("stickyd.service");
    let (good, text) = analyze(&["security", "--offline=yes", "--no-pager"], &service).unwrap();
    let line =
        text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let (_, rest) = line.split_once("service: ").unwrap();
    let exposure: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(good && exposure <= EXPOSURE_MAX, "{text}");
    assert!(exposure > 0.5, "this is no proxy: {line}");
}

#[test]
fn what_is_generated_is_what_is_shipped() {
    let home = Home::new();
    for (what, name) in [
        ("unit", "stickyd.service"),
        ("socket", "stickyd.socket"),
        ("sysusers", "stickyd.sysusers.conf"),
        ("sysctl", "stickyd.sysctl.conf"),
        ("logrotate", "stickyd.logrotate"),
    ] {
        let expected = shipped(name).replace("/usr/bin/stickyd", BINARY);
        assert_eq!(home.run(&["generate", what]), (0, expected), "{what}");
    }
}

#[test]
fn the_service_says_what_the_process_does() {
    let keys = keys(&shipped("stickyd.service"));
    let is = |key: &str, value: &str| {
        let found = keys.get(key).unwrap_or_else(|| panic!("{key} is not there"));
        assert!(found.iter().any(|found| found == value), "{key}: {found:?}");
    };
    is("Service.Type", "notify");
    // Without a mark in front: a reload that is refused fails.
    is("Service.ExecStart", "/usr/bin/stickyd run --config /etc/stickyd/config.toml");
    is("Service.ExecReload", "/usr/bin/stickyd reload --config /etc/stickyd/config.toml");
    is("Service.RestartPreventExitStatus", "78 2");
    is("Service.User", "stickyd");
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(keys[&format!("Service.{key}")], ["CAP_NET_BIND_SERVICE"]);
    }
    for key in ["ConfigurationDirectory", "RuntimeDirectory", "StateDirectory", "LogsDirectory"] {
        is(&format!("Service.{key}"), "stickyd");
    }
    let seconds = |key: &str| keys[key][0].trim_end_matches('s').parse::<u64>().unwrap();
    assert!(seconds("Service.WatchdogSec") >= 10, "a busy moment is not a hang");
    assert!(keys["Service.LimitNOFILE"][0].parse::<u64>().unwrap() >= 1 << 19);
    // The kernel's own limit, fs.nr_open, as it comes.
    assert!(keys["Service.LimitNOFILE"][0].parse::<u64>().unwrap() <= 1 << 20);
    let socket = self::keys(&shipped("stickyd.socket"));
    assert_eq!(socket["Socket.FileDescriptorName"], ["web"]);
    assert_eq!(socket["Socket.ListenStream"], ["80"]);
}

#[test]
fn sysctl_and_logrotate_say_what_they_should() {
    let sysctl = shipped("stickyd.sysctl.conf");
    let settings: Vec<(&str, &str)> = sysctl
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("{line}")))
        .collect();
    let expected = [
        ("net.core.somaxconn", "65535"),
        ("net.ipv4.tcp_max_syn_backlog", "65535"),
        ("net.ipv4.ip_local_port_range", "10240 65535"),
        ("-net.netfilter.nf_conntrack_max", "1048576"),
    ];
    assert_eq!(settings, expected);
    // Each says why, above it.
    let lines: Vec<&str> = sysctl.lines().collect();
    for (key, _) in settings {
        let at = lines.iter().position(|line| line.starts_with(key)).unwrap();
        assert!(lines[at - 1].starts_with("# "), "{key} has no reason");
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        assert!(key.starts_with('-') || fs::exists(&path).unwrap(), "the kernel knows no {key}");
    }

    let logrotate = shipped("stickyd.logrotate");
    let words: Vec<&str> = logrotate.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    for word in [
        "/var/log/stickyd/*.log {",
        "su stickyd stickyd",
        "nocreate",
        "delaycompress",
        "postrotate",
        "endscript",
    ] {
        assert!(words.contains(&word), "{word}");
    }
    assert!(
        words
            .iter()
            .any(|line| line.starts_with("systemctl kill --kill-who=main --signal=USR1 stickyd.service"))
    );

    let sysusers = shipped("stickyd.sysusers.conf");
    let user = sysusers.lines().find(|line| !line.starts_with('#')).unwrap();
    assert!(
        user.starts_with("u stickyd - \"") && user.ends_with(" /var/lib/stickyd /usr/sbin/nologin"),
        "{user}"
    );
}
