//! The `stickyd` binary.

use std::process::ExitCode;

use clap::Parser;

/// Holds thousands of idle tunnels in the least memory, and gives most of it back when they end.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "jemalloc")]
    // Gives freed memory back to the system in the background; without it only while the program allocates.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    stickyd::cli::Cli::parse().run()
}
