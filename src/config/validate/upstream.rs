//! `[upstream.NAME]` and its instances.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::super::model::{
    Balance, Certificate, Instance, InstanceState, InstanceTls, Resolve, SendProxyProtocol, Timeouts,
    Upstream,
};
use super::super::raw::{
    Spanned, Table, Value, Wrong, boolean, choice, count, duration, list, off_or, spanned, string, text,
};
use super::super::report::Problem;
use super::{address, closing, health, names, placement, sticky, timeouts};

const MOST_UPSTREAMS: usize = 1000;
const MOST_INSTANCES: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

/// An upstream and where it says what is compared with other parts of the document.
pub(super) struct Read {
    pub(super) upstream: Upstream,
    /// Its name in the header.
    pub(super) span: Range<usize>,
    pub(super) instances: Vec<Range<usize>>,
    pub(super) timeouts: timeouts::Spans,
    /// The cookie's name where the document gives one.
    pub(super) cookie: Option<Range<usize>>,
}

pub(super) fn read(top: &mut Table<'_>, base: &Timeouts) -> Vec<Read> {
    let value = top.ask("upstream");
    let table = value.as_ref().and_then(Table::of);
    if let (Some(value), None) = (&value, &table) {
        value.wrong_table("upstream.NAME", None);
        return vec![];
    }
    let named = table.as_ref().map(Table::named).unwrap_or_default();
    if named.is_empty() {
        let problem = Problem::whole(
            "no upstream: there is nowhere to send clients",
            "add a section [upstream.socketio] with the line instances = [\"instance-1:3000\", \"instance-2:3000\"]",
        );
        top.missing("upstream", problem);
    }
    if named.len() > MOST_UPSTREAMS {
        let title = format!("more than {MOST_UPSTREAMS} upstreams");
        top.walk().report(Problem::error(top.span(), title, "take some out"));
        return vec![];
    }
    let mut nameless = false;
    let mut upstreams = Vec::new();
    for (name, value) in named {
        match Table::of(&value) {
            Some(table) => upstreams.push(one(&name, table, base)),
            None if nameless => {}
            None => {
                nameless = true;
                let title = format!("`{}` is no upstream: an upstream has a name", value.name());
                let label = "write the section's header as [upstream.NAME], for example [upstream.socketio]";
                top.walk().report(Problem::error(name.span(), title, label));
            }
        }
    }
    upstreams
}

fn one(name: &Spanned<&str>, mut table: Table<'_>, base: &Timeouts) -> Read {
    if let Err(wrong) = names::name(name.get_ref()) {
        let title = format!("the upstream's name {}", wrong.what);
        table.walk().report(Problem::error(name.span(), title, wrong.write));
    }
    let instances = instances(&mut table, name.span());
    let balance = table.get(
        "balance",
        Balance::LeastTunnels,
        choice(&[
            ("least_tunnels", Balance::LeastTunnels),
            ("round_robin", Balance::RoundRobin),
            ("random", Balance::Random),
        ]),
    );
    let tls = table.get("tls", None, off_or(tls));
    let send_proxy_protocol = table.get(
        "send_proxy_protocol",
        SendProxyProtocol::Off,
        choice(&[
            ("off", SendProxyProtocol::Off),
            ("v1", SendProxyProtocol::V1),
            ("v2", SendProxyProtocol::V2),
        ]),
    );
    let resolve = Resolve {
        every: table.get("resolve", 30 * SECOND, duration(SECOND..=24 * 3600 * SECOND)),
        forget: table.get("resolve_forget", 600 * SECOND, duration(SECOND..=7 * 24 * 3600 * SECOND)),
    };
    let expand = table.get("expand", false, boolean);
    let source = table.get("source", vec![], list(spanned(text(address::source))));
    let source = without_twins(&table, source);
    let engine_io_paths = table.get("engine_io_path", vec!["/socket.io/".to_owned()], engine_io_paths);
    let max_handshakes = table.get("max_handshakes", Some(64), off_or(count::<u32>(1..=1_000_000)));
    let sticky::Read { sticky, cookie, by } = sticky::read(&mut table, name.get_ref());
    let health = health::read(&mut table, &engine_io_paths);
    let (down, drain) = (closing::down(&mut table), closing::drain(&mut table));
    let (rebalance, max_skew) = closing::rebalance(&mut table);
    let timeouts::Read { timeouts, spans } = timeouts::overrides(&mut table, base);
    let places = instances.iter().map(Spanned::span).collect();
    let upstream = Upstream {
        name: name.get_ref().to_string(),
        instances: instances.into_iter().map(Spanned::into_inner).collect(),
        balance,
        tls,
        resolve,
        send_proxy_protocol,
        expand,
        source,
        engine_io_paths,
        max_handshakes,
        sticky,
        health,
        down,
        drain,
        rebalance,
        timeouts,
    };
    placement::check(&table, &upstream, &by, max_skew.as_ref());
    table.finish();
    Read { upstream, span: name.span(), instances: places, timeouts: spans, cookie }
}

fn instances(table: &mut Table<'_>, header: Range<usize>) -> Vec<Spanned<Instance>> {
    let name = format!("`{}.instances`", table.name());
    let walk = table.walk();
    let Some(value) = table.ask("instances") else {
        let label = "add the line instances = [\"instance-1:3000\", \"instance-2:3000\"]";
        table.missing("instances", Problem::error(header, format!("{name} is missing"), label));
        return vec![];
    };
    let elements: Vec<Value<'_>> = match value.inner() {
        DeValue::Array(list) if list.is_empty() => {
            value.wrong(Wrong::new("is empty: there is nowhere to send clients", {
                "write for example [\"instance-1:3000\", \"instance-2:3000\"]"
            }));
            return vec![];
        }
        DeValue::Array(list) if list.len() > MOST_INSTANCES => {
            value.wrong(Wrong::new(format!("has more than {MOST_INSTANCES} instances"), "take some out"));
            return vec![];
        }
        DeValue::Array(_) => value.elements().into_iter().flatten().collect(),
        DeValue::String(_) => {
            value.mismatch("a list", format!("write [{}]", value.words()));
            return vec![];
        }
        _ => {
            value.mismatch("a list", "write for example [\"instance-1:3000\", \"instance-2:3000\"]");
            return vec![];
        }
    };
    let found: Vec<Spanned<Instance>> = elements.iter().filter_map(instance).collect();
    let mut seen = HashMap::new();
    for instance in &found {
        let Instance { name, host, port, .. } = instance.get_ref();
        let address = format!("{}:{port}", host.to_ascii_lowercase().trim_end_matches('.'));
        // An instance without a name is called by its address: one of the two complaints says it all.
        let twin = seen.insert(("address", address), instance.span());
        let named = seen.insert(("name", name.clone()), instance.span());
        let (what, first) = match (twin, named) {
            (Some(first), _) => (format!("{host}:{port} is listed twice"), first),
            (None, Some(first)) => (format!("two instances are called \"{name}\""), first),
            (None, None) => continue,
        };
        let label = format!("first in line {}: take one out, or change it", walk.line(first.start));
        walk.report(Problem::error(instance.span(), what, label));
    }
    found
}

fn instance(value: &Value<'_>) -> Option<Spanned<Instance>> {
    let Some(mut table) = Table::of(value) else {
        let DeValue::String(_) = value.inner() else {
            let write = match value.inner() {
                DeValue::Integer(_) => format!("write \"127.0.0.1:{}\"", value.words()),
                _ => "write for example \"instance-1:3000\"".to_owned(),
            };
            value.mismatch("a list of addresses", write);
            return None;
        };
        let written = string(value)?;
        let (host, port) = text(address::instance)(value)?;
        return Some(Spanned::new(value.span(), Instance::plain(written.to_owned(), host, port)));
    };
    let address = table.need("address", "address = \"instance-1:3000\"", |value| {
        Some((string(value)?.to_owned(), text(address::instance)(value)?))
    });
    let name = table.get("name", None, |value| text(names::name)(value).map(Some));
    let weight = table.get("weight", 1, count::<u32>(1..=1000));
    let max_tunnels = table.get("max_tunnels", None, off_or(count::<u32>(1..=10_000_000)));
    let backup = table.get("backup", false, boolean);
    let state = table.get(
        "state",
        InstanceState::Ready,
        choice(&[
            ("ready", InstanceState::Ready),
            ("cordon", InstanceState::Cordon),
            ("drain", InstanceState::Drain),
            ("maintain", InstanceState::Maintain),
        ]),
    );
    table.finish();
    let (written, (host, port)) = address?;
    let plain = Instance::plain(name.unwrap_or(written), host, port);
    Some(Spanned::new(value.span(), Instance { weight, max_tunnels, backup, state, ..plain }))
}

/// How instances are spoken to over TLS.
fn tls(value: &Value<'_>) -> Option<InstanceTls> {
    let Some(mut table) = Table::of(value) else {
        value.mismatch("a table", "write for example { ca = \"/etc/stickyd/tls/ca.pem\" }");
        return None;
    };
    let ca = table.find("ca", text(names::file));
    let sni = table.find("sni", text(host));
    let cert = table.find("client_cert", text(names::file));
    let key = table.find("client_key", text(names::file));
    if let (None, Some(_)) = (&cert, &key) {
        let span = table.key_span("client_key").unwrap_or_default();
        let label = "add client_cert = \"...\" beside it";
        table.walk().report_if_whole(Problem::error(span, "a key without its certificate", label));
    }
    table.finish();
    let client = cert.map(|cert| Certificate { key: key.unwrap_or_else(|| cert.clone()), cert });
    Some(InstanceTls { ca, sni, client })
}

fn host(text: &str) -> Result<String, Wrong> {
    if names::is_host(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Wrong::new("must be a host name", "write for example \"instances.example.com\""))
}

fn without_twins(table: &Table<'_>, source: Vec<Spanned<IpAddr>>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in source {
        if found.contains(address.get_ref()) {
            let title = format!("{} is listed twice in `{}.source`", address.get_ref(), table.name());
            table.walk().report(Problem::error(address.span(), title, "take one out"));
        }
        found.push(address.into_inner());
    }
    found
}

fn engine_io_paths(value: &Value<'_>) -> Option<Vec<String>> {
    match value.inner() {
        DeValue::Array(paths) if paths.is_empty() => {
            value.wrong(Wrong::new("is empty", "write \"off\" where no Engine.IO is spoken"));
            None
        }
        DeValue::Array(_) => list(text(names::path))(value),
        _ => off_or(text(names::path))(value).map(|path| path.into_iter().collect()),
    }
}
