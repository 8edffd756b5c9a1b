//! One measurement as a line of `key=value`: what the loads print, the raw file keeps and the summary reads.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};

/// Fields in the order in which they were set. Keys and values hold no blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    fields: Vec<(String, String)>,
}

impl Record {
    /// Sets a field; blanks in the value become underscores.
    pub(crate) fn set(&mut self, key: &str, value: impl fmt::Display) {
        let value: String = value.to_string().split_whitespace().collect::<Vec<_>>().join("_");
        match self.fields.iter_mut().find(|(name, _)| name == key) {
            Some(field) => field.1 = value,
            None => self.fields.push((key.to_owned(), value)),
        }
    }

    /// Sets a number with a fixed count of decimals.
    pub(crate) fn number(&mut self, key: &str, value: f64, decimals: usize) {
        self.set(key, format_args!("{value:.decimals$}"));
    }

    /// A field's text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A field's number.
    pub(crate) fn get(&self, key: &str) -> Option<f64> {
        self.text(key)?.parse().ok()
    }

    /// The fields of `self`, then those of `other`.
    pub(crate) fn with(mut self, other: Record) -> Record {
        for (key, value) in other.fields {
            self.set(&key, value);
        }
        self
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.fields.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Record> {
        let mut record = Record::default();
        for field in line.split_ascii_whitespace() {
            let (key, value) =
                field.split_once('=').with_context(|| format!("{field:?} is not key=value"))?;
            record.set(key, value);
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let mut record = Record::default();
        record.set("peer", "nginx");
        record.number("cpu_us", 14.012, 2);
        record.set("failed", "no such file");
        let line = record.to_string();
        assert_eq!(line, "peer=nginx cpu_us=14.01 failed=no_such_file");
        let read: Record = line.parse().expect("our own line");
        assert_eq!(read, record);
        assert_eq!((read.get("cpu_us"), read.get("peer"), read.get("ops")), (Some(14.01), None, None));
    }

    #[test]
    fn anything_else_is_an_error() {
        assert!("peer=nginx and more".parse::<Record>().is_err());
    }
}
