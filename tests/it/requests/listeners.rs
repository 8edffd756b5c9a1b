//! Where clients come in, what the proxy answers itself, and where requests go.

use super::get;
use crate::support::{Answering, Proxy, Socket};

#[test]
fn a_unix_socket_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let instance = Answering::start("blue");
    let toml =
        format!("listen = \"unix:{}\"\n[upstream.app]\ninstances = [\"{instance}\"]\n", path.display());
    let proxy = Proxy::start(&toml);
    let mut client = Socket::connect_unix(&path);
    client.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
    assert_eq!(client.answer().text(), "blue");
    // Only a process of this machine can be at the other end: it is believed.
    let request = instance.requests().pop().unwrap();
    assert_eq!(request.field("x-real-ip").as_deref(), Some("203.0.113.7"));
    assert_eq!(request.field("x-forwarded-for").as_deref(), Some("203.0.113.7"));
    drop((client, proxy));

    // A file that a process left behind does not keep the next one from starting.
    assert!(!path.exists(), "an ordered stop takes it away");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _proxy = Proxy::start(&toml);
    let mut client = Socket::connect_unix(&path);
    client.send(get("/"));
    assert_eq!(client.answer().text(), "blue");
    let request = instance.requests().pop().unwrap();
    assert_eq!(request.field("x-real-ip").as_deref(), Some("127.0.0.1"));
}

#[test]
fn ipv6_serves() {
    let instance = Answering::start("blue");
    let proxy =
        Proxy::start(&format!("listen = \"[::1]:0\"\n[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let mut client = proxy.connect();
    assert!(client.local().is_ipv6());
    client.send("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_eq!(client.answer().text(), "blue");
    let request = instance.requests().pop().unwrap();
    assert_eq!(request.field("x-real-ip").as_deref(), Some("::1"));
    assert_eq!(request.field("host").as_deref(), Some("[::1]:80"));
}

#[test]
fn a_port_alone_is_for_both_families() {
    let instance = Answering::start("blue");
    let proxy = Proxy::start(&format!("listen = \":0\"\n[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let port = proxy.address().port();
    for (host, seen) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let mut client = Socket::connect(format!("{host}:{port}").parse().unwrap());
        client.send(get("/"));
        assert_eq!(client.answer().text(), "blue");
        let request = instance.requests().pop().unwrap();
        assert_eq!(request.field("x-forwarded-for").as_deref(), Some(seen), "never as ::ffff:127.0.0.1");
    }
}

#[test]
fn several_listeners_serve_the_same() {
    let instance = Answering::start("blue");
    let proxy = Proxy::start(&format!(
        "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n[upstream.app]\ninstances = [\"{instance}\"]\n"
    ));
    let addresses = proxy.addresses();
    assert_eq!(addresses.len(), 2);
    for address in &addresses {
        let mut client = Socket::connect(*address);
        client.send(get("/"));
        assert_eq!(client.answer().text(), "blue");
        proxy.counts("stickyd_connections_total", &[("listener", &address.to_string())], 1);
    }
}

#[test]
fn the_health_path_is_the_proxy_s_own() {
    let instance = Answering::start("blue");
    let proxy =
        Proxy::start(&format!("health_path = \"/-/ready\"\n[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let mut client = proxy.connect();
    client.send(get("/-/ready"));
    assert_eq!(client.answer().status(), 200);
    client.send(get("/-/ready?x"));
    assert_eq!(client.answer().status(), 200);
    client.send("HEAD /-/ready HTTP/1.1\r\nHost: any\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!((answer.status(), answer.values("set-cookie").len()), (200, 0));
    assert_eq!(instance.connections(), 0);
    for other in ["POST /-/ready", "GET /-/ready/", "GET /-/readyx"] {
        client.send(format!("{other} HTTP/1.1\r\nHost: app\r\n\r\n"));
        assert_eq!(client.answer().text(), "blue", "{other}");
    }
    client.send("GET /-/ready HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.ends();
}

#[test]
fn routes_choose_by_host_and_path() {
    let (shop, api, rest) = (Answering::start("shop"), Answering::start("api"), Answering::start("rest"));
    let proxy = Proxy::start(&format!(
        "[upstream.shop]\ninstances = [\"{shop}\"]\n[upstream.api]\ninstances = [\"{api}\"]\n\
         [upstream.rest]\ninstances = [\"{rest}\"]\n\
         [[route]]\nhost = \"shop.example\"\npath = \"/api/*\"\nupstream = \"api\"\n\
         [[route]]\nhost = \"shop.example\"\nupstream = \"shop\"\n\
         [[route]]\nhost = \"*.shop.example\"\nupstream = \"shop\"\n\
         [[route]]\npath = \"/exact\"\nupstream = \"rest\"\n"
    ));
    let mut client = proxy.connect();
    let mut check = |host: &str, path: &str, expected: Option<&str>| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.answer();
        match expected {
            Some(name) => assert_eq!(answer.text(), name, "{host} {path}"),
            None => assert_eq!(answer.status(), 404, "{host} {path}"),
        }
    };
    check("shop.example", "/", Some("shop"));
    check("SHOP.example:8080", "/x", Some("shop"));
    check("shop.example.", "/x", Some("shop"));
    check("shop.example", "/api", Some("api"));
    check("shop.example", "/api/x?y", Some("api"));
    check("shop.example", "/apix", Some("shop"));
    check("www.shop.example", "/api/x", Some("shop"));
    check("xshop.example", "/", None);
    check("other.example", "/exact", Some("rest"));
    check("other.example", "/exact?query", Some("rest"));
    check("other.example", "/exact/below", None);
    check("other.example", "/", None);
    proxy.counts("stickyd_requests_total", &[("upstream", ""), ("code", "4xx")], 3);
}

#[test]
fn a_request_without_a_route_keeps_its_connection_unless_it_has_a_body() {
    let rest = Answering::start("rest");
    let proxy = Proxy::start(&format!(
        "[upstream.rest]\ninstances = [\"{rest}\"]\n[[route]]\npath = \"/exact\"\nupstream = \"rest\"\n"
    ));
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100\r\n\r\nGET /exact HTTP/1.1\r\nHost: app\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 404);
    // What follows is a body, never a request.
    client.half_close();
    client.ends();
    assert_eq!(rest.connections(), 0);
}

#[test]
fn an_instance_may_be_a_name() {
    // The name has an address of each family on most machines; the instance listens on one of them.
    let instance = Answering::start("blue");
    let port = instance.to_string().rsplit(':').next().unwrap().to_owned();
    let proxy = Proxy::before(&format!("localhost:{port}"));
    for _ in 0..3 {
        assert_eq!(proxy.get("/", "").text(), "blue");
    }
    let proxy = Proxy::before(&"no-such-name.invalid:80");
    assert_eq!(proxy.get("/", "").status(), 503);
    proxy.counts("stickyd_connect_errors_total", &[("kind", "dns")], 1);
}

#[test]
fn connections_come_from_the_source_addresses_in_turn() {
    let instance = crate::support::Instance::start();
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{instance}\"]\nsource = [\"127.0.0.2\", \"127.0.0.3\"]\n"
    ));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect();
        client.send(get("/"));
        let mut far = instance.accept();
        far.request();
        seen.push(far.peer().ip().to_string());
        far.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        client.answer();
    }
    seen.sort();
    assert_eq!(seen, ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]);
}
