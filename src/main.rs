//! The `stickyd` binary.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    stickyd::cli::Cli::parse().run()
}
