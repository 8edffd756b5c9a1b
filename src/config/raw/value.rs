//! One value of the document: where it stands, what it is, and how it is said to be wrong.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::availability;
use super::super::report::Problem;
use super::{Walk, Wrong};

/// A value, where it stands, and the name of its key.
#[derive(Clone)]
pub(in crate::config) struct Value<'d> {
    walk: &'d Walk<'d>,
    item: &'d Spanned<DeValue<'d>>,
    /// As in the document: `upstream.socketio.sticky.ttl`.
    name: String,
    /// As in the schema: `upstream.NAME.sticky.ttl`.
    schema: String,
    /// A word that would do as well: "off".
    or: Option<&'static str>,
}

impl<'d> Value<'d> {
    pub(super) fn new(
        walk: &'d Walk<'d>,
        item: &'d Spanned<DeValue<'d>>,
        name: String,
        schema: String,
    ) -> Self {
        Self { walk, item, name, schema, or: None }
    }

    pub(in crate::config) fn walk(&self) -> &'d Walk<'d> {
        self.walk
    }

    pub(in crate::config) fn span(&self) -> Range<usize> {
        self.item.span()
    }

    /// As in the document.
    pub(in crate::config) fn name(&self) -> &str {
        &self.name
    }

    /// As in the schema.
    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// The same value as the key `key` of the table that it is short for.
    pub(in crate::config) fn short_for(&self, key: &str) -> Self {
        Self { schema: format!("{}.{key}", self.schema), ..self.clone() }
    }

    /// Reports what in it, rightly written, is not available yet; `key` = where its key stands.
    pub(in crate::config) fn check_available(&self, key: &Range<usize>) {
        if self.walk.refuse_later {
            for problem in availability::check(&self.schema, &self.name, key, self.item) {
                self.walk.report(problem);
            }
        }
    }

    /// What it holds, as TOML has it.
    pub(in crate::config) fn inner(&self) -> &'d DeValue<'d> {
        self.item.get_ref()
    }

    pub(in crate::config) fn entries(&self) -> Option<&'d DeTable<'d>> {
        self.inner().as_table()
    }

    /// Its elements, when it is a list.
    pub(in crate::config) fn elements(&self) -> Option<impl Iterator<Item = Value<'d>>> {
        let elements = self.inner().as_array()?;
        Some(elements.iter().map(|item| Value { item, or: None, ..self.clone() }))
    }

    /// The same value, where `word` would do as well.
    pub(super) fn or(&self, word: &'static str) -> Self {
        Self { or: Some(word), ..self.clone() }
    }

    /// Reports that it is not what was asked for.
    pub(in crate::config) fn wrong(&self, wrong: Wrong) {
        let label = match self.or {
            Some(word) if !wrong.write.contains(&format!("\"{word}\"")) => {
                format!("{}; or \"{word}\"", wrong.write)
            }
            _ => wrong.write,
        };
        self.walk.report(Problem::error(self.span(), format!("`{}` {}", self.name, wrong.what), label));
    }

    /// Reports that it is of another type than `wanted` ("a list of names").
    pub(in crate::config) fn mismatch(&self, wanted: &str, write: impl Into<String>) {
        let is = match self.inner() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let write = match (self.inner(), self.or) {
            (DeValue::Boolean(false), Some("off")) => "write \"off\"".to_owned(),
            _ => write.into(),
        };
        self.wrong(Wrong::new(format!("must be {wanted}, not {is}"), write));
    }

    /// Reports that it is no table; `header` = how one is written, `off` = what people mean by "off" here.
    pub(in crate::config) fn wrong_table(&self, header: &str, off: Option<&str>) {
        let write = match (self.inner(), off) {
            (DeValue::Array(list), _) if list.iter().all(|item| item.get_ref().is_table()) => {
                format!("write [{header}], in single brackets")
            }
            (DeValue::String(_) | DeValue::Boolean(false), Some(off)) => format!("write {off}"),
            _ => format!("write a section [{header}], or delete this line"),
        };
        self.mismatch("a table", write);
    }

    /// The value in its own words, cut short.
    pub(in crate::config) fn words(&self) -> &'d str {
        let words = self.walk.words(self.span());
        if words.len() > 60 || words.contains('\n') { "..." } else { words }
    }

    /// A whole number, if it is one that 64 bits hold.
    pub(super) fn integer(&self) -> Option<i64> {
        let number = self.inner().as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    pub(super) fn natural(&self) -> Option<u64> {
        u64::try_from(self.integer()?).ok()
    }
}
