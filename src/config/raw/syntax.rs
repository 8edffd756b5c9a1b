//! What the TOML parser could not read, in words for people who write nginx files, YAML and TOML in turns.
//!
//! The parser reports every slip of a line and everything that follows from it; here one line is one problem, and what
//! cannot be believed behind it is marked as [`Damage`].

use std::collections::HashSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::super::report::{Line, Lines, Problem};
use super::foreign;

/// What a document's syntax errors leave unreadable.
#[derive(Default)]
pub(in crate::config) struct Damage {
    problems: Vec<Problem>,
    /// First bytes of the lines that have an error.
    lines: HashSet<usize>,
    /// From here on keys may be in the wrong table.
    from: Option<usize>,
}

impl Damage {
    /// Everything could be read.
    pub(in crate::config) fn is_none(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether what stands in the line that begins at byte `line` may be an accident of parsing.
    pub(super) fn covers(&self, line: usize) -> bool {
        self.lines.contains(&line) || self.from.is_some_and(|from| line >= from)
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// One problem for each line with errors.
pub(super) fn explain(text: &str, tree: &DeTable<'_>, errors: &[Error]) -> Damage {
    let mut damage = Damage::default();
    if errors.is_empty() {
        return damage;
    }
    let lines = Lines::new(text);
    let mut errors: Vec<(Range<usize>, &str)> =
        errors.iter().map(|e| (e.span().unwrap_or(text.len()..text.len()), e.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let unclosed = unclosed(text, tree, &errors);
    if let Some((at, what)) = unclosed {
        errors.retain(|(span, _)| span.start < at);
        damage.add(
            &lines,
            at,
            Problem::error(at..at + 1, format!("this {what} is never closed"), close(what)),
        );
        damage.from = Some(lines.at(at).start);
    }
    let mut values = None;
    for (span, message) in errors {
        let line = lines.at(span.start);
        // Values of one line are read independently of each other; anything else drags the rest of its line along.
        let value = is_value(message) || message.starts_with("string values must be quoted");
        if damage.lines.contains(&line.start) && !(value && values == Some(line.start)) {
            continue;
        }
        values = value.then_some(line.start);
        let (start, header) = (line.start, line.text.trim_start().starts_with('['));
        let problem = if damage.problems.len() < super::EXPLAINED {
            one(text, &line, whole(text, span.clone()), message)
        } else {
            Problem::error(span.clone(), "not readable as TOML", "")
        };
        damage.add(&lines, span.start, problem);
        // Whatever follows an unreadable header belongs to another table than its author thinks.
        if (header && !message.starts_with("duplicate key")) || message.starts_with("cannot recurse") {
            damage.from = Some(damage.from.map_or(start, |from| from.min(start)));
        }
    }
    if damage.from.is_some() {
        let last = damage.problems.iter_mut().max_by_key(|p| p.span.as_ref().map(|span| span.start));
        if let Some(last) = last {
            last.help.push("what follows is checked once this is mended".to_owned());
        }
    }
    damage
}

impl Damage {
    fn add(&mut self, lines: &Lines<'_>, at: usize, problem: Problem) {
        self.lines.insert(lines.at(at).start);
        self.problems.push(problem);
    }
}

/// `span`, cut to the text and to whole characters.
fn whole(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    start..text.floor_char_boundary(span.end.min(text.len())).max(start)
}

fn close(what: &str) -> &'static str {
    if what == "list" { "add the closing ]" } else { "add the closing }" }
}

/// The opening of the first list or inline table that never ends: errors behind it are its consequences.
fn unclosed(
    text: &str,
    tree: &DeTable<'_>,
    errors: &[(Range<usize>, &str)],
) -> Option<(usize, &'static str)> {
    let ends: HashSet<usize> = errors
        .iter()
        .filter(|(_, message)| {
            message.starts_with("unclosed array,") || message.starts_with("unclosed inline")
        })
        .map(|(span, _)| span.start)
        .collect();
    if ends.is_empty() {
        return None;
    }
    let mut first: Option<(usize, &'static str)> = None;
    let mut open: Vec<&toml::Spanned<DeValue<'_>>> = tree.iter().map(|(_, item)| item).collect();
    while let Some(item) = open.pop() {
        let what = match item.get_ref() {
            DeValue::Array(list) => {
                open.extend(list.iter());
                "list"
            }
            DeValue::Table(table) => {
                open.extend(table.iter().map(|(_, item)| item));
                "table"
            }
            _ => continue,
        };
        let span = item.span();
        let opens = text.as_bytes().get(span.start) == Some(if what == "list" { &b'[' } else { &b'{' });
        if opens && ends.contains(&span.end) && first.is_none_or(|(at, _)| span.start < at) {
            first = Some((span.start, what));
        }
    }
    first
}

/// The problem of one line.
fn one(text: &str, line: &Line<'_>, span: Range<usize>, message: &str) -> Problem {
    if let Some(problem) = foreign::explain(line, &span, message) {
        return problem;
    }
    let words = text.get(span.clone()).unwrap_or("");
    if message.starts_with("string values must be quoted") {
        return unquoted(span, words);
    }
    if is_value(message) {
        let token = token(text, span);
        let words = text.get(token.clone()).unwrap_or("");
        return match words.bytes().next() {
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => {
                let title = "this is no number; a text needs quotes";
                Problem::error(token, title, format!("write \"{words}\""))
            }
            _ => unquoted(token, words),
        };
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return Problem::error(
            span,
            "a text without its closing quote",
            "add the quote that the text began with",
        );
    }
    if message.starts_with("missing escaped value") {
        return Problem::error(
            span,
            "a backslash begins an escape in \"...\"",
            "write \\\\ for one backslash",
        );
    }
    if message.starts_with("duplicate key") {
        return duplicate(text, line, span, words);
    }
    if message.starts_with("cannot extend value of type inline table") {
        let label = format!("`{words}` was written in braces above: put these keys inside the braces");
        return Problem::error(span, "a table in { } cannot be extended by a section", label);
    }
    if message.starts_with("missing comma") {
        return Problem::error(span, "a comma is missing before this", "write a comma between the entries");
    }
    if message.starts_with("key with no value") {
        return Problem::error(span, "a key without a value", "write = and a value behind the key");
    }
    if message.starts_with("unclosed") {
        return Problem::error(
            span,
            "a section's name without its closing bracket",
            "close the brackets here",
        );
    }
    if message.starts_with("invalid unquoted key") {
        return Problem::error(span, "a character that no key has", "keys are letters, digits, - and _");
    }
    Problem::error(span, message.split(", expected").next().unwrap_or(message), expected(message))
}

/// Whether the parser took a text without quotes for a value of another kind.
fn is_value(message: &str) -> bool {
    let kinds = ["invalid boolean", "invalid float", "invalid integer", "invalid date", "invalid time"];
    kinds.iter().any(|kind| message.starts_with(kind)) || message.contains("leading zero")
}

/// The parser's own "expected", shortened.
fn expected(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((_, what)) if what != "nothing" => format!("expected {what}"),
        _ => "not readable as TOML".to_owned(),
    }
}

/// A value without quotes.
fn unquoted(span: Range<usize>, words: &str) -> Problem {
    let trimmed = words.trim();
    if trimmed.is_empty() {
        return Problem::error(span, "a key without a value", "write a value behind the =");
    }
    if trimmed.starts_with(['“', '”', '„', '‘', '’', '«']) {
        let bare = trimmed.trim_matches(['“', '”', '„', '‘', '’', '«', '»']);
        return Problem::error(
            span,
            "these are typographic quotes",
            format!("write \"{bare}\" with plain quotes"),
        );
    }
    let boolean = match trimmed.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some("true"),
        "false" | "no" => Some("false"),
        _ => None,
    };
    if let Some(boolean) = boolean {
        return Problem::error(
            span,
            "not a value of TOML",
            format!("write {boolean}, in small letters and without quotes"),
        );
    }
    let bare = trimmed.trim_end_matches(';').trim_matches(['"', '\'']).replace('\\', "\\\\");
    let short = if bare.len() > 60 { "..." } else { &bare };
    Problem::error(span, "a text needs quotes", format!("write \"{short}\""))
}

/// A key, or a section, that was there before.
fn duplicate(text: &str, line: &Line<'_>, span: Range<usize>, words: &str) -> Problem {
    let before = &text[..line.start];
    let trimmed = line.text.trim();
    let is_header = trimmed.starts_with('[');
    let key = |other: &str| other.trim_start().split(['=', '.', ' ']).next() == Some(words);
    let mut first = None;
    for (index, other) in before.lines().enumerate() {
        let other_header = other.trim_start().starts_with('[');
        if is_header && other.trim() == trimmed {
            first = Some(index + 1);
            break;
        } else if !is_header && other_header {
            // A section in between: what came before it was another table's.
            first = None;
        } else if !is_header && first.is_none() && key(other) {
            first = Some(index + 1);
        }
    }
    let (what, mend) = if is_header {
        (format!("the section {trimmed} is written twice"), "move these keys into the first one")
    } else {
        (format!("`{words}` is written twice"), "keep one of the two")
    };
    let label = match first {
        None if is_header => "it was begun above, in braces or with dots: move these keys there".to_owned(),
        Some(first) => format!("first written in line {first}: {mend}"),
        None => mend.to_owned(),
    };
    Problem::error(span, what, label)
}

/// The whole value around `span`: up to a comma, a bracket, a comment, a space or the line's end.
fn token(text: &str, span: Range<usize>) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '=' | '#');
    let start = text[..span.start]
        .rfind(ends)
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let end = text[span.start..].find(ends).map_or(text.len(), |length| span.start + length);
    start..end.max(start)
}
