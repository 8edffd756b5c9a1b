//! `listen`, short and long.

use std::path::PathBuf;

use toml::de::DeValue;

use super::super::model::{Certificate, ListenTls, Listener, ProxyProtocol};
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
    let proxy_protocol = ProxyProtocol::Off;
    let listener = Listener { address, backlog: BACKLOG, proxy_protocol, tls: None, redirect: false };
    Some(Spanned::new(value.span(), listener))
}

fn long(mut table: Table<'_>) -> Option<Spanned<Listener>> {
    let address = table.need("address", "address = \":80\"", spanned(text(address::listen)));
    let backlog = table.get("backlog", BACKLOG, count::<u32>(1..=65_535));
    let tls = table.get("tls", None, off_or(tls));
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
    let redirect = table.get("redirect", false, choice(&[("off", false), ("https", true)]));
    if let (true, Some(_), Some(span)) = (redirect, &tls, table.value_span("redirect")) {
        let label = "clients of this listener use https already: delete this line, or write \"off\"";
        table.walk().report(Problem::error(span, "a listener with `tls` redirects to itself", label));
    }
    table.finish();
    let address = address?;
    let span = address.span();
    Some(Spanned::new(
        span,
        Listener { address: address.into_inner(), backlog, proxy_protocol, tls, redirect },
    ))
}

/// One certificate, or several of which SNI chooses.
fn tls(value: &Value<'_>) -> Option<ListenTls> {
    let example =
        "write { cert = \"/etc/stickyd/tls/fullchain.pem\", key = \"/etc/stickyd/tls/privkey.pem\" }";
    match value.inner() {
        DeValue::Table(_) => {
            let One { certificate, client_ca } = one_certificate(value)?;
            Some(ListenTls { certificates: vec![certificate], client_ca: client_ca.map(Spanned::into_inner) })
        }
        DeValue::Array(list) if !list.is_empty() && list.iter().all(|item| item.get_ref().is_table()) => {
            let all: Vec<Option<One>> = value.elements()?.map(|value| one_certificate(&value)).collect();
            Some(several(value, all.into_iter().collect::<Option<_>>()?))
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

struct One {
    certificate: Certificate,
    client_ca: Option<Spanned<PathBuf>>,
}

fn one_certificate(value: &Value<'_>) -> Option<One> {
    let mut table = Table::of(value)?;
    let cert = table.need("cert", "cert = \"/etc/stickyd/tls/fullchain.pem\"", text(names::file));
    let key = table.find("key", text(names::file));
    let client_ca = table.find("client_ca", spanned(text(names::file)));
    table.finish();
    let cert = cert?;
    Some(One { certificate: Certificate { key: key.unwrap_or_else(|| cert.clone()), cert }, client_ca })
}

/// A client is asked for its certificate whatever name it calls: else it would call one that asks for none, and then say in `Host`
/// what it wants.
fn several(value: &Value<'_>, all: Vec<One>) -> ListenTls {
    let ca = |one: &One| one.client_ca.as_ref().map(|ca| ca.get_ref().clone());
    let first = all.first().and_then(ca);
    if let Some(other) = all.iter().find(|one| ca(one) != first) {
        let given = other.client_ca.as_ref().or_else(|| all.first()?.client_ca.as_ref());
        let span = given.map_or_else(|| value.span(), Spanned::span);
        let label = "write the same in every certificate of this listener, or open a listener of its own";
        let title = "`client_ca` differs between the certificates of one listener";
        value.walk().report(Problem::error(span, title, label));
    }
    ListenTls { certificates: all.into_iter().map(|one| one.certificate).collect(), client_ca: first }
}
