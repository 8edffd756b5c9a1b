//! `[[route]]`.

use std::fmt::Write;

use toml::de::DeValue;

use super::super::model::{HostPattern, PathPattern, Route};
use super::super::raw::{Spanned, Table, Value, Wrong, list, nearest, string, text};
use super::super::report::Problem;
use super::{limits, names, upstream};

/// Routes in the order of the document, each with where it stands. With one upstream and none written: one that takes
/// everything.
pub(super) fn read(
    top: &mut Table<'_>,
    upstreams: &[upstream::Read],
    body: Option<u64>,
) -> Vec<Spanned<Route>> {
    let Some(value) = top.ask("route") else {
        return without(top, upstreams, body);
    };
    if let DeValue::Table(_) = value.inner() {
        value.mismatch("a list of tables", "write [[route]], in double brackets");
        return vec![];
    }
    if value.inner().as_array().is_some_and(|routes| routes.is_empty()) {
        return without(top, upstreams, body);
    }
    let read = |value: &Value<'_>| {
        let table = Table::of(value);
        if table.is_none() {
            value.mismatch("a list of tables", "write a section [[route]] for each");
        }
        table.map(|table| one(table, upstreams, body))
    };
    let routes = list(read)(&value).unwrap_or_default();
    routes.into_iter().flatten().collect()
}

fn without(top: &Table<'_>, upstreams: &[upstream::Read], body: Option<u64>) -> Vec<Spanned<Route>> {
    match upstreams {
        [] => vec![],
        [only] => {
            let route = Route { host: HostPattern::Any, path: PathPattern::Any, upstream: 0, body };
            vec![Spanned::new(only.span.clone(), route)]
        }
        [first, second, ..] => {
            let title = "more than one upstream and no [[route]]: which one serves a request?";
            let mut help = String::from("for example:");
            for (read, path) in [(second, "path = \"/api/*\"\n"), (first, "")] {
                let _ = write!(help, "\n[[route]]\n{path}upstream = \"{}\"", read.upstream.name);
            }
            let label = "add a [[route]] for each, the first that matches wins";
            top.walk().report_if_whole(Problem::error(second.span.clone(), title, label).help(help));
            vec![]
        }
    }
}

/// `None` in the list where a route had to be dropped: the others go on.
fn one(mut table: Table<'_>, upstreams: &[upstream::Read], limit: Option<u64>) -> Option<Spanned<Route>> {
    let host = table.get("host", HostPattern::Any, text(host));
    let path = table.get("path", PathPattern::Any, text(path));
    let body = table.get("body", limit, limits::body());
    let names: Vec<&str> = upstreams.iter().map(|read| read.upstream.name.as_str()).collect();
    let example = names.first().unwrap_or(&"socketio");
    let upstream = table.need("upstream", &format!("upstream = \"{example}\""), |value| {
        let name = string(value)?;
        let found = names.iter().position(|known| *known == name);
        if found.is_none() {
            let label = match nearest(name, names.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None if names.is_empty() || names.len() > 20 => format!("add a section [upstream.{name}]"),
                None => format!("write \"{}\"", names.join("\" or \"")),
            };
            let title = format!("there is no upstream \"{name}\"");
            value.walk().report_if_whole(Problem::error(value.span(), title, label));
        }
        found
    });
    let span = table.span();
    warn_of_lone_slash(&table, &path);
    table.finish();
    Some(Spanned::new(span, Route { host, path, upstream: upstream?, body }))
}

fn warn_of_lone_slash(table: &Table<'_>, path: &PathPattern) {
    if let (PathPattern::Exact(path), Some(span)) = (path, table.value_span("path"))
        && path.ends_with('/')
    {
        let title = format!("this route takes only \"{path}\" itself");
        let label = format!("write \"{path}*\" for it and everything below");
        table.walk().report(Problem::warning(span, title, label));
    }
}

fn host(text: &str) -> Result<HostPattern, Wrong> {
    if text == "*" || text.is_empty() {
        return Err(Wrong::new("must be a host", "delete this line: a route without a host takes any"));
    }
    let lower = text.to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("*.") {
        if names::is_host(rest) && !rest.ends_with('.') {
            return Ok(HostPattern::Suffix(format!(".{rest}")));
        }
    } else if is_literal(&lower) || (names::is_host(&lower) && !lower.ends_with('.')) {
        return Ok(HostPattern::Exact(lower));
    }
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let bare = bare.split(['/', '?']).next().unwrap_or(bare);
    let bare = bare.rsplit_once(':').map_or(bare, |(host, _)| host).trim_matches('.');
    let (dots, bare) = if let Some(rest) = bare.strip_prefix('*') {
        ("*.", rest.trim_start_matches('.'))
    } else {
        ("", bare)
    };
    let write = if names::is_host(bare) { format!("{dots}{bare}") } else { "app.example.com".to_owned() };
    Err(Wrong::new(
        "must be a host or \"*.\" and a domain, without scheme, port or path",
        format!("write \"{write}\""),
    ))
}

/// As it stands in a Host header: IPv6 in brackets.
fn is_literal(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    text.parse::<std::net::Ipv4Addr>().is_ok()
        || v6.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
}

fn path(text: &str) -> Result<PathPattern, Wrong> {
    let (bare, below) = match text.strip_suffix("/*") {
        Some(bare) => (bare, true),
        None => (text, false),
    };
    if bare.contains('*') {
        let bare = bare.trim_end_matches(['*', '/']).split('*').next().unwrap_or("").trim_end_matches('/');
        return Err(Wrong::new(
            "may have * only as its last part",
            format!(
                "write \"{bare}/*\" for {} and everything below",
                if bare.is_empty() { "/" } else { bare }
            ),
        ));
    }
    match (bare, below) {
        ("", true) => Ok(PathPattern::Any),
        (_, true) => names::path(bare).map(PathPattern::Prefix),
        (_, false) => names::path(bare).map(PathPattern::Exact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let exact = |text: &str| HostPattern::Exact(text.to_owned());
        assert_eq!(host("App.Example.com"), Ok(exact("app.example.com")));
        assert_eq!(host("[::1]"), Ok(exact("[::1]")));
        assert_eq!(host("*.example.com"), Ok(HostPattern::Suffix(".example.com".to_owned())));
        let table = [
            ("https://app.example.com/x", "write \"app.example.com\""),
            ("app.example.com:443", "write \"app.example.com\""),
            ("*example.com", "write \"*.example.com\""),
            ("*.*.example.com", "write \"app.example.com\""),
            ("example.com.", "write \"example.com\""),
        ];
        for (text, expected) in table {
            assert_eq!(host(text).unwrap_err().write, expected, "{text}");
        }
        for bad in ["", "*", "*.", "a b", "."] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(path("/*"), Ok(PathPattern::Any));
        assert_eq!(path("/api/*"), Ok(PathPattern::Prefix("/api".to_owned())));
        assert_eq!(path("/api"), Ok(PathPattern::Exact("/api".to_owned())));
        assert_eq!(path("/"), Ok(PathPattern::Exact("/".to_owned())));
        for bad in ["", "*", "/api*", "/*/a", "/a/*/*", "api/*", "/../*", "/a?b"] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert_eq!(path("/api*").unwrap_err().write, "write \"/api/*\" for /api and everything below");
    }
}
