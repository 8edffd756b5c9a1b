//! Instances that are emptied by command, replaced, and used again.

use serde_json::Value;

use crate::health::{Checked, FAST};
use crate::support::process::{Home, Process};
use crate::support::{eventually, ws};

struct Site {
    home: Home,
    file: String,
    blue: Checked,
    green: Checked,
    process: Process,
}

impl Site {
    /// `more`: keys of the upstream.
    fn start(more: &str) -> Self {
        let (home, blue, green) = (Home::new(), Checked::start("blue"), Checked::start("green"));
        let health = FAST.replace("slow_start = \"0s\"", "slow_start = \"500ms\"");
        let file = home.write(
            "config.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\n[upstream.app]\nsticky.by = []\nhealth = {{ {health} }}\n{more}\n\
                 instances = [{{ address = \"{blue}\", name = \"blue\" }}, {{ address = \"{green}\", name = \"green\" }}]\n\
                 [metrics]\naddress = \"off\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
            ),
        );
        let process = Self::run(&home, &file);
        let site = Site { home, file, blue, green, process };
        site.is("up");
        site
    }

    fn run(home: &Home, file: &str) -> Process {
        let mut process = home.start(&["run", "--config", file]);
        process.address();
        process
    }

    fn blue(&self) -> Value {
        let (code, text) = self.home.run(&["status", "--json"]);
        assert_eq!(code, 0, "{text}");
        let status: Value = serde_json::from_str(&text).unwrap();
        status["upstreams"][0]["instances"][0].clone()
    }

    /// Waits until checks say this of blue.
    fn is(&self, health: &str) -> Value {
        eventually(health, || Some(self.blue()).filter(|blue| blue["health"] == health))
    }

    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        let (ended, text) = self.home.run(arguments);
        assert_eq!(ended, code, "{arguments:?}: {text}");
        text
    }
}

/// The regression: `resume --wait` believed what was known of the process before, and returned while nobody listened.
#[test]
fn what_was_known_of_an_instance_is_not_believed_of_the_one_in_its_place() {
    for state in ["maintain", "drain"] {
        let site = Site::start("");
        assert_eq!(site.blue()["share"], 100);
        site.says(0, &[state, "blue", "--wait"]);
        site.blue.dies();
        if state == "drain" {
            site.is("down");
            site.blue.comes_back();
            site.is("up");
            site.blue.dies();
        } else {
            assert_eq!(site.blue()["health"], "unknown", "it is not checked");
        }
        let text = site.says(1, &["resume", "blue", "--wait", "--timeout", "600ms"]);
        assert!(text.contains("not done in time"), "{text}");
        site.blue.comes_back();
        // Not before its slow start is over.
        site.says(0, &["resume", "blue", "--wait", "--timeout", "20s"]);
        assert_eq!((&site.blue()["health"], &site.blue()["share"]), (&"up".into(), &100.into()));
        drop(site.green);
    }
}

/// It is emptied after a restart as before, so that what comes to it meanwhile does not stay for ever.
#[test]
fn a_restart_goes_on_emptying() {
    let mut site = Site::start("drain.deadline = \"1h\"");
    site.says(0, &["drain", "blue"]);
    site.process.terminate();
    assert!(site.process.end().success());
    site.process = Site::run(&site.home, &site.file);
    let blue = site.blue();
    assert_eq!(blue["state"], "drain");
    assert!(blue["drain"]["cut_in"].as_u64().is_some_and(|left| left > 3_500_000), "{blue}");
}

/// Off as it is by default: the figure says whether it is worth turning on.
#[test]
fn the_status_says_what_a_rebalance_would_do() {
    let mut site = Site::start("");
    site.says(0, &["cordon", "green"]);
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = site.process.connect();
            client.send(ws::handshake("/ws", ""));
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            client
        })
        .collect();
    site.says(0, &["resume", "green"]);
    let (_, text) = site.home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    let rebalance = &status["upstreams"][0]["rebalance"];
    assert_eq!((&rebalance["on"], &rebalance["max_skew"]), (&false.into(), &125.into()));
    let moves = rebalance["moves"].as_u64().unwrap();
    assert!((3..=4).contains(&moves), "{rebalance}: 10 of 10, and 5 are fair");
    let text = site.says(0, &["status"]);
    assert!(
        text.contains(&format!(
            "1.25 times the fair share: with rebalance.max_skew so, it would close {moves}"
        )),
        "{text}"
    );
    drop(clients);
}
