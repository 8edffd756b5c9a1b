//! `stickyd run`: serve.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, FAILED, RunArgs, print};
use crate::config::{self, Loaded};

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let loaded = if args.listen.is_empty() {
        config::load(&args.config)
    } else {
        config::from_arguments(&args.listen, &args.instances)
    };
    match loaded {
        Ok(loaded) => {
            print(&loaded.warnings);
            serve(loaded)
        }
        Err(report) => {
            print(&report);
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

/// STUB, to be replaced by the one line `crate::control::run(loaded.config)`.
fn serve(_loaded: Loaded) -> ExitCode {
    ExitCode::from(FAILED)
}
