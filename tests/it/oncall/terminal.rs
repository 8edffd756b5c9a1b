//! `stickyd run` by hand, on a terminal (of `script`, which has a pseudo-terminal to give).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::toml;
use crate::support::process::{BINARY, Home};
use crate::support::{Answering, DEADLINE, Instance, Socket, ws};

/// A process on a terminal.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Terminal {
    fn run(home: &Home, file: &str) -> Self {
        let command = format!("exec {BINARY} run --config {file}");
        let mut script = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUNTIME_DIRECTORY", home.path(""))
            .env("STATE_DIRECTORY", home.path(""))
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(script.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let keys = script.stdin.take().unwrap();
        Terminal { script, keys, lines, seen: Vec::new() }
    }

    /// The next line with this part.
    #[track_caller]
    fn shows(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("no {part} in {:#?}", self.seen));
            let line = line.trim_end().to_owned();
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    fn interrupts(&mut self) {
        self.keys.write_all(&[3]).unwrap();
        self.keys.flush().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended. Its terminal goes with it, and so whoever runs there.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn it_says_what_it_found_and_how_to_stop_it() {
    let (home, up, mut gone) = (Home::new(), Instance::start(), Answering::start("gone"));
    gone.stop();
    let upstream = format!(
        "instances = [{{ address = \"{up}\", name = \"blue\" }}, {{ address = \"{gone}\", name = \"green\" }}]\nhealth.check = \"tcp\""
    );
    let file = home.write("config.toml", &toml("", &upstream, "[shutdown]\nspread = \"100ms\"\n"));
    let mut terminal = Terminal::run(&home, &file);
    terminal.shows(" serves, pid ");
    let listen = terminal.shows("  listen     127.0.0.1:");
    terminal.shows("  metrics    http://127.0.0.1:");
    terminal.shows("  look       stickyd status, in another terminal");
    assert_eq!(
        terminal.shows("  stop "),
        "  stop       Ctrl-C: tunnels are closed over 100ms; again: at once"
    );
    assert!(!terminal.seen.iter().any(|line| line.contains("\"listening\"") || line.contains(" listening ")));

    let address = listen.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut client = Socket::connect(address);
    client.send(ws::handshake("/ws", ""));
    // Checks by TCP come there too, and say nothing.
    let mut far = loop {
        let mut far = up.accept();
        if let Ok(request) = far.try_request() {
            assert!(request.line().starts_with("GET /ws"));
            break far;
        }
    };
    far.send(ws::switch(""));
    assert_eq!(client.answer().status(), 101);
    client.send(ws::Frame::masked(ws::TEXT, "up").bytes());
    assert_eq!(ws::Frame::read(&mut far).payload, b"up");
    terminal.interrupts();
    terminal.shows("stopping: closing 1 tunnel over 100ms; Ctrl-C again ends at once");
    ws::closed(&mut client, &mut far, 1012);
    terminal.shows("stopped: all that was open has ended");
    assert!(terminal.script.wait().unwrap().success());
}

#[test]
fn ctrl_c_again_ends_at_once() {
    let (home, instance) = (Home::new(), Instance::start());
    let upstream = format!("instances = [\"{instance}\"]\nhealth.check = \"off\"");
    let more = "[shutdown]\nready_delay = \"60s\"\n";
    let file = home.write("config.toml", &toml("health_path = \"/ready\"", &upstream, more));
    let mut terminal = Terminal::run(&home, &file);
    terminal.shows("  stop ");
    assert_eq!(terminal.shows("  upstream "), "  upstream   app, 1 instance: 1 not checked");
    terminal.interrupts();
    terminal.shows("stopping: serving on for 60s, then ending; Ctrl-C again ends at once");
    std::thread::sleep(Duration::from_millis(100));
    terminal.interrupts();
    terminal.shows("second signal: ending at once");
    assert_eq!(terminal.script.wait().unwrap().code(), Some(1));
}
