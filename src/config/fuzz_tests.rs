//! Any text at all is either a configuration or a report: no panic, no runaway time.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Files to begin with: they reach every reader.
const SEEDS: &[&str] = &[
    include_str!("../../config.example.toml"),
    include_str!("../../tests/configs/valid/routes.toml"),
    include_str!("../../tests/configs/valid/everything-off.toml"),
    include_str!("../../tests/configs/valid/dotted-and-quoted-keys.toml"),
    include_str!("../../tests/configs/valid/warnings.toml"),
    include_str!("../../tests/configs/valid/warnings-of-placement.toml"),
    include_str!("../../tests/configs/valid/sticky-every-key.toml"),
    include_str!("../../tests/configs/valid/instances.toml"),
    include_str!("../../tests/configs/invalid/limits-by-address.toml"),
    include_str!("../../tests/configs/invalid/listen-later.toml"),
    include_str!("../../tests/configs/invalid/instances-tables.toml"),
    include_str!("../../tests/configs/invalid/syntax-nginx-file.toml"),
];

/// Pieces that matter to TOML and to us.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\r",
    "\\",
    "\\u0000",
    ";",
    ":",
    "-",
    "+",
    "0",
    "9",
    "99999999999999999999",
    "1e9",
    "nan",
    "-inf",
    "0x",
    "true",
    "off",
    "auto",
    "\"off\"",
    "ä",
    "“",
    "\u{feff}",
    "\u{7f}",
    "\u{85}",
    "1979-05-27",
    "unix:",
    "fd:",
    "[::1",
    "]:",
    "*",
    "%2e",
    "..",
    "s",
    "ms",
    "k",
    "/",
    "listen = ",
    "[upstream.x]\n",
    "instances = ",
    "[[route]]\n",
    "sticky.",
    "by = ",
    "\"sid\", ",
    "\"ip_hash\", ",
    "header:",
    "query:",
];

#[derive(Clone, Debug)]
enum Change {
    Insert(usize, usize),
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Uncomment(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        (at(), at()).prop_map(|(a, b)| Change::Insert(a, b)),
        (at(), 0..40_usize).prop_map(|(a, b)| Change::Delete(a, b)),
        (at(), 0..40_usize, at()).prop_map(|(a, b, c)| Change::Copy(a, b, c)),
        at().prop_map(Change::Uncomment),
    ]
}

fn apply(text: &mut String, change: &Change) {
    let place = |text: &str, at: usize| text.floor_char_boundary(at % (text.len() + 1));
    match *change {
        Change::Insert(at, piece) => {
            let at = place(text, at);
            text.insert_str(at, PIECES[piece % PIECES.len()]);
        }
        Change::Delete(at, length) => {
            let at = place(text, at);
            let end = text.floor_char_boundary((at + length).min(text.len())).max(at);
            text.replace_range(at..end, "");
        }
        Change::Copy(from, length, to) => {
            let from = place(text, from);
            let end = text.floor_char_boundary((from + length).min(text.len())).max(from);
            let copy = text[from..end].to_owned();
            let to = place(text, to);
            text.insert_str(to, &copy);
        }
        Change::Uncomment(which) => {
            let hashes: Vec<usize> = text.match_indices("\n# ").map(|(at, _)| at + 1).collect();
            if let Some(at) = hashes.get(which % hashes.len().max(1)) {
                text.replace_range(*at..at + 2, "");
            }
        }
    }
}

/// Parses and draws `text`; what a report must always be.
fn check(text: &str) {
    match parse(text, "file.toml") {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0);
            loaded.warnings.render(Style::Colour);
            assert!(!loaded.config.listeners.is_empty() && !loaded.config.routes.is_empty());
            assert!(loaded.config.upstreams.iter().all(|upstream| !upstream.instances.is_empty()));
            loaded.config.upstreams.iter().for_each(|upstream| check_sticky(&upstream.sticky));
            let upstreams = loaded.config.upstreams.len();
            assert!(loaded.config.routes.iter().all(|route| route.upstream < upstreams));
        }
        Err(report) => {
            assert!(report.errors() > 0);
            report.render(Style::Colour);
            let plain = report.render(Style::Plain);
            assert!(plain.ends_with("in file.toml\n"));
            assert!(!plain.contains('\u{1b}'));
        }
    }
}

/// What placement relies on.
fn check_sticky(sticky: &model::Sticky) {
    assert!(sticky.by.len() <= 16);
    for (index, key) in sticky.by.iter().enumerate() {
        assert!(!sticky.by[..index].contains(key), "twice: {}", key.name());
        if let model::StickyKey::Header(name) = key {
            assert!(!name.is_empty() && !name.bytes().any(|c| c.is_ascii_uppercase()));
        }
    }
    if let model::IpHash::Rendezvous { bound, .. } = sticky.ip_hash {
        assert!(bound.is_none_or(|bound| (101..=10_000).contains(&bound)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mangled_file_is_read_or_refused(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec(change(), 1..12),
    ) {
        let mut text = SEEDS[seed].to_owned();
        for change in &changes {
            apply(&mut text, change);
        }
        check(&text);
        // The tree with everything that comes later read too.
        let (tree, damage) = raw::parse(&text);
        let _ = conclude("file.toml", &text, &tree, damage, false);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        check(&text);
    }

    #[test]
    fn any_value_under_any_key_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        value in r#""[ -~]{0,20}"|-?[0-9.e]{1,20}|\[("[ -~]{0,9}",?){0,3}\]|\{[ -~]{0,20}\}|true|false|"[0-9]{1,4}[a-z%/]{0,4}""#,
    ) {
        let schema: Vec<String> = schema().into_iter().collect();
        let path = which.get(&schema).replace("NAME", "x");
        check(&format!("listen = \":80\"\nupstream.x.instances = [\"a:1\"]\n{path} = {value}\n"));
    }

    #[test]
    fn any_arguments_are_read_or_refused(listen in "\\PC{0,30}", instance in "\\PC{0,30}") {
        let _ = from_arguments(&[listen], &[instance]).map_err(|report| report.to_string());
    }
}

/// Shapes that make careless parsers slow or deep. The bound is generous: it tells linear from quadratic, in debug
/// builds on a busy machine.
#[test]
fn hostile_shapes_end_in_time() {
    let size = 200_000;
    let repeat = |piece: &str| piece.repeat(size / piece.len());
    let numbered = |line: &dyn Fn(usize) -> String| (0..size / 12).map(line).collect::<String>();
    let shapes = [
        repeat("a\n"),
        repeat("a=1\n"),
        repeat("[a]\n"),
        repeat("[[route]]\n"),
        repeat("["),
        repeat("{a="),
        repeat("x={a.b.c.d.e.f.g=[{"),
        format!("{}=1", repeat("a.")),
        format!("[{}a]", repeat("a.")),
        format!("x = [{}", repeat("1,")),
        format!("x = [{}]", repeat("\"a\"\n")),
        format!("x = \"{}", repeat("a")),
        repeat("\""),
        repeat("“"),
        format!("listen = [{}]", repeat("\"x\",")),
        format!("listen = \":80\"\n[upstream.x]\nsticky.by = [{}]", repeat("\"query:a\",")),
        numbered(&|n| format!("{}\"query:{n}\",", if n == 0 { "upstream.x.sticky.by = [" } else { "" })),
        format!("x = {}", repeat("9")),
        format!("{} = 1", repeat("k")),
        format!("[upstream.{}]", repeat("k")),
        numbered(&|n| format!("k{n} = 1\n")),
        numbered(&|n| format!("[upstream.u{n}]\n")),
        numbered(&|n| format!("[upstream.u{n}.x]\nttl = 1h\n")),
        numbered(&|n| format!("x{n} = 1.2.3.4\n")),
        format!("trusted_proxies = [{}", repeat("10.0.0.0/8 ")),
    ];
    for shape in &shapes {
        #[expect(clippy::disallowed_methods, reason = "`config` imports nothing, the clock neither")]
        let begin = Instant::now();
        check(shape);
        let taken = begin.elapsed();
        let begins: String = shape.chars().take(30).collect();
        assert!(taken < Duration::from_secs(20), "{taken:?}: {begins}...");
    }
}
