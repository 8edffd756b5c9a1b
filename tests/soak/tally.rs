//! What was seen, and what should not have been; and who was unwell when, for that decides which.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What happened to an instance explains what its clients see for so long after it is over: checks have to pass again, drains to
/// end, watched files to be still.
const AFTERMATH: Duration = Duration::from_secs(30);

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    NeverDisturbed,
    Disturbed,
    WellSince(Instant),
}

/// What is known of an instance.
#[derive(Debug)]
pub(crate) struct Slot {
    condition: Cell<Condition>,
    /// Since when it is to get no session start.
    pub(crate) shut_since: Cell<Option<Instant>>,
    /// Tunnels that clients opened there.
    pub(crate) opened: Cell<u64>,
    /// Plain answers that it gave.
    pub(crate) answers: Cell<u64>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) seed: u64,
    begin: Instant,
    pub(crate) slots: Vec<Slot>,
    violations: RefCell<Vec<String>>,
    /// Where instances write what they saw.
    violations_file: PathBuf,
    counts: RefCell<BTreeMap<String, u64>>,
    /// How long answers to pings took, microseconds.
    pub(crate) pongs: RefCell<Vec<u32>>,
    pub(crate) open: Cell<u64>,
    pub(crate) frames: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
    /// By how much this program was late at worst, milliseconds: on a machine that is too busy it is who does not answer.
    pub(crate) late_ms: Cell<u64>,
    leave: watch::Sender<bool>,
}

impl Tally {
    pub(crate) fn new(seed: u64, slots: usize, directory: &Path) -> Self {
        let slot = |_| Slot {
            condition: Cell::new(Condition::NeverDisturbed),
            shut_since: Cell::new(None),
            opened: Cell::new(0),
            answers: Cell::new(0),
        };
        Tally {
            seed,
            begin: Instant::now(),
            slots: (0..slots).map(slot).collect(),
            violations: RefCell::default(),
            violations_file: directory.join("violations"),
            counts: RefCell::default(),
            pongs: RefCell::default(),
            open: Cell::new(0),
            frames: Cell::new(0),
            bytes: Cell::new(0),
            late_ms: Cell::new(0),
            leave: watch::channel(false).0,
        }
    }

    /// Seconds since the begin.
    pub(crate) fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Something that should not have been.
    pub(crate) fn violated(&self, what: impl AsRef<str>) {
        let what = format!("{:8.3} s  {}", self.seconds(), what.as_ref());
        let mut violations = self.violations.borrow_mut();
        // The first ones say what is wrong.
        if violations.len() < 50 {
            eprintln!("VIOLATION (seed {}) {what}", self.seed);
        }
        violations.push(what);
    }

    /// How often something should not have been, what instances saw included.
    pub(crate) fn violations(&self) -> usize {
        self.violations.borrow().len() + self.of_instances().lines().count()
    }

    /// What instances saw that they should not have.
    pub(crate) fn of_instances(&self) -> String {
        fs::read_to_string(&self.violations_file).unwrap_or_default()
    }

    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.counts.borrow_mut().entry(what.into()).or_default() += 1;
    }

    /// The sum of all counts that begin so.
    pub(crate) fn counted(&self, begin: &str) -> u64 {
        self.counts.borrow().iter().filter(|(what, _)| what.starts_with(begin)).map(|(_, count)| count).sum()
    }

    pub(crate) fn print_counts(&self) {
        for (what, count) in self.counts.borrow().iter() {
            println!("  {count:>9}  {what}");
        }
    }

    pub(crate) fn disturb(&self, slot: usize) {
        self.slots[slot].condition.set(Condition::Disturbed);
    }

    pub(crate) fn is_well(&self, slot: usize) {
        self.slots[slot].condition.set(Condition::WellSince(Instant::now()));
    }

    /// Something was done to this instance that may show in what went on since.
    pub(crate) fn was_disturbed(&self, slot: usize, since: Instant) -> bool {
        match self.slots[slot].condition.get() {
            Condition::NeverDisturbed => false,
            Condition::Disturbed => true,
            Condition::WellSince(well) => well + AFTERMATH > since,
        }
    }

    /// The same of any instance.
    pub(crate) fn was_any_disturbed(&self, since: Instant) -> bool {
        (0..self.slots.len()).any(|slot| self.was_disturbed(slot, since))
    }

    /// Notes how late this program is, until it is time to go.
    pub(crate) async fn watch_lateness(self: Rc<Self>) {
        const STEP: Duration = Duration::from_millis(100);
        while !self.is_leaving() {
            let begin = Instant::now();
            sleep(STEP).await;
            let late = begin.elapsed().saturating_sub(STEP).as_millis() as u64;
            self.late_ms.update(|worst| worst.max(late));
        }
    }

    /// Everybody is to go.
    pub(crate) fn leave(&self) {
        self.leave.send_replace(true);
    }

    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leave.subscribe()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }
}

/// Figures of a set of times in microseconds, sorted for it: how many, median, the 99th of a hundred, the longest.
pub(crate) fn percentiles(times: &mut [u32]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        f64::from(
            times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0),
        ) / 1_000.0
    };
    format!(
        "{} times, median {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        times.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    )
}
