//! `stickyd reload` and `stickyd diff`: another configuration for the running process.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::family;
use super::reach::{Reach, exit, print, print_json};
use crate::config;
use crate::control::admin::{Failure, api};

const RELOAD_EXAMPLES: &str = "\
Examples:
  stickyd reload
  stickyd reload --dry-run
      What would change, and what that does to what is open.
  stickyd reload --yes
      Also when it removes an upstream, or more instances than [reload] max_removed.

Returns when the new configuration is in force; drains that it begins go on. A file that is refused changes nothing.
Exit codes: 0 loaded, 1 there is no file, 2 wrong usage, 69 not running, 78 refused.";

/// Load the configuration anew: no tunnel is touched whose instance stays
#[derive(Debug, Args)]
#[command(after_help = RELOAD_EXAMPLES)]
pub(super) struct ReloadArgs {
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    /// Also when it removes a lot
    #[arg(long)]
    yes: bool,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

const DIFF_EXAMPLES: &str = "\
Examples:
  stickyd diff
      What the file says, and the process does not do yet.
  stickyd diff ./next.toml
  stickyd diff ./next.toml --json

Exit codes: 0 compared, 1 there is no file, 2 wrong usage, 69 not running, 78 it would be refused.";

/// Compare a configuration with what runs
#[derive(Debug, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub(super) struct DiffArgs {
    /// The configuration; without it the one that the process would load
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn reload(args: &ReloadArgs) -> ExitCode {
    let question = api::Reload { dry_run: args.dry_run, yes: args.yes };
    let done = if args.dry_run { "nothing would change" } else { "loaded: nothing has changed" };
    let load = || {
        let client = args.reach.client()?;
        if args.dry_run && !args.yes {
            // What it would do is worth seeing above all where that needs a `--yes`.
            let all = client.post("/v1/reload", &api::Reload { yes: true, ..question }, None)?;
            show(&all, args.json, done)?;
            return client.post("/v1/reload", &question, None).map(|_: api::Reloaded| ());
        }
        let loaded = client.post("/v1/reload", &question, None)?;
        // What lingers closes what the file has removed. It is told of on standard error if it does not understand the file.
        family::tell::<api::Reloaded>(&client, "/v1/reload", &api::Reload { yes: true, ..question })?;
        show(&loaded, args.json, done)
    };
    exit(load())
}

pub(super) fn diff(args: &DiffArgs) -> ExitCode {
    let compare = || {
        let client = args.reach.client()?;
        let Some(file) = &args.file else {
            // Whatever it removes: nothing is done.
            return client.post("/v1/reload", &api::Reload { dry_run: true, yes: true }, None);
        };
        let name = file.display().to_string();
        let bytes = config::read_any(file).map_err(|report| Failure::Configuration(report.to_string()))?;
        // What is no text is wrong in its way, and reported so.
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let report = config::parse_bytes(error.into_bytes(), &name).err();
                let text = report.map_or_else(|| "not UTF-8".to_owned(), |report| report.to_string());
                return Err(Failure::Configuration(text));
            }
        };
        client.post("/v1/diff", &api::Diff { name, text }, None)
    };
    exit(compare().and_then(|reloaded: api::Reloaded| show(&reloaded, args.json, "nothing differs")))
}

fn show(reloaded: &api::Reloaded, json: bool, nothing: &str) -> Result<(), Failure> {
    if json {
        return print_json(reloaded);
    }
    let mut text = String::new();
    if !reloaded.warnings.is_empty() {
        let _ = writeln!(text, "{}\n", reloaded.warnings.trim_end());
    }
    if reloaded.changes.is_empty() {
        let _ = writeln!(text, "{nothing}");
    }
    for change in &reloaded.changes {
        let _ = writeln!(text, "{change}");
    }
    for effect in &reloaded.effects {
        let _ = writeln!(text, "=> {effect}");
    }
    print(&text)
}
