//! The configuration as people meet it: files on disk, and what is said about them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use stickyd::affinity::cookie::Keys;
use stickyd::config;

/// Files of `tests/configs/NAME`, by name.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/configs").join(name);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

/// Compares `report` with the .txt beside `file`; `UPDATE_EXPECT=1` writes it instead. What differs, if anything does.
fn expect(file: &Path, report: &str) -> Option<String> {
    let expected = file.with_extension("txt");
    let known = || std::fs::read_to_string(&expected).unwrap_or_default();
    // Only what differs: other tests read these files meanwhile.
    if known() != report && std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        if report.is_empty() {
            let _ = std::fs::remove_file(&expected);
        } else {
            std::fs::write(&expected, report).unwrap();
        }
    }
    let known = known();
    (known != report).then(|| format!("{}: expected\n{known}\nfound\n{report}", expected.display()))
}

#[test]
fn every_invalid_file_gets_its_report() {
    let files = corpus("invalid");
    let mut different = Vec::new();
    for file in &files {
        match config::load(file) {
            Ok(_) => different.push(format!("{} is taken for valid", file.display())),
            Err(report) => {
                assert!(report.errors() > 0, "{}", file.display());
                different.extend(expect(file, &report.to_string()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert_eq!(files.len(), INVALID, "a corpus that shrinks tests less");
}

#[test]
fn every_valid_file_loads_with_its_warnings() {
    let files = corpus("valid");
    let mut different = Vec::new();
    for file in &files {
        match config::load(file) {
            Ok(loaded) => different.extend(expect(file, &loaded.warnings.to_string())),
            Err(report) => different.push(report.to_string()),
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert_eq!(files.len(), VALID, "a corpus that shrinks tests less");
}

const INVALID: usize = 112;
const VALID: usize = 28;

/// Exit code, standard output, standard error of `stickyd`, called with `arguments`.
fn stickyd(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stickyd")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn validate_answers_by_its_exit_code() {
    for arguments in [
        &["validate", "tests/configs/valid/behind-a-balancer.toml"][..],
        &["-t", "tests/configs/valid/behind-a-balancer.toml"],
        &["validate", "-t", "tests/configs/valid/behind-a-balancer.toml"],
    ] {
        let (code, out, err) = stickyd(arguments);
        let ok = "ok: tests/configs/valid/behind-a-balancer.toml: \
                  1 listener, upstream socketio of 2 instances, sticky by sid, cookie, ip_hash\n";
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), ok, ""));
    }
    let (code, out, err) = stickyd(&["validate", "tests/configs/valid/warnings.toml"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("1 listener, 2 upstreams, 3 instances, 3 routes\n"), "{out}");
    assert_eq!(err, std::fs::read_to_string("tests/configs/valid/warnings.txt").unwrap());

    for command in [&["validate"][..], &["-t"], &["run", "--config"]] {
        let (code, out, err) = stickyd(&[command, &["tests/configs/invalid/many-at-once.toml"]].concat());
        assert_eq!((code, out.as_str()), (Some(78), ""), "{command:?}");
        let expected = std::fs::read_to_string("tests/configs/invalid/many-at-once.txt").unwrap();
        assert_eq!(err, expected, "the whole report, without colours");
    }
    let (code, _, err) = stickyd(&["validate", "tests/configs/none.toml"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("cannot read the file: no such file"), "{err}");
}

#[test]
fn validate_reads_the_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, file) = (folder.path().join("secret"), folder.path().join("config.toml"));
    let text = format!(
        "listen = \":80\"\n[upstream.a]\ninstances = [\"a:3000\"]\nsticky.secret_file = \"{}\"\n",
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let validate = || stickyd(&["validate", file.to_str().unwrap()]);
    let (code, _, err) = validate();
    assert_eq!(code, Some(78));
    assert!(err.contains("secret_file") && err.contains(secret.to_str().unwrap()), "{err}");
    std::fs::write(&secret, "x\n").unwrap();
    let (code, _, err) = validate();
    assert_eq!(code, Some(78), "a secret that is too short to be one");
    assert!(!err.contains("\"x\""), "what is in the file is nobody's business: {err}");
    let words = "a secret of some length that nobody will ever guess\n";
    std::fs::write(&secret, words).unwrap();
    let (code, out, err) = validate();
    assert_eq!(code, Some(0), "{err}");
    let fingerprint = Keys::parse(words).unwrap().fingerprint();
    assert!(out.ends_with(&format!("\nsecret {fingerprint} of {}\n", secret.display())), "{out}");
    assert!(!out.contains("a secret of some"), "{out}");
}

#[test]
fn a_file_of_secrets_is_shown_once_and_only_where_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, file) = (folder.path().join("secret"), folder.path().join("config.toml"));
    std::fs::write(&secret, "a secret of some length that nobody will ever guess\n").unwrap();
    let upstream = |name: &str, by: &str, secret: &Path| {
        format!(
            "[upstream.{name}]\ninstances = [\"{name}:3000\"]\nsticky = {{ {by} secret_file = \"{}\" }}\n",
            secret.display()
        )
    };
    let text = [
        "listen = \":80\"\nroute = [{ host = \"a\", upstream = \"a\" }, { host = \"b\", upstream = \"b\" }, \
         { upstream = \"c\" }]\n",
        &upstream("a", "", &secret),
        &upstream("b", "", &secret),
        &upstream("c", "by = [\"ip_hash\"],", &folder.path().join("none")),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let (code, out, err) = stickyd(&["validate", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.matches("\nsecret ").count(), 1, "{out}");
}

#[test]
fn wrong_usage_is_told_apart_from_a_wrong_file() {
    for arguments in [&[][..], &["serve"], &["run", "--listen", ":80"], &["validate", "a", "b"]] {
        let (code, _, err) = stickyd(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
    }
    let (code, _, err) = stickyd(&["run", "--listen", "80", "--instances", "a:3000,b"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("1 | --listen 80 --instances a:3000,b\n"), "{err}");
    assert!(err.ends_with("2 errors in the command line\n"), "{err}");
    for (arguments, taught) in [
        (&["--help"][..], "The smallest file:"),
        (&["run", "--help"], "stickyd run --listen :8080 --instances"),
        (&["validate", "--help"], "78 it cannot"),
    ] {
        let (code, out, _) = stickyd(arguments);
        assert_eq!(code, Some(0));
        assert!(out.contains(taught), "{out}");
    }
}

#[test]
fn what_validate_takes_for_a_level_logging_takes_too() {
    for level in ["off", "error", "warn", "info", "debug", "trace", "info,stickyd::tunnel=debug", "hyper=off"]
    {
        let file = format!("listen = \":80\"\nupstream.a.instances = [\"a:1\"]\nlog.level = \"{level}\"\n");
        assert!(config::parse(&file, "x").is_ok(), "{level}");
        assert!(stickyd::observe::logging::parse_level(level).is_ok(), "{level}");
    }
}
