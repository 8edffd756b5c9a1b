//! The open-file limit: raised as far as it goes, and shared out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients never get: standard streams, epoll, logs, listeners, metrics, commands.
const RESERVE: u64 = 64;
/// Descriptors that each worker needs for itself: its runtime, its listeners, idle connections to instances.
const PER_WORKER: u64 = 32;

/// Raises the soft limit to the hard one; the limit now in force.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // None: no limit at all.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX))
}

/// How many client connections fit into `open_files`: each needs a second descriptor, towards its instance. `checks`: checks
/// of instances at a time, which must not fail because clients took every descriptor.
pub fn connections_that_fit(open_files: u64, workers: usize, checks: usize) -> usize {
    let reserved = RESERVE + PER_WORKER * workers as u64 + checks as u64;
    usize::try_from(open_files.saturating_sub(reserved) / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_each_and_a_reserve() {
        assert_eq!(connections_that_fit(20_000, 2, 0), 9_936);
        assert_eq!(connections_that_fit(1_024, 1, 8), 460);
        assert_eq!(connections_that_fit(10, 1, 256), 1);
    }
}
