//! A configuration out of two flags: `stickyd run --listen :8080 --instances a:3000,b:3000`.
//!
//! The flags become the same tree that a file becomes, so they are held to the same rules; the text that the carets
//! point into is the command line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::raw::Damage;
use super::{Loaded, Report, conclude};

/// What the one upstream is called.
const UPSTREAM: &str = "default";

/// A configuration with these listeners and one upstream of these instances, everything else as by default.
///
/// # Errors
/// A report of everything that is wrong, with carets into the command line.
pub fn from_arguments(listen: &[String], instances: &[String]) -> Result<Loaded, Report> {
    let mut line = Line::default();
    let listen: Vec<Range<usize>> = listen.iter().map(|address| line.add(" --listen ", address)).collect();
    let add = |(index, address): (usize, &String)| {
        line.add(if index == 0 { " --instances " } else { "," }, address)
    };
    let instances: Vec<Range<usize>> = instances.iter().enumerate().map(add).collect();

    let text = line.text.as_str();
    let list = |spans: &[Range<usize>]| {
        let mut list = DeArray::new();
        for span in spans {
            list.push(Spanned::new(span.clone(), DeValue::String(text[span.clone()].into())));
        }
        DeValue::Array(list)
    };
    let upstream = table("instances", list(&instances));
    let upstreams = table(UPSTREAM, DeValue::Table(upstream));
    let mut tree = table("upstream", DeValue::Table(upstreams));
    tree.insert(at_start("listen".into()), at_start(list(&listen)));
    conclude("the command line", text, &tree, Damage::default(), true)
}

#[derive(Default)]
struct Line {
    text: String,
}

impl Line {
    /// Where `value` came to stand.
    fn add(&mut self, before: &str, value: &str) -> Range<usize> {
        let before = if self.text.is_empty() { before.trim_start() } else { before };
        self.text.push_str(before);
        let start = self.text.len();
        self.text.push_str(value);
        start..self.text.len()
    }
}

fn at_start<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn table<'i>(key: &'static str, value: DeValue<'i>) -> DeTable<'i> {
    let mut table = DeTable::new();
    table.insert(at_start(DeString::Borrowed(key)), at_start(value));
    table
}
