//! What may import what, and what every file has: ARCHITECTURE.md as a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder (or file) of `src` and what of the crate it may name, besides itself. Read from top to bottom it is the direction:
/// nobody names what stands above.
///
/// `observe` and `local` are leaves: anybody may use them, and they know nothing of the crate (`observe` but the
/// configuration's log section). `config` imports nothing. `upstream` stands above `tunnel` and `affinity`, though it holds no
/// tunnel and binds no client, because a tunnel's limits and an instance's tokens are kept with the instance.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &["control"]),
    ("cli", &["config", "control", "local"]),
    (
        "control",
        // `codec` and `routing` for `explain`, which reads and places a request as an exchange does.
        &[
            "codec",
            "config",
            "generation",
            "http",
            "listener",
            "local",
            "observe",
            "routing",
            "tunnel",
            "upstream",
            "worker",
            "affinity",
            "certificates",
        ],
    ),
    ("worker", &["http", "listener", "local", "tunnel"]),
    ("listener", &["certificates", "config", "http", "local", "observe", "upstream"]),
    (
        "http",
        &[
            "affinity",
            "codec",
            "config",
            "generation",
            "limits",
            "listener",
            "local",
            "observe",
            "routing",
            "tunnel",
            "upstream",
        ],
    ),
    ("generation", &["config", "upstream"]),
    ("routing", &["affinity", "config"]),
    ("upstream", &["affinity", "certificates", "codec", "config", "local", "observe", "tunnel"]),
    ("limits", &["affinity"]),
    ("tunnel", &["local"]),
    ("affinity", &["config"]),
    ("codec", &[]),
    ("certificates", &["config", "observe"]),
    ("observe", &["config"]),
    ("local", &[]),
    ("config", &[]),
    // stickyd-app stands alone: it names nothing of the proxy, and no folder above names it.
    ("bin", &[]),
    ("app", &[]),
];

/// What points up nevertheless: the file, what it names, and why.
const UP: &[(&str, &str, &str)] = &[
    ("http/connection.rs", "listener", "a connection holds its permit, which the listener gives"),
    ("http/request.rs", "listener", "the client's address is found by the headers of a request"),
];

/// Files that are pure: bytes, times and states in, decisions out.
const PURE: &[&str] = &[
    "affinity/",
    "app/adapter/date.rs",
    "app/adapter/wire.rs",
    "app/duration.rs",
    "app/feed/event.rs",
    "app/feed/recent.rs",
    "app/presence/ledger.rs",
    "app/token.rs",
    "app/webhooks/queue.rs",
    "app/webhooks/signature.rs",
    "app/webhooks/target.rs",
    "certificates/expiry.rs",
    "certificates/pair.rs",
    "codec/",
    "config/diff",
    "control/lists/id.rs",
    "control/notify/watchdog.rs",
    "control/notify/words.rs",
    "control/handover/wire.rs",
    "control/rebalance/allot.rs",
    "control/watch/still.rs",
    "worker/closing/pace.rs",
    "limits/",
    "routing/",
    "listener/client_address",
    "listener/proxy_protocol",
    "observe/metrics/sum.rs",
    "upstream/connect/name.rs",
    "upstream/connect/proxy_header.rs",
    "upstream/expand",
    "upstream/health",
    "upstream/probe/question.rs",
    "upstream/skew",
    "tunnel/frame.rs",
    "tunnel/message.rs",
    "tunnel/close.rs",
    "http/headers.rs",
];

/// What no pure file names, outside its tests.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "std::net::Tcp",
    "TcpStream",
    "UnixStream",
    "Instant::now",
    "SystemTime",
    "clock::",
    "rustix",
    "socket2",
    "std::fs",
    "std::io",
    "std::thread",
    "std::time::Instant",
    "crate::local",
    "crate::observe",
];

/// Lines of a file without its tests. What is longer wants a second file.
const LINES_MAX: usize = 450;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of `src`, by its path below it, and its text.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(files.len() > 80, "only {} files were found", files.len());
    files
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let without_comment = |line: &str| match line.find("//") {
        // Of `"http://"` too much is cut, which hides nothing that is looked for here.
        Some(at) => line[..at].to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

/// The folders of the crate that `code` names by `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        let standing_alone = !rest[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        rest = &rest[at + "crate::".len()..];
        if !standing_alone {
            continue;
        }
        let names: Vec<&str> = match rest.strip_prefix('{') {
            // use crate::{config, control::start};
            Some(list) => list[..matching_brace(list)].split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name =
                name.trim_start().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap();
            if !name.is_empty() {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

fn matching_brace(list: &str) -> usize {
    let mut depth = 1;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a brace is missing in {list}")
}

fn folder(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn imports_are_found() {
    let check = |code: &str, expected: &[&str]| {
        assert_eq!(imports(code).into_iter().collect::<Vec<_>>(), expected, "{code}");
    };
    check("use crate::config::model;", &["config"]);
    check("use crate::{config, control::{start, stop}, http};", &["config", "control", "http", "stop"]);
    check("let x = crate::local::clock::now();", &["local"]);
    check("use mycrate::config;", &[]);
}

#[test]
fn folders_import_only_what_stands_below_them() {
    let known: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let files = files();
    for (name, text) in files.iter().filter(|(name, _)| !is_test(name)) {
        let folder = folder(name);
        let Some(allowed) = known.get(folder) else {
            wrong.push(format!("{folder} is not in the table"));
            continue;
        };
        for import in imports(&code(text)) {
            if import != folder && known.contains_key(&*import) {
                if !allowed.contains(&&*import) {
                    wrong.push(format!("{name} imports {import}"));
                }
                let place = |folder: &str| MAY_IMPORT.iter().position(|(known, _)| *known == folder);
                let is_up = place(&import) < place(folder);
                if is_up && !UP.iter().any(|(file, up, _)| (file, up) == (&&**name, &&*import)) {
                    wrong.push(format!("{name} points up to {import}"));
                }
                used.entry(folder).or_default().insert(import);
            }
        }
        // What stands directly below the root could name its neighbours so, unseen by `imports`.
        if (name.ends_with("/mod.rs") && name.matches('/').count() == 1) || !name.contains('/') {
            let named = code(text).matches("super::").count();
            if named > 0 {
                wrong.push(format!("{name} says super::"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The table says what is true, not what would be nice.
    let mut unused = Vec::new();
    for (folder, allowed) in MAY_IMPORT.iter().filter(|(folder, _)| !["main", "lib"].contains(folder)) {
        let is_used = |import: &&&str| used.get(folder).is_some_and(|used| used.contains(**import));
        unused.extend(
            allowed.iter().filter(|import| !is_used(import)).map(|import| format!("{folder} {import}")),
        );
    }
    assert!(unused.is_empty(), "in the table, but not imported: {unused:?}");
}

#[test]
fn the_pure_core_names_nothing_of_the_world() {
    let mut seen = BTreeSet::new();
    for (name, text) in files() {
        let Some(pure) = PURE.iter().find(|pure| name.starts_with(*pure)) else { continue };
        if is_test(&name) {
            continue;
        }
        seen.insert(*pure);
        let code = code(&text);
        for impure in IMPURE {
            assert!(!code.contains(impure), "{name} names {impure}");
        }
    }
    assert_eq!(seen.len(), PURE.len(), "a pure part is gone: {seen:?}");
}

#[test]
fn only_one_place_knows_what() {
    for (name, text) in files().into_iter().filter(|(name, _)| !is_test(name)) {
        let code = code(&text);
        let only = |what: &str, places: &[&str]| {
            assert!(
                !code.contains(what) || places.iter().any(|place| name.starts_with(place)),
                "{name} has {what}"
            );
        };
        only("\"stickyd_", &["observe/metrics/"]);
        only("stickyd_app_", &["app/metrics.rs"]);
        only("Instant::now()", &["app/clock.rs", "local/clock.rs", "local/timer.rs"]);
        only("SystemTime::now()", &["app/clock.rs", "local/clock.rs"]);
        only("std::process::exit", &["control/run.rs"]);
        only("httparse::", &["codec/"]);
        only("toml::", &["config/"]);
        only("Bad Gateway", &["http/respond.rs"]);
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in files() {
        if is_test(&name) {
            continue;
        }
        assert!(text.starts_with("//! "), "{name} has no header");
        let first = text.lines().next().unwrap().trim_start_matches("//! ");
        assert!(first.len() >= 6, "{name}: {first}");
    }
}

#[test]
fn nothing_is_left_undone() {
    for (name, text) in files() {
        let code = code(&text);
        for word in ["todo!(", "dbg!(", "unimplemented!(", "#[allow(", "#![allow(", "unsafe {"] {
            assert!(!code.contains(word), "{name} has {word}");
        }
        for word in ["TODO", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
}

#[test]
fn files_fit_into_a_head() {
    for (name, text) in files() {
        let lines = code(&text).lines().count();
        assert!(lines <= LINES_MAX || is_test(&name), "{name} has {lines} lines without tests");
    }
}
