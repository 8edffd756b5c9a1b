//! What an administrator wants of instances, kept over restarts: a small file in the state directory.
//!
//! It holds what differs from the configuration's own word, with that word beside it: once the configuration says something
//! else of an instance, the file here no longer counts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::model::InstanceState;
use crate::generation::Generation;

/// Bytes of the file that are read; 100 000 instances fit.
const LARGEST: u64 = 16 << 20;

/// The file.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    /// What it holds.
    written: Mutex<Vec<Wanted>>,
}

/// What is wanted of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    upstream: String,
    instance: String,
    state: InstanceState,
    /// What the configuration wanted of it then.
    configured: InstanceState,
}

impl Kept {
    /// In this directory, for the process of this configuration: several may share the directory.
    pub(super) fn of(state: Option<&Path>, identity: Option<&str>) -> Self {
        let path = state.zip(identity).map(|(state, identity)| {
            state.join(format!("instances-{:016x}.json", xxh3_64(identity.as_bytes())))
        });
        Kept { path, written: Mutex::default() }
    }

    /// Wants again what was wanted before, where the configuration's word is the same.
    pub(super) fn restore(&self, generation: &Generation) {
        let Some(path) = &self.path else { return };
        let kept = match read(path) {
            Ok(kept) => kept,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "what was wanted of instances is not known: all are as the file says");
                return;
            }
        };
        for wanted in &kept {
            let upstream = generation.upstreams.iter().find(|known| known.config.name == wanted.upstream);
            let instances = upstream.map(|upstream| upstream.named()).unwrap_or_default();
            let instance = instances.iter().find(|known| known.name == wanted.instance);
            if let Some(instance) = instance.filter(|known| known.config.state == wanted.configured) {
                let Wanted { upstream, instance: name, state, .. } = wanted;
                tracing::info!(upstream, instance = name, ?state, "wanted so before the restart");
                instance.lifecycle.wants(wanted.state);
            }
        }
        *self.written() = kept;
        self.keep(generation);
    }

    /// Writes what is wanted now, if it is not there yet.
    pub(super) fn keep(&self, generation: &Generation) {
        let Some(path) = &self.path else { return };
        let wanted = wanted(generation);
        let mut written = self.written();
        if *written == wanted {
            return;
        }
        match write(path, &wanted) {
            Ok(()) => *written = wanted,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "what is wanted of instances is forgotten at a restart");
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
                    state,
                    configured,
                });
            }
        }
    }
    found
}

fn read(path: &Path) -> io::Result<Vec<Wanted>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Ok(file) if file.len() > LARGEST => return Err(io::ErrorKind::FileTooLarge.into()),
        _ => {}
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Under another name first: a crash leaves the one file or the other.
fn write(path: &Path, wanted: &[Wanted]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(wanted)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::upstream::Upstream;

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
