//! `stickyd run`: serve.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, RunArgs, print};
use crate::{config, control};

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let adoption = match control::Adoption::from_environment() {
        Ok(adoption) => adoption,
        Err(error) => {
            eprintln!("stickyd: cannot take over: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (loaded, identity, file) = if args.listen.is_empty() {
        // Two paths to one file are one configuration.
        let path = args.config.canonicalize().unwrap_or_else(|_| args.config.clone());
        let content = config::read(&args.config);
        let digest = content.as_ref().ok().map(|content| control::Digest::of(content));
        let loaded =
            content.and_then(|content| config::parse_bytes(content, &args.config.display().to_string()));
        // The path as it was given: a symlink may be swapped.
        let path_given = std::path::absolute(&args.config).unwrap_or_else(|_| args.config.clone());
        let file = digest.map(|digest| control::File { path: path_given, digest });
        (loaded, path.display().to_string(), file)
    } else {
        (config::from_arguments(&args.listen, &args.instances), args.listen.join(" "), None)
    };
    match loaded {
        Ok(loaded) => {
            print(&loaded.warnings);
            control::run(loaded.config, control::Origin { identity, file }, adoption)
        }
        Err(report) => {
            print(&report);
            if let Some(adoption) = adoption {
                adoption.failed(BAD_CONFIGURATION, report.to_string());
            }
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}
