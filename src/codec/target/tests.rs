//! Dot segments; the other rules of targets are in the table of requests.

use super::*;

#[test]
fn dot_segments() {
    for target in [
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/.",
        "/a/..",
        "/a/./b",
        "/a/../b",
        "/%2e",
        "/%2E%2e",
        "/.%2e/a",
        "/%2e./a",
        "/..?a",
        "/.?",
        "/a/..%2fb",
        "/a%2f..%2Fb",
        "/a/..\\b",
        "/a\\..\\b",
        "/a%5c..%5Cb",
        "//..//",
        "/a/%2e%2E%2fb",
        "http://a/..",
        "http://a/./b",
    ] {
        assert_eq!(read("GET", target), Err(BadRequest::DotSegment), "{target}");
    }
    for target in [
        "/...",
        "/.a",
        "/a.",
        "/..a",
        "/a..",
        "/a../b",
        "/.well-known/x",
        "/a?b=/../c",
        "/?..",
        "/?/..",
        "/%2e%2e%2e",
        "/%2ea",
        "/%252e%252e/",
        "/a.b.c",
        "/a/%2",
        "/%",
        "/%2",
        "/..;/a",
        "/x%2f.y",
        "/a/b..%2fc",
    ] {
        assert!(read("GET", target).is_ok(), "{target}");
    }
}

#[test]
fn a_path_ends_at_its_query() {
    for (target, expected) in [("/a/b", "/a/b"), ("/a?b?c", "/a"), ("/?", "/"), ("*", "*")] {
        assert_eq!(path(target), expected);
    }
}
