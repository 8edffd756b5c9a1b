use super::find;
use crate::config::model::{HostPattern, PathPattern, Route};

fn route(host: &str, path: &str) -> Route {
    let host = match host.strip_prefix('*') {
        None if host.is_empty() => HostPattern::Any,
        None => HostPattern::Exact(host.to_owned()),
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
    };
    let path = match path.strip_suffix("/*") {
        None if path.is_empty() => PathPattern::Any,
        None => PathPattern::Exact(path.to_owned()),
        Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
    };
    Route { host, path, upstream: 0, body: None }
}

#[test]
fn hosts() {
    let check = |pattern: &str, host: &str, expected: bool| {
        assert_eq!(find(&[route(pattern, "")], host, "/").is_some(), expected, "{pattern:?} {host:?}");
    };
    check("", "example.com", true);
    check("", "", true);

    check("app.example.com", "app.example.com", true);
    check("app.example.com", "APP.example.COM", true);
    check("app.example.com", "app.example.com:8443", true);
    check("app.example.com", "app.example.com:", true);
    check("app.example.com", "app.example.com.", true);
    check("app.example.com", "app.example.com.:80", true);
    check("app.example.com", "app.example.com..", false);
    check("app.example.com", "example.com", false);
    check("app.example.com", "xapp.example.com", false);
    check("app.example.com", "app.example.com.evil.org", false);
    check("app.example.com", "evil.org:app.example.com", false);
    check("app.example.com", "", false);
    check("app.example.com", ":80", false);

    check("*.example.com", "app.example.com", true);
    check("*.example.com", "a.b.Example.Com:80", true);
    check("*.example.com", "app.example.com.:80", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", ".example.com", false);
    check("*.example.com", "notexample.com", false);
    check("*.example.com", "app.example.com.evil.org", false);
    check("*.example.com", "ü.example.com", true);
    // One byte of a character may fall on the suffix's start.
    check("*.c", "üc", false);

    check("192.0.2.1", "192.0.2.1:80", true);
    check("192.0.2.1", "192.0.2.10", false);
    check("[2001:db8::1]", "[2001:db8::1]", true);
    check("[2001:db8::1]", "[2001:DB8:0:0::1]:443", true);
    check("2001:db8::1", "[2001:db8::1]:443", true);
    check("[2001:db8::1]", "[2001:db8::2]", false);
    check("[2001:db8::1]", "[2001:db8::1", false);
    check("[2001:db8::1]", "2001:db8::1", false);
    check("[2001:db8::1]", "[]", false);
    check("[2001:db8::1]", "[", false);
    check("a", "[a]", false);
}

#[test]
fn paths() {
    let check = |pattern: &str, path: &str, expected: bool| {
        assert_eq!(find(&[route("", pattern)], "a", path).is_some(), expected, "{pattern:?} {path:?}");
    };
    check("", "/", true);
    check("", "*", true);

    check("/api", "/api", true);
    check("/api", "/api/", false);
    check("/api", "/API", false);
    check("/api", "/ap", false);
    check("/", "/", true);
    check("/", "/x", false);

    check("/api/*", "/api", true);
    check("/api/*", "/api/", true);
    check("/api/*", "/api/v1/x", true);
    check("/api/*", "/api//", true);
    check("/api/*", "/apix", false);
    check("/api/*", "/api%2Fx", false);
    check("/api/*", "/Api/x", false);
    check("/api/*", "/x/api/", false);
    check("/api/*", "/", false);
    check("/ü/*", "/ü/x", true);

    check("/*", "/", true);
    check("/*", "/x", true);
    check("/*", "*", false);
}

#[test]
fn the_first_that_matches_wins() {
    let routes = [
        route("app.example.com", "/api/*"),
        route("app.example.com", "/api/v2/*"),
        route("*.example.com", "/socket.io/*"),
        route("app.example.com", ""),
        route("", "/health"),
    ];
    for (host, path, expected) in [
        ("app.example.com", "/api/v2/x", Some(0)),
        ("app.example.com", "/socket.io/", Some(2)),
        ("www.example.com", "/socket.io/", Some(2)),
        ("app.example.com", "/health", Some(3)),
        ("www.example.com", "/health", Some(4)),
        ("www.example.com", "/", None),
    ] {
        assert_eq!(find(&routes, host, path), expected, "{host} {path}");
    }
    assert_eq!(find(&[], "app.example.com", "/"), None);
}

proptest::proptest! {
    #[test]
    fn no_input_panics(host in ".{0,20}", close in "[A-Za-z.:\\[\\]ü]{0,12}", path in ".{0,20}") {
        let routes = [route("a.b", "/x/*"), route("*.b", "/x"), route("[::1]", "/x/*"), route("*ü", "")];
        find(&routes, &host, &path);
        find(&routes, &close, &path);
    }
}
