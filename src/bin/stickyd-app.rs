//! The `stickyd-app` binary.

use std::process::ExitCode;

use clap::Parser;

/// As the proxy's: thousands of idle sockets in the least memory.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stickyd::app::cli::Cli::parse().run()
}
