//! How things are, in the one line that `systemctl status` shows.
//!
//! Pure. Must not: look.

use std::fmt::{self, Display, Formatter};

use super::one_line;

/// Characters of a refusal that are shown: the journal has the rest.
const REFUSAL: usize = 160;

/// How things are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Instances that pass their checks, or are not checked.
    pub(super) up: usize,
    /// Instances that the configuration names.
    pub(super) instances: usize,
    /// Open now.
    pub(super) tunnels: u64,
    /// The beginning of the digest of the file in force; `None`: there is none.
    pub(super) config: Option<String>,
    /// Seconds since the epoch when it was loaded.
    pub(super) loaded: u64,
    /// The last reload was refused: when, and why.
    pub(super) refusal: Option<(u64, String)>,
}

impl Standing {
    /// It is worth saying at once: more than counts of tunnels has changed.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        *self != Standing { tunnels: self.tunnels, ..other.clone() }
    }
}

impl Display for Standing {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let config = self.config.as_deref().unwrap_or("of the command line");
        if let Some((at, why)) = &self.refusal {
            write!(out, "config REFUSED {} {}; running {config}, ", Time(*at), brief(why))?;
        }
        let Standing { up, instances, .. } = self;
        write!(out, "{up}/{instances} instances up, {} tunnels", Thousands(self.tunnels))?;
        match self.refusal {
            Some(_) => Ok(()),
            None => write!(out, ", config {config} loaded {}", Time(self.loaded)),
        }
    }
}

/// The first line of a refusal that says what, with its place in the file in front; none of the file's own lines.
pub(in crate::control) fn brief(why: &str) -> String {
    let mut lines = why.lines();
    let title = lines.find(|line| !line.trim().is_empty()).unwrap_or_default();
    let title = title.strip_prefix("error: ").unwrap_or(title);
    // Of a report: `--> config.toml:5:3`
    let place = lines.next().and_then(|line| line.trim_start().strip_prefix("--> "));
    let line = place.and_then(|place| place.rsplit(':').nth(1)).filter(|line| line.parse::<u32>().is_ok());
    let text = match line {
        Some(line) => format!("line {line}: {title}"),
        None => title.to_owned(),
    };
    one_line(&text).chars().take(REFUSAL).collect()
}

/// Of seconds since the epoch; as logs are, of the one zone that everybody has.
struct Time(u64);

impl Display for Time {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{:02}:{:02} UTC", self.0 / 3600 % 24, self.0 / 60 % 60)
    }
}

/// 18 204
struct Thousands(u64);

impl Display for Thousands {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            let gap = if index > 0 && (digits.len() - index).is_multiple_of(3) { " " } else { "" };
            write!(out, "{gap}{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_things_are() {
        let at = 12 * 3600 + 3 * 60;
        let well = Standing {
            up: 2,
            instances: 2,
            tunnels: 18_204,
            config: Some("3f9a".to_owned()),
            loaded: at,
            refusal: None,
        };
        let check = |standing: &Standing, expected: &str| assert_eq!(standing.to_string(), expected);
        check(&well, "2/2 instances up, 18 204 tunnels, config 3f9a loaded 12:03 UTC");
        let refused = |why: &str| Standing { refusal: Some((at, why.to_owned())), ..well.clone() };
        check(
            &refused("error: unknown key `x`\n --> /etc/stickyd/config.toml:5:1\n  |\n5 | x = 1\n"),
            "config REFUSED 12:03 UTC line 5: unknown key `x`; running 3f9a, 2/2 instances up, 18 204 tunnels",
        );
        check(
            &refused("[log] access: no such directory\nhelp: make it"),
            "config REFUSED 12:03 UTC [log] access: no such directory; running 3f9a, 2/2 instances up, 18 204 tunnels",
        );
        assert!(refused(&"x".repeat(1000)).to_string().len() < 300);
        let arguments = Standing { config: None, ..well.clone() };
        check(&arguments, "2/2 instances up, 18 204 tunnels, config of the command line loaded 12:03 UTC");
        let more = Standing { tunnels: 18_205, ..well.clone() };
        assert!(!more.differs_from(&well));
        assert!(Standing { up: 1, ..more }.differs_from(&well));
    }

    #[test]
    fn numbers() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(Thousands(number).to_string(), expected);
        }
    }
}
