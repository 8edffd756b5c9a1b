//! `[limits]`.

use super::super::model::Limits;
use super::super::raw::Wrong;
use super::super::raw::{Table, Value, auto_or, choice, count, list, off_or, rate, size, text};
use super::address;

const TIB: u64 = 1 << 40;

pub(super) fn read(top: &mut Table<'_>) -> Limits {
    let mut table = top.table("limits");
    let limits = Limits {
        sids: table.get("sids", 1_000_000, count::<usize>(1000..=100_000_000)),
        max_connections: table.get("max_connections", None, auto_or(count::<usize>(1..=100_000_000))),
        header: table.get("header", 32 << 10, |value| usize::try_from(size(1 << 10..=64 << 10)(value)?).ok()),
        headers: table.get("headers", 128, count::<usize>(1..=256)),
        body: table.get("body", Some(10 << 20), body()),
    };
    table.get("connections_per_ip", None, off_or(count::<u32>(1..=1_000_000)));
    table.get("tunnels_per_ip", None, off_or(count::<u32>(1..=1_000_000)));
    table.get("upgrades_per_ip", None, off_or(text(|text| rate(text, true))));
    table.get("exempt", vec![], list(text(address::network)));
    table.get("deny", vec![], list(text(address::network)));
    table.get("mode", true, choice(&[("enforce", true), ("observe", false)]));
    table.get("message", None, off_or(size(1..=TIB)));
    table.get("origins", vec![], list(text(origin)));
    table.finish();
    limits
}

/// Largest request body, of `[limits]` and of a route.
pub(super) fn body<'d>() -> impl Fn(&Value<'d>) -> Option<Option<u64>> {
    off_or(size(1..=TIB))
}

/// An origin (RFC 6454): scheme, host, port.
fn origin(text: &str) -> Result<String, Wrong> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let write = if text == "*" {
            "leave the list empty: [] means any".to_owned()
        } else {
            format!("write \"https://{text}\"")
        };
        return Err(Wrong::new("must hold origins", write));
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err(Wrong::new(
            "must hold origins without a path",
            format!("write \"{scheme}://{}\"", &rest[..at]),
        ));
    }
    let good = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '*' | '@' | ',' | ';');
    if rest.is_empty() || !rest.chars().all(good) || !scheme.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Wrong::new("must hold origins", "write for example \"https://app.example.com\""));
    }
    Ok(text.to_ascii_lowercase())
}
