//! The service manager: what it hears (`sd_notify(3)`), and the sockets that it hands over (`sd_listen_fds(3)`).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::{Home, Process};
use crate::support::{Answering, DEADLINE, Socket, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// A manager that only listens.
struct Manager {
    home: Home,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let home = Home::new();
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Manager { home, socket }
    }

    fn start(&self, environment: &str, file: &str) -> Process {
        let before = format!("export NOTIFY_SOCKET={} {environment};", self.home.path("notify"));
        self.home.start_after(&before, &["run", "--config", file])
    }

    /// The next that it hears besides how things are: that may change at any time.
    fn hears_of(&self) -> String {
        loop {
            let heard = self.hears();
            if !heard.starts_with("STATUS=") {
                return heard;
            }
        }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    /// What a reload says, whoever wants it; then how things are.
    fn hears_reload(&self, of_status: &[&str]) {
        let begin = self.hears_of();
        let at = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{begin}"));
        assert!(at.parse::<u64>().is_ok(), "{begin}");
        assert_eq!(self.hears_of(), "READY=1");
        if !of_status.is_empty() {
            eventually("that status", || {
                let heard = self.hears();
                (heard.starts_with("STATUS=") && of_status.iter().all(|part| heard.contains(part)))
                    .then_some(())
            });
        }
    }
}

fn toml(instance: &impl std::fmt::Display, listen: &str, more: &str) -> String {
    format!(
        "listen = {listen}\n[upstream.app]\ninstances = [\"{instance}\"]\nhealth.check = \"off\"\n[metrics]\naddress = \"off\"\n\
         {more}\n"
    )
}

/// Four digits of a configuration.
fn config(status: &str) -> &str {
    let (_, rest) = status.split_once("config ").unwrap();
    let digest = &rest[..4];
    assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{status}");
    digest
}

#[test]
fn what_the_service_manager_hears() {
    const SHUTDOWN: &str = "[shutdown]\nready_delay = \"500ms\"\nspread = \"0s\"\ndeadline = \"7s\"\n";
    let (manager, instance) = (Manager::new(), Answering::start("blue"));
    let one = "\"127.0.0.1:0\"";
    let file = manager.home.write("config.toml", &toml(&instance, one, SHUTDOWN));
    let mut process = manager.start("", &file);
    let ready = manager.hears();
    let status = ready.strip_prefix("READY=1\nSTATUS=").unwrap();
    let first = config(status).to_owned();
    assert!(status.starts_with(&format!("1/1 instances up, 0 tunnels, config {first} loaded ")), "{status}");
    // Ready means that everything listens.
    let mut client = Socket::connect(process.address());
    client.send(GET);
    assert_eq!(client.answer().text(), "blue");

    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    manager.hears_reload(&[]);
    // Refused, by a command: ready again, and it says why and what runs.
    manager.home.write("config.toml", &toml(&instance, one, "[timeouts]\nidel = \"5s\"\n"));
    assert_eq!(manager.home.run(&["reload", "--config", &file]).0, 78);
    let running = format!("; running {first}, 1/1 instances up");
    manager.hears_reload(&["STATUS=config REFUSED ", " line 8: unknown key `timeouts.idel`", &running]);
    // By the watch; it may have picked up the wrong one before.
    let other = format!("{SHUTDOWN}[timeouts]\nresponse_head = \"7s\"\n");
    manager.home.write("config.toml", &toml(&instance, one, &other));
    let loaded = eventually("another configuration", || {
        let heard = manager.hears();
        (heard.contains(" loaded ")).then_some(heard)
    });
    assert_ne!(config(&loaded), first);
    // A rehearsal is none.
    assert_eq!(manager.home.run(&["reload", "--dry-run", "--config", &file]).0, 0);

    process.terminate();
    assert_eq!(manager.hears_of(), "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=17500000");
    assert!(process.end().success());
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 100]).is_err(), "nothing comes after that");
}

#[test]
fn the_watchdog_hears_that_the_process_lives_and_that_it_hangs() {
    let (manager, instance) = (Manager::new(), Answering::start("blue"));
    let file = manager.home.write("config.toml", &toml(&instance, "\"127.0.0.1:0\"", ""));
    let mut process = manager.start("WATCHDOG_USEC=5000000 WATCHDOG_PID=$$", &file);
    assert!(manager.hears().starts_with("READY=1\n"));
    let begin = Instant::now();
    for _ in 0..2 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(4), "at half of it, not all the time: {took:?}");
    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    manager.socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    assert!(manager.socket.recv(&mut [0; 100]).is_err(), "nobody lives");
    kill_process(pid, Signal::CONT).unwrap();
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(manager.hears(), "WATCHDOG=1");
    process.terminate();
    assert!(process.end().success());
}

/// A worker that hangs, as one does that waits for whoever reads the log.
#[test]
fn one_worker_that_hangs_ends_the_signs_of_life() {
    let (manager, instance) = (Manager::new(), Answering::start("blue"));
    let (log, path) = (manager.home.path("log"), manager.home.path("web.sock"));
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &log, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let more = "[limits]\nmax_connections = 1\n";
    let text = format!("workers = 2\n{}", toml(&instance, &format!("\"unix:{path}\""), more));
    let file = manager.home.write("config.toml", &text);
    let mut process = manager.start(&format!("WATCHDOG_USEC=5000000; exec 2<>{log}"), &file);
    assert!(manager.hears().starts_with("READY=1\n"));
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let mut pipe = options.open(&log).unwrap();
    for piece in [4096, 1] {
        while pipe.write(&vec![b'x'; piece]).is_ok() {}
    }
    assert_eq!(manager.hears_of(), "WATCHDOG=1");
    // The second is turned away, and its worker says so, once.
    let _clients = [(); 2].map(|()| Socket::connect_unix(Path::new(&path)));
    manager.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (begin, mut signs, mut buffer) = (Instant::now(), 0, [0; 100]);
    while begin.elapsed() < Duration::from_secs(8) {
        let heard = manager.socket.recv(&mut buffer).is_ok();
        signs += usize::from(heard && buffer.starts_with(b"WATCHDOG=1"));
    }
    assert!(signs <= 1, "the one that had been earned");
    // It goes on, and so do they.
    while pipe.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {}
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(manager.hears_of(), "WATCHDOG=1");
    process.terminate();
    assert!(process.end().success());
}

#[test]
fn a_watchdog_of_another_process_hears_nothing() {
    let (manager, instance) = (Manager::new(), Answering::start("blue"));
    let file = manager.home.write("config.toml", &toml(&instance, "\"127.0.0.1:0\"", ""));
    let mut process = manager.start("WATCHDOG_USEC=1000000 WATCHDOG_PID=1", &file);
    assert!(manager.hears().starts_with("READY=1\n"));
    manager.socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert!(manager.socket.recv(&mut [0; 100]).is_err());
    process.terminate();
    assert!(process.end().success());
}

/// Two listening sockets, of which the manager keeps its own descriptors.
fn two(home: &Home) -> (TcpListener, UnixListener, [OwnedFd; 2]) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(home.path("web.sock")).unwrap();
    let handed = [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
    (tcp, unix, handed)
}

#[test]
fn sockets_that_are_handed_over_are_used() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let (tcp, unix, _) = two(&home);
    let address = tcp.local_addr().unwrap();
    let path = home.path("web.sock");
    let check = |names: &str, listen: &str, workers: &str| {
        let text = format!("workers = {workers}\n{}", toml(&instance, listen, ""));
        let file = home.write("config.toml", &text);
        let handed = [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
        let mut process = home.start_with(names, handed, &["run", "--config", &file]);
        assert_eq!(process.address(), address, "{names}");
        // A connection that came before anybody accepted, too.
        let mut clients = vec![Socket::connect(address)];
        process.says(&[&format!("unix:{path}")]);
        clients.extend((0..8).map(|_| Socket::connect(address)));
        clients.push(Socket::connect_unix(Path::new(&path)));
        for client in &mut clients {
            client.send(GET);
            assert_eq!(client.answer().text(), "blue");
        }
        // No child would take them for its own.
        process.terminate();
        assert!(process.end().success());
        assert!(fs::exists(&path).unwrap(), "the manager keeps it");
    };
    // By name; by address, whatever the name is; one of each. More workers than sockets.
    check("web:local", "[\"fd:web\", \"fd:local\"]", "1");
    check("stickyd.socket:stickyd.socket", &format!("[\"{address}\", \"unix:{path}\"]"), "3");
    check("x:local", &format!("[\"{address}\", \"fd:local\"]"), "2");
    // And between two processes a connect is not refused: it waits.
    let mut client = Socket::connect(address);
    client.send(GET);
    check("web:local", "[\"fd:web\", \"fd:local\"]", "2");
    assert_eq!(client.answer().text(), "blue");
}

#[test]
fn no_socket_of_several_is_left_without_somebody_who_accepts() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let (tcp, _unix, handed) = two(&home);
    let text = format!("workers = 1\n{}", toml(&instance, "\"fd:web\"", ""));
    let file = home.write("config.toml", &text);
    let mut process = home.start_with("web:web", handed, &["run", "--config", &file]);
    process.says(&["\"listening\"", "\"fd:web\""]);
    let path = home.path("web.sock");
    for mut client in [Socket::connect(tcp.local_addr().unwrap()), Socket::connect_unix(Path::new(&path))] {
        client.send(GET);
        assert_eq!(client.answer().text(), "blue");
    }
}

#[test]
fn sockets_that_cannot_be_used_are_named() {
    let (home, instance) = (Home::new(), Answering::start("blue"));
    let one = "\"127.0.0.1:0\"";
    let file = home.write("config.toml", &toml(&instance, one, ""));
    let (_tcp, _unix, handed) = two(&home);
    let mut process = home.start_with("web:local", handed, &["run", "--config", &file]);
    process.says(&["was handed over", "(\\\"web\\\")"]);
    process.says(&["was handed over", "web.sock (\\\"local\\\")"]);
    process.address();
    process.terminate();
    assert!(process.end().success());

    let named = home.write("named.toml", &toml(&instance, "\"fd:web\"", ""));
    let (code, text) = home.run(&["run", "--config", &named]);
    // The regression: with 1 the service manager tried again and again.
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("cannot listen on fd:web: no socket of that name was handed over"), "{text}");
    assert!(text.contains("systemctl start stickyd.socket"), "{text}");

    let udp = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut process = home.start_with("web:local", [udp(), udp()], &["run", "--config", &named]);
    process.says(&["\"web\" (LISTEN_FDS, number 0) is no listening TCP or unix stream socket"]);
    assert_eq!(process.end().code(), Some(78));
}
