//! The status page, as a browser asks for it.

use crate::support::process::{Home, Process};
use crate::support::{Answering, Socket};

fn start(home: &Home, page: &str, instance: &Answering) -> (Process, String) {
    let toml = format!(
        "listen = \"127.0.0.1:0\"\n[upstream.app]\nsticky.by = []\ninstances = [\"{instance}\"]\n[admin]\naddress = \"{page}\"\n\
         [metrics]\naddress = \"off\"\n"
    );
    let file = home.write("config.toml", &toml);
    let mut process = home.start(&["run", "--config", &file]);
    process.address();
    let (code, status) = home.run(&["status", "--json"]);
    assert_eq!(code, 0, "{status}");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    (process, status["page"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn it_shows_and_does_nothing_else() {
    let (home, blue) = (Home::new(), Answering::start("blue"));
    let (_process, page) = start(&home, "127.0.0.1:0", &blue);
    let ask = |method: &str, path: &str, host: &str| {
        let mut socket = Socket::connect(page.parse().unwrap());
        socket.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        socket.answer()
    };
    let html = ask("GET", "/", &page);
    assert_eq!(html.status(), 200);
    assert!(html.text().starts_with("<!doctype html>"));
    assert!(
        html.field("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'sha256-")
    );
    let json = ask("GET", "/status.json", "localhost:7080");
    let json: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(json["upstreams"][0]["instances"][0]["name"], blue.to_string());
    assert_eq!(json["page"], page);
    // A page of elsewhere whose name leads here now.
    for path in ["/", "/status.json"] {
        assert_eq!(ask("GET", path, "evil.example").status(), 403);
    }
    for path in ["/", "/status.json"] {
        assert_eq!(ask("POST", path, &page).status(), 405, "{path}");
    }
    for path in ["/v1/status", "/v1/state", "/metrics", "/status.json/.."] {
        assert_eq!(ask("POST", path, &page).status(), 404, "{path}");
    }
    assert!(home.run(&["status"]).1.contains(&format!("page     http://{page}/\n")));
}

#[test]
fn an_address_that_is_named_must_be_free() {
    let (home, blue) = (Home::new(), Answering::start("blue"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let toml = format!(
        "listen = \"127.0.0.1:0\"\n[upstream.app]\ninstances = [\"{blue}\"]\n[admin]\naddress = \"{address}\"\n"
    );
    let file = home.write("config.toml", &toml);
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("cannot listen on [admin] address {address}")), "{text}");
    let (_process, page) = start(&home, "off", &blue);
    assert_eq!(page, "");
}

/// The regression: a second process by hand did not start, because the first one had the usual address of metrics.
#[test]
fn the_usual_addresses_give_way() {
    let (home, blue) = (Home::new(), Answering::start("blue"));
    // Whoever has them already: they are taken.
    let _taken = ["127.0.0.1:9117", "127.0.0.1:7080"].map(std::net::TcpListener::bind);
    let toml = format!("listen = \"127.0.0.1:0\"\n[upstream.app]\ninstances = [\"{blue}\"]\n");
    let file = home.write("config.toml", &toml);
    let mut process = home.start(&["run", "--config", &file]);
    process.says(&["no metrics: cannot listen on 127.0.0.1:9117", "[metrics] address names another one"]);
    process.says(&["no status page: cannot listen on 127.0.0.1:7080"]);
    process.address();
    process.terminate();
    assert!(process.end().success());
    let file = home.write("config.toml", &format!("{toml}[metrics]\naddress = \"127.0.0.1:9117\"\n"));
    let (code, text) = home.run(&["run", "--config", &file]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot listen on [metrics] address 127.0.0.1:9117"), "{text}");
}

/// The regression: anybody on the machine read the lines around a mistake, which may hold a secret.
#[test]
fn no_line_of_a_refused_file_is_shown() {
    let (home, blue) = (Home::new(), Answering::start("blue"));
    let (_process, page) = start(&home, "127.0.0.1:0", &blue);
    let file = home.path("config.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    home.write("config.toml", &format!("{good}[nothing]\npassword = \"hunter2\"\n"));
    let (code, text) = home.run(&["reload", "--config", &file]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains(" | [nothing]"), "whoever commands sees all: {text}");
    let mut socket = Socket::connect(page.parse().unwrap());
    socket.send(format!("GET /status.json HTTP/1.1\r\nHost: {page}\r\n\r\n"));
    let answer = socket.answer();
    let json: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let refusal = json["config"]["refusal"].as_str().unwrap();
    assert!(refusal.starts_with("line ") && !refusal.contains(" | "), "{refusal}");
    assert!(!answer.text().contains("hunter2"));
}
