//! Medians, ranges and ratios of paired rounds. Pure.

use crate::record::Record;

/// Median, least and greatest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Of an even count, the mean of the middle two.
    pub(crate) median: f64,
    /// Least.
    pub(crate) min: f64,
    /// Greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Spread { median, min, max })
    }
}

fn rounds<'a>(records: &'a [Record], work: &'a str, peer: &'a str) -> impl Iterator<Item = &'a Record> {
    records
        .iter()
        .filter(move |record| record.text("work") == Some(work) && record.text("peer") == Some(peer))
}

/// A figure over all rounds.
pub(crate) fn figure(records: &[Record], work: &str, peer: &str, key: &str) -> Option<Spread> {
    Spread::of(rounds(records, work, peer).filter_map(|record| record.get(key)).collect())
}

/// A figure of `peer` over that of `other` in the same round, over all rounds that have both.
pub(crate) fn ratio(records: &[Record], work: &str, peer: &str, other: &str, key: &str) -> Option<Spread> {
    let pairs = rounds(records, work, peer).filter_map(|record| {
        let partner =
            rounds(records, work, other).find(|other| other.text("round") == record.text("round"))?;
        let (value, base) = (record.get(key)?, partner.get(key)?);
        (base != 0.0).then(|| value / base)
    });
    Spread::of(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lines: &[&str]) -> Vec<Record> {
        lines.iter().map(|line| line.parse().expect("a line")).collect()
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0, 9.0, 1.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn ratios_are_of_the_same_round_and_failures_are_left_out() {
        let records = records(&[
            "work=w round=1 peer=a x=10",
            "work=w round=1 peer=b x=20",
            "work=w round=2 peer=a x=30",
            "work=w round=2 peer=b x=10",
            "work=w round=3 peer=a failed=yes",
            "work=w round=3 peer=b x=1",
            "work=v round=1 peer=a x=1000",
        ]);
        assert_eq!(ratio(&records, "w", "a", "b", "x"), Some(Spread { median: 1.75, min: 0.5, max: 3.0 }));
        assert_eq!(figure(&records, "w", "a", "x"), Some(Spread { median: 20.0, min: 10.0, max: 30.0 }));
        assert_eq!(ratio(&records, "w", "a", "c", "x"), None);
    }
}
