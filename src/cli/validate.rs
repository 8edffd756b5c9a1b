//! `stickyd validate [FILE]`: is this configuration good?

use std::io::Write;
use std::process::ExitCode;

use super::reach::{self, exit};
use super::{BAD_CONFIGURATION, ValidateArgs, print};
use crate::config::model::{SecretSource, StickyKey};
use crate::config::{self, Config};
use crate::control;
use crate::control::certificates::Inspected;

pub(super) fn run(args: &ValidateArgs) -> ExitCode {
    let file = args.config.as_ref().unwrap_or(&args.file);
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(report) => {
            print(&report);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    print(&loaded.warnings);
    let files = secrets(&loaded.config)
        .and_then(|secrets| Ok((secrets, control::certificates::inspect(&loaded.config)?)));
    let (secrets, Inspected { lines: certificates, warnings }) = match files {
        Ok(files) => files,
        Err(problem) => {
            let text = config::read_any(file).unwrap_or_default();
            let file = file.display().to_string();
            let shown = config::blame(&file, &String::from_utf8_lossy(&text), &problem);
            // A report says so itself.
            let error = if shown == problem { "error: " } else { "" };
            let _ = writeln!(std::io::stderr(), "{error}{}", shown.trim_end());
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    let lines = format!("ok: {}: {}\n{secrets}{certificates}", file.display(), summary(&loaded.config));
    exit(reach::print(&lines))
}

/// What the files that the configuration names have to say: secrets, read as a start reads them. Nothing is made here. A line for each file, whose fingerprint must be the same on every proxy.
fn secrets(config: &Config) -> Result<String, String> {
    let mut lines: Vec<String> = Vec::new();
    for upstream in &config.upstreams {
        let sealed = upstream.sticky.by.contains(&StickyKey::Cookie);
        if let (true, SecretSource::File(path)) = (sealed, &upstream.sticky.secret) {
            let read = control::secrets::read(path);
            let keys = read.map_err(|problem| format!("`upstream.{}.sticky`: {problem}", upstream.name))?;
            let line = format!("secret {} of {}\n", keys.fingerprint(), path.display());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    Ok(lines.concat())
}

/// What the configuration comes to, in one line.
fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let listeners = count(config.listeners.len(), "listener");
    match config.upstreams.as_slice() {
        [only] => {
            let keys: Vec<String> = only.sticky.by.iter().map(StickyKey::name).collect();
            let by = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
            let instances = count(only.instances.len(), "instance");
            format!("{listeners}, upstream {} of {instances}, sticky by {by}", only.name)
        }
        several => {
            let instances = several.iter().map(|upstream| upstream.instances.len()).sum();
            let (upstreams, instances) = (count(several.len(), "upstream"), count(instances, "instance"));
            format!("{listeners}, {upstreams}, {instances}, {}", count(config.routes.len(), "route"))
        }
    }
}
