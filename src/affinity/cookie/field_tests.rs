use std::time::Duration;

use proptest::prelude::*;

use super::{set_cookie, strip, values};
use crate::config::model::{Cookie, SameSite, Secure};

const NAME: &str = "sid-b";

fn find<'b>(field: &'b [u8], name: &str) -> Option<&'b [u8]> {
    values(field, name).next()
}

/// `left`: the field without the cookie, empty when nothing is left of it.
fn check(field: &[u8], value: Option<&[u8]>, left: &[u8]) {
    let shown = String::from_utf8_lossy(field);
    assert_eq!(find(field, NAME), value, "find in {shown:?}");
    let mut out = b"before".to_vec();
    let something = strip(field, NAME, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        format!("before{}", String::from_utf8_lossy(left)),
        "strip {shown:?}"
    );
    assert_eq!(something, !left.is_empty(), "strip {shown:?}");
}

#[test]
fn values_come_in_their_order() {
    let all: Vec<_> = values(b"sid-b=v; x=1; sid-b=w;sid-b", NAME).collect();
    assert_eq!(all, [&b"v"[..], b"w"]);
}

#[test]
fn finds_and_strips() {
    // as browsers send it
    check(b"sid-b=v", Some(b"v"), b"");
    check(b"sid-b=v; x=1", Some(b"v"), b"x=1");
    check(b"x=1; sid-b=v", Some(b"v"), b"x=1");
    check(b"x=1; sid-b=v; y=2", Some(b"v"), b"x=1; y=2");
    check(b"x=1; y=2", None, b"x=1; y=2");
    // without the space, with more of it, with tabs
    check(b"x=1;sid-b=v;y=2", Some(b"v"), b"x=1;y=2");
    check(b"sid-b=v;y=2", Some(b"v"), b"y=2");
    check(b"  sid-b = v  ;\ty=2 ", Some(b"v"), b"y=2 ");
    check(b"x=1 ;  sid-b=v", Some(b"v"), b"x=1 ");
    // quotes
    check(b"sid-b=\"v\"", Some(b"v"), b"");
    check(b"sid-b=\"\"", Some(b""), b"");
    check(b"sid-b=\"", Some(b"\""), b"");
    check(b"sid-b=\"v", Some(b"\"v"), b"");
    check(b"x=\"a; sid-b=v\"", Some(b"v\""), b"x=\"a");
    // empty things
    check(b"", None, b"");
    check(b";", None, b"");
    check(b" ; ;", None, b"");
    check(b"sid-b=", Some(b""), b"");
    check(b"sid-b=;;", Some(b""), b"");
    check(b";;sid-b=v;;x;", Some(b"v"), b";;;x;");
    check(b"=v; sid-b=w", Some(b"w"), b"=v");
    check(b"sid-b", None, b"sid-b");
    check(b"sid-b; sid-b=v", Some(b"v"), b"sid-b");
    // several of one name: the first counts, all go
    check(b"sid-b=v; x=1; sid-b=w", Some(b"v"), b"x=1");
    check(b"sid-b=v; sid-b=w", Some(b"v"), b"");
    // other names
    check(b"SID-B=v", None, b"SID-B=v");
    check(b"sid-b2=v; 2sid-b=v; sid-=v", None, b"sid-b2=v; 2sid-b=v; sid-=v");
    check(b"x=sid-b=v", None, b"x=sid-b=v");
    check(b"sid-b=a=b==", Some(b"a=b=="), b"");
    // hostile bytes
    check(b"\xff=\0; sid-b=\xfe\0\x80", Some(b"\xfe\0\x80"), b"\xff=\0");
    check(b"sid-b\0=v", None, b"sid-b\0=v");
    check(b"sid-b=v,x=1", Some(b"v,x=1"), b"");
}

#[test]
fn long_fields_take_linear_time() {
    // A megabyte each; one that is not linear would hang the test.
    for piece in [&b";"[..], b"sid-b;", b"sid-b=v;", b"=;", b" ", b"\"", b"sid-"] {
        let field = piece.repeat(1_000_000 / piece.len());
        let mut out = Vec::new();
        assert_eq!(find(&field, NAME).is_some(), piece == b"sid-b=v;");
        strip(&field, NAME, &mut out);
        assert!(out.len() <= field.len());
    }
}

fn config() -> Cookie {
    Cookie {
        name: "stickyd-socketio".to_owned(),
        ttl: Duration::from_hours(24),
        session: false,
        path: "/".to_owned(),
        domain: None,
        same_site: SameSite::Lax,
        secure: Secure::Auto,
        http_only: true,
        partitioned: false,
    }
}

#[test]
fn sets_the_attributes_of_the_configuration() {
    let check = |config: Cookie, https: bool, expected: &str| {
        let mut out = Vec::new();
        set_cookie(&config, https, b"VALUE", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("stickyd-socketio=VALUE; {expected}"));
    };
    check(config(), false, "Max-Age=86400; Path=/; SameSite=Lax; HttpOnly");
    check(config(), true, "Max-Age=86400; Path=/; SameSite=Lax; Secure; HttpOnly");
    check(Cookie { session: true, http_only: false, ..config() }, false, "Path=/; SameSite=Lax");
    check(
        Cookie { ttl: Duration::from_millis(900), ..config() },
        false,
        "Max-Age=1; Path=/; SameSite=Lax; HttpOnly",
    );
    check(
        Cookie {
            path: "/app".to_owned(),
            domain: Some("example.com".to_owned()),
            same_site: SameSite::Strict,
            ..config()
        },
        false,
        "Max-Age=86400; Path=/app; Domain=example.com; SameSite=Strict; HttpOnly",
    );
    check(
        Cookie { secure: Secure::Fixed(true), ..config() },
        false,
        "Max-Age=86400; Path=/; SameSite=Lax; Secure; HttpOnly",
    );
    check(
        Cookie { secure: Secure::Fixed(false), ..config() },
        true,
        "Max-Age=86400; Path=/; SameSite=Lax; HttpOnly",
    );
}

/// A browser drops it otherwise, so `auto` says `Secure` although the client seems to use http.
#[test]
fn none_and_partitioned_are_secure() {
    for (config, expected) in [
        (
            Cookie { same_site: SameSite::None, ..config() },
            "stickyd-socketio=; Max-Age=86400; Path=/; SameSite=None; Secure; HttpOnly",
        ),
        (
            Cookie { partitioned: true, ..config() },
            "stickyd-socketio=; Max-Age=86400; Path=/; SameSite=Lax; Secure; HttpOnly; Partitioned",
        ),
    ] {
        let mut out = Vec::new();
        set_cookie(&config, false, b"", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

proptest! {
    /// On what a browser sends, both agree with a plain reading of it.
    #[test]
    fn agrees_with_a_list_of_pairs(pairs in prop::collection::vec(("(sid-b|[a-c]{1,2})", "[!-+--:<-~]{0,6}"), 0..8)) {
        let field = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
        };
        let expected = pairs.iter().find(|(name, _)| name == NAME).map(|(_, value)| {
            value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value).as_bytes()
        });
        let others: Vec<_> = pairs.iter().filter(|(name, _)| name != NAME).cloned().collect();
        let whole = field(&pairs);
        prop_assert_eq!(find(whole.as_bytes(), NAME), expected);
        let mut out = Vec::new();
        prop_assert_eq!(strip(whole.as_bytes(), NAME, &mut out), !others.is_empty());
        prop_assert_eq!(String::from_utf8(out).ok(), Some(field(&others)));
    }

    #[test]
    fn nothing_is_left_of_it(field in prop::collection::vec(prop::sample::select(&b"sid-b=;\" \t\0\xffx"[..]), 0..60)) {
        let mut out = Vec::new();
        let something = strip(&field, NAME, &mut out);
        prop_assert_eq!(find(&out, NAME), None);
        prop_assert!(out.len() <= field.len());
        prop_assert_eq!(something, !out.is_empty());
    }
}
