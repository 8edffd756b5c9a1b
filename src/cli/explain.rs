//! `stickyd explain`: where does this client go, and why?

use std::io::Write;
use std::process::ExitCode;

use super::reach::{self, exit};
use super::{BAD_CONFIGURATION, ExplainArgs, print};
use crate::config;
use crate::control::Surroundings;
use crate::control::explain::{self, Question};

pub(super) fn run(args: ExplainArgs) -> ExitCode {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(report) => {
            print(&report);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let ExplainArgs { ip, cookie, sid, url, header, json, .. } = args;
    let question = Question { address: ip, cookie, sid, url, headers: header };
    let explanation = match explain::explain(&loaded.config, &question, &Surroundings::from_environment()) {
        Ok(explanation) => explanation,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "error: {problem}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let text = if json {
        let json = serde_json::to_string_pretty(&explanation).expect("it has nothing but text and numbers");
        format!("{json}\n")
    } else {
        explanation.to_string()
    };
    exit(reach::print(&text))
}
