//! `stickyd run`: serve.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, RunArgs, print};
use crate::{config, control};

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let (loaded, identity) = if args.listen.is_empty() {
        // Two paths to one file are one configuration.
        let path = args.config.canonicalize().unwrap_or_else(|_| args.config.clone());
        (config::load(&args.config), path.display().to_string())
    } else {
        (config::from_arguments(&args.listen, &args.instances), args.listen.join(" "))
    };
    match loaded {
        Ok(loaded) => {
            print(&loaded.warnings);
            control::run(loaded.config, &identity)
        }
        Err(report) => {
            print(&report);
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}
