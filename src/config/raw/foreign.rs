//! Lines that are fine in another language: nginx's, YAML's, and what slips in from them.

use std::ops::Range;

use super::super::report::{Line, Problem};
use super::hints::synonym;

/// What to say about a line that the parser refused at `span` with `message`, when its language is known.
pub(super) fn explain(line: &Line<'_>, span: &Range<usize>, message: &str) -> Option<Problem> {
    let trimmed = line.text.trim();
    let start = line.start + (line.text.len() - line.text.trim_start().len());
    let whole = start..start + trimmed.len();
    let no_value = message.starts_with("key with no value");
    if trimmed == "}" || (no_value && trimmed.ends_with(['{', ';'])) {
        return Some(nginx(whole, trimmed));
    }
    if no_value || message.starts_with("invalid unquoted key") {
        return yaml(whole, trimmed);
    }
    if message.starts_with("unexpected key or value") {
        return surplus(line, span.start);
    }
    None
}

fn nginx(whole: Range<usize>, line: &str) -> Problem {
    let refuse = |label: String| Problem::error(whole, "this is nginx's syntax, the file is TOML", label);
    if let Some(head) = line.strip_suffix('{') {
        let mut words = head.split_whitespace();
        let label = match (words.next(), words.next()) {
            (Some("upstream"), Some(name)) => format!("write [upstream.{name}], without a closing brace"),
            _ => "sections are written [NAME], without a closing brace".to_owned(),
        };
        return refuse(label).help("`instances = [\"a:3000\", \"b:3000\"]` replaces nginx's `server` lines");
    }
    let directive = line.trim_end_matches(';');
    let (key, value) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
    let value = value.trim();
    refuse(match (key, value) {
        ("}", _) => "delete this brace".to_owned(),
        ("ip_hash", "") => "delete this line: clients are kept by address as it is".to_owned(),
        (_, "") => "write key = value, without a semicolon".to_owned(),
        ("server", value) => {
            let address = value.split_whitespace().next().unwrap_or("");
            format!("write \"{address}\" into `instances = [...]`")
        }
        ("listen", value) if value.parse::<u16>().is_ok() => format!("write listen = \":{value}\""),
        ("listen", value) => format!("write listen = \"{value}\""),
        (key, value) => {
            let quote = if value.parse::<u64>().is_ok() { "" } else { "\"" };
            format!("write {} = {quote}{value}{quote}", synonym(key).unwrap_or(key))
        }
    })
}

fn yaml(whole: Range<usize>, line: &str) -> Option<Problem> {
    let label = if line.starts_with("- ") {
        "lists are written key = [\"a\", \"b\"]".to_owned()
    } else {
        let (key, value) = line.split_once(':')?;
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        if key.is_empty() || !key.bytes().all(good) || !(value.is_empty() || value.starts_with(' ')) {
            return None;
        }
        match value.trim() {
            "" => format!("sections are written [{key}], lists {key} = [...]"),
            value if value.starts_with(['"', '\'', '[']) => format!("write {key} = {value}"),
            value => format!("write {key} = \"{value}\""),
        }
    };
    Some(Problem::error(whole, "this is YAML's syntax, the file is TOML", label))
}

/// What stands behind a value, from byte `at` of the text on.
fn surplus(line: &Line<'_>, at: usize) -> Option<Problem> {
    let rest = line.text.get(at.saturating_sub(line.start)..)?.trim();
    if rest.starts_with(';') {
        return Some(Problem::error(at..at + 1, "TOML has no semicolons", "delete it"));
    }
    let label = "write this in a line of its own, or # before a comment";
    Some(Problem::error(at..at + rest.len(), "only one key fits in a line", label))
}
