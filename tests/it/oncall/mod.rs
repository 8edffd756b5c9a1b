//! What whoever is on call asks and commands: events, readiness, a balancer's rotation, where a client goes, and how a stop goes.

mod events;
mod explain;
mod healthcheck;
mod retire;
mod stop;
mod terminal;

use serde_json::Value;

use crate::support::process::{Home, Process};
use crate::support::{Instance, Socket, eventually, ws};

const GET: &str = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// A proxy before instances.
struct Site {
    home: Home,
    file: String,
    process: Process,
}

impl Site {
    /// `top`: keys above the sections; `upstream`: of `[upstream.app]`; `more`: sections.
    fn start(top: &str, upstream: &str, more: &str) -> Self {
        let home = Home::new();
        let file = home.write("config.toml", &toml(top, upstream, more));
        let mut process = home.start(&["run", "--config", &file]);
        process.address();
        Site { home, file, process }
    }

    /// What a command prints; it has to end with this code.
    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        self.home.says(code, arguments)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(0, &[arguments, &["--json"]].concat())).unwrap()
    }

    /// The events of this kind, once there are so many.
    #[track_caller]
    fn events(&self, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} of {kind}"), || {
            let text = self.says(0, &["events", "--json"]);
            let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let events: Vec<_> = events.filter(|event| event["kind"] == kind).collect();
            (events.len() == count).then_some(events)
        })
    }

    /// The client's end of a tunnel, and the instance's.
    fn tunnel(&mut self, instance: &Instance) -> (Socket, Socket) {
        let mut client = self.process.connect();
        client.send(ws::handshake("/ws", ""));
        let mut far = instance.accept();
        far.request();
        far.send(ws::switch(""));
        assert_eq!(client.answer().status(), 101);
        // The 101 is on its way before the tunnel counts.
        client.send(ws::Frame::masked(ws::TEXT, "up").bytes());
        assert_eq!(ws::Frame::read(&mut far).payload, b"up");
        (client, far)
    }
}

fn toml(top: &str, upstream: &str, more: &str) -> String {
    let metrics = if more.contains("[metrics]") { "" } else { "[metrics]\naddress = \"127.0.0.1:0\"\n" };
    format!(
        "listen = \"127.0.0.1:0\"\n{top}\n[upstream.app]\n{upstream}\n{metrics}[reload]\nwatch = false\n{more}"
    )
}
