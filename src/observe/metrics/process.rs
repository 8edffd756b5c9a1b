//! What the kernel says of this process. Reads procfs; what cannot be read is left out of the exposition.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The `process_*` metrics but for the start time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// User and system CPU time of all threads, seconds.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit of open files; `None` = unlimited.
    pub max_fds: Option<u64>,
    /// Bytes of memory in RAM.
    pub resident_bytes: Option<u64>,
    /// Bytes of address space.
    pub virtual_bytes: Option<u64>,
}

impl ProcessStats {
    /// Reads them: some tens of microseconds; before Linux 6.2 longer with many open files, which are counted one by one.
    pub fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 seconds")]
            cpu_seconds: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            resident_bytes: kilobytes(&status, "VmRSS:"),
            virtual_bytes: kilobytes(&status, "VmSize:"),
        }
    }
}

/// Since Linux 6.2 the directory's size is the count; before that it is 0.
fn open_fds() -> Option<u64> {
    const FDS: &str = "/proc/self/fd";
    match fs::metadata(FDS).ok()?.len() {
        0 => {
            let entries = fs::read_dir(FDS).ok()?.count();
            // One of them is the directory's own, closed again.
            Some(entries.saturating_sub(1) as u64)
        }
        count => Some(count),
    }
}

/// The value in bytes of a line `Key:   123 kB`.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_status() {
        fn check(status: &str, expected: Option<u64>) {
            assert_eq!(kilobytes(status, "VmRSS:"), expected, "{status:?}");
        }
        check("VmSize:\t  10 kB\nVmRSS:\t    1234 kB\n", Some(1234 * 1024));
        check("VmSize:\t  10 kB\n", None);
        check("VmRSS:\t 12 pages\n", None);
        check("VmRSS:\t 18446744073709551615 kB\n", None);
        check("", None);
    }

    #[test]
    fn this_process() {
        let stats = ProcessStats::read();
        assert!(stats.cpu_seconds.is_some_and(|cpu| cpu > 0.0), "{stats:?}");
        assert!(stats.open_fds.is_some_and(|fds| fds >= 3), "{stats:?}");
        assert!(stats.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{stats:?}");
        assert!(stats.virtual_bytes >= stats.resident_bytes, "{stats:?}");
    }
}
