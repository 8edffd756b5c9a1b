//! `config.example.toml` says what the program does: every key, every default, every "(not available yet)".

use std::collections::BTreeSet;

use super::availability::LATER;
use super::model::Page;
use super::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// The line of `# key = value`, without the hash.
fn commented(line: &str) -> Option<&str> {
    let bare = line.strip_prefix("# ")?;
    let key = bare.split([' ', '=']).next()?;
    let is_key =
        !key.is_empty() && key.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    let is_header = bare.starts_with('[') && bare.ends_with(']');
    ((is_key && bare[key.len()..].trim_start().starts_with('=')) || is_header).then_some(bare)
}

/// Everything active: what the long forms replace is taken out, the rest is uncommented.
fn uncommented() -> String {
    let active = |line: &str| line.starts_with("listen = ") || line.starts_with("instances = ");
    let lines = EXAMPLE.lines().filter(|line| !active(line));
    lines.map(|line| commented(line).unwrap_or(line).to_owned() + "\n").collect()
}

/// The keys of the file by their paths in the schema, each with the comment above it.
fn keys() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut comment = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        let code = commented(line).unwrap_or(line);
        if code.starts_with('[') {
            table = code.trim_matches(['[', ']']).replace("socketio", "NAME") + ".";
            comment.clear();
        } else if let Some(prose) = code.strip_prefix('#') {
            comment.push_str(prose);
        } else if let Some((key, _)) = code.split_once('=') {
            keys.push((format!("{table}{}", key.trim()), comment.clone()));
        } else {
            comment.clear();
        }
    }
    keys
}

#[test]
fn loads_as_it_is_and_says_nothing_but_the_defaults() {
    let loaded = parse(EXAMPLE, "config.example.toml").unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let minimal =
        "listen = \":80\"\n[upstream.socketio]\ninstances = [\"instance-1:3000\", \"instance-2:3000\"]\n";
    assert_eq!(loaded.config, parse(minimal, "").unwrap().config);
}

#[test]
fn every_commented_value_is_the_default() {
    let text = uncommented();
    let (tree, damage) = raw::parse(&text);
    let walk = Walk::new(&text, damage, false);
    let mut config = validate::config(Table::top(&walk, &tree));
    let given = walk.given();
    let report = Report::new("config.example.toml", &text, walk.into_problems(schema));
    assert_eq!(report.errors(), 0, "{report}");

    let differ: Vec<&str> = given.iter().filter(|(_, same)| !same).map(|(path, _)| path.as_str()).collect();
    // These have no default that could be written, they show an example.
    let expected = ["upstream.NAME.instances.name", "route.host", "route.path"];
    assert_eq!(differ, expected);
    assert!(given.len() > 110, "{}", given.len());

    let minimal = "listen = \":80\"\n[upstream.socketio]\ninstances = [\"instance-1:3000\"]\n";
    let expected = parse(minimal, "").unwrap().config;
    config.routes.clone_from(&expected.routes);
    // An address that is written has to be free: that is what differs.
    for page in [&mut config.metrics, &mut config.admin.page] {
        assert!(page.replace(Page { named: false, ..page.unwrap() }).unwrap().named);
    }
    assert_eq!(config, expected);
}

#[test]
fn what_is_marked_is_what_is_not_available() {
    const MARK: &str = "(not available yet";
    let marked: BTreeSet<String> =
        keys().into_iter().filter(|(_, comment)| comment.contains(MARK)).map(|(key, _)| key).collect();
    let later: BTreeSet<String> = LATER.iter().map(|row| row.key.to_owned()).collect();
    assert_eq!(marked, later);
    assert!(!later.is_empty());
}

#[test]
fn what_is_marked_is_refused_unless_it_is_what_happens_today() {
    let report = parse(&uncommented(), "config.example.toml").unwrap_err().to_string();
    let refused: BTreeSet<String> = report
        .lines()
        .filter(|line| line.starts_with("error: ") && line.ends_with(" is not available yet"))
        .filter_map(|line| Some(line.split('`').nth(1)?.replace("socketio", "NAME")))
        .collect();
    assert_eq!(report.matches("error: ").count(), refused.len(), "{report}");
    // Rows of which the default is what happens today, so that writing it down changes nothing.
    let today: BTreeSet<String> =
        LATER.iter().map(|row| row.key.to_owned()).filter(|key| !refused.contains(key)).collect();
    let expected: [&str; 0] = [];
    assert_eq!(today, expected.map(str::to_owned).into());
}

#[test]
fn every_key_of_the_schema_is_there() {
    let keys: BTreeSet<String> = keys().into_iter().map(|(key, _)| key).collect();
    let mut seen = 0;
    for path in schema() {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", &path));
        let is_table = EXAMPLE.contains(&format!("[{}", path.replace("NAME", "socketio")));
        // Keys inside braces stand in the comment of their table.
        let inline = matches!(table, "listen.tls" | "upstream.NAME.tls" | "upstream.NAME.sticky.ip_hash")
            && EXAMPLE.contains(&format!("{key} = "));
        assert!(keys.contains(&path) || is_table || inline || path == "upstream", "{path}");
        seen += 1;
    }
    assert!(seen > 130, "{seen}");
}

#[test]
fn every_row_of_the_list_is_a_key_of_the_schema() {
    let schema = schema();
    for row in LATER {
        assert!(schema.contains(row.key), "{}", row.key);
    }
}
