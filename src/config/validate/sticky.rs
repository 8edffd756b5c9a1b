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

/// The table, and where it names the cookie.
pub(super) fn read(upstream: &mut Table<'_>, name: &str) -> (Sticky, Option<Range<usize>>) {
    let mut table = upstream.table_or_off("sticky", Some("{ by = [] } for clients that stay nowhere"));
    let by = table.get("by", vec![StickyKey::Sid, StickyKey::Cookie, StickyKey::IpHash], by);
    let named = table.value_span("cookie");
    let cookie = cookie(&mut table, name);
    let on_down =
        table.get("on_down", OnDown::Rebind, choice(&[("rebind", OnDown::Rebind), ("fail", OnDown::Fail)]));
    let secret = table.get("secret_file", None, auto_or(text(names::file)));
    let ip_hash = ip_hash(table.table("ip_hash"));
    check_attributes(&table, &cookie);
    check_use(&table, &by);
    table.finish();
    let secret = secret.map_or(SecretSource::Auto, SecretSource::File);
    (Sticky { by, cookie, ip_hash, on_down, secret }, named)
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
    let given = list(key)(value);
    let mut words: Vec<&str> = Vec::new();
    for element in value.elements().into_iter().flatten() {
        let Some(word) = element.inner().as_str() else { continue };
        if words.contains(&word) {
            element.wrong(Wrong::new(format!("names \"{word}\" twice"), "take one out"));
        }
        words.push(word);
    }
    given
}

fn key(value: &Value<'_>) -> Option<StickyKey> {
    text(|text| match text {
        "sid" => Ok(StickyKey::Sid),
        "cookie" => Ok(StickyKey::Cookie),
        "ip_hash" => Ok(StickyKey::IpHash),
        _ => match text.split_once(':') {
            Some(("header", name)) if names::is_token(name) => {
                Ok(StickyKey::Header(name.to_ascii_lowercase()))
            }
            Some(("query", name)) if names::is_token(name) => Ok(StickyKey::Query(name.to_owned())),
            Some(("header" | "query", _)) => Err(Wrong::new("must name a field behind the colon", {
                "write for example \"header:x-user\" or \"query:user\""
            })),
            _ => Err(unknown_key(text)),
        },
    })(value)
}

fn unknown_key(text: &str) -> Wrong {
    let what = "must hold \"sid\", \"cookie\", \"ip_hash\", \"header:NAME\" or \"query:NAME\"";
    let write = match nearest(text, ["sid", "cookie", "ip_hash"].into_iter()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => "write for example [\"cookie\", \"ip_hash\"]".to_owned(),
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
}

/// Of a ratio between 1.01 and 100; rounded, so that placement needs no floating point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "101 to 10 000")]
fn hundredths(ratio: f64) -> u32 {
    (ratio * 100.0).round() as u32
}

fn ip_hash(mut table: Table<'_>) -> IpHash {
    let nginx = table.get("algorithm", false, choice(&[("rendezvous", false), ("nginx", true)]));
    let rendezvous = IpHash::Rendezvous {
        ipv4_prefix: table.get("ipv4_prefix", 32, count::<u8>(0..=32)),
        ipv6_prefix: table.get("ipv6_prefix", 64, count::<u8>(0..=128)),
        bound: table.get("bound", None, off_or(ratio(1.01..=100.0))).map(hundredths),
    };
    if nginx {
        for key in ["ipv4_prefix", "ipv6_prefix", "bound"] {
            if let Some(span) = table.key_span(key) {
                let title = format!("`{}.{key}` does not go with algorithm = \"nginx\"", table.name());
                let label = "delete it: nginx hashes three bytes of IPv4 and all of IPv6";
                table.walk().report_if_whole(Problem::error(span, title, label));
            }
        }
    }
    table.finish();
    if nginx { IpHash::Nginx } else { rendezvous }
}
