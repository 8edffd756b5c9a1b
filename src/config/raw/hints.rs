//! "Did you mean": from a word that nobody knows to the one that was meant.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::report::Problem;

/// A key that its table does not have.
pub(super) struct Unknown {
    /// As in the document: `upstream.socketio`.
    pub(super) table: String,
    /// As in the schema: `upstream.NAME`.
    pub(super) schema: String,
    pub(super) key: String,
    pub(super) span: Range<usize>,
    /// What is written under it.
    pub(super) is_table: bool,
}

/// What other proxies, and people in a hurry, call our keys and values.
const SYNONYMS: &[(&str, &str)] = &[
    ("server", "instances"),
    ("servers", "instances"),
    ("backend", "instances"),
    ("backends", "instances"),
    ("nodes", "instances"),
    ("targets", "instances"),
    ("members", "instances"),
    ("endpoints", "instances"),
    ("upstreams", "upstream"),
    ("bind", "address"),
    ("port", "address"),
    ("listen", "address"),
    ("bind", "listen"),
    ("listeners", "listen"),
    ("routes", "route"),
    ("location", "path"),
    ("server_name", "host"),
    ("max_conns", "max_tunnels"),
    ("maxconn", "max_tunnels"),
    ("max_connections", "max_tunnels"),
    ("handshakes", "max_handshakes"),
    ("session_starts", "max_handshakes"),
    ("up", "ready"),
    ("active", "ready"),
    ("enabled", "ready"),
    ("down", "maintain"),
    ("maint", "maintain"),
    ("maintenance", "maintain"),
    ("disabled", "maintain"),
    ("lb", "balance"),
    ("strategy", "balance"),
    ("algorithm", "balance"),
    ("lb_policy", "balance"),
    ("name", "cookie"),
    ("cookie_name", "cookie"),
    ("expires", "ttl"),
    ("max_age", "ttl"),
    ("duration", "ttl"),
    ("secret", "secret_file"),
    ("key", "secret_file"),
    ("samesite", "same_site"),
    ("httponly", "http_only"),
    ("read_timeout", "response_head"),
    ("proxy_read_timeout", "response_head"),
    ("response", "response_head"),
    ("proxy_connect_timeout", "connect"),
    ("connect_timeout", "connect"),
    ("keepalive_timeout", "keep_alive"),
    ("idle", "tunnel_idle"),
    ("request_header", "request_head"),
    ("client_max_body_size", "body"),
    ("max_body_size", "body"),
    ("set_real_ip_from", "trusted_proxies"),
    ("real_ip_header", "client_ip_header"),
    ("healthcheck", "health"),
    ("health_check", "health"),
    ("log_level", "level"),
    ("access_log", "access"),
    ("worker_processes", "workers"),
    ("threads", "workers"),
    ("least_conn", "least_tunnels"),
    ("leastconn", "least_tunnels"),
    ("least_connections", "least_tunnels"),
    ("random_two", "least_tunnels"),
    ("roundrobin", "round_robin"),
    ("source", "ip_hash"),
    ("client_ip", "ip_hash"),
    ("ip", "ip_hash"),
    ("lb_cookie", "cookie"),
    ("session_id", "sid"),
    ("hdr", "header"),
    ("reject", "fail"),
    ("redispatch", "rebind"),
    ("xff", "x-forwarded-for"),
    ("warning", "warn"),
];

/// Words longer than this are not compared: comparing costs the product of the lengths.
const LONGEST: usize = 64;

/// What other proxies' `word` is called here.
pub(super) fn synonym(word: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours)
}

/// The one of `words` that `given` was probably meant to be.
pub(in crate::config) fn nearest<'a>(
    given: &str,
    words: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    same(given, &words).or_else(|| close(given, words))
}

/// The same word in another spelling, or the same thing by another name.
fn same<'a>(given: &str, words: &(impl Iterator<Item = &'a str> + Clone)) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    let plain = |word: &str| word.replace(['-', ' '], "_");
    let spelled = words.clone().find(|word| plain(word) == plain(&given));
    spelled.or_else(|| {
        let mut meant = SYNONYMS.iter().filter(|(other, _)| *other == given);
        meant.find_map(|(_, word)| words.clone().find(|known| known == word))
    })
}

/// A word that is a few slips of the finger away.
fn close<'a>(given: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = match given.len() {
        1..4 => 1,
        4..8 => 2,
        8..LONGEST => 3,
        _ => return None,
    };
    let given = given.to_ascii_lowercase();
    let distances = words.map(|word| (strsim::damerau_levenshtein(word, &given), word));
    let (distance, word) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= far).then_some(word)
}

/// What to say about `unknown`, given every key of the `schema`; with advice or without.
pub(super) fn explain(unknown: &Unknown, schema: &BTreeSet<String>, advise: bool) -> Problem {
    let full = if unknown.table.is_empty() {
        unknown.key.clone()
    } else {
        format!("{}.{}", unknown.table, unknown.key)
    };
    if !advise {
        return Problem::error(unknown.span.clone(), format!("unknown key `{full}`"), "");
    }
    let here = keys_of(&unknown.schema, schema);
    let (label, help) = advice(unknown, schema, &here);
    let problem = Problem::error(unknown.span.clone(), format!("unknown key `{full}`"), label);
    help.into_iter().fold(problem, Problem::help)
}

/// Label and help. The same thing by another name is surest; then the very word in another table (a table that was not
/// put under its upstream, a key that slid below a section); then a slip of the finger.
fn advice(unknown: &Unknown, schema: &BTreeSet<String>, here: &[&str]) -> (String, Option<String>) {
    let key = unknown.key.as_str();
    if let Some(word) = same(key, &here.iter().copied()) {
        return (format!("did you mean `{word}`?"), None);
    }
    let slip = close(key, here.iter().copied());
    let homes = homes(unknown, schema);
    match homes.as_slice() {
        [] => match slip {
            Some(word) => (format!("did you mean `{word}`?"), None),
            None => ("no such key".to_owned(), list(unknown, here)),
        },
        [top] if top.is_empty() => {
            let label = "a key of the top level: move it above the first [section]".to_owned();
            (label, Some("in TOML every key below a [section] belongs to that section".to_owned()))
        }
        homes => {
            let homes: Vec<String> = homes.iter().map(|home| place(home, &unknown.table)).collect();
            let label = match (homes.as_slice(), unknown.is_table) {
                ([home], true) if home.ends_with(']') => {
                    format!("write {}.{key}]", home.trim_end_matches(']'))
                }
                _ => format!("this key belongs in {}", homes.join(" or ")),
            };
            (label, slip.map(|word| format!("or did you mean `{word}`?")))
        }
    }
}

/// The tables of the schema, at most three, that have this very key for a value of this kind.
fn homes(unknown: &Unknown, schema: &BTreeSet<String>) -> Vec<String> {
    let is_table = |path: &str| {
        let below = format!("{path}.");
        schema.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    };
    let last = |path: &str| path.rsplit_once('.').map_or(0, |(table, _)| table.len() + 1);
    let has = |path: &&String| path[last(path)..] == unknown.key && is_table(path) == unknown.is_table;
    let table = |path: &String| path[..last(path).saturating_sub(1)].to_owned();
    let homes: Vec<String> = schema.iter().filter(has).map(table).collect();
    if homes.len() > 3 {
        return Vec::new();
    }
    // The top level wins: it is where such a key slips from by being written too far down.
    if homes.iter().any(String::is_empty) { vec![String::new()] } else { homes }
}

fn keys_of<'a>(table: &str, schema: &'a BTreeSet<String>) -> Vec<&'a str> {
    let key = |path: &'a String| {
        let rest = if table.is_empty() { path } else { path.strip_prefix(table)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some(rest)
    };
    schema.iter().filter_map(key).collect()
}

fn list(unknown: &Unknown, here: &[&str]) -> Option<String> {
    (!here.is_empty()).then(|| format!("keys {}: {}", place_in_words(unknown), here.join(", ")))
}

fn place_in_words(unknown: &Unknown) -> String {
    if unknown.schema.is_empty() {
        return "of the top level".to_owned();
    }
    format!("in {}", place(&unknown.schema, &unknown.table))
}

/// A table of the schema as one would write it near the table `near` of the document.
fn place(schema: &str, near: &str) -> String {
    let upstream = near.strip_prefix("upstream.").and_then(|rest| rest.split('.').next()).unwrap_or("NAME");
    match schema {
        "" => "the top level".to_owned(),
        "listen" | "route" => format!("[[{schema}]]"),
        "upstream.NAME.instances" => "an entry of `instances`".to_owned(),
        _ => format!("[{}]", schema.replace("NAME", upstream)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant() {
        let words = ["instances", "balance", "sticky", "engine_io_path", "x-forwarded-for", "ttl"];
        let table: &[(&str, Option<&str>)] = &[
            ("instance", Some("instances")),
            ("Balance", Some("balance")),
            ("engine-io-path", Some("engine_io_path")),
            ("X-Forwarded-For", Some("x-forwarded-for")),
            ("servers", Some("instances")),
            ("tll", Some("ttl")),
            ("max_age", Some("ttl")),
            ("zzz", None),
            ("", None),
            (&"b".repeat(10_000), None),
        ];
        for (given, expected) in table {
            assert_eq!(nearest(given, words.iter().copied()), *expected, "{given}");
        }
    }
}
