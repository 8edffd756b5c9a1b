//! Other proxies, as Debian packages them: HAProxy and nginx. `tests/run` installs both.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Socket, eventually};

/// A running one, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    pub(crate) fn connect(&self) -> Socket {
        Socket::connect(self.address)
    }
}

/// A port that is free now; the peers cannot choose one themselves.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Where Debian has it, if it is there.
pub(crate) fn find(program: &str) -> Option<String> {
    let mut found = ["/usr/sbin/", "/usr/bin/"].iter().map(|folder| format!("{folder}{program}"));
    let found = found.find(|path| Path::new(path).exists());
    if found.is_none() {
        eprintln!("SKIPPED: {program} is not installed (tests/run installs it)");
    }
    found
}

/// Started with `config` as its file, in which `DIRECTORY` is a folder of its own. Listens at `address` when this returns.
pub(crate) fn start(program: &str, address: SocketAddr, config: &str, arguments: &[&str]) -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let (file, log) = (directory.path().join("peer.conf"), directory.path().join("log"));
    fs::write(&file, config.replace("DIRECTORY", directory.path().to_str().unwrap())).unwrap();
    let process = Command::new(program)
        .args(arguments)
        .arg(&file)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut peer = Peer { process, address, _directory: directory };
    eventually("the peer listens", || {
        let ended = peer.process.try_wait().unwrap();
        assert!(ended.is_none(), "{program}: {}", fs::read_to_string(&log).unwrap());
        std::net::TcpStream::connect(address).is_ok().then_some(())
    });
    peer
}
