//! Engine.IO sessions through the proxy, as raw bytes: how they are learned, kept, ended, placed and limited.

mod chaos;
mod flood;
mod gone;
mod handshakes;
mod learning;
mod moved;
mod parked;
mod placing;
mod regressions;
mod using;

use crate::support::engine_io::{answer, open_packet, start};
use crate::support::{Instance, Proxy, Socket, eventually};

/// What an instance tells pages of other origins.
const CORS: &str = "Access-Control-Allow-Origin: https://app.example\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n";

/// Two scripted instances behind a proxy.
struct Stage {
    instances: [Instance; 2],
    proxy: Proxy,
}

impl Stage {
    /// Only the sid brings a request to where it belongs: all others go to the instances in turn, `Stage::instances[0]` first.
    fn new() -> Self {
        Self::with("", "by = [\"sid\"]", "")
    }

    /// `upstream`, `sticky`: keys of these sections; `more`: sections.
    fn with(upstream: &str, sticky: &str, more: &str) -> Self {
        let instances = [Instance::start(), Instance::start()];
        let [blue, green] = &instances;
        let proxy = Proxy::start(&format!(
            "{}[upstream.app]\nbalance = \"round_robin\"\ninstances = [\"{blue}\", \"{green}\"]\n{upstream}\n\
             [upstream.app.sticky]\n{sticky}\n{more}",
            if more.contains("trusted") { "" } else { "trusted_proxies = [\"127.0.0.1\"]\n" },
        ));
        Stage { instances, proxy }
    }

    /// The next connection to either instance, and which one it is.
    fn accept(&self) -> (Socket, usize) {
        let at = |at: usize| self.instances[at].try_accept().map(|far| (far, at));
        eventually("a connection to an instance", || at(0).or_else(|| at(1)))
    }

    /// A polling session begins: the client, the instance's connection, and which instance it is.
    fn session(&self, sid: &str) -> (Socket, Socket, usize) {
        let mut client = self.proxy.connect();
        client.send(start(""));
        let (mut far, at) = self.accept();
        far.request();
        far.send(answer(CORS, &open_packet(sid)));
        assert_eq!(client.answer().text(), open_packet(sid));
        (client, far, at)
    }
}
