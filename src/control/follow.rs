//! Follows the configuration's file: what it says comes into force when somebody asks for it, or when it has changed.
//!
//! A file that is wrong changes nothing, is told of each time, and is no reason to end.

use std::path::PathBuf;

use super::by::By;
use super::plan::Plan;
use super::reload::{Caution, Reloader};
use super::watch::{self, Digest, Watcher};
use crate::config::{self, Report};
use crate::observe::events;

/// The file that a process began with.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What was in it.
    pub digest: Digest,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub(super) struct Understood {
    /// What it changes.
    pub(super) plan: Plan,
    /// What somebody should look at; often empty.
    pub(super) warnings: String,
}

/// A file, and whom to tell of what it says.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    file: File,
    reloader: Reloader,
}

impl Followed {
    pub(super) fn new(file: File, reloader: Reloader) -> Self {
        reloader.came_from(file.digest);
        Followed { file, reloader }
    }

    /// Reads it anew, because somebody asked for it.
    pub(super) fn again(&self) {
        // The log has it.
        let _ = self.reload(Caution::Asked, By::Hup);
    }

    /// The same, and says what it did.
    ///
    /// # Errors
    /// Why it is refused: what runs stays.
    pub(super) fn reload(&self, caution: Caution, by: By) -> Result<Understood, String> {
        self.apply(config::read(&self.file.path), caution, by)
    }

    /// What a reload of `content` would do; `None`: of what is in the file.
    ///
    /// # Errors
    /// Why it would be refused.
    pub(super) fn rehearse(
        &self,
        other: Option<(&str, Vec<u8>)>,
        caution: Caution,
    ) -> Result<Understood, String> {
        let (content, name) = match other {
            Some((name, content)) => (Ok(content), name.to_owned()),
            None => (config::read(&self.file.path), self.name()),
        };
        let text = text_of(&content);
        let loaded = content.and_then(|content| config::parse_bytes(content, &name));
        let loaded = loaded.map_err(|report| report.to_string())?;
        let plan = self.reloader.rehearse(&loaded.config, caution);
        let plan = plan.map_err(|why| config::blame(&name, &text, &why))?;
        Ok(Understood { plan, warnings: loaded.warnings.to_string() })
    }

    /// The line in which the file gives the state of an instance, as far as it can be found.
    pub(super) fn line_of_state(&self, upstream: &str, instance: &str) -> Option<usize> {
        let content = config::read(&self.file.path).ok()?;
        config::locate::state_of(std::str::from_utf8(&content).ok()?, upstream, instance)
    }

    /// How people call it.
    pub(super) fn name(&self) -> String {
        self.file.path.display().to_string()
    }

    /// Watches it. `None`: it is not watched, and the log says why.
    pub(super) fn watch(&self) -> Option<Watcher> {
        let (path, followed) = (self.file.path.clone(), self.clone());
        // Also while that is off: a reload may turn it on.
        let changed = move |content| {
            if followed.reloader.watches() {
                // The log has it.
                let _ = followed.apply(Ok(content), Caution::Watched, By::Watch);
            }
        };
        let watcher = watch::watch(path, self.file.digest, changed);
        watcher.inspect_err(|error| tracing::warn!(%error, "the configuration is not watched")).ok()
    }

    fn apply(
        &self,
        content: Result<Vec<u8>, Report>,
        caution: Caution,
        by: By,
    ) -> Result<Understood, String> {
        let _reloading = self.reloader.manager().reloading();
        let file = self.file.path.display();
        let digest = content.as_deref().ok().map(Digest::of);
        let text = text_of(&content);
        let parsed = content.and_then(|content| config::parse_bytes(content, &file.to_string()));
        let loaded = match parsed {
            Ok(loaded) => loaded,
            Err(report) => {
                tracing::error!(target: events::REFUSAL, %file, %by, "the configuration is refused, what runs stays:\n{report}");
                self.reloader.refused(report.to_string());
                return Err(report.to_string());
            }
        };
        if !loaded.warnings.is_empty() {
            tracing::warn!("{}", loaded.warnings);
        }
        let explain = |why: String| config::blame(&file.to_string(), &text, &why);
        let plan = self.reloader.reload_explained(loaded.config, caution, explain);
        if let (Ok(_), Some(digest)) = (&plan, digest) {
            self.reloader.came_from(digest);
        }
        match &plan {
            Ok(plan) if plan.difference.is_empty() => {
                tracing::info!(target: events::RELOAD, %file, %by, "the configuration is loaded: nothing has changed");
            }
            Ok(plan) => {
                tracing::info!(target: events::RELOAD, %file, %by, "the configuration is loaded:\n{plan}");
            }
            Err(why) => {
                tracing::error!(target: events::REFUSAL, %file, %by, "the configuration is refused, what runs stays: {why}");
            }
        }
        Ok(Understood { plan: plan?, warnings: loaded.warnings.to_string() })
    }
}

/// To show a place of it.
fn text_of(content: &Result<Vec<u8>, Report>) -> String {
    content.as_deref().map(|content| String::from_utf8_lossy(content).into_owned()).unwrap_or_default()
}
