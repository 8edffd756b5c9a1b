//! Upgrades that fail late, or are stopped: who serves then, and what is left behind.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::{Site, named, program, talks, toml};
use crate::support::Instance;
use crate::support::eventually;
use crate::support::process::BINARY;

fn site(instance: &Instance) -> Site {
    Site::start(&toml(&[named(instance, "blue")], "sticky.by = []\nhealth.check = \"off\"", ""))
}

/// Whether a process runs: one that has ended, and of which nobody has asked how, does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A program that the next test starts in the place of stickyd: it takes everything, says that it is ready, and does what
/// `IMPOSTOR` says when it is to accept.
#[test]
#[ignore = "a process of other tests"]
fn impostor() {
    let Ok(does) = std::env::var("IMPOSTOR") else { return };
    let (mut all, mut bytes) = (0, vec![0; 200_000]);
    let say = |text: &str| rustix::net::send(io::stdin(), text.as_bytes(), SendFlags::empty()).unwrap();
    loop {
        let (length, _) = rustix::net::recv(io::stdin(), bytes.as_mut_slice(), RecvFlags::empty()).unwrap();
        match &bytes[..length] {
            b"\"All\"" => all += 1,
            b"\"Go\"" => break,
            b"" => return,
            _ => continue,
        }
        if all == 2 {
            say(&format!("{{\"Ready\":{{\"pid\":{}}}}}", std::process::id()));
        }
    }
    match &*does {
        "gives up" => drop(say("{\"Failed\":{\"code\":1,\"why\":\"it has changed its mind\"}}")),
        "is late" => thread::sleep(Duration::from_mins(1)),
        _ => panic!("on purpose"),
    }
}

/// The regressions: a process that had been ready was waited for with nobody accepting, was not waited for when it was killed, and left its
/// socket and its number behind.
#[test]
fn one_that_was_ready_and_does_not_serve_leaves_nothing() {
    let instance = Instance::start();
    let mut site = site(&instance);
    let mut tunnel = site.tunnel(&instance);
    let pid = site.serves();
    let own = std::env::current_exe().unwrap().display().to_string();
    let files = |site: &Site| {
        let names = fs::read_dir(site.home.path("")).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let name = "impostor";
    program(&site.home, name, "");
    let before = files(&site);
    let mut check = |does: &str, says: &str, within: Duration| {
        let text = format!(
            "#!/bin/sh\n: > admin.$$.new\nIMPOSTOR='{does}' exec {own} --exact upgrade::refused::impostor --ignored\n"
        );
        let text = text.replace("admin.", &site.home.path("admin."));
        let path = program(&site.home, name, &text);
        let begin = Instant::now();
        let said = site.says(1, &["upgrade", "--binary", &path]);
        assert!(said.contains(says), "{does}: {said}");
        assert!(begin.elapsed() < within, "{does}: {:?}", begin.elapsed());
        talks(&mut tunnel);
        let mut other = site.tunnel(&instance);
        talks(&mut other);
        assert_eq!(site.serves(), pid);
        assert_eq!(files(&site), before, "{does}");
        let (code, said) = site.home.run(&["run", "--config", &site.file]);
        assert!(code == 1 && said.contains(&format!("pid {pid})")), "{does}: {said}");
    };
    let soon = Duration::from_secs(4);
    check("gives up", "it has changed its mind", soon);
    check("panics", "ended before it took over", soon);
    check("is late", "not ready in time", Duration::from_secs(12));
}

/// The regression: a new process that hung was left with the sockets and the lock when the old one was told to end.
#[test]
fn a_stop_ends_a_new_process_that_hangs() {
    let instance = Instance::start();
    let mut site = site(&instance);
    let address = site.process.address();
    let file = site.home.path("pid");
    let hangs = program(&site.home, "hangs", &format!("#!/bin/sh\necho $$ > {file}\nexec sleep 60\n"));
    let home = site.home.clone();
    let upgrade = thread::spawn(move || home.run(&["upgrade", "--binary", &hangs]));
    let pid: u32 = eventually("it runs", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    let begin = Instant::now();
    site.process.terminate();
    assert!(site.process.end().success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    eventually("the new process has ended", || (!runs(pid)).then_some(()));
    let (code, text) = upgrade.join().unwrap();
    assert!(code != 0 && text.contains("stopping"), "{code} {text}");
    // The lock and the address are free.
    let text = fs::read_to_string(&site.file)
        .unwrap()
        .replace("127.0.0.1:0\"\nworkers", &format!("{address}\"\nworkers"));
    let file = site.home.write("config.toml", &text);
    let mut next = site.home.start(&["run", "--config", &file]);
    assert_eq!(next.address(), address);
}

/// The regression: a process that was told to end while it took over did so, and ended.
#[test]
fn one_that_is_told_to_end_does_not_take_over() {
    let instance = Instance::start();
    let mut site = site(&instance);
    let pid = site.serves();
    // Until stickyd hears signals they are ignored.
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\n(while kill -TERM $$ 2> /dev/null; do sleep 0.01; done) <&- &\nexec {BINARY} \"$@\"\n"
    );
    let path = program(&site.home, "told", &script);
    let text = site.says(1, &["upgrade", "--binary", &path]);
    assert!(text.contains("told to end"), "{text}");
    assert_eq!(site.serves(), pid);
    talks(&mut site.tunnel(&instance));
}

/// The regression: the pid of a shell became that of the service.
#[test]
fn a_script_that_does_not_become_stickyd_is_told_how() {
    let instance = Instance::start();
    let mut site = site(&instance);
    let pid = site.serves();
    let script = |before: &str| format!("#!/bin/sh\n{before} {BINARY} \"$@\"\nexit $?\n");
    let waits = program(&site.home, "waits", &script(""));
    let text = site.says(1, &["upgrade", "--binary", &waits]);
    assert!(text.contains("exec stickyd"), "{text}");
    assert_eq!(site.serves(), pid);
    talks(&mut site.tunnel(&instance));
    let becomes = program(&site.home, "becomes", &script("exec"));
    site.says(0, &["upgrade", "--binary", &becomes]);
    let serves = site.serves();
    site.pids.push(serves);
}

/// The regression: a process that lingered and was stopped held the one that serves, which then did not hear that it was to end.
#[test]
fn an_elder_that_hangs_makes_nobody_deaf() {
    let instance = Instance::start();
    let mut site = site(&instance);
    let _tunnel = site.tunnel(&instance);
    site.upgrade();
    let (old, new) = (Pid::from_raw(site.pids[0]).unwrap(), Pid::from_raw(site.pids[1]).unwrap());
    kill_process(old, Signal::STOP).unwrap();
    for _ in 0..20 {
        kill_process(new, Signal::USR1).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    let begin = Instant::now();
    kill_process(new, Signal::TERM).unwrap();
    eventually("it ends", || (!runs(site.pids[1] as u32)).then_some(()));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    kill_process(old, Signal::CONT).unwrap();
}
