//! From the document to the model: every key of the schema with its reader, default and range.
//!
//! One file for each part of the document. Everything here goes on after a problem, with the default in the place of
//! the wrong value, so that one run finds them all; what comes out is used only if there was none.

mod address;
mod admin;
mod closing;
mod cross;
mod health;
mod limits;
mod listen;
mod log;
mod names;
mod placement;
mod route;
mod sticky;
mod timeouts;
mod top;
mod upstream;

use super::model::Config;
use super::raw::Table;

pub(super) use address::network as parse_network;

/// The model of a document.
pub(super) fn config(mut top: Table<'_>) -> Config {
    let general = top::read(&mut top);
    let listeners = listen::read(&mut top);
    let timeouts = timeouts::read(&mut top);
    let mut limits = limits::read(&mut top);
    let upstreams = upstream::read(&mut top, &timeouts.timeouts);
    limits.prefixes = limits::prefixes(upstreams.iter().map(|read| &read.upstream));
    let routes = route::read(&mut top, &upstreams, limits.body);
    let admin = admin::read(&mut top);
    let metrics = top::metrics(&mut top);
    let log = log::read(&mut top);
    let reload = top::reload(&mut top);
    let shutdown = top::shutdown(&mut top, &general);
    let upgrade = top::upgrade(&mut top);
    // The usual place of the status page is given up to whoever wants it.
    let status = admin.page.filter(|page| page.named);
    let pages =
        [("metrics", metrics), ("admin", status)].map(|(of, page)| (of, page.map(|page| page.address)));
    cross::check(&top, &general, &listeners, &timeouts, &upstreams, &routes, pages);
    top.finish();
    Config {
        workers: general.workers,
        trusted_proxies: general.trusted_proxies,
        client_ip_header: general.client_ip_header,
        health_path: general.health_path,
        upgrade_protocols: general.upgrade_protocols,
        listeners: listeners.into_iter().map(toml::Spanned::into_inner).collect(),
        upstreams: upstreams.into_iter().map(|read| read.upstream).collect(),
        routes: routes.into_iter().map(toml::Spanned::into_inner).collect(),
        limits,
        admin,
        metrics,
        log,
        reload,
        shutdown,
        upgrade,
        timeouts: timeouts.timeouts,
    }
}
