//! Names, hosts, paths and other texts with a grammar. Pure: text in, value or what to type out.

use std::path::PathBuf;

use super::super::raw::Wrong;

/// A name for an upstream or an instance, which becomes a metric's label and an argument of commands.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"-_.:[]".contains(&c);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(good) {
        return Err(Wrong::new(
            "must be a name of 1 to 128 letters, digits, - _ . : [ ]",
            format!("write for example \"{}\"", cleaned(text, "blue-1", good)),
        ));
    }
    Ok(text.to_owned())
}

/// `text` without what `good` refuses, or `example` when too little is left.
fn cleaned(text: &str, example: &str, good: impl Fn(u8) -> bool) -> String {
    let fold = |c: char| if c.is_ascii() && u8::try_from(c).is_ok_and(&good) { c } else { '-' };
    let cleaned: String = text.chars().take(40).map(fold).collect();
    let cleaned = cleaned.trim_matches('-');
    if cleaned.is_empty() { example.to_owned() } else { cleaned.to_owned() }
}

/// Whether `text` is a host name (RFC 1123, underscores as found in the field).
pub(super) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    bare.len() <= 253 && bare.split('.').all(label)
}

/// A path as it stands in a request line: raw, without query, without dot segments (requests with those are refused).
pub(super) fn path(text: &str) -> Result<String, Wrong> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    let bare = bare.split(['?', '#']).next().unwrap_or("");
    let write =
        format!("write \"{}\"", without_dots(&encoded(&format!("/{}", bare.trim_start_matches('/')))));
    if !text.starts_with('/') {
        return Err(Wrong::new("must be a path", write));
    }
    if text.contains(['?', '#']) {
        return Err(Wrong::new("must be a path without a query", write));
    }
    if encoded(text) != text {
        return Err(Wrong::new("has a character that is encoded in a path", write));
    }
    if text.split('/').any(is_dots) {
        return Err(Wrong::new("has a dot segment: requests with . or .. are refused", write));
    }
    if text.len() > 1024 {
        return Err(Wrong::new("is longer than 1024 bytes", "write a shorter path"));
    }
    Ok(text.to_owned())
}

/// `text` with everything that cannot stand in a path as `%XX`.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\`".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// `path`, its dot segments resolved (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        if !is_dots(segment) {
            segments.push(segment);
        } else if segment.len() != 1 && !segment.eq_ignore_ascii_case("%2e") {
            segments.pop();
        }
    }
    format!("/{}", segments.join("/"))
}

/// A file by its absolute path: a service's working directory is nobody's business.
pub(super) fn file(text: &str) -> Result<PathBuf, Wrong> {
    if !text.starts_with('/') || text.contains('\0') {
        let write = format!("write for example \"/etc/stickyd/{}\"", text.trim_start_matches(['.', '/']));
        return Err(Wrong::new("must be an absolute path", write));
    }
    if text.ends_with('/') {
        return Err(Wrong::new("must be a file, not a directory", "write the path of a file"));
    }
    Ok(PathBuf::from(text))
}

/// Whether `text` is a token of HTTP (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !text.is_empty() && text.bytes().all(good)
}

/// A cookie's name (RFC 6265, section 4.1.1).
pub(super) fn cookie(text: &str) -> Result<String, Wrong> {
    if !is_token(text) || text.len() > 128 {
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'.';
        let write = format!("write for example \"{}\"", cleaned(text, "stickyd", good));
        return Err(Wrong::new("must be a cookie's name: letters, digits, - _ .", write));
    }
    Ok(text.to_owned())
}

/// A cookie's `Path` (RFC 6265, section 4.1.1).
pub(super) fn cookie_path(text: &str) -> Result<String, Wrong> {
    if text.contains([';', ',']) {
        return Err(Wrong::new("must be a path without ; or ,", "write for example \"/\""));
    }
    path(text)
}

/// A cookie's `Domain`.
pub(super) fn cookie_domain(text: &str) -> Result<String, Wrong> {
    let bare = text.trim_start_matches(['.', '*']);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Err(Wrong::new(
            "must be a domain, not an address",
            "write \"off\": the cookie is the host's own",
        ));
    }
    if bare != text || !is_host(text) || text.ends_with('.') {
        let bare = bare.split("://").last().unwrap_or(bare).split(['/', ':']).next().unwrap_or("");
        let example = if is_host(bare) { bare.trim_end_matches('.') } else { "example.com" };
        return Err(Wrong::new("must be a domain", format!("write \"{example}\"")));
    }
    Ok(text.to_ascii_lowercase())
}

/// An `Upgrade` token besides `websocket`, lower-case.
pub(super) fn upgrade_protocol(text: &str) -> Result<String, Wrong> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "websocket" => Err(Wrong::new("lists websocket, which always passes", "take this out")),
        "h2c" | "http/2" | "tls/1.0" => {
            let why = format!("lists {lower}, which would carry requests past every check");
            Err(Wrong::new(why, "take this out"))
        }
        _ if lower.split('/').count() <= 2 && lower.split('/').all(is_token) => Ok(lower),
        _ => {
            Err(Wrong::new("must hold Upgrade tokens", "write for example \"my-protocol\" or \"proto/1.0\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["a", "instance-1", "a.b.example", "a_b", "a.example.", "xn--bcher-kva.example", "1a.2b"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in
            ["", ".", "-a", "a-", "a..b", "a b", "bücher", &"a".repeat(64), &"a.".repeat(200), "a/b", "*"]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["/", "/socket.io/", "/a/%20b", "/...", "/a;b=c", "/.well-known"] {
            assert!(path(good).is_ok(), "{good}");
        }
        for bad in
            ["", "a", "/a?b", "/a#b", "/a b", "/ä", "/./a", "/a/..", "/%2e%2E/a", "/a\\b", "/a\"b", "/a\n"]
        {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cookies() {
        for good in ["stickyd", "__Host-a", "a.b_c"] {
            assert!(cookie(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a=b", "a;b", "ä", "a,b"] {
            assert!(cookie(bad).is_err(), "{bad}");
        }
        assert_eq!(cookie_domain("Example.com"), Ok("example.com".to_owned()));
        for bad in
            ["", ".example.com", "*.example.com", "10.0.0.1", "::1", "example.com.", "https://example.com"]
        {
            assert!(cookie_domain(bad).is_err(), "{bad}");
        }
    }
}
