//! CPU time and memory of a process and its descendants, from procfs. Only reads; the arithmetic is pure.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// A process and all its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = stat_field(&stat, 4) {
            parents.insert(pid, u32::try_from(parent).unwrap_or(0));
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        let of = family[at];
        family.extend(parents.iter().filter(|(_, parent)| **parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// Field `number` (from 1, as in proc(5)) of a `stat` line; the name, field 2, may hold blanks and brackets.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// When a process started, in clock ticks since boot: with it a pid means one process.
pub(crate) fn started(pid: u32) -> Option<u64> {
    stat_field(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 22)
}

/// Nanoseconds on a CPU of each thread of some processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    threads: BTreeMap<(u32, u32), u64>,
}

impl Cpu {
    /// Reads `schedstat` of every thread: nanoseconds, where `stat` has ticks of 10 ms.
    pub(crate) fn read(processes: &[u32]) -> Cpu {
        let mut threads = BTreeMap::new();
        for &pid in processes {
            for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let line = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
                if let Some(ns) = line.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok()) {
                    threads.insert((pid, tid), ns);
                }
            }
        }
        Cpu { threads }
    }

    /// What was spent since `earlier`, and how many threads ended in between (whose last share is not known).
    pub(crate) fn since(&self, earlier: &Cpu) -> (u64, usize) {
        let spent = self
            .threads
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0)))
            .sum();
        let ended = earlier.threads.keys().filter(|thread| !self.threads.contains_key(thread)).count();
        (spent, ended)
    }
}

/// Nanoseconds that all CPUs of the machine were busy since boot, in steps of one tick.
pub(crate) fn machine_busy_ns() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(text.lines().next().unwrap_or_default()) * 10_000_000
}

/// user, nice, system, irq, softirq of a `cpu` line; not idle, iowait, steal, and not guest, which user holds.
fn busy_ticks(line: &str) -> u64 {
    let fields: Vec<u64> =
        line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|&index| fields.get(index)).sum()
}

/// Memory of some processes, summed, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident anonymous memory: heap and stacks. The figure per tunnel.
    pub(crate) anon: u64,
    /// Proportional share of everything resident: pages that a forked worker shares count once.
    pub(crate) pss: u64,
}

impl Memory {
    /// Reads `status` and `smaps_rollup`.
    pub(crate) fn read(processes: &[u32]) -> Result<Memory> {
        let mut memory = Memory::default();
        for pid in processes {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            let status = status.with_context(|| format!("process {pid} is gone"))?;
            memory.anon += kilobytes(&status, "RssAnon:") * 1024;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            memory.pss += kilobytes(&rollup, "Pss:") * 1024;
        }
        Ok(memory)
    }
}

fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_blanks_and_brackets() {
        let stat = "12 (a) b (c) S 7 12 12 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2";
        assert_eq!(stat_field(stat, 4), Some(7));
        assert_eq!(stat_field(stat, 22), Some(99_887));
    }

    #[test]
    fn kilobytes_are_of_the_named_line_only() {
        let text = "Pss_Anon:  5 kB\nRssAnon:\t     112 kB\nPss:                 351 kB\n";
        assert_eq!(
            (kilobytes(text, "RssAnon:"), kilobytes(text, "Pss:"), kilobytes(text, "Swap:")),
            (112, 351, 0)
        );
    }

    #[test]
    fn idle_waiting_and_stolen_time_is_not_busy() {
        assert_eq!(busy_ticks("cpu  1 10 100 1000000 1000000 1000 10000 1000000 5 5"), 11_111);
    }

    #[test]
    fn new_threads_count_and_ended_ones_are_told() {
        let earlier = Cpu { threads: [((1, 1), 100), ((1, 2), 50)].into() };
        let later = Cpu { threads: [((1, 1), 130), ((1, 3), 7)].into() };
        assert_eq!(later.since(&earlier), (37, 1));
    }

    #[test]
    fn this_process_has_threads_memory_and_a_place_in_the_tree() {
        let me = std::process::id();
        assert!(Cpu::read(&[me]).since(&Cpu::default()).0 > 0);
        let memory = Memory::read(&[me]).expect("our own status");
        assert!(memory.anon > 0 && memory.pss > 0);
        assert!(
            tree(rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get().cast_unsigned()))
                .contains(&me)
        );
        assert!(started(me).is_some());
    }
}
