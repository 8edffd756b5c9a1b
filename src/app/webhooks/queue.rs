//! Deliveries that wait, by the rules: each is given to one instance at a time, and again when that one does not come back.
//!
//! Pure: the store in Redis follows the same rules in Lua. Must not: know what time it is.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The event's id.
    pub event: String,
    /// What kind of event.
    pub kind: String,
    /// The webhook's id.
    pub hook: String,
    /// What is sent.
    pub body: String,
}

impl Job {
    /// Of all deliveries only one has it: an event goes to a webhook once.
    pub fn id(&self) -> String {
        format!("{}:{}", self.event, self.hook)
    }
}

/// A delivery that was given to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is to be delivered.
    pub job: Job,
    /// The how manyth time that it is tried, from 1. Says also whose it is: a later one has a greater number.
    pub attempt: u32,
}

/// Longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// How long to wait after an attempt failed: twice as long each time, and between half of it and all, so that not all come back at
/// once. `fraction` is drawn between 0 and 1. None: it was the last.
pub fn wait(attempt: u32, attempts_max: u32, first: Duration, fraction: f64) -> Option<Duration> {
    if attempt >= attempts_max {
        return None;
    }
    let doubled = first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(WAIT_MAX);
    Some(doubled.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0))
}

struct Waiting {
    job: Job,
    due: u64,
    attempt: u32,
}

/// Deliveries that wait. Times are milliseconds.
#[derive(Default)]
pub struct Queue {
    jobs: HashMap<String, Waiting>,
}

impl Queue {
    /// Adds what is new, as long as there is room for `max`; says how many found none.
    pub fn add(&mut self, jobs: &[Job], now: u64, max: usize) -> usize {
        let mut dropped = 0;
        for job in jobs {
            let id = job.id();
            if self.jobs.contains_key(&id) {
                continue;
            }
            if self.jobs.len() >= max {
                dropped += 1;
                continue;
            }
            self.jobs.insert(id, Waiting { job: job.clone(), due: now, attempt: 0 });
        }
        dropped
    }

    /// Gives out at most `limit` that are due; nobody else gets them before `lease` is over.
    pub fn claim(&mut self, limit: usize, now: u64, lease: u64) -> Vec<Claim> {
        let mut due: Vec<&mut Waiting> =
            self.jobs.values_mut().filter(|waiting| waiting.due <= now).collect();
        due.sort_by_key(|waiting| waiting.due);
        let claim = |waiting: &mut Waiting| {
            (waiting.due, waiting.attempt) = (now + lease, waiting.attempt + 1);
            Claim { job: waiting.job.clone(), attempt: waiting.attempt }
        };
        due.into_iter().take(limit).map(claim).collect()
    }

    /// An attempt is over: try again after `wait`, or never. False: somebody else has it meanwhile.
    pub fn finish(&mut self, claim: &Claim, wait: Option<u64>, now: u64) -> bool {
        let id = claim.job.id();
        let Some(waiting) = self.jobs.get_mut(&id).filter(|waiting| waiting.attempt == claim.attempt) else {
            return false;
        };
        match wait {
            Some(wait) => waiting.due = now + wait,
            None => {
                self.jobs.remove(&id);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let check = |attempt: u32, fraction: f64, expected: Option<u64>| {
            let found = wait(attempt, 20, Duration::from_secs(4), fraction);
            assert_eq!(found, expected.map(Duration::from_millis), "{attempt}");
        };
        check(1, 0.0, Some(2000));
        check(1, 1.0, Some(4000));
        check(2, 0.5, Some(6000));
        check(5, 1.0, Some(64_000));
        check(19, 1.0, Some(3_600_000));
        check(20, 1.0, None);
        check(u32::MAX, 1.0, None);
    }

    #[test]
    fn each_is_given_to_one_until_it_is_done() {
        let job = |event: &str| Job {
            event: event.to_owned(),
            kind: "notification".to_owned(),
            hook: "h".to_owned(),
            body: String::new(),
        };
        let mut queue = Queue::default();
        assert_eq!(queue.add(&[job("1"), job("2"), job("1"), job("3")], 0, 2), 1);
        let first = queue.claim(10, 0, 30);
        assert_eq!(first.iter().map(|claim| claim.attempt).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(queue.claim(10, 29, 30), []);
        // The first comes back in time, the second does not.
        assert!(queue.finish(&first[0], Some(5), 29));
        let again = queue.claim(1, 40, 30);
        assert_eq!((again[0].attempt, &again[0].job), (2, &first[1].job));
        assert!(!queue.finish(&first[1], None, 41));
        assert!(queue.finish(&again[0], None, 41));
        assert!(!queue.finish(&again[0], None, 41));
        assert_eq!(queue.claim(10, 40, 30)[0].job, first[0].job);
        assert_eq!(queue.add(&[job("3")], 50, 2), 0);
    }
}
