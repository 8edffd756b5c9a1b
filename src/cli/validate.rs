//! `stickyd validate [FILE]`: is this configuration good?

use std::io::Write;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, OK, ValidateArgs, print};
use crate::config::model::{SecretSource, StickyKey};
use crate::config::{self, Config};

pub(super) fn run(args: &ValidateArgs) -> ExitCode {
    let loaded = match config::load(&args.file) {
        Ok(loaded) => loaded,
        Err(report) => {
            print(&report);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    print(&loaded.warnings);
    if let Err(problem) = secrets(&loaded.config) {
        let _ = writeln!(std::io::stderr(), "error: {problem}");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let line = format!("ok: {}: {}\n", args.file.display(), summary(&loaded.config));
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
    ExitCode::from(OK)
}

/// What the files that the configuration names have to say: the place where secrets (and certificates) are loaded,
/// exactly as a start would load them.
fn secrets(config: &Config) -> Result<(), String> {
    for upstream in &config.upstreams {
        match &upstream.sticky.secret {
            SecretSource::Auto => {}
            SecretSource::File(path) => {
                let readable = std::fs::File::open(path).and_then(|file| file.metadata());
                let meta = readable.map_err(|error| {
                    let key = format!("upstream.{}.sticky.secret_file", upstream.name);
                    format!("`{key}`: cannot read {}: {error}", path.display())
                })?;
                if meta.is_dir() {
                    return Err(format!("{} is a directory, not a file of secrets", path.display()));
                }
            }
        }
    }
    Ok(())
}

/// "2 listeners, upstream socketio: 2 instances, sticky by cookie, ip_hash; 3 routes"
fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut line = count(config.listeners.len(), "listener");
    match config.upstreams.as_slice() {
        [only] => {
            let keys: Vec<&str> = only.sticky.by.iter().map(key).collect();
            let by = if keys.is_empty() {
                "not sticky".to_owned()
            } else {
                format!("sticky by {}", keys.join(", "))
            };
            line.push_str(&format!(
                ", upstream {}: {}, {by}",
                only.name,
                count(only.instances.len(), "instance")
            ));
        }
        several => {
            let instances = several.iter().map(|upstream| upstream.instances.len()).sum();
            line.push_str(&format!(
                ", {}, {}",
                count(several.len(), "upstream"),
                count(instances, "instance")
            ));
            line.push_str(&format!(", {}", count(config.routes.len(), "route")));
        }
    }
    line
}

fn key(key: &StickyKey) -> &'static str {
    match key {
        StickyKey::Cookie => "cookie",
        StickyKey::IpHash => "ip_hash",
    }
}
