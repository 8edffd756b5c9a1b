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
