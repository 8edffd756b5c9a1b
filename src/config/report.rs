//! What is wrong with a configuration, in words that say what to type: line, column, the text, a caret.
//!
//! Owns how problems are ordered, bounded, counted and drawn. Knows no key of the schema.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Range;

use annotate_snippets::renderer::Renderer;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Snippet, normalize_untrusted_str};

/// Problems kept of one file; more are only counted. More than this is a file of another kind, not a list to work off.
const KEPT: usize = 200;
/// Longest line, in bytes, that is shown; of a longer one only the position is given.
const LINE: usize = 4096;

/// Whether a problem keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    /// Bytes of the text; `None`: the file as a whole.
    pub(super) span: Option<Range<usize>>,
    /// What is wrong, one sentence without a full stop.
    pub(super) title: String,
    /// Beside the caret: what was expected, best what to type.
    pub(super) label: String,
    /// Below: whatever else helps.
    pub(super) help: Vec<String>,
}

impl Problem {
    pub(super) fn error(span: Range<usize>, title: impl Into<String>, label: impl Into<String>) -> Self {
        let span = Some(span);
        Self { severity: Severity::Error, span, title: title.into(), label: label.into(), help: Vec::new() }
    }

    pub(super) fn warning(span: Range<usize>, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, title, label) }
    }

    /// A problem of the file as a whole: there is no place to point at.
    pub(super) fn whole(title: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(0..0, title, "") }.help(help)
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// Every problem of one file, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    text: String,
    problems: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

/// How a [`Report`] is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone: files, journals, pipes.
    Plain,
    /// ANSI colours: terminals.
    Colour,
}

impl Report {
    /// Sorts `problems` into the order of the file and keeps the first ones.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        // What has no place comes last: it is the likeliest to vanish once the others are mended.
        problems.sort_by_key(|p| p.span.as_ref().map_or(usize::MAX, |span| span.start));
        problems.dedup();
        let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
        let warnings = problems.len() - errors;
        problems.truncate(KEPT);
        // A report outlives the file's text only where it has something to point at.
        let text = if problems.is_empty() { String::new() } else { text.to_owned() };
        Self { file: file.to_owned(), text, problems, errors, warnings }
    }

    /// How many problems keep the file from being used.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many others there are.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Nothing to say.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The whole report; ends with a line that counts, and a newline. Empty when there is nothing to say.
    pub fn render(&self, style: Style) -> String {
        if self.is_empty() {
            return String::new();
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colour => Renderer::styled(),
        };
        let lines = Lines::new(&self.text);
        let mut out = String::new();
        for problem in &self.problems {
            out.push_str(&renderer.render(&[self.group(problem, &lines)]));
            out.push_str("\n\n");
        }
        let hidden = self.errors + self.warnings - self.problems.len();
        if hidden > 0 {
            let _ = writeln!(out, "... and {hidden} more");
        }
        let _ = writeln!(out, "{} in {}", self.counts(), one_line(&self.file));
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem, lines: &Lines<'a>) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(one_line(&problem.title));
        let mut help: Vec<&str> = problem.help.iter().map(String::as_str).collect();
        let group = match &problem.span {
            None => title.element(Origin::path(one_line(&self.file))),
            Some(span) => {
                let line = lines.at(span.start);
                if line.text.len() > LINE {
                    help.insert(0, &problem.label);
                    let column = line.text[..line.offset(span.start)].chars().count() + 1;
                    title.element(Origin::path(one_line(&self.file)).line(line.number).char_column(column))
                } else {
                    let mark = line.offset(span.start)..line.offset(span.end.max(span.start));
                    let mark = AnnotationKind::Primary.span(mark).label(one_line(&problem.label));
                    let source = Snippet::source(same_length(line.text))
                        .line_start(line.number)
                        .path(one_line(&self.file));
                    title.element(source.annotation(mark))
                }
            }
        };
        group.elements(help.into_iter().map(|text| Level::HELP.message(visible(text))))
    }

    /// "2 errors, 1 warning"
    fn counts(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match (self.errors, self.warnings) {
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}

/// `text` without anything that would steer a terminal.
fn visible(text: &str) -> String {
    normalize_untrusted_str(&same_length(text))
}

/// Likewise, and without line breaks: a key may hold some, and must not look like a line of the report.
fn one_line(text: &str) -> String {
    visible(text).replace('\n', "\u{240a}")
}

/// `text` without the controls that the renderer lets pass, every character of the same length, so that spans hold.
fn same_length(text: &str) -> Cow<'_, str> {
    let control = |c: char| matches!(c, '\u{80}'..='\u{9f}');
    if text.contains(control) { text.replace(control, "\u{bf}").into() } else { text.into() }
}

/// The lines of a text, found by byte without reading the text again for each.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

/// One line, without its line break.
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    /// From 1.
    pub(super) number: usize,
    /// Bytes before it.
    pub(super) start: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line that holds byte `at`; the last one when there is no such byte.
    pub(super) fn at(&self, at: usize) -> Line<'a> {
        let index = self.starts.partition_point(|start| *start <= at) - 1;
        let start = self.starts[index];
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        let text = self.text[start..end].trim_end_matches(['\n', '\r']);
        // A byte order mark is invisible; shown, it would only shift the caret.
        let mark = if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Line { text: &text[mark..], number: index + 1, start: start + mark }
    }
}

impl Line<'_> {
    /// The place of byte `at` of the text in this line, on the start of a character, at most its end.
    fn offset(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.saturating_sub(self.start).min(self.text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, problems: Vec<Problem>) -> String {
        Report::new("file.toml", text, problems).to_string()
    }

    #[test]
    fn points_at_line_and_column_and_counts() {
        let shown = report(
            "a = 1\r\nkey = välue # \t\n",
            vec![
                Problem::warning(0..1, "second thoughts", ""),
                Problem::error(13..19, "wrong", "write \"x\"").help("more"),
            ],
        );
        assert!(shown.contains(" --> file.toml:2:7\n"), "{shown}");
        assert!(shown.contains("2 | key = välue"), "{shown}");
        assert!(shown.contains("  |       ^^^^^ write \"x\"\n"), "{shown}");
        assert!(shown.contains("= help: more"), "{shown}");
        assert!(shown.ends_with("1 error, 1 warning in file.toml\n"), "{shown}");
    }

    #[test]
    fn any_span_is_drawn() {
        let text = "\u{feff}é\n\n= \u{1b}[31m\u{9b}1m";
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let shown =
                    report(text, vec![Problem::error(start..end, "\u{1b}[1m\nerror: x", "l\u{7}\u{9b}")]);
                assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{shown:?}");
                assert_eq!(shown.matches("\nerror").count(), 0, "{shown:?}");
            }
        }
        assert!(report("", vec![Problem::error(0..0, "empty", "here")]).contains("file.toml:1:1"));
    }

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let problem = |n: usize| Problem::error(n..n, "wrong", "");
        let shown = report("x", (0..1000).map(problem).collect());
        assert_eq!(shown.matches("error: wrong").count(), KEPT);
        assert!(shown.contains("... and 800 more\n") && shown.ends_with("1000 errors in file.toml\n"));
    }

    #[test]
    fn long_lines_are_not_shown() {
        let shown = report(&"x".repeat(LINE + 1), vec![Problem::error(7..8, "wrong", "write y")]);
        assert!(shown.contains("file.toml:1:8") && shown.contains("write y"), "{shown}");
        assert!(shown.len() < 200, "{shown}");
    }
}
