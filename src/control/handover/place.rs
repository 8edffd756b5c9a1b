//! Where a process cannot hand over, because others end with it: as the first process of a container, or as the one that the first waits for.

use std::fs;

/// Programs that are the first of a container, wait for one process, and end with it.
const WAIT_FOR_ONE: [&str; 4] = ["tini", "docker-init", "dumb-init", "catatonit"];

/// Why whoever takes over from this process would end with it, and what to do; `None`: it would not.
pub(in crate::control) fn whose_end_is_ours() -> Option<String> {
    let first = || fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    says(std::process::id(), parent, first)
}

fn says(pid: u32, parent: i32, first: impl FnOnce() -> String) -> Option<String> {
    let who = if pid == 1 {
        "this process is the first of its container (PID 1)".to_owned()
    } else if parent == 1 {
        let first = first();
        let first = WAIT_FOR_ONE.into_iter().find(|known| first.trim() == *known)?;
        format!("the first process of this container, {first}, waits for this one")
    } else {
        return None;
    };
    Some(format!(
        "{who}: when it ends, as it does after an upgrade, the container ends, and the new process with it. Start a container with \
         the new version beside this one, and take this one out with `stickyd retire --wait` before you stop it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The regression: in a container the new process was ended by the end of the old one, up to an hour later.
    #[test]
    fn a_container_ends_with_its_first_process() {
        let check = |pid, parent, first: &str, refused: Option<&str>| {
            let why = says(pid, parent, || format!("{first}\n"));
            assert_eq!(why.is_some(), refused.is_some(), "{pid} {parent} {first}: {why:?}");
            let why = why.unwrap_or_default();
            assert!(why.contains(refused.unwrap_or_default()), "{why}");
            assert!(why.is_empty() || why.contains("stickyd retire --wait"), "{why}");
        };
        check(1, 0, "stickyd", Some("PID 1"));
        check(7, 1, "tini", Some("tini, waits for this one"));
        check(7, 1, "docker-init", Some("docker-init"));
        check(7, 1, "systemd", None);
        check(7, 5, "tini", None);
        check(700, 600, "systemd", None);
    }
}
