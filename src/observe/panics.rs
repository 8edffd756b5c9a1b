//! Counts panics and sends them to the log. Does not catch them: tokio keeps one to its task.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Counts and logs every panic of this process from now on; call it once, at start. Before there is a log, the hook that
/// was in place speaks.
pub fn watch() {
    let before = take_hook();
    set_hook(Box::new(move |info| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        if tracing::dispatcher::has_been_set() {
            log(info);
        } else {
            before(info);
        }
    }));
}

/// Panics since [`watch`].
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn log(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no text)");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("(no name)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    // Only with RUST_BACKTRACE set.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(panic = message, thread, place, %backtrace, "panic: a bug of stickyd, please report it");
    } else {
        tracing::error!(panic = message, thread, place, "panic: a bug of stickyd, please report it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted() {
        watch();
        let before = count();
        let result = std::panic::catch_unwind(|| panic!("on purpose"));
        assert!(result.is_err());
        assert!(count() > before);
    }
}
