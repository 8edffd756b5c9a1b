//! `redirect = "https"`: the way from the clear.

use crate::support::{Instance, Proxy};

fn start(instance: &Instance, more: &str) -> Proxy {
    Proxy::start(&format!(
        "health_path = \"/-/ready\"\ntrusted_proxies = [\"127.0.0.2\"]\n{more}\
         [[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n[upstream.app]\ninstances = [\"{instance}\"]\n"
    ))
}

#[test]
fn every_request_is_sent_to_the_same_place_at_https() {
    let instance = Instance::start();
    let proxy = start(&instance, "");
    let check = |request: &str, status: u16, location: Option<&str>| {
        let mut client = proxy.connect();
        client.send(request);
        let answer = if request.starts_with("HEAD") { client.answer_to_head() } else { client.answer() };
        assert_eq!((answer.status(), answer.field("location").as_deref()), (status, location), "{request}");
    };
    let to = |location| (308, Some(location));
    let check_to = |request: &str, (status, location)| check(request, status, location);
    check_to("GET /a?b=c HTTP/1.1\r\nHost: app.example.com\r\n\r\n", to("https://app.example.com/a?b=c"));
    check_to("GET / HTTP/1.1\r\nHost: app.example.com:8080\r\n\r\n", to("https://app.example.com/"));
    check_to("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", to("https://[::1]/"));
    check_to("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", to("https://[::1]/"));
    check_to("HEAD /x HTTP/1.1\r\nHost: app\r\n\r\n", to("https://app/x"));
    check_to("OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n", to("https://app/"));
    check_to("GET http://other/y HTTP/1.1\r\nHost: other\r\n\r\n", to("https://other/y"));
    check_to("POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc", to("https://app/p"));
    check_to(&crate::support::ws::handshake("/ws", ""), to("https://app/ws"));
    // A word on the scheme counts from a trusted peer only.
    check_to("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-Proto: https\r\n\r\n", to("https://app/"));
    check("GET / HTTP/1.0\r\n\r\n", 400, None);
    check("GET /-/ready HTTP/1.1\r\nHost: app\r\n\r\n", 200, None);
    check("GET /.well-known/acme-challenge/../x HTTP/1.1\r\nHost: app\r\n\r\n", 400, None);
    instance.saw_nothing();
    assert_eq!(proxy.count("stickyd_requests_total", &[("code", "3xx"), ("origin", "proxy")]), 10);
}

#[test]
fn whoever_signs_certificates_is_let_through() {
    let instance = Instance::start();
    let proxy = start(&instance, "");
    let mut client = proxy.connect();
    client.send("GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: app\r\n\r\n");
    let mut far = instance.accept();
    let request = far.request();
    assert_eq!(request.line(), "GET /.well-known/acme-challenge/token HTTP/1.1");
    assert_eq!(request.field("x-forwarded-proto").as_deref(), Some("http"));
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nt");
    assert_eq!(client.answer().text(), "t");
    // The connection is kept over a redirect.
    client.send("GET /x HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer().status(), 308);
    client.send("GET /y HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.answer().status(), 308);
}

/// Who ends TLS in front of us speaks to us in the clear, and would be sent around for ever.
#[test]
fn who_came_by_https_to_a_trusted_proxy_is_not_sent_there_again() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
         [upstream.app]\ninstances = [\"{instance}\"]\n"
    ));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-Proto: http\r\n\r\n");
    assert_eq!(client.answer().status(), 308);
    client.send("GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(instance.accept().request().field("x-forwarded-proto").as_deref(), Some("https"));
}
