//! The `stickyd-app` binary. The one place that knows both the application and the proxy, which know nothing of each other.

use std::process::ExitCode;

use clap::Parser;
use stickyd::app::demo::Proxy;

/// As the proxy's: thousands of idle sockets in the least memory.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stickyd::app::cli::Cli::parse().run(start_proxy)
}

/// The proxy of the demonstration, in this process.
fn start_proxy(configuration: &str) -> Result<Proxy, String> {
    let loaded = stickyd::config::parse(configuration, "demo").map_err(|report| report.to_string())?;
    let running = stickyd::start(loaded.config, &stickyd::Surroundings::default(), None)
        .map_err(|error| error.to_string())?;
    let status = running.page();
    let stop = Box::new(move || {
        running.stop();
    });
    Ok(Proxy { status, stop })
}
