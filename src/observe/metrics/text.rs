//! The Prometheus text exposition format, version 0.0.4. Knows no metric.
//!
//! By hand: `prometheus-client` writes `OpenMetrics` only, and its collectors need more lines than this file has.

use super::table::{Family, Type};
use crate::observe::count::HistogramTotal;

/// The `Content-Type` of what [`super::render()`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows family by family.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
}

impl Text {
    /// Begins a metric; its samples follow, and nothing of another metric between them.
    pub(super) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let kind = match family.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        for part in ["# HELP ", family.name, " ", family.help, "\n# TYPE ", family.name, " ", kind, "\n"] {
            self.out.push_str(part);
        }
        Samples { out: &mut self.out, family }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Samples<'t> {
    out: &'t mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// A counter or gauge that counts things. `values` belong to the family's labels, in their order.
    pub(super) fn int(&mut self, values: &[&str], value: u64) {
        self.series("", values, None);
        self.out.push_str(itoa::Buffer::new().format(value));
        self.out.push('\n');
    }

    /// A counter or gauge that measures.
    pub(super) fn float(&mut self, values: &[&str], value: f64) {
        self.series("", values, None);
        push_float(self.out, value);
        self.out.push('\n');
    }

    /// All series of one histogram.
    pub(super) fn histogram(&mut self, values: &[&str], total: &HistogramTotal) {
        let count = total.count();
        for (bound, sum) in total.cumulative() {
            self.bucket(values, bound, sum);
        }
        self.bucket(values, f64::INFINITY, count);
        self.series("_sum", values, None);
        push_float(self.out, total.sum());
        self.out.push('\n');
        self.series("_count", values, None);
        self.out.push_str(itoa::Buffer::new().format(count));
        self.out.push('\n');
    }

    fn bucket(&mut self, values: &[&str], bound: f64, count: u64) {
        self.series("_bucket", values, Some(bound));
        self.out.push_str(itoa::Buffer::new().format(count));
        self.out.push('\n');
    }

    /// Name, labels and the blank before the value.
    fn series(&mut self, suffix: &str, values: &[&str], le: Option<f64>) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        self.out.push_str(self.family.name);
        self.out.push_str(suffix);
        let mut separator = '{';
        for (label, value) in self.family.labels.iter().zip(values) {
            self.out.push(separator);
            self.out.push_str(label);
            self.out.push_str("=\"");
            push_escaped(self.out, value);
            self.out.push('"');
            separator = ',';
        }
        if let Some(le) = le {
            self.out.push(separator);
            self.out.push_str("le=\"");
            push_float(self.out, le);
            self.out.push('"');
            separator = ',';
        }
        self.out.push_str(if separator == ',' { "} " } else { " " });
    }
}

/// A label's value: what would end it is escaped. Any other character may stand for itself.
fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// Go's spelling of what is no number; Rust's own shortest one otherwise, which has no exponent.
fn push_float(out: &mut String, value: f64) {
    use std::fmt::Write;
    if value.is_finite() {
        write!(out, "{value}").expect("a String takes everything");
    } else if value.is_nan() {
        out.push_str("NaN");
    } else {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
}
