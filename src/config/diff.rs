//! Two configurations to what changed from one to the other, for the reload and for whoever reads about it.
//!
//! Pure. Must not: read a file, or decide what is done about a change. What a secret's file holds is not in a
//! configuration, so a change of it is not found here.

mod keys;
mod show;

use std::collections::HashMap;

use super::model::{Config, Instance, Listener, Route, Upstream};
use keys::Keys;

/// What changed; in a stable order: the keys of the whole, listeners, upstreams with their instances, routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// One entry for each difference.
    pub changes: Vec<Change>,
    removed: Vec<Removed>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is.
    pub subject: Subject,
    /// What it is.
    pub what: What,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Keys that belong to no list: the top level's, `[timeouts]`, `[limits]` and so on.
    Whole,
    /// One `[[listen]]`, by its address as the file has it.
    Listener(String),
    /// One `[upstream.NAME]`.
    Upstream {
        /// The NAME.
        name: String,
        /// How many it has (had, where it was removed).
        instances: usize,
    },
    /// One of an upstream's instances.
    Instance {
        /// The upstream's name.
        upstream: String,
        /// Its name in the new configuration (in the old, where it was removed).
        name: String,
        /// Its address, likewise.
        address: String,
    },
    /// One `[[route]]`, as `HOST/PATH` with `*` for any host.
    Route(String),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// An instance has another name and goes on.
    Renamed {
        /// Its old name.
        from: String,
    },
    /// The entries that go on stand in another order: an upstream's instances, or (of the whole) the routes.
    Reordered,
    /// A key has another value. Values are as TOML has them; `None`: the key means nothing there.
    Key {
        /// Its path below the subject: `health.interval`, `workers`.
        key: &'static str,
        /// As it was.
        old: Option<String>,
        /// As it is.
        new: Option<String>,
    },
}

/// What an upstream loses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Removed {
    upstream: String,
    /// It goes altogether.
    whole: bool,
    instances: usize,
    of: usize,
}

/// Keys of the whole that are looked at when the process starts, and not again. Listeners are so too, but for [`LIVE`].
const AT_START: &[&str] = &[
    "workers",
    // Set on the listening sockets; connections to instances follow a change.
    "timeouts.unacked",
    "limits.sids",
    "limits.max_connections",
    "admin.socket",
    "admin.mode",
    "admin.group",
    "admin.address",
    "metrics.address",
    "log.level",
    "log.format",
    "log.access",
    "log.access_format",
];

/// Keys of a listener that stays, of which a change is in force for whoever connects next.
const LIVE: &[&str] = &["tls", "redirect"];

impl Change {
    /// It takes effect at the next start only.
    pub fn needs_restart(&self) -> bool {
        match (&self.subject, &self.what) {
            (Subject::Listener(_), What::Key { key, .. }) => !LIVE.contains(key),
            (Subject::Listener(_), _) => true,
            (Subject::Whole, What::Key { key, .. }) => AT_START.contains(key),
            _ => false,
        }
    }
}

impl Diff {
    /// Nothing would become otherwise. The order of listeners and of upstreams means nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What a reload cannot do.
    pub fn restarts(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.needs_restart())
    }

    /// Why a change that nobody asked for must wait for a person, and what that one can do: it removes an upstream, or more than
    /// `max_removed` hundredths (`[reload] max_removed`) of an upstream's instances. `None`: it need not.
    pub fn removes_too_much(&self, max_removed: u8) -> Option<String> {
        let too_much = |removed: &&Removed| {
            removed.whole || removed.instances * 100 > removed.of * usize::from(max_removed)
        };
        let found: Vec<String> = self.removed.iter().filter(too_much).map(Removed::to_string).collect();
        (!found.is_empty()).then(|| {
            format!(
                "it removes {}; `stickyd reload --yes` applies it all the same ([reload] max_removed = \"{max_removed}%\")",
                found.join(", ")
            )
        })
    }

    fn push(&mut self, subject: Subject, what: What) {
        self.changes.push(Change { subject, what });
    }

    /// Every key that differs.
    fn keys(&mut self, subject: &Subject, old: &Keys, new: &Keys) {
        for what in keys::differences(old, new) {
            self.push(subject.clone(), what);
        }
    }
}

/// What changed from `old` to `new`.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    diff.keys(&Subject::Whole, &keys::whole(old), &keys::whole(new));
    listeners(&mut diff, old, new);
    upstreams(&mut diff, old, new);
    routes(&mut diff, old, new);
    diff
}

fn listeners(diff: &mut Diff, old: &Config, new: &Config) {
    let named = |config: &Config| -> Vec<(String, Keys)> {
        let name = |listener: &Listener| (listener.address.to_string(), keys::listener(listener));
        config.listeners.iter().map(name).collect()
    };
    each(&named(old), &named(new), |name, old, new| {
        let subject = Subject::Listener(name.to_owned());
        match (old, new) {
            (Some(old), Some(new)) => diff.keys(&subject, old, new),
            (None, _) => diff.push(subject, What::Added),
            (_, None) => diff.push(subject, What::Removed),
        }
    });
}

fn upstreams(diff: &mut Diff, old: &Config, new: &Config) {
    fn named(config: &Config) -> Vec<(String, &Upstream)> {
        config.upstreams.iter().map(|upstream| (upstream.name.clone(), upstream)).collect()
    }
    let (old_base, new_base) = (&old.timeouts, &new.timeouts);
    each(&named(old), &named(new), |name, old, new| {
        let subject =
            |of: &Upstream| Subject::Upstream { name: name.to_owned(), instances: of.instances.len() };
        match (old, new) {
            (Some(old), Some(new)) => {
                diff.keys(&subject(new), &keys::upstream(old, old_base), &keys::upstream(new, new_base));
                instances(diff, old, new);
            }
            (None, Some(new)) => diff.push(subject(new), What::Added),
            (Some(old), None) => {
                diff.push(subject(old), What::Removed);
                let of = old.instances.len();
                diff.removed.push(Removed { upstream: name.to_owned(), whole: true, instances: of, of });
            }
            (None, None) => {}
        }
    });
}

fn instances(diff: &mut Diff, old: &Upstream, new: &Upstream) {
    let subject = |instance: &Instance| Subject::Instance {
        upstream: new.name.clone(),
        name: instance.name.clone(),
        address: instance.address(),
    };
    let pairs = pairs(old, new);
    for (instance, pair) in new.instances.iter().zip(&pairs) {
        let Some(before) = pair.map(|index| &old.instances[index]) else {
            diff.push(subject(instance), What::Added);
            continue;
        };
        if before.name != instance.name {
            diff.push(subject(instance), What::Renamed { from: before.name.clone() });
        }
        diff.keys(&subject(instance), &keys::instance(before), &keys::instance(instance));
    }
    let gone = |index: &usize| !pairs.contains(&Some(*index));
    let gone: Vec<usize> = (0..old.instances.len()).filter(gone).collect();
    for &index in &gone {
        diff.push(subject(&old.instances[index]), What::Removed);
    }
    if !gone.is_empty() {
        let (upstream, of) = (new.name.clone(), old.instances.len());
        diff.removed.push(Removed { upstream, whole: false, instances: gone.len(), of });
    }
    // Matters to `balance = "round_robin"`, and to nginx's `ip_hash`.
    if !pairs.iter().flatten().is_sorted() {
        let subject = Subject::Upstream { name: new.name.clone(), instances: new.instances.len() };
        diff.push(subject, What::Reordered);
    }
}

fn routes(diff: &mut Diff, old: &Config, new: &Config) {
    let named = |config: &Config| -> Vec<(String, Keys)> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut name = |route: &Route| {
            let name = keys::route_name(route);
            // A second one for the same is never reached; it must only not be taken for the first.
            let count = seen.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 { name } else { format!("{name} #{count}") }
        };
        config.routes.iter().map(|route| (name(route), keys::route(route, config))).collect()
    };
    let (old, new) = (named(old), named(new));
    each(&old, &new, |name, old, new| {
        let subject = Subject::Route(name.to_owned());
        match (old, new) {
            (Some(old), Some(new)) => diff.keys(&subject, old, new),
            (None, _) => diff.push(subject, What::Added),
            (_, None) => diff.push(subject, What::Removed),
        }
    });
    let places: HashMap<&str, usize> =
        old.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect();
    if !new.iter().filter_map(|(name, _)| places.get(name.as_str())).is_sorted() {
        diff.push(Subject::Whole, What::Reordered);
    }
}

/// Calls `visit` for each name with what `old` and `new` have of it: those of `new` in their order, then those that only
/// `old` has. Names are unique in each.
fn each<'a, T>(
    old: &'a [(String, T)],
    new: &'a [(String, T)],
    mut visit: impl FnMut(&str, Option<&'a T>, Option<&'a T>),
) {
    let mut left: HashMap<&str, &T> = old.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    for (name, entry) in new {
        visit(name, left.remove(name.as_str()), Some(entry));
    }
    for (name, entry) in old {
        if left.contains_key(name.as_str()) {
            visit(name, Some(entry), None);
        }
    }
}

/// For each instance of `new`, the index of the one in `old` that it goes on as: the one of its name, else one with its
/// address that nobody has by name. No index comes twice.
///
/// Names go first because cookies hold names. So when two instances swap names, each goes on under its name and has
/// another address, just as when an orchestrator gives them each other's.
pub fn pairs(old: &Upstream, new: &Upstream) -> Vec<Option<usize>> {
    let of_old = || old.instances.iter().enumerate();
    let by_name: HashMap<&str, usize> =
        of_old().map(|(index, instance)| (instance.name.as_str(), index)).collect();
    let mut pairs: Vec<Option<usize>> =
        new.instances.iter().map(|instance| by_name.get(instance.name.as_str()).copied()).collect();

    let mut is_left = vec![true; old.instances.len()];
    pairs.iter().flatten().for_each(|&index| is_left[index] = false);
    let mut by_address: HashMap<String, usize> = of_old()
        .filter(|(index, _)| is_left[*index])
        .map(|(index, instance)| (place(instance), index))
        .collect();
    for (pair, instance) in pairs.iter_mut().zip(&new.instances).filter(|(pair, _)| pair.is_none()) {
        *pair = by_address.remove(&place(instance));
    }
    pairs
}

/// Its address as it is compared: names of hosts have no case, and a dot at their end means nothing here.
fn place(instance: &Instance) -> String {
    format!("{}:{}", instance.host.to_ascii_lowercase().trim_end_matches('.'), instance.port)
}

#[cfg(test)]
mod tests;
