//! `listen`, short and long.

use toml::de::DeValue;

use super::super::model::{Listener, ProxyProtocol};
use super::super::raw::Wrong;
use super::super::raw::{Spanned, Table, Value, boolean, choice, count, off_or, spanned, text};
use super::super::report::Problem;
use super::{address, names};

/// The kernel cuts this to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// Each costs every worker a socket.
const MOST: usize = 256;

pub(super) fn read(top: &mut Table<'_>) -> Vec<Spanned<Listener>> {
    let Some(value) = top.ask("listen") else {
        let title = "`listen` is missing: there is nowhere to accept clients";
        top.missing("listen", Problem::whole(title, "add at the top of the file: listen = \":80\""));
        return vec![];
    };
    match value.inner() {
        DeValue::String(_) => short(&value).into_iter().collect(),
        DeValue::Array(list) if list.is_empty() => {
            value.wrong(Wrong::new("is empty: there is nowhere to accept clients", "write \":80\""));
            vec![]
        }
        DeValue::Array(list) if list.len() > MOST => {
            value.wrong(Wrong::new(format!("has more than {MOST} listeners"), "take some out"));
            vec![]
        }
        DeValue::Array(_) => value.elements().into_iter().flatten().filter_map(|value| one(&value)).collect(),
        DeValue::Table(_) => {
            let words = value.walk().words(value.span());
            let write = if words.starts_with('[') {
                "write [[listen]], in double brackets"
            } else {
                "write listen = [{ ... }]"
            };
            value.mismatch("an address or a list of listeners", write);
            vec![]
        }
        DeValue::Integer(_) => {
            value.mismatch("an address", format!("write \":{}\"", value.words()));
            vec![]
        }
        _ => {
            value.mismatch("an address", "write for example \":80\"");
            vec![]
        }
    }
}

fn one(value: &Value<'_>) -> Option<Spanned<Listener>> {
    match value.inner() {
        DeValue::Table(_) => long(Table::of(value)?),
        DeValue::Integer(_) => {
            value.mismatch("a list of addresses", format!("write \":{}\"", value.words()));
            None
        }
        _ => short(value),
    }
}

fn short(value: &Value<'_>) -> Option<Spanned<Listener>> {
    let value = value.short_for("address");
    let address = text(address::listen)(&value)?;
    Some(Spanned::new(
        value.span(),
        Listener { address, backlog: BACKLOG, proxy_protocol: ProxyProtocol::Off },
    ))
}

fn long(mut table: Table<'_>) -> Option<Spanned<Listener>> {
    let address = table.need("address", "address = \":80\"", spanned(text(address::listen)));
    let backlog = table.get("backlog", BACKLOG, count::<u32>(1..=65_535));
    table.get("tls", None, off_or(tls));
    table.get("http2", true, boolean);
    let proxy_protocol = table.get(
        "proxy_protocol",
        ProxyProtocol::Off,
        choice(&[
            ("off", ProxyProtocol::Off),
            ("optional", ProxyProtocol::Optional),
            ("required", ProxyProtocol::Required),
        ]),
    );
    table.get("redirect", "off", choice(&[("off", "off"), ("https", "https")]));
    table.finish();
    let address = address?;
    Some(Spanned::new(address.span(), Listener { address: address.into_inner(), backlog, proxy_protocol }))
}

/// One certificate, or several of which SNI chooses.
fn tls(value: &Value<'_>) -> Option<()> {
    let one = |value: &Value<'_>| {
        let mut table = Table::of(value)?;
        let cert = table.need("cert", "cert = \"/etc/stickyd/tls/fullchain.pem\"", text(names::file));
        table.find("key", text(names::file));
        table.find("client_ca", text(names::file));
        table.finish();
        cert.map(drop)
    };
    let example =
        "write { cert = \"/etc/stickyd/tls/fullchain.pem\", key = \"/etc/stickyd/tls/privkey.pem\" }";
    match value.inner() {
        DeValue::Table(_) => one(value),
        DeValue::Array(list) if !list.is_empty() && list.iter().all(|item| item.get_ref().is_table()) => {
            let all: Vec<Option<()>> = value.elements()?.map(|value| one(&value)).collect();
            all.into_iter().collect()
        }
        DeValue::Boolean(true) | DeValue::String(_) | DeValue::Array(_) => {
            value.mismatch("a certificate, or a list of them", example);
            None
        }
        _ => {
            value.mismatch("a certificate", example);
            None
        }
    }
}
