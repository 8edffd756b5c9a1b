//! Follows the configuration's file: what it says comes into force when somebody asks for it, or when it has changed.
//!
//! A file that is wrong changes nothing, is told of each time, and is no reason to end.

use std::path::PathBuf;

use super::reload::{Caution, Reloader};
use super::watch::{self, Digest, Watcher};
use crate::config::{self, Report};

/// The file that a process began with.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What was in it.
    pub digest: Digest,
}

/// A file, and whom to tell of what it says.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    file: File,
    reloader: Reloader,
}

impl Followed {
    pub(super) fn new(file: File, reloader: Reloader) -> Self {
        Followed { file, reloader }
    }

    /// Reads it anew, because somebody asked for it.
    pub(super) fn again(&self) {
        self.apply(config::read(&self.file.path), Caution::Asked);
    }

    /// Watches it. `None`: it is not watched, and the log says why.
    pub(super) fn watch(&self) -> Option<Watcher> {
        let (path, followed) = (self.file.path.clone(), self.clone());
        // Also while that is off: a reload may turn it on.
        let changed = move |content| {
            if followed.reloader.watches() {
                followed.apply(Ok(content), Caution::Watched);
            }
        };
        let watcher = watch::watch(path, self.file.digest, changed);
        watcher.inspect_err(|error| tracing::warn!(%error, "the configuration is not watched")).ok()
    }

    fn apply(&self, content: Result<Vec<u8>, Report>, caution: Caution) {
        let file = self.file.path.display();
        let parsed = content.and_then(|content| config::parse_bytes(content, &file.to_string()));
        let loaded = match parsed {
            Ok(loaded) => loaded,
            Err(report) => {
                self.reloader.refused();
                tracing::error!("the configuration is refused, what runs stays:\n{report}");
                return;
            }
        };
        if !loaded.warnings.is_empty() {
            tracing::warn!("{}", loaded.warnings);
        }
        match self.reloader.reload(loaded.config, caution) {
            Ok(difference) if difference.is_empty() => {
                tracing::info!(%file, "the configuration is loaded: nothing has changed");
            }
            Ok(difference) => tracing::info!(%file, "the configuration is loaded:\n{difference}"),
            Err(why) => tracing::error!(%file, "the configuration is refused, what runs stays: {why}"),
        }
    }
}
