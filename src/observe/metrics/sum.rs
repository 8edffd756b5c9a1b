//! The texts of several processes of one proxy, as one. Knows which gauges can be summed, and no other metric.
//!
//! Pure: texts in, a text out.

use std::collections::HashMap;

/// Gauges that are of a process alone, so that all of them together are their sum. Any other says the same in each, or something
/// that is true of one process only: the first text has it.
const SUMMED: [&str; 9] = [
    "stickyd_connections_open",
    "stickyd_requests_open",
    "stickyd_tunnels_open",
    "stickyd_upgrades_queued",
    "stickyd_upgrades_in_flight",
    "stickyd_processes",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
];

/// `own`, with what `present` processes count and have open, and what `departed` ones counted. All are texts that
/// [`super::render()`] made; what they have and `own` does not know is left out.
pub fn with(own: &str, present: &[&str], departed: &[&str]) -> String {
    let mut sums: HashMap<&str, Sums<'_>> = HashMap::new();
    for (text, departed) in
        present.iter().map(|text| (text, false)).chain(departed.iter().map(|text| (text, true)))
    {
        let mut family = None;
        for line in text.lines() {
            if let Some(of) = line.strip_prefix("# TYPE ") {
                family = of
                    .split_once(' ')
                    .filter(|(name, kind)| counts(name, kind, departed))
                    .map(|(name, _)| name);
            } else if let (Some(family), false) = (family, line.starts_with('#')) {
                sums.entry(family).or_default().add(line);
            }
        }
    }
    let mut out = String::with_capacity(own.len());
    let mut family: Option<&str> = None;
    for line in own.lines() {
        if line.starts_with("# HELP ") {
            close(family, &mut sums, &mut out);
            family = None;
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            family = of.split_once(' ').map(|(name, _)| name);
        } else if let Some(more) =
            family.and_then(|family| sums.get_mut(family)).and_then(|sums| sums.take(line))
        {
            out.push_str(&more);
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    close(family, &mut sums, &mut out);
    out
}

fn counts(name: &str, kind: &str, departed: bool) -> bool {
    // Processes that linger load the same files: they were loaded once.
    if matches!(name, "stickyd_config_reloads_total" | "stickyd_tls_certificate_reloads_total") {
        return false;
    }
    matches!(kind, "counter" | "histogram") || (!departed && SUMMED.contains(&name))
}

/// What a family has beyond those series that it shares.
fn close(family: Option<&str>, sums: &mut HashMap<&str, Sums<'_>>, out: &mut String) {
    let Some(mut sums) = family.and_then(|family| sums.remove(family)) else { return };
    for series in std::mem::take(&mut sums.order) {
        if let Some(value) = sums.values.remove(series) {
            out.push_str(&format(series, value));
        }
    }
}

/// The sums of one family.
#[derive(Default)]
struct Sums<'t> {
    values: HashMap<&'t str, f64>,
    /// Series as they came, so that the buckets of a histogram stay in their order.
    order: Vec<&'t str>,
}

impl<'t> Sums<'t> {
    fn add(&mut self, line: &'t str) {
        let Some((series, value)) = sample(line) else { return };
        if !self.values.contains_key(series) {
            self.order.push(series);
        }
        *self.values.entry(series).or_default() += value;
    }

    /// The line with all of its series.
    fn take(&mut self, line: &str) -> Option<String> {
        let (series, value) = sample(line)?;
        Some(format(series, value + self.values.remove(series)?))
    }
}

/// The series of a line, and its value.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    Some((series, value.parse().ok()?))
}

fn format(series: &str, value: f64) -> String {
    // Shortest, and without an exponent: a whole number has no point.
    format!("{series} {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "# HELP a_total x y\n# TYPE a_total counter\na_total{i=\"one\"} 5\na_total{i=\"two\"} 0.5\n\
                       # HELP up x\n# TYPE up gauge\nup{i=\"one\"} 1\n\
                       # HELP stickyd_tunnels_open x\n# TYPE stickyd_tunnels_open gauge\nstickyd_tunnels_open{i=\"one\"} 3\n\
                       # HELP s x\n# TYPE s histogram\ns_bucket{le=\"1\"} 1\ns_bucket{le=\"+Inf\"} 2\ns_sum 3.25\ns_count 2\n";
    const OTHER: &str = "# HELP a_total x y\n# TYPE a_total counter\na_total{i=\"one\"} 7\na_total{i=\"gone\"} 2\n\
                         # HELP up x\n# TYPE up gauge\nup{i=\"one\"} 0\n\
                         # HELP stickyd_tunnels_open x\n# TYPE stickyd_tunnels_open gauge\nstickyd_tunnels_open{i=\"one\"} 4\n\
                         # HELP old_total x\n# TYPE old_total counter\nold_total 1\n\
                         # HELP s x\n# TYPE s histogram\ns_bucket{le=\"1\"} 4\ns_bucket{le=\"+Inf\"} 4\ns_sum 1\ns_count 4\n";

    #[test]
    fn one_alone_is_what_it_is() {
        assert_eq!(with(OWN, &[], &[]), OWN);
    }

    #[test]
    fn counters_add_up_and_so_do_some_gauges() {
        let check = |text: &str, tunnels: &str, of_a: &str| {
            let lines: Vec<&str> = text.lines().collect();
            for line in ["a_total{i=\"two\"} 0.5", "up{i=\"one\"} 1", tunnels, of_a, "a_total{i=\"gone\"} 2"]
            {
                assert_eq!(lines.iter().filter(|known| **known == line).count(), 1, "{line} in {text}");
            }
            assert!(!text.contains("old_total"), "{text}");
            assert!(
                text.ends_with("s_bucket{le=\"1\"} 5\ns_bucket{le=\"+Inf\"} 6\ns_sum 4.25\ns_count 6\n"),
                "{text}"
            );
            // A series of another stands with its family.
            assert!(text.contains("0.5\na_total{i=\"gone\"} 2\n# HELP up"), "{text}");
        };
        check(&with(OWN, &[OTHER], &[]), "stickyd_tunnels_open{i=\"one\"} 7", "a_total{i=\"one\"} 12");
        check(&with(OWN, &[], &[OTHER]), "stickyd_tunnels_open{i=\"one\"} 3", "a_total{i=\"one\"} 12");
        let twice = with(OTHER, &[], &[OTHER]);
        assert!(
            twice.contains("stickyd_tunnels_open{i=\"one\"} 4\n")
                && twice.contains("a_total{i=\"gone\"} 4\n")
        );
    }

    #[test]
    fn what_is_no_text_of_ours_changes_nothing() {
        for other in [
            "",
            "\n\n",
            "# TYPE a_total counter\na_total{i=\"one\"} many\na_total\n",
            "# TYPE\n# HELP",
            "a_total 5",
        ] {
            assert_eq!(with(OWN, &[other], &[other]), OWN, "{other:?}");
        }
    }
}
