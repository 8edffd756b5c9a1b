//! One table of the document: asked for its keys, it then knows which of them nobody asked for.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::super::report::Problem;
use super::hints::{Unknown, nearest};
use super::{Value, Walk};

/// A table, given or absent. Call [`Table::finish`] when every key has been asked for.
pub(in crate::config) struct Table<'d> {
    walk: &'d Walk<'d>,
    /// As in the document: `upstream.socketio.sticky`; empty at the top.
    name: String,
    /// As in the schema: `upstream.NAME.sticky`.
    schema: String,
    /// Where it begins: its header or opening brace; the text's end at the top.
    span: Range<usize>,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
    /// Keys that must be there and are not, each with what to say.
    missing: Vec<(&'static str, Problem)>,
}

impl<'d> Table<'d> {
    /// The document itself.
    pub(in crate::config) fn top(walk: &'d Walk<'d>, entries: &'d DeTable<'d>) -> Self {
        let end = walk.text.len();
        Self {
            walk,
            name: String::new(),
            schema: String::new(),
            span: end..end,
            entries: Some(entries),
            asked: vec![],
            missing: vec![],
        }
    }

    pub(in crate::config) fn walk(&self) -> &'d Walk<'d> {
        self.walk
    }

    /// Where it begins.
    pub(in crate::config) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// As in the document: `upstream.socketio.sticky`.
    pub(in crate::config) fn name(&self) -> &str {
        &self.name
    }

    /// Where `key` is written, if it is.
    pub(in crate::config) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        Some(self.entries?.get_key_value(key)?.0.span())
    }

    /// Where the value of `key` is written, if it is.
    pub(in crate::config) fn value_span(&self, key: &str) -> Option<Range<usize>> {
        Some(self.entries?.get(key)?.span())
    }

    /// The value of `key`, or `default`, which is also what stands in for a value that was reported as wrong.
    pub(in crate::config) fn get<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> T {
        let found = self.find(key, read);
        #[cfg(test)]
        if self.key_span(key).is_some() {
            let is_default = found.as_ref() == Some(&default);
            self.walk.given.borrow_mut().push((join(&self.schema, key), is_default));
        }
        found.unwrap_or(default)
    }

    /// The value of `key`; `None` when it is absent or was reported as wrong.
    pub(in crate::config) fn find<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        let found = read(&value);
        if found.is_some() {
            value.check_available(&self.key_span(key).unwrap_or_default());
        }
        found
    }

    /// The value of a key that must be there; `write` = the line to type.
    pub(in crate::config) fn need<T>(
        &mut self,
        key: &'static str,
        write: &str,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> Option<T> {
        if self.key_span(key).is_none() {
            let title = format!("`{}` is missing", join(&self.name, key));
            self.missing(key, Problem::error(self.span(), title, format!("add {write}")));
        }
        self.find(key, read)
    }

    /// Takes note that `key` is not there; not said where an unknown key is a misspelling of it.
    pub(in crate::config) fn missing(&mut self, key: &'static str, problem: Problem) {
        self.missing.push((key, problem));
    }

    /// The table under `key`; an empty one when it is absent or was reported as wrong.
    pub(in crate::config) fn table(&mut self, key: &'static str) -> Table<'d> {
        self.table_or_off(key, None)
    }

    /// Likewise; `off` = what people mean who write "off" there.
    pub(in crate::config) fn table_or_off(&mut self, key: &'static str, off: Option<&str>) -> Table<'d> {
        let value = self.ask(key);
        let (name, schema) = (join(&self.name, key), join(&self.schema, key));
        let entries = value.as_ref().and_then(Value::entries);
        let span = value.as_ref().map_or(self.span(), Value::span);
        if let (Some(value), None) = (&value, entries) {
            value.wrong_table(&name, off);
        }
        Table { walk: self.walk, name, schema, span, entries, asked: vec![], missing: vec![] }
    }

    /// The table that `value` is.
    pub(in crate::config) fn of(value: &Value<'d>) -> Option<Table<'d>> {
        let (name, schema) = (value.name().to_owned(), value.schema().to_owned());
        let entries = Some(value.entries()?);
        Some(Table {
            walk: value.walk(),
            name,
            schema,
            span: value.span(),
            entries,
            asked: vec![],
            missing: vec![],
        })
    }

    /// What stands under names that the document makes up, in the order of the document, each with its name.
    pub(in crate::config) fn named(&self) -> Vec<(Spanned<&'d str>, Value<'d>)> {
        let schema = join(&self.schema, "NAME");
        let value = |(key, item): (&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)| {
            let name = join(&self.name, key.get_ref());
            let key = Spanned::new(key.span(), key.get_ref().as_ref());
            (key, Value::new(self.walk, item, name, schema.clone()))
        };
        let mut found: Vec<_> = self.entries.into_iter().flatten().map(value).collect();
        found.sort_by_key(|(key, _)| key.span().start);
        found
    }

    /// Refuses every key that nobody asked for.
    pub(in crate::config) fn finish(self) {
        let asked = |key: &str| self.asked.contains(&key);
        let unknown: Vec<_> =
            self.entries.into_iter().flatten().filter(|(key, _)| !asked(key.get_ref())).collect();
        for (key, problem) in self.missing {
            if !unknown.iter().any(|(unknown, _)| nearest(unknown.get_ref(), [key].into_iter()).is_some()) {
                self.walk.report_if_whole(problem);
            }
        }
        self.walk.unknown.borrow_mut().extend(unknown.into_iter().map(|(key, item)| Unknown {
            table: self.name.clone(),
            schema: self.schema.clone(),
            key: key.get_ref().clone().into_owned(),
            span: key.span(),
            is_table: item.get_ref().is_table(),
        }));
    }

    /// Registers `key` as one that this table has; its value as written.
    pub(in crate::config) fn ask(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.asked.push(key);
        self.walk.known.borrow_mut().insert(join(&self.schema, key));
        let item: &'d Spanned<DeValue<'d>> = self.entries?.get(key)?;
        Some(Value::new(self.walk, item, join(&self.name, key), join(&self.schema, key)))
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}
