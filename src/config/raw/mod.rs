//! The document as written: one walk over the spanned tree of the TOML.
//!
//! Owns reading a key exactly once, remembering which keys the schema has, and saying what was expected. Knows no key
//! by name: those are in `validate`.

mod foreign;
mod hints;
mod read;
mod syntax;
mod table;
mod units;
mod value;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use super::report::{Lines, Problem, Severity};
use hints::Unknown;

pub(super) use hints::nearest;
pub(super) use read::{
    auto_or, boolean, choice, count, duration, list, number_of, off_or, ratio, size, spanned, string, text,
};
pub(super) use syntax::Damage;
pub(super) use table::Table;
pub(super) use units::duration as parse_duration;
pub(super) use units::{Rate, Wrong, percent, rate, show_duration, show_size};
pub(super) use value::Value;

/// A value and where it stands.
pub(super) use toml::Spanned;

/// Reads `text`; what could not be read is among the walk's problems, the rest is in the tree.
pub(super) fn parse(text: &str) -> (DeTable<'_>, syntax::Damage) {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.into_inner();
    let damage = syntax::explain(text, &tree, &errors);
    (tree, damage)
}

/// Problems of one kind that get advice; looking for it costs time, and nobody reads on for that long.
const EXPLAINED: usize = 200;

/// One walk over one document.
pub(super) struct Walk<'d> {
    text: &'d str,
    lines: Lines<'d>,
    damage: syntax::Damage,
    /// Whether keys whose behaviour comes later are refused.
    refuse_later: bool,
    problems: RefCell<Vec<Problem>>,
    doubts: RefCell<Vec<Problem>>,
    /// Every key that was asked for, by its path in the schema.
    known: RefCell<BTreeSet<String>>,
    unknown: RefCell<Vec<Unknown>>,
    /// Keys that the document gives: path in the schema, and whether the value is the default.
    #[cfg(test)]
    given: RefCell<Vec<(String, bool)>>,
}

impl<'d> Walk<'d> {
    pub(super) fn new(text: &'d str, damage: syntax::Damage, refuse_later: bool) -> Self {
        Self {
            text,
            lines: Lines::new(text),
            damage,
            refuse_later,
            problems: RefCell::default(),
            doubts: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            #[cfg(test)]
            given: RefCell::default(),
        }
    }

    /// Takes note of a problem of one place, unless a syntax error there already says it.
    pub(super) fn report(&self, problem: Problem) {
        let hidden = problem.span.as_ref().is_some_and(|span| {
            self.damage.covers(self.lines.at(span.start).start)
                || self.damage.covers(self.lines.at(span.end).start)
        });
        if !hidden {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// Takes note of a problem that is only believable when the whole document could be read: something is missing,
    /// or does not fit something else. A warning of that kind waits until there are no errors: it may come of a default
    /// that stands in for a wrong value.
    pub(super) fn report_if_whole(&self, problem: Problem) {
        if !self.damage.is_none() {
            return;
        }
        match problem.severity {
            Severity::Error => self.report(problem),
            Severity::Warning => self.doubts.borrow_mut().push(problem),
        }
    }

    /// The document's own words.
    pub(super) fn words(&self, span: Range<usize>) -> &'d str {
        self.text.get(span).unwrap_or("")
    }

    /// The line, from 1, of byte `at`.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.at(at).number
    }

    /// Every problem found; `schema` = every key there is, asked for only when a key is unknown.
    pub(super) fn into_problems(self, schema: impl FnOnce() -> BTreeSet<String>) -> Vec<Problem> {
        let unknown = self.unknown.take();
        if !unknown.is_empty() {
            let schema = schema();
            for (index, key) in unknown.iter().enumerate() {
                self.report(hints::explain(key, &schema, index < EXPLAINED));
            }
        }
        let mut problems = self.problems.into_inner();
        problems.extend(self.damage.into_problems());
        if problems.iter().all(|problem| problem.severity == Severity::Warning) {
            problems.extend(self.doubts.into_inner());
        }
        problems
    }

    /// Every key asked for.
    pub(super) fn into_known(self) -> BTreeSet<String> {
        self.known.into_inner()
    }

    /// Keys that the document gives, and whether each is its default.
    #[cfg(test)]
    pub(super) fn given(&self) -> Vec<(String, bool)> {
        self.given.borrow().clone()
    }
}
