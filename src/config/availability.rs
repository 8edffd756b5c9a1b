//! The one list of what the schema promises and the program does not do yet.
//!
//! A row is a key whose behaviour comes later, the value that describes what happens until then, and what that is.
//! Setting such a key to anything else is an error, never ignored. Building the behaviour deletes the row (and its
//! "(not available yet)" in `config.example.toml`; a test compares the two).

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::report::Problem;

/// One key that is not available yet.
pub(super) struct Later {
    /// Its path in the schema.
    pub(super) key: &'static str,
    until: Only,
    /// What happens today; goes on after "today ".
    today: &'static str,
}

/// The one value that may be written already, as it is written in TOML.
struct Only(&'static str);

const fn row(key: &'static str, until: Only, today: &'static str) -> Later {
    Later { key, until, today }
}

pub(super) const LATER: &[Later] = &[row("listen.http2", Only("false"), "listeners speak HTTP/1.1")];

/// What in `value`, rightly written under the key `schema`, is not available yet. `name` and `key`: the key as the
/// document has it.
pub(super) fn check(
    schema: &str,
    name: &str,
    key: &Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Vec<Problem> {
    let rows = LATER.iter().filter(|row| row.key == schema);
    rows.flat_map(|row| row.check(name, key, value)).collect()
}

impl Later {
    fn check(&self, name: &str, key: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Vec<Problem> {
        let refuse = |span: Range<usize>, what: String, label: String| {
            Problem::error(span, format!("{what} is not available yet"), label)
                .help(format!("today {}", self.today))
        };
        let Only(literal) = self.until;
        if is(value.get_ref(), literal) {
            return vec![];
        }
        let literal = match literal {
            "true" | "false" | "[]" => literal.to_owned(),
            _ => format!("\"{literal}\""),
        };
        let label = format!("delete this line, or write {literal}");
        vec![refuse(key.clone(), format!("this value of `{name}`"), label)]
    }
}

fn is(value: &DeValue<'_>, literal: &str) -> bool {
    match value {
        DeValue::String(text) => text == literal,
        DeValue::Boolean(boolean) => literal == if *boolean { "true" } else { "false" },
        DeValue::Array(list) => list.is_empty() && literal == "[]",
        _ => false,
    }
}
