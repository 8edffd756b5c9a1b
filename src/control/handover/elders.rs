//! The processes that linger, as the one sees them that serves; and what those counted that have ended.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::ask::{Question, ask};
use super::wire::Elder;
use crate::control::admin::api::Farewell;
use crate::local::clock::{self, Moment};
use crate::observe::metrics::sum;

/// For an answer of a process that lingers. It is for a scrape, and that has others to ask.
const PATIENCE: Duration = Duration::from_millis(500);

/// For the first answer of one: until there is one, nobody knows what it has counted.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(2);

/// For a farewell: what it tells is lost otherwise.
const PATIENCE_OF_FAREWELLS: Duration = Duration::from_secs(5);

/// What a process that lingers has said counts for so long.
const FRESH: Duration = Duration::from_secs(1);

/// Tells the process that serves, at this admin socket, what this one has counted: sums go on when it has ended.
pub(in crate::control) fn say_farewell(serves: Option<&Path>, metrics: String) {
    let farewell = Farewell { pid: std::process::id(), metrics };
    let body = serde_json::to_vec(&farewell).unwrap_or_default();
    let question =
        Question { method: "POST", path: "/v1/farewell", body: &body, within: PATIENCE_OF_FAREWELLS };
    let nobody = || Err(io::Error::other("the process that serves takes no commands"));
    if let Err(error) = serves.map_or_else(nobody, |serves| ask(serves, question)) {
        let bytes = body.len();
        tracing::warn!(%error, bytes, "what this process has counted is lost: counters of the proxy will have fallen");
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::control) struct Elders {
    family: Mutex<Family>,
}

#[derive(Debug, Default)]
struct Family {
    those: Vec<Elder>,
    /// What each of them said last, by its number.
    said: HashMap<u32, String>,
    /// When they were asked.
    asked: Option<Moment>,
    /// Totals of those that have ended.
    departed: Option<String>,
}

impl Family {
    /// Those that are there. What one has counted stays when it has ended without a word, as far as it is known.
    fn present(&mut self) -> &[Elder] {
        // Each removes its socket when it ends, and a crash leaves one without a process.
        let is_there =
            |elder: &Elder| elder.socket.exists() && Path::new(&format!("/proc/{}", elder.pid)).exists();
        for gone in self.those.extract_if(.., |elder| !is_there(elder)).collect::<Vec<_>>() {
            if let Some(last) = self.said.remove(&gone.pid) {
                self.adds(last);
            }
        }
        &self.those
    }

    fn adds(&mut self, metrics: String) {
        self.departed = Some(match self.departed.take() {
            Some(before) => sum::with(&before, &[], &[&metrics]),
            None => metrics,
        });
    }

    /// `own`, and all that others count and have counted.
    fn with_all(&self, own: &str) -> String {
        let present: Vec<&str> = self.said.values().map(String::as_str).collect();
        sum::with(own, &present, self.departed.as_deref().as_slice())
    }
}

impl Elders {
    pub(in crate::control) fn of(those: Vec<Elder>) -> Self {
        Elders { family: Mutex::new(Family { those, ..Family::default() }) }
    }

    /// Those that are there.
    pub(in crate::control) fn all(&self) -> Vec<Elder> {
        self.family().present().to_vec()
    }

    /// One of them ends: this is what it has counted.
    pub(in crate::control) fn departs(&self, pid: u32, metrics: String) {
        let mut family = self.family();
        family.those.retain(|elder| elder.pid != pid);
        // It counts once.
        family.said.remove(&pid);
        family.adds(metrics);
    }

    /// They open their access logs anew. Not on this thread: one of them may hang.
    pub(in crate::control) fn reopen_logs(&self) {
        let those = self.all();
        if those.is_empty() {
            return;
        }
        let reopen = move || {
            let question = Question { method: "POST", path: "/v1/reopen", body: b"{}", within: PATIENCE };
            for (pid, answer) in ask_all(&those, |_| question) {
                if let Err(error) = answer {
                    tracing::warn!(pid, %error, "a process that lingers does not open its access log anew");
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("reopen".to_owned()).spawn(reopen) {
            tracing::warn!(%error, "processes that linger do not open their access logs anew");
        }
    }

    /// The metrics of this process, and of those that have ended.
    pub(in crate::control) fn with_departed(&self, own: String) -> String {
        match &self.family().departed {
            Some(departed) => sum::with(&own, &[], &[departed]),
            None => own,
        }
    }

    /// The metrics of all processes, this one's being `own`.
    pub(in crate::control) fn with_all(&self, own: &str) -> String {
        let now = clock::now();
        let mut family = self.family();
        let those = family.present().to_vec();
        if family.asked.is_none_or(|asked| now.since(asked) >= FRESH) {
            let known: Vec<u32> = family.said.keys().copied().collect();
            // Not under the lock: one of them may end just now, and say so.
            drop(family);
            let question = |elder: &Elder| {
                let within = if known.contains(&elder.pid) { PATIENCE } else { PATIENCE_AT_FIRST };
                Question { method: "GET", path: "/v1/metrics", body: &[], within }
            };
            let answers = ask_all(&those, question);
            family = self.family();
            family.asked = Some(now);
            for (pid, answer) in answers {
                // One that has said farewell meanwhile counts as that.
                let is_there = family.those.iter().any(|elder| elder.pid == pid);
                // One that does not answer counts with what it said last: counters do not fall.
                if let Some(text) =
                    answer.ok().and_then(|text| String::from_utf8(text).ok()).filter(|_| is_there)
                {
                    family.said.insert(pid, text);
                }
            }
        }
        family.with_all(own)
    }

    fn family(&self) -> MutexGuard<'_, Family> {
        self.family.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all of them at a time: together they take as long as the slowest.
fn ask_all<'q>(
    those: &[Elder],
    question: impl Fn(&Elder) -> Question<'q>,
) -> Vec<(u32, io::Result<Vec<u8>>)> {
    thread::scope(|scope| {
        let asked = those.iter().map(|elder| {
            let question = question(elder);
            let asking = thread::Builder::new().name("elder".to_owned());
            (elder.pid, asking.spawn_scoped(scope, move || ask(&elder.socket, question)))
        });
        let asked: Vec<_> = asked.collect();
        let answer = |(pid, asked): (u32, io::Result<thread::ScopedJoinHandle<'_, _>>)| {
            let panicked = |_| Err(io::Error::other("whoever asked it panicked"));
            (pid, asked.and_then(|asked| asked.join().unwrap_or_else(panicked)))
        };
        asked.into_iter().map(answer).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn metrics(count: u64) -> String {
        format!("# HELP a_total x\n# TYPE a_total counter\na_total {count}\n")
    }

    fn count(text: &str) -> u64 {
        text.lines().last().unwrap().strip_prefix("a_total ").unwrap().parse().unwrap()
    }

    /// Answers the next question with this count, or hangs up.
    fn answers(listener: &UnixListener, with: Option<u64>) {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]).unwrap();
        if let Some(with) = with {
            let text = metrics(with);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    /// The regressions: counters fell when a process that lingered did not answer once, or ended without a word; and counted twice for a
    /// second what one had counted that ended.
    #[test]
    fn counters_do_not_fall_and_count_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let listeners = ["one", "two"].map(|name| UnixListener::bind(path(name)).unwrap());
        // Both are processes that are there.
        let pids = [std::process::id(), 1];
        let those = ["one", "two"].into_iter().zip(pids).map(|(name, pid)| Elder { pid, socket: path(name) });
        let elders = Elders::of(those.collect());
        let scrape = |answer: Option<[Option<u64>; 2]>| {
            if answer.is_some() {
                elders.family().asked = None;
            }
            thread::scope(|scope| {
                for (listener, with) in listeners.iter().zip(answer.into_iter().flatten()) {
                    scope.spawn(move || answers(listener, with));
                }
                count(&elders.with_all(&metrics(1)))
            })
        };
        assert_eq!(scrape(Some([Some(10), Some(200)])), 211);
        // One does not answer.
        assert_eq!(scrape(Some([Some(20), None])), 221);
        // One says farewell, and nobody is asked anew.
        elders.departs(pids[0], metrics(30));
        assert_eq!(scrape(None), 231);
        assert_eq!(count(&elders.with_departed(metrics(1))), 31);
        // The other is gone without a word.
        std::fs::remove_file(path("two")).unwrap();
        assert!(elders.all().is_empty());
        assert_eq!(scrape(None), 231);
        assert_eq!(count(&elders.with_departed(metrics(1))), 231);
    }
}
