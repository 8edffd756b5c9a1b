//! `stickyd explain`: where does this client go, and why? Asks the running process, or a file.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::reach::{Reach, exit, print};
use super::{BAD_CONFIGURATION, CONFIG_FILE, ExplainArgs};
use crate::config;
use crate::control::Surroundings;
use crate::control::admin::{Failure, api};
use crate::control::explain::{self, Question};

pub(super) fn run(args: ExplainArgs) -> ExitCode {
    if let Some(file) = args.config.clone() {
        return offline(args, &file, "");
    }
    let named = args.socket.clone();
    let question = api::Explain {
        ip: args.ip,
        cookie: args.cookie.clone(),
        sid: args.sid.clone(),
        url: args.url.as_ref().map(ToString::to_string),
        headers: args.header.iter().map(ToString::to_string).collect(),
    };
    let asked = Reach::by_socket(named.clone())
        .client()
        .and_then(|client| client.post::<Value>("/v1/explain", &question, None));
    match asked {
        Ok(explanation) => exit(show(explanation, args.json, "")),
        Err(Failure::Unreachable(why)) if named.is_none() && Path::new(CONFIG_FILE).exists() => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "warning: {why}");
            let mark = format!("OFFLINE    no process was asked, only {CONFIG_FILE}\n");
            offline(args, Path::new(CONFIG_FILE), &mark)
        }
        Err(Failure::Unreachable(why)) => exit(Err(Failure::Unreachable(format!(
            "{why}; `stickyd explain --config FILE` explains what a file says"
        )))),
        Err(failure) => exit(Err(failure)),
    }
}

/// By the file alone.
fn offline(args: ExplainArgs, file: &Path, mark: &str) -> ExitCode {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(report) => {
            super::print(&report);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let ExplainArgs { ip, cookie, sid, url, header, json, .. } = args;
    let question = Question { address: ip, cookie, sid, url, headers: header };
    let explained = explain::explain(&loaded.config, &question, &Surroundings::from_environment());
    let explained = explained.map_err(Failure::Configuration);
    exit(explained.and_then(|explanation| show(explanation.to_json(), json, mark)))
}

fn show(mut explanation: Value, json: bool, mark: &str) -> Result<(), Failure> {
    let text = explanation.as_object_mut().and_then(|fields| fields.remove("text"));
    if json {
        return super::reach::print_json(&explanation);
    }
    let mut out = mark.to_owned();
    let _ = write!(out, "{}", text.as_ref().and_then(Value::as_str).unwrap_or_default());
    print(&out)
}
