//! `reloads`: many of them under busy tunnels of instances that stay.
pub(crate) fn run(_options: &Options) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {}
