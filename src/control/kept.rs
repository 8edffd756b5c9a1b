//! What an administrator wants of instances, kept over restarts: a small file in the state directory.
//!
//! It holds what differs from the configuration's own word, with that word beside it: once the configuration says something
//! else of an instance, the file here no longer counts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::model::InstanceState;
use crate::generation::Generation;
use crate::observe::owner;
use crate::upstream::{Instance, Upstream};

/// Bytes of the file that are read; 100 000 instances fit.
const LARGEST: u64 = 16 << 20;

/// The file.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    /// Another process keeps it.
    left: AtomicBool,
    /// What it holds.
    written: Mutex<Vec<Wanted>>,
}

/// What is wanted of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    upstream: String,
    instance: String,
    /// `HOST:PORT`; empty: written before this was.
    #[serde(default)]
    address: String,
    state: InstanceState,
    /// What the configuration wanted of it then.
    configured: InstanceState,
}

impl Wanted {
    /// The instance that it is of: by its name, or if nobody has that any more by its address, as a reload has it. `all`: those that
    /// are wanted beside it.
    fn find<'u>(&self, upstream: &'u Upstream, all: &[Wanted]) -> Option<&'u Arc<Instance>> {
        let is_another = |known: &Instance| {
            all.iter().any(|one| one.upstream == self.upstream && one.instance == known.name)
        };
        let by_name = upstream.named().iter().find(|known| known.name == self.instance);
        by_name.or_else(|| {
            let mut others = upstream.named().iter().filter(|known| known.config.address() == self.address);
            others.find(|known| !is_another(known))
        })
    }

    /// It is of one of the instances of a name of which there has been no answer yet.
    fn waits_in(&self, generation: &Generation) -> bool {
        let file = generation.config.upstreams.iter().find(|file| file.name == self.upstream);
        let upstream = generation.upstreams.iter().find(|known| known.config.name == self.upstream);
        let (Some(file), Some(upstream)) = (file, upstream) else { return false };
        file.expanded().any(|name| {
            let member = self.instance.strip_prefix(name.name.as_str());
            member.is_some_and(|rest| rest.starts_with('@')) && upstream.members.of(&name.host).is_empty()
        })
    }
}

impl Kept {
    /// In this directory, for the process of this configuration: several may share the directory.
    pub(super) fn of(state: Option<&Path>, identity: Option<&str>) -> Self {
        let path = state.zip(identity).map(|(state, identity)| {
            state.join(format!("instances-{:016x}.json", xxh3_64(identity.as_bytes())))
        });
        Kept { path, ..Kept::default() }
    }

    /// Wants again what was wanted before, where the configuration's word is the same.
    pub(super) fn restore(&self, generation: &Generation) {
        let Some(path) = &self.path else { return };
        tidy(path);
        let kept = match read(path) {
            Ok(kept) => kept,
            Err(error) => {
                let error = owner::explained(&error, path);
                tracing::warn!(error, "what was wanted of instances is not known: all are as the file says");
                return;
            }
        };
        *self.written() = kept;
        self.recall(generation, |_, _| true);
        self.keep(generation);
    }

    /// Wants again what was wanted before, where the configuration's word is the same, of those that `are_new`: instances by their
    /// upstream.
    pub(super) fn recall(&self, generation: &Generation, are_new: impl Fn(&Upstream, &Instance) -> bool) {
        let written = self.written();
        for wanted in &*written {
            let Some(upstream) =
                generation.upstreams.iter().find(|known| known.config.name == wanted.upstream)
            else {
                continue;
            };
            let instance =
                wanted.find(upstream, &written).filter(|known| known.config.state == wanted.configured);
            if let Some(instance) = instance.filter(|instance| are_new(upstream, instance)) {
                let Wanted { upstream, instance: name, state, .. } = wanted;
                tracing::info!(upstream, instance = name, ?state, "wanted so before the restart");
                instance.lifecycle.wants(wanted.state);
            }
        }
    }

    /// Keeps nothing from now on: another process does.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Writes what is wanted now, if it is not there yet.
    pub(super) fn keep(&self, generation: &Generation) {
        let Some(path) = self.path.as_ref().filter(|_| !self.left.load(Ordering::Relaxed)) else { return };
        let mut wanted = wanted(generation);
        let mut written = self.written();
        // After a start nobody knows the instances of a name that is expanded: what was wanted of them waits for its first answer.
        wanted.extend(written.iter().filter(|wanted| wanted.waits_in(generation)).cloned());
        if *written == wanted {
            return;
        }
        match write(path, &wanted) {
            Ok(()) => *written = wanted,
            Err(error) => {
                let error = owner::explained(&error, path);
                tracing::warn!(error, "what is wanted of instances is forgotten at a restart");
            }
        }
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Vec<Wanted>> {
        // Whoever panicked while it was held has at most written the file once too little.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What differs from the configuration's word.
fn wanted(generation: &Generation) -> Vec<Wanted> {
    let mut found = Vec::new();
    for upstream in &generation.upstreams {
        for instance in upstream.named() {
            let (state, configured) = (instance.lifecycle.state(), instance.config.state);
            if state != configured {
                found.push(Wanted {
                    upstream: upstream.config.name.clone(),
                    instance: instance.name.clone(),
                    address: instance.config.address(),
                    state,
                    configured,
                });
            }
        }
    }
    found
}

fn read(path: &Path) -> io::Result<Vec<Wanted>> {
    match owner::read(path, LARGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        kept => Ok(serde_json::from_slice(&kept?)?),
    }
}

/// Under another name first: a crash leaves the one file or the other.
fn write(path: &Path, wanted: &[Wanted]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    // What a crash left there; and nobody's link is followed.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = owner::make(&temporary, OFlags::WRONLY, 0o644)?;
    file.write_all(&serde_json::to_vec_pretty(wanted)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // Which of the two has the name is written down too.
    File::open(directory)?.sync_all()
}

/// Removes what processes that have ended half-way left beside `path`.
fn tidy(path: &Path) {
    let Some((directory, stem)) = path.parent().zip(path.file_stem()) else { return };
    let ended = |name: &OsStr| {
        let name = name.to_str()?.strip_prefix(stem.to_str()?)?;
        let pid = Pid::from_raw(name.strip_prefix('.')?.strip_suffix(".tmp")?.parse().ok()?)?;
        Some(test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if ended(&entry.file_name()) == Some(true) {
            // An error: then it is there still.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::upstream::expand::{Member, Members, Presence};

    fn generation(of_blue: &str) -> Generation {
        let text = format!(
            "listen = \":80\"\n[upstream.app]\ninstances = [{{ address = \"a:1\", name = \"blue\"{of_blue} }}, \"b:2\"]\n"
        );
        let config = config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let upstreams = vec![Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1))];
        Generation { config, upstreams, leaving: vec![] }
    }

    fn states(generation: &Generation) -> Vec<InstanceState> {
        generation.upstreams[0].instances.iter().map(|instance| instance.lifecycle.state()).collect()
    }

    use InstanceState::{Cordon, Drain, Maintain, Ready};

    #[test]
    fn a_restart_wants_the_same_unless_the_file_says_otherwise() {
        let directory = tempfile::tempdir().unwrap();
        let start = |of_blue| {
            let kept = Kept::of(Some(directory.path()), Some("x.toml"));
            let generation = generation(of_blue);
            kept.restore(&generation);
            (kept, generation)
        };
        let (kept, first) = start("");
        assert_eq!(states(&first), [Ready, Ready]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is written without need");
        first.upstreams[0].instances[0].lifecycle.wants(Maintain);
        first.upstreams[0].instances[1].lifecycle.wants(Cordon);
        kept.keep(&first);
        assert_eq!(states(&start("").1), [Maintain, Cordon]);
        // The file's word has changed: it wins, also when it changes back.
        assert_eq!(states(&start(", state = \"drain\"").1), [Drain, Cordon]);
        assert_eq!(states(&start("").1), [Ready, Cordon]);
        // Another configuration that keeps its state here.
        let other = Kept::of(Some(directory.path()), Some("y.toml"));
        let generation = generation("");
        other.restore(&generation);
        assert_eq!(states(&generation), [Ready, Ready]);
    }

    #[test]
    fn one_that_was_renamed_while_nothing_ran_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let start = |instances: &str| {
            let text = format!("listen = \":80\"\n[upstream.app]\ninstances = [{instances}]\n");
            let config = config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
            let upstreams = vec![Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1))];
            let generation = Generation { config, upstreams, leaving: vec![] };
            let kept = Kept::of(Some(directory.path()), Some("x.toml"));
            kept.restore(&generation);
            (kept, generation)
        };
        let wants = |[a, b]: [InstanceState; 2]| {
            let (kept, first) = start("\"a:1\", \"b:1\"");
            first.upstreams[0].instances[0].lifecycle.wants(a);
            first.upstreams[0].instances[1].lifecycle.wants(b);
            kept.keep(&first);
        };
        wants([Maintain, Cordon]);
        assert_eq!(
            states(&start("{ address = \"b:1\", name = \"a:1\" }").1),
            [Maintain],
            "names count first"
        );
        wants([Maintain, Ready]);
        assert_eq!(states(&start("{ address = \"a:1\", name = \"blue\" }, \"b:1\"").1), [Maintain, Ready]);
        assert_eq!(states(&start("{ address = \"c:1\", name = \"blue\" }, \"a:1\"").1), [Maintain, Ready]);
        assert_eq!(states(&start("\"a:1\", \"b:1\"").1), [Ready, Ready]);
    }

    /// Who keeps, and the generation after a start; `members`: those of the name `app`, one of two that are expanded.
    fn expanding(directory: &Path, members: &[u8]) -> (Kept, Generation) {
        let text = "listen = \":80\"\n[upstream.app]\nexpand = true\ninstances = [\"app:1\", \"other:1\"]\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let file = &config.upstreams[0];
        let upstreams = vec![Arc::new(Upstream::new(file.clone(), None, 1))];
        let first = Generation { config: config.clone(), upstreams, leaving: vec![] };
        let kept = Kept::of(Some(directory), Some("x"));
        kept.restore(&first);
        if members.is_empty() {
            return (kept, first);
        }
        let address = |n: &u8| Member { address: [10, 0, 0, *n].into(), presence: Presence::Present };
        let members = Members::default().with("app", members.iter().map(address).collect());
        let upstreams = vec![Arc::new(first.upstreams[0].with_members(file.clone(), members))];
        (kept, Generation { config, upstreams, leaving: vec![] })
    }

    #[test]
    fn what_is_wanted_of_members_waits_for_the_first_answer() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, generation) = expanding(directory.path(), &[1, 2, 3]);
        for instance in &generation.upstreams[0].instances[1..] {
            instance.lifecycle.wants(Maintain);
        }
        kept.keep(&generation);
        // A start without an answer forgets nothing.
        assert_eq!(states(&expanding(directory.path(), &[]).1), []);
        let (kept, generation) = expanding(directory.path(), &[2, 4]);
        assert_eq!(states(&generation), [Ready, Ready]);
        kept.recall(&generation, |_, instance| instance.name.ends_with('4'));
        assert_eq!(states(&generation), [Ready, Ready], "that one is new");
        kept.recall(&generation, |_, _| true);
        assert_eq!(states(&generation), [Maintain, Ready]);
        // Whoever has this address when it comes again is another.
        kept.keep(&generation);
        let (kept, generation) = expanding(directory.path(), &[2, 3]);
        kept.recall(&generation, |_, _| true);
        assert_eq!(states(&generation), [Maintain, Ready]);
    }

    #[test]
    fn no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("x.json"), directory.path().join("precious"));
        fs::write(&precious, "mine").unwrap();
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        std::os::unix::fs::symlink(&precious, temporary).unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
    }

    /// The regression: what a crash left half-written stayed for ever.
    #[test]
    fn what_a_crash_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::of(Some(directory.path()), Some("x"));
        let path = kept.path.as_ref().unwrap();
        // No process has this number, and this one goes on.
        let (gone, own) = (path.with_extension("4194304.tmp"), std::process::id());
        let others = [
            path.with_extension(format!("{own}.tmp")),
            path.with_extension("y.tmp"),
            directory.path().join("y.4194304.tmp"),
        ];
        fs::write(&gone, "[").unwrap();
        for other in &others {
            fs::write(other, "[").unwrap();
        }
        kept.restore(&generation(""));
        assert!(!gone.exists() && others.iter().all(|other| other.exists()));
    }

    #[test]
    fn a_broken_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::of(Some(directory.path()), Some("x"));
        fs::write(kept.path.as_ref().unwrap(), "[{\"upstream\": \"app\"").unwrap();
        let generation = generation("");
        kept.restore(&generation);
        assert_eq!(states(&generation), [Ready, Ready]);
        generation.upstreams[0].instances[0].lifecycle.wants(Drain);
        kept.keep(&generation);
        let next = self::generation("");
        kept.restore(&next);
        assert_eq!(states(&next), [Drain, Ready]);
    }
}
