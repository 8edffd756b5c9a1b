//! Differences as lines for a person.

use std::fmt::{self, Display, Formatter};

use super::{Change, Diff, Removed, Subject, What};

/// A line for each change, without an end of line after the last.
impl Display for Diff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, change) in self.changes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{change}")?;
        }
        Ok(())
    }
}

/// One line: `upstream socketio: instance blue-3 (10.0.0.3:3000) added`.
impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.subject(f)?;
        match &self.what {
            What::Added => f.write_str(" added")?,
            What::Removed => f.write_str(" removed")?,
            What::Renamed { from } => write!(f, " renamed from {from}")?,
            What::Reordered => f.write_str(" in another order")?,
            What::Key { key, old, new } => {
                let written = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
                let colon = if self.subject == Subject::Whole { "" } else { ": " };
                write!(f, "{colon}{key} {} -> {}", written(old), written(new))?;
            }
        }
        f.write_str(if self.needs_restart() { " (takes effect at the next start)" } else { "" })
    }
}

impl Change {
    fn subject(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.subject, &self.what) {
            (Subject::Whole, What::Reordered) => f.write_str("routes"),
            (Subject::Whole, _) => Ok(()),
            (Subject::Listener(address), _) => write!(f, "listener {address}"),
            (Subject::Upstream { name, .. }, What::Reordered) => write!(f, "upstream {name}: instances"),
            (Subject::Upstream { name, instances }, What::Added | What::Removed) => {
                let s = if *instances == 1 { "" } else { "s" };
                write!(f, "upstream {name} with {instances} instance{s}")
            }
            (Subject::Upstream { name, .. }, _) => write!(f, "upstream {name}"),
            // Without a name of its own it is called by its address.
            (Subject::Instance { upstream, name, address }, _) if name == address => {
                write!(f, "upstream {upstream}: instance {name}")
            }
            (Subject::Instance { upstream, name, address }, _) => {
                write!(f, "upstream {upstream}: instance {name} ({address})")
            }
            (Subject::Route(name), _) => write!(f, "route {name}"),
        }
    }
}

impl Display for Removed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Removed { upstream, whole, instances, of } = self;
        match whole {
            true => write!(f, "upstream {upstream}"),
            false => write!(f, "{instances} of {of} instances of upstream {upstream}"),
        }
    }
}
