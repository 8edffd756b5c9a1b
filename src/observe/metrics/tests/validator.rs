//! A strict reader of the text format 0.0.4: its grammar, and the rules of `promtool check metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of the family whose samples are being read.
struct Family {
    name: String,
    kind: String,
    /// Of a histogram, by its labels without `le`.
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// The families in their order, or the first fault with its line.
pub(super) fn validate(text: &str) -> Result<Vec<String>, String> {
    let body = text.strip_suffix('\n').ok_or("the last line has no end")?;
    let (mut families, mut seen) = (Vec::new(), BTreeSet::new());
    let mut family: Option<Family> = None;
    let mut help: Option<String> = None;
    for line in body.split('\n') {
        let fault = |what: &str| Err(format!("{what}: {line:?}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            finish(family.take())?;
            let Some((name, words)) = rest.split_once(' ') else { return fault("HELP without words") };
            if words.is_empty() || words.contains('\\') || help.is_some() {
                return fault("HELP");
            }
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return fault("TYPE without kind") };
            if help.take().as_deref() != Some(name) {
                return fault("TYPE does not follow its HELP");
            }
            if families.iter().any(|known| known == name) {
                return fault("a family twice");
            }
            check_name(name, kind)?;
            families.push(name.to_owned());
            family =
                Some(Family { name: name.to_owned(), kind: kind.to_owned(), histograms: BTreeMap::new() });
        } else {
            let Some(family) = &mut family else { return fault("a sample without TYPE") };
            let (name, labels, value) = sample(line)?;
            if !seen.insert(format!("{name}{labels:?}")) {
                return fault("a series twice");
            }
            if let Err(what) = family.take(&name, labels, value) {
                return fault(what);
            }
        }
    }
    finish(family)?;
    Ok(families)
}

impl Family {
    fn take(
        &mut self,
        name: &str,
        mut labels: Vec<(String, String)>,
        value: f64,
    ) -> Result<(), &'static str> {
        let suffix = name.strip_prefix(self.name.as_str()).ok_or("a sample of another family")?;
        if self.kind != "gauge" && !(value >= 0.0 && value.is_finite()) {
            return Err("a value that no counter has");
        }
        if self.kind != "histogram" {
            let has_le = labels.iter().any(|(label, _)| label == "le");
            return if suffix.is_empty() && !has_le { Ok(()) } else { Err("no histogram") };
        }
        let le = labels.iter().position(|(label, _)| label == "le").map(|at| labels.remove(at).1);
        let histogram = self.histograms.entry(format!("{labels:?}")).or_default();
        match (suffix, le) {
            ("_bucket", Some(le)) => histogram.buckets.push((number(&le).ok_or("le is no number")?, value)),
            ("_sum", None) => histogram.sum = Some(value),
            ("_count", None) => histogram.count = Some(value),
            _ => return Err("no sample of a histogram"),
        }
        Ok(())
    }
}

fn finish(family: Option<Family>) -> Result<(), String> {
    let Some(family) = family else { return Ok(()) };
    for (labels, histogram) in family.histograms {
        let is_ascending = histogram.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        let last = histogram.buckets.last().copied();
        let is_whole = last == histogram.count.map(|count| (f64::INFINITY, count));
        if !is_ascending || !is_whole || histogram.sum.is_none() {
            return Err(format!("histogram {} {labels}", family.name));
        }
    }
    Ok(())
}

/// Kinds, and units that are no base units.
const NOT_IN_NAMES: &[&str] = &[
    "counter",
    "gauge",
    "histogram",
    "summary",
    "ms",
    "us",
    "ns",
    "milliseconds",
    "microseconds",
    "minutes",
    "hours",
    "days",
    "kb",
    "mb",
    "kilobytes",
    "megabytes",
    "bits",
    "percent",
    "sec",
    "s",
    "b",
];

/// The rules for names: characters, suffixes by kind, base units, no kind in the name.
fn check_name(name: &str, kind: &str) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{what}: {name} {kind}"));
    if !matches!(kind, "counter" | "gauge" | "histogram") {
        return fault("kind");
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return fault("characters");
    }
    if (kind == "counter") != name.ends_with("_total") {
        return fault("_total");
    }
    if ["_bucket", "_sum", "_count", "_info_total"].iter().any(|suffix| name.ends_with(suffix)) {
        return fault("suffix");
    }
    if name.split('_').any(|part| NOT_IN_NAMES.contains(&part)) {
        return fault("a unit that is no base unit, or a kind");
    }
    if kind == "histogram" && !name.ends_with("_seconds") && !name.ends_with("_bytes") {
        return fault("a histogram without unit");
    }
    Ok(())
}

type Sample = (String, Vec<(String, String)>, f64);

/// `name{label="value",...} value`
fn sample(line: &str) -> Result<Sample, String> {
    let fault = || format!("no sample: {line:?}");
    let end = line.find(['{', ' ']).ok_or_else(fault)?;
    let (name, mut rest) = line.split_at(end);
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"").ok_or_else(fault)?;
            let is_name = !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if !is_name || labels.iter().any(|(known, _)| known == label) {
                return Err(fault());
            }
            let (value, after) = quoted(value).ok_or_else(fault)?;
            labels.push((label.to_owned(), value));
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after.strip_prefix('}').ok_or_else(fault)?;
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(number).ok_or_else(fault)?;
    Ok((name.to_owned(), labels, value))
}

/// The value in front of its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

#[test]
fn the_validator_sees_faults() {
    fn check(text: &str, expected: Result<&[&str], &str>) {
        match (validate(text), expected) {
            (Ok(families), Ok(expected)) => assert_eq!(families, expected),
            (Err(fault), Err(expected)) => assert!(fault.starts_with(expected), "{fault}, not {expected}"),
            (got, _) => panic!("{got:?} for {text:?}"),
        }
    }
    const A: &str = "# HELP a_total A.\n# TYPE a_total counter\n";
    const H: &str = "# HELP h_seconds H.\n# TYPE h_seconds histogram\n";
    check(A, Ok(&["a_total"]));
    check(&format!("{A}a_total 1\n"), Ok(&["a_total"]));
    check(&format!("{A}a_total 1"), Err("the last line has no end"));
    check(&format!("{A}a_total  1\n"), Err("no sample"));
    check(&format!("{A}a_total 1e3\n"), Err("no sample"));
    check(&format!("{A}a_total -1\n"), Err("a value that no counter has"));
    check(&format!("{A}\na_total 1\n"), Err("no sample"));
    check(&format!("{A}a_total 1\na_total 1\n"), Err("a series twice"));
    check(&format!("{A}a_total{{x=\"1\",x=\"2\"}} 1\n"), Err("no sample"));
    check(&format!("{A}a_total{{x=\"\\t\"}} 1\n"), Err("no sample"));
    check(&format!("{A}b_total 1\n"), Err("a sample of another family"));
    check(&format!("{A}{A}"), Err("a family twice"));
    check("a_total 1\n", Err("a sample without TYPE"));
    check("# TYPE a_total counter\n", Err("TYPE does not follow its HELP"));
    check("# HELP a A.\n# TYPE a counter\n", Err("_total"));
    check("# HELP a_ms A.\n# TYPE a_ms gauge\n", Err("a unit"));
    let bucket = |le: &str, count: u32| format!("h_seconds_bucket{{le=\"{le}\"}} {count}\n");
    let rest = "h_seconds_sum 1\nh_seconds_count 2\n";
    check(&format!("{H}{}{}{rest}", bucket("1", 1), bucket("+Inf", 2)), Ok(&["h_seconds"]));
    check(&format!("{H}{}{}{rest}", bucket("1", 3), bucket("+Inf", 2)), Err("histogram"));
    check(&format!("{H}{}{}{rest}", bucket("1", 1), bucket("+Inf", 3)), Err("histogram"));
    check(&format!("{H}{}{rest}", bucket("1", 1)), Err("histogram"));
    check(&format!("{H}{}h_seconds_count 2\n", bucket("+Inf", 2)), Err("histogram"));
}
