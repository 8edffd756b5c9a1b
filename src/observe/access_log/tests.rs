use std::fs;
use std::time::UNIX_EPOCH;

use super::*;

fn entry(request_id: &[u8]) -> Entry<'_> {
    Entry { request_id: Some(request_id), ..Entry::new(Event::Http, UNIX_EPOCH) }
}

fn open(path: &Path) -> AccessLog {
    AccessLog::open(&AccessTarget::File(path.to_owned()), AccessFormat::Json, None).unwrap()
}

/// The request ids in a file, in their order; panics when a line is torn.
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let id = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["request_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = crate::local::clock::instant() + Duration::from_secs(10);
    while !is_so() {
        assert!(crate::local::clock::instant() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn what_the_target_means() {
    fn check(target: &AccessTarget, directory: Option<&Path>, expected: bool) {
        let log = AccessLog::open(target, AccessFormat::Json, directory).unwrap();
        assert_eq!(log.is_on(), expected, "{target:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    check(&AccessTarget::Off, Some(directory.path()), false);
    check(&AccessTarget::Auto, None, false);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    check(&AccessTarget::Stdout, None, true);
    check(&AccessTarget::Auto, Some(directory.path()), true);
    assert!(directory.path().join("access.log").exists());
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let path = Path::new("/nonexistent/access.log");
    let target = AccessTarget::File(path.to_owned());
    let error = AccessLog::open(&target, AccessFormat::Json, None).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/access.log: "), "{error}");
}

#[test]
fn off_writes_nothing() {
    let log = AccessLog::off();
    log.line(&entry(b"a"));
    log.reopen();
    log.close();
    assert_eq!(log.dropped(), 0);
}

#[test]
fn lines_appear_without_a_close() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path);
    for id in ["1", "2", "3"] {
        log.line(&entry(id.as_bytes()));
        wait_until("the line is not written", || ids(&path).last().is_some_and(|last| last == id));
    }
    assert_eq!(log.dropped(), 0);
}

#[test]
fn every_line_of_every_thread_is_there_once_and_whole() {
    const THREADS: usize = 8;
    const LINES: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path);
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for line in 0..LINES {
                    log.line(&entry(format!("{worker}-{line}").as_bytes()));
                }
            });
        }
    });
    log.close();
    let mut next = [0; THREADS];
    for id in ids(&path) {
        let (worker, line) = id.split_once('-').unwrap();
        let worker: usize = worker.parse().unwrap();
        assert_eq!(line.parse(), Ok(next[worker]), "lines of one thread stay in order");
        next[worker] += 1;
    }
    assert_eq!((next, log.dropped()), ([LINES; THREADS], 0));
}

#[test]
fn reopen_follows_a_renamed_file() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
    let log = open(&path);
    log.line(&entry(b"before"));
    wait_until("the line is not written", || !ids(&path).is_empty());
    fs::rename(&path, &old).unwrap();
    log.line(&entry(b"between"));
    log.reopen();
    wait_until("the file is not made", || path.exists());
    log.line(&entry(b"after"));
    log.close();
    assert_eq!(ids(&old), ["before", "between"]);
    assert_eq!(ids(&path), ["after"]);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn without_its_directory_the_old_file_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (place, moved) = (directory.path().join("a"), directory.path().join("b"));
    fs::create_dir(&place).unwrap();
    let log = open(&place.join("log"));
    fs::rename(&place, &moved).unwrap();
    log.reopen();
    log.line(&entry(b"still"));
    log.close();
    assert_eq!(ids(&moved.join("log")), ["still"]);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_full_disk_is_counted_and_not_fatal() {
    let log = open(Path::new("/dev/full"));
    log.line(&entry(b"1"));
    wait_until("nothing is counted", || log.dropped() == 1);
    log.line(&entry(b"2"));
    log.line(&entry(b"3"));
    log.close();
    assert_eq!(log.dropped(), 3);
}

#[test]
fn after_close_lines_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path);
    log.line(&entry(b"1"));
    log.close();
    log.line(&entry(b"2"));
    log.close();
    drop(log);
    assert_eq!(ids(&path), ["1"]);
}

#[test]
fn a_reader_that_stands_still_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // Open both ways: the writer's open does not wait for a reader, and nobody reads.
    let _pipe = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = open(&path);
    let long = [b'x'; 2000];
    let line = Entry { target: Some(&long), ..Entry::new(Event::Http, crate::local::clock::wall()) };
    let mut lines = 0;
    while log.dropped() < 100 {
        log.line(&line);
        lines += 1;
        assert!(lines < 100_000, "the queue is not bounded");
    }
    let begin = crate::local::clock::instant();
    log.close();
    assert!(begin.elapsed() < CLOSE_WAIT + Duration::from_secs(5), "close is bounded");
}
