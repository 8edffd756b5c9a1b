//! `[upstream.NAME.sticky]`.

use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::super::model::{Cookie, IpHash, OnDown, SameSite, SecretSource, Secure, Sticky, StickyKey};
use super::super::raw::{
    Table, Value, Wrong, auto_or, boolean, choice, count, duration, list, nearest, off_or, ratio, text,
};
use super::super::report::Problem;
use super::names;

const DAY: Duration = Duration::from_hours(24);
/// Browsers keep no cookie longer (RFC 6265bis, section 5.5).
const LONGEST: Duration = Duration::from_hours(400 * 24);
/// Keys that say something about the cookie only.
const OF_COOKIE: &[&str] =
    &["cookie", "ttl", "path", "domain", "same_site", "secure", "http_only", "partitioned", "secret_file"];
/// Most entries of `by`.
const MOST_KEYS: usize = 16;
/// Longest name of a header or of a parameter, in bytes.
const LONGEST_NAME: usize = 128;
/// What `by` may hold, without the names behind the colons.
const KEYS: &[&str] = &["sid", "cookie", "ip_hash", "header", "query"];

/// The table, and where it says what is compared with the rest of the document.
pub(super) struct Read {
    pub(super) sticky: Sticky,
    /// The cookie's name where the document gives one.
    pub(super) cookie: Option<Range<usize>>,
    /// The keys of `sticky.by` where the document gives them; otherwise none.
    pub(super) by: Vec<Range<usize>>,
}

pub(super) fn read(upstream: &mut Table<'_>, name: &str) -> Read {
    let mut table = upstream.table_or_off("sticky", Some("{ by = [] } for clients that stay nowhere"));
    let mut places = Vec::new();
    let by = table.get("by", vec![StickyKey::Sid, StickyKey::Cookie, StickyKey::IpHash], |value| {
        let keys = by(value)?;
        places = value.elements().into_iter().flatten().map(|element| element.span()).collect();
        Some(keys)
    });
    let named = table.value_span("cookie");
    let cookie = cookie(&mut table, name);
    let on_down =
        table.get("on_down", OnDown::Rebind, choice(&[("rebind", OnDown::Rebind), ("fail", OnDown::Fail)]));
    let secret = table.get("secret_file", None, auto_or(text(names::file)));
    let ip_hash = ip_hash(table.table("ip_hash"), &by);
    check_attributes(&table, &cookie);
    check_use(&table, &by);
    table.finish();
    let secret = secret.map_or(SecretSource::Auto, SecretSource::File);
    Read { sticky: Sticky { by, cookie, ip_hash, on_down, secret }, cookie: named, by: places }
}

/// The keys in their order.
fn by(value: &Value<'_>) -> Option<Vec<StickyKey>> {
    if let DeValue::String(text) = value.inner() {
        let write = if matches!(text.as_ref(), "off" | "none" | "") {
            "[]".to_owned()
        } else {
            format!("[{}]", value.words())
        };
        value.mismatch("a list", format!("write {write}"));
        return None;
    }
    if value.inner().as_array().is_some_and(|keys| keys.len() > MOST_KEYS) {
        let write = "take some out: each is looked at for every request";
        value.wrong(Wrong::new(format!("has more than {MOST_KEYS} keys"), write));
        return None;
    }
    let mut seen: Vec<StickyKey> = Vec::new();
    for element in value.elements().into_iter().flatten() {
        let Some(Ok(key)) = element.inner().as_str().map(key) else { continue };
        if seen.contains(&key) {
            let write = match key {
                StickyKey::Header(_) => "take one out: a header's name has no case",
                _ => "take one out",
            };
            element.wrong(Wrong::new(format!("names \"{}\" twice", key.name()), write));
        }
        seen.push(key);
    }
    list(text(key))(value)
}

fn key(text: &str) -> Result<StickyKey, Wrong> {
    match text {
        "sid" => Ok(StickyKey::Sid),
        "cookie" => Ok(StickyKey::Cookie),
        "ip_hash" => Ok(StickyKey::IpHash),
        _ => match text.split_once(':') {
            Some(("header", name)) => {
                let name = field(name, names::is_token(name));
                name.map(|name| StickyKey::Header(name.to_ascii_lowercase()))
            }
            // Requests are compared decoded, so a name as it stands in a URL would never be found.
            Some(("query", name)) if name.contains(['%', '&', '#', '+', '=']) => Err(Wrong::new(
                "must name a parameter as the application reads it, without % & # + =",
                "write for example \"query:user\" or \"query:user[id]\"",
            )),
            Some(("query", name)) => {
                let good = names::is_token(&name.replace(['[', ']'], "_"));
                field(name, good).map(|name| StickyKey::Query(name.to_owned()))
            }
            _ => Err(unknown_key(text)),
        },
    }
}

/// The name of a header or of a parameter; `good`: its characters are.
fn field(name: &str, good: bool) -> Result<&str, Wrong> {
    if good && name.len() <= LONGEST_NAME {
        return Ok(name);
    }
    Err(Wrong::new(
        format!("must name a field behind the colon: letters, digits, - _ ., at most {LONGEST_NAME}"),
        "write for example \"header:x-user\" or \"query:user\"",
    ))
}

fn unknown_key(text: &str) -> Wrong {
    let what = "must hold \"sid\", \"cookie\", \"ip_hash\", \"header:NAME\" or \"query:NAME\"";
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let write = match (kind.to_ascii_lowercase().as_str(), nearest(kind, KEYS.iter().copied())) {
        ("cookie", _) if !name.is_empty() => {
            "write \"cookie\": stickyd's own, whose name is sticky.cookie".to_owned()
        }
        ("arg" | "args" | "param" | "parameter" | "url_param", _) if !name.is_empty() => {
            format!("did you mean \"query:{name}\"?")
        }
        (_, Some(key @ ("header" | "query"))) if name.is_empty() => format!("write \"{key}:NAME\""),
        (_, Some(key @ ("header" | "query"))) => format!("did you mean \"{key}:{name}\"?"),
        (_, Some(key)) => format!("did you mean \"{key}\"?"),
        (_, None) => "write for example [\"sid\", \"cookie\", \"ip_hash\"]".to_owned(),
    };
    Wrong::new(what, write)
}

fn cookie(table: &mut Table<'_>, name: &str) -> Cookie {
    let ttl = table.get("ttl", Some(DAY), |value| match value.inner() {
        DeValue::String(text) if text == "session" => Some(None),
        _ => duration(Duration::from_secs(1)..=LONGEST)(value).map(Some),
    });
    Cookie {
        name: table.get("cookie", format!("stickyd-{name}"), text(names::cookie)),
        // A browser may stay open for months; the sealed value then still ends.
        ttl: ttl.unwrap_or(DAY),
        session: ttl.is_none(),
        path: table.get("path", "/".to_owned(), text(names::cookie_path)),
        domain: table.get("domain", None, off_or(text(names::cookie_domain))),
        same_site: table.get(
            "same_site",
            SameSite::Lax,
            choice(&[("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)]),
        ),
        secure: table.get("secure", Secure::Auto, |value| match value.inner() {
            DeValue::Boolean(_) => boolean(value).map(Secure::Fixed),
            DeValue::String(text) if text == "auto" => Some(Secure::Auto),
            _ => {
                value.mismatch("true, false or \"auto\"", "write true, false or \"auto\"");
                None
            }
        }),
        http_only: table.get("http_only", true, boolean),
        partitioned: table.get("partitioned", false, boolean),
    }
}

/// What browsers demand of attributes together; without it they drop the cookie silently.
fn check_attributes(table: &Table<'_>, cookie: &Cookie) {
    let secure = cookie.secure == Secure::Fixed(true);
    let refuse = |key: &str, title: &str, label: &str| {
        if let Some(span) = table.value_span(key) {
            table.walk().report_if_whole(Problem::error(span, title, label));
        }
    };
    if cookie.same_site == SameSite::None && !secure {
        refuse("same_site", "browsers drop a cookie with same_site \"none\" that is not secure", {
            "add secure = true"
        });
    }
    if cookie.partitioned && !secure {
        refuse("partitioned", "browsers drop a partitioned cookie that is not secure", "add secure = true");
    }
    if cookie.name.starts_with("__Secure-") && !secure {
        refuse(
            "cookie",
            "browsers drop a cookie called __Secure-... that is not secure",
            "add secure = true",
        );
    }
    let host_cookie = secure && cookie.path == "/" && cookie.domain.is_none();
    if cookie.name.starts_with("__Host-") && !host_cookie {
        let title = "browsers drop a cookie called __Host-... unless it is secure, of path \"/\" and without a domain";
        refuse("cookie", title, "add secure = true; leave path and domain out");
    }
}

/// Settings of a key that `by` does not use.
fn check_use(table: &Table<'_>, by: &[StickyKey]) {
    let warn = |key: &str, uses: &str| {
        if let Some(span) = table.key_span(key) {
            let title = format!("`{}.{key}` has no effect: `by` does not list \"{uses}\"", table.name());
            let label = format!("delete it, or add \"{uses}\" to `by`");
            table.walk().report_if_whole(Problem::warning(span, title, label));
        }
    };
    if !by.contains(&StickyKey::Cookie) {
        for key in OF_COOKIE {
            warn(key, "cookie");
        }
    }
    if !by.contains(&StickyKey::IpHash) {
        warn("ip_hash", "ip_hash");
    }
    // Whoever has only a session is told that it is gone, and starts another.
    if let (Some(span), true) = (table.key_span("on_down"), by.iter().all(|key| *key == StickyKey::Sid)) {
        let title = format!("`{}.on_down` has no effect: `by` binds no client for longer than a session", {
            table.name()
        });
        let label = "delete it, or add \"cookie\" or \"ip_hash\" to `by`";
        table.walk().report_if_whole(Problem::warning(span, title, label));
    }
}

/// Of a ratio between 1.01 and 100; rounded, so that placement needs no floating point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "101 to 10 000")]
pub(super) fn hundredths(ratio: f64) -> u32 {
    (ratio * 100.0).round() as u32
}

fn ip_hash(mut table: Table<'_>, by: &[StickyKey]) -> IpHash {
    let nginx = table.get("algorithm", false, choice(&[("rendezvous", false), ("nginx", true)]));
    let ipv4_prefix = table.get("ipv4_prefix", 32, count::<u8>(0..=32));
    let ipv6_prefix = table.get("ipv6_prefix", 64, count::<u8>(0..=128));
    let bound = table.get("bound", None, off_or(ratio(1.01..=100.0))).map(hundredths);
    if nginx {
        for key in ["ipv4_prefix", "ipv6_prefix", "bound"] {
            if let Some(span) = table.key_span(key) {
                let title = format!("`{}.{key}` does not go with algorithm = \"nginx\"", table.name());
                let label = "delete it: nginx hashes three bytes of IPv4 and all of IPv6";
                table.walk().report_if_whole(Problem::error(span, title, label));
            }
        }
    } else if let (Some(_), Some(span)) = (bound, table.key_span("bound")) {
        check_bound(&table, span, by);
    }
    table.finish();
    if nginx { IpHash::Nginx } else { IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, bound } }
}

/// `bound` decides at session starts only; what follows one finds its instance by what was remembered then.
fn check_bound(table: &Table<'_>, span: Range<usize>, by: &[StickyKey]) {
    let mut before = by.iter().take_while(|key| **key != StickyKey::IpHash);
    let remembered = before.any(|key| matches!(key, StickyKey::Sid | StickyKey::Cookie));
    if by.contains(&StickyKey::IpHash) && !remembered {
        let title = format!("`{}.bound` sends clients away from their hash, and nothing remembers where", {
            table.name()
        });
        let label = "add \"sid\" and \"cookie\" to `by`, in front of \"ip_hash\"";
        table.walk().report_if_whole(Problem::warning(span, title, label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_hundredths() {
        let table =
            [(1.01, 101), (1.25, 125), (1.1, 110), (1.014, 101), (1.016, 102), (2.0, 200), (100.0, 10_000)];
        for (ratio, expected) in table {
            assert_eq!(hundredths(ratio), expected, "{ratio}");
        }
    }

    #[test]
    fn keys_and_their_names() {
        let table = [
            ("sid", StickyKey::Sid),
            ("cookie", StickyKey::Cookie),
            ("ip_hash", StickyKey::IpHash),
            ("header:X-User", StickyKey::Header("x-user".to_owned())),
            ("query:User", StickyKey::Query("User".to_owned())),
            ("query:user[id]", StickyKey::Query("user[id]".to_owned())),
        ];
        for (text, expected) in table {
            assert_eq!(key(text), Ok(expected.clone()), "{text}");
            assert_eq!(key(&expected.name()), Ok(expected), "{text}: the name is what the file may say");
        }
        let long = format!("header:{}", "x".repeat(129));
        for bad in [
            "header:",
            "header: x",
            "header:a:b",
            "query:",
            "header:a[b]",
            "query:a=b",
            "query:a#",
            "query:user%5Bid%5D",
            "query:a+b",
            "query:ä",
            &long,
        ] {
            assert!(key(bad).is_err(), "{bad}");
        }
        assert!(key(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn what_was_meant_instead_of_a_key() {
        let table = [
            ("cooky", "did you mean \"cookie\"?"),
            ("SID", "did you mean \"sid\"?"),
            ("client_ip", "did you mean \"ip_hash\"?"),
            ("Header:X-User", "did you mean \"header:X-User\"?"),
            ("headers:x-user", "did you mean \"header:x-user\"?"),
            ("arg:user", "did you mean \"query:user\"?"),
            ("header", "write \"header:NAME\""),
            ("cookie:SESSION", "write \"cookie\": stickyd's own, whose name is sticky.cookie"),
            ("", "write for example [\"sid\", \"cookie\", \"ip_hash\"]"),
            (":", "write for example [\"sid\", \"cookie\", \"ip_hash\"]"),
            ("user", "write for example [\"sid\", \"cookie\", \"ip_hash\"]"),
        ];
        for (text, expected) in table {
            assert_eq!(unknown_key(text).write, expected, "{text}");
        }
    }
}
