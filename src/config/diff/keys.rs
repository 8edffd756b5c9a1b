//! Every value of a configuration by its key, as TOML has it.
//!
//! Each struct is taken apart whole, without `..`: a new field does not compile until it has a row here, so no change of one
//! is ever overlooked.

mod limits;
mod tls;

use std::time::Duration;

use super::super::model::{
    AccessFormat, AccessTarget, Admin, AdminSocket, Balance, Check, ClientIpHeader, Config, Cookie, Down,
    Drain, Health, HostPattern, Instance, IpHash, Listener, Log, LogFormat, OnDown, PathPattern,
    ProxyProtocol, Rate, Rebalance, Reload, Resolve, Route, SameSite, SecretSource, Secure,
    SendProxyProtocol, Shutdown, Sticky, StickyKey, Timeouts, Upgrade, Upstream, WhenDown,
};
use super::super::raw::{show_duration, show_size};
use super::What;

/// Keys with their values, in the order of the file's example. A key that means nothing is left out.
pub(super) type Keys = Vec<(&'static str, String)>;

/// What differs: in the order of `new`, then what only `old` has.
pub(super) fn differences(old: &Keys, new: &Keys) -> Vec<What> {
    let of =
        |keys: &Keys, key: &str| keys.iter().find(|(other, _)| *other == key).map(|(_, value)| value.clone());
    let only_old = old.iter().filter(|(key, _)| of(new, key).is_none());
    let keys = new.iter().chain(only_old).map(|(key, _)| *key);
    keys.filter_map(|key| {
        let (old, new) = (of(old, key), of(new, key));
        (old != new).then_some(What::Key { key, old, new })
    })
    .collect()
}

/// Those of no listener, upstream or route.
pub(super) fn whole(config: &Config) -> Keys {
    let Config {
        workers,
        trusted_proxies,
        client_ip_header,
        health_path,
        upgrade_protocols,
        listeners: _,
        upstreams: _,
        routes: _,
        limits,
        admin: Admin { socket, mode, group, page },
        metrics,
        log: Log { level, format, access, access_format },
        reload: Reload { watch, max_removed },
        shutdown: Shutdown { ready_delay, spread, deadline },
        upgrade: Upgrade { linger, spread: upgrade_spread },
        timeouts: base,
    } = config;
    let mut keys = vec![
        ("workers", workers.to_string()),
        ("trusted_proxies", list(trusted_proxies)),
        (
            "client_ip_header",
            quoted(match client_ip_header {
                ClientIpHeader::XForwardedFor => "x-forwarded-for",
                ClientIpHeader::Forwarded => "forwarded",
            }),
        ),
        ("health_path", or_off(health_path.as_deref().map(quoted))),
        ("upgrade_protocols", list(upgrade_protocols)),
    ];
    keys.extend(timeouts(base));
    keys.extend(limits::keys(limits));
    keys.extend([
        (
            "admin.socket",
            quoted(&match socket {
                AdminSocket::Auto => "auto".to_owned(),
                AdminSocket::Path(path) => path.display().to_string(),
                AdminSocket::Off => "off".to_owned(),
            }),
        ),
        ("admin.mode", quoted(&format!("{mode:04o}"))),
        ("admin.group", quoted(group)),
        ("admin.address", or_off(page.map(|page| quoted(&page.address.to_string())))),
        ("metrics.address", or_off(metrics.map(|page| quoted(&page.address.to_string())))),
        ("log.level", quoted(level)),
        (
            "log.format",
            quoted(match format {
                LogFormat::Auto => "auto",
                LogFormat::Text => "text",
                LogFormat::Json => "json",
                LogFormat::Journald => "journald",
            }),
        ),
        (
            "log.access",
            quoted(&match access {
                AccessTarget::Auto => "auto".to_owned(),
                AccessTarget::Off => "off".to_owned(),
                AccessTarget::Stdout => "stdout".to_owned(),
                AccessTarget::File(path) => path.display().to_string(),
            }),
        ),
        (
            "log.access_format",
            quoted(match access_format {
                AccessFormat::Json => "json",
                AccessFormat::Combined => "combined",
            }),
        ),
        ("reload.watch", watch.to_string()),
        ("reload.max_removed", quoted(&format!("{max_removed}%"))),
        ("shutdown.ready_delay", time(*ready_delay)),
        ("shutdown.spread", time(*spread)),
        ("shutdown.deadline", time(*deadline)),
        ("upgrade.linger", time(*linger)),
        ("upgrade.spread", time(*upgrade_spread)),
    ]);
    keys
}

/// All time-outs, the client's side and the instance's.
fn timeouts(timeouts: &Timeouts) -> Keys {
    let Timeouts {
        first_byte,
        request_head,
        request_body,
        tls_handshake,
        connect,
        upgrade,
        response_head,
        body_idle,
        send,
        keep_alive,
        upstream_idle,
        tunnel_idle,
        half_close,
        close_wait,
        unacked,
        ping,
    } = *timeouts;
    let keys = [
        ("timeouts.first_byte", first_byte),
        ("timeouts.request_head", request_head),
        ("timeouts.request_body", request_body),
        ("timeouts.tls_handshake", tls_handshake),
        ("timeouts.connect", connect),
        ("timeouts.upgrade", upgrade),
        ("timeouts.response_head", response_head),
        ("timeouts.body_idle", body_idle),
        ("timeouts.send", send),
        ("timeouts.keep_alive", keep_alive),
        ("timeouts.upstream_idle", upstream_idle),
        ("timeouts.tunnel_idle", tunnel_idle),
        ("timeouts.half_close", half_close),
        ("timeouts.close_wait", close_wait),
        ("timeouts.unacked", unacked),
    ];
    let mut keys = keys.map(|(key, value)| (key, time(value))).to_vec();
    keys.push(("timeouts.ping", or_off(ping.map(time))));
    keys
}

/// A listener's, but for its address.
pub(super) fn listener(listener: &Listener) -> Keys {
    let Listener { address: _, backlog, tls, redirect, proxy_protocol } = listener;
    let proxy_protocol = match proxy_protocol {
        ProxyProtocol::Off => "off",
        ProxyProtocol::Optional => "optional",
        ProxyProtocol::Required => "required",
    };
    vec![
        ("tls", or_off(tls.as_ref().map(tls::listen_tls))),
        ("redirect", quoted(if *redirect { "https" } else { "off" })),
        ("backlog", backlog.to_string()),
        ("proxy_protocol", quoted(proxy_protocol)),
    ]
}

/// An upstream's own. Of its time-outs those that are not as `base`, the document's, has them.
pub(super) fn upstream(upstream: &Upstream, base: &Timeouts) -> Keys {
    let Upstream {
        name: _,
        instances: _,
        balance,
        tls,
        resolve: Resolve { every, forget },
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
        timeouts: own,
    } = upstream;
    let mut keys = vec![
        (
            "balance",
            quoted(match balance {
                Balance::LeastTunnels => "least_tunnels",
                Balance::RoundRobin => "round_robin",
                Balance::Random => "random",
            }),
        ),
        ("tls", or_off(tls.as_ref().map(tls::instance_tls))),
        (
            "send_proxy_protocol",
            quoted(match send_proxy_protocol {
                SendProxyProtocol::Off => "off",
                SendProxyProtocol::V1 => "v1",
                SendProxyProtocol::V2 => "v2",
            }),
        ),
        ("resolve", time(*every)),
        ("resolve_forget", time(*forget)),
        ("expand", expand.to_string()),
        ("source", list(source)),
        ("engine_io_path", if engine_io_paths.is_empty() { quoted("off") } else { list(engine_io_paths) }),
        ("max_handshakes", or_off(max_handshakes.map(|limit| limit.to_string()))),
    ];
    keys.extend(sticky_keys(sticky));
    keys.extend(health_keys(health));
    keys.extend(closing_keys(down, drain));
    keys.extend(rebalance_keys(rebalance));
    let inherited = timeouts(base);
    keys.extend(timeouts(own).into_iter().filter(|own| !inherited.contains(own)));
    keys
}

fn sticky_keys(sticky: &Sticky) -> Keys {
    let Sticky { by, cookie, ip_hash, on_down, secret } = sticky;
    let Cookie { name, ttl, session, path, domain, same_site, secure, http_only, partitioned } = cookie;
    let mut keys = vec![
        ("sticky.by", list(&by.iter().map(StickyKey::name).collect::<Vec<_>>())),
        ("sticky.cookie", quoted(name)),
        ("sticky.ttl", if *session { quoted("session") } else { time(*ttl) }),
        ("sticky.path", quoted(path)),
        ("sticky.domain", or_off(domain.as_deref().map(quoted))),
        (
            "sticky.same_site",
            quoted(match same_site {
                SameSite::Lax => "lax",
                SameSite::Strict => "strict",
                SameSite::None => "none",
            }),
        ),
        (
            "sticky.secure",
            match secure {
                Secure::Auto => quoted("auto"),
                Secure::Fixed(fixed) => fixed.to_string(),
            },
        ),
        ("sticky.http_only", http_only.to_string()),
        ("sticky.partitioned", partitioned.to_string()),
        (
            "sticky.secret_file",
            match secret {
                SecretSource::Auto => quoted("auto"),
                SecretSource::File(path) => quoted(&path.display().to_string()),
            },
        ),
        (
            "sticky.on_down",
            quoted(match on_down {
                OnDown::Rebind => "rebind",
                OnDown::Fail => "fail",
            }),
        ),
    ];
    match ip_hash {
        IpHash::Nginx => keys.push(("sticky.ip_hash.algorithm", quoted("nginx"))),
        IpHash::Rendezvous { ipv4_prefix, ipv6_prefix, bound } => {
            keys.extend([
                ("sticky.ip_hash.algorithm", quoted("rendezvous")),
                ("sticky.ip_hash.ipv4_prefix", ipv4_prefix.to_string()),
                ("sticky.ip_hash.ipv6_prefix", ipv6_prefix.to_string()),
                ("sticky.ip_hash.bound", or_off(bound.map(ratio))),
            ]);
        }
    }
    keys
}

fn closing_keys(down: &Down, drain: &Drain) -> Keys {
    let Down { close, per_second, close_code, deadline } = down;
    let close = match close {
        WhenDown::Silent => "silent",
        WhenDown::Always => "always",
        WhenDown::Never => "never",
    };
    let mut keys = vec![
        ("down.close", quoted(close)),
        ("down.rate", quoted(&format!("{per_second}/s"))),
        ("down.close_code", close_code.to_string()),
        ("down.deadline", time(*deadline)),
    ];
    let Drain { grace, spread, close_code, deadline } = drain;
    keys.extend([
        ("drain.grace", time(*grace)),
        ("drain.spread", time(*spread)),
        ("drain.close_code", close_code.to_string()),
        ("drain.deadline", time(*deadline)),
    ]);
    keys
}

fn rebalance_keys(rebalance: &Rebalance) -> Keys {
    let Rebalance { max_skew, rate: Rate { events, per }, rest } = rebalance;
    let per = match per.as_secs() {
        1 => "s",
        60 => "m",
        _ => "h",
    };
    vec![
        ("rebalance.max_skew", or_off(max_skew.map(ratio))),
        ("rebalance.rate", quoted(&format!("{events}/{per}"))),
        ("rebalance.rest", time(*rest)),
    ]
}

/// Hundredths as a number.
fn ratio(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn health_keys(health: &Health) -> Keys {
    let Health { check, interval, fast_interval, timeout, rise, fall, slow_start, panic_below } = health;
    let (word, path, expect) = match check {
        Check::Off => ("off", None, None),
        // Where no Engine.IO is spoken, "auto" is this too.
        Check::Tcp => ("tcp", None, None),
        // Its path is the upstream's `engine_io_path`.
        Check::Speaks { path: _ } => ("auto", None, None),
        Check::EngineIo { path: _ } => ("engine_io", None, None),
        Check::Http { path, expect } => ("http", Some(path), Some(expect)),
        Check::WebSocket { path } => ("websocket", Some(path), None),
    };
    let mut keys = vec![("health.check", quoted(word))];
    keys.extend(path.map(|path| ("health.path", quoted(path))));
    keys.extend(expect.map(|expect| {
        let codes: Vec<String> = expect.iter().map(|range| codes(*range.start(), *range.end())).collect();
        ("health.expect", quoted(&codes.join(", ")))
    }));
    keys.extend([
        ("health.interval", time(*interval)),
        ("health.fast_interval", time(*fast_interval)),
        ("health.timeout", time(*timeout)),
        ("health.rise", rise.to_string()),
        ("health.fall", fall.to_string()),
        ("health.slow_start", time(*slow_start)),
        ("health.panic_below", quoted(&format!("{panic_below}%"))),
    ]);
    keys
}

fn codes(low: u16, high: u16) -> String {
    match (low, high) {
        _ if low == high => low.to_string(),
        _ if low.is_multiple_of(100) && high == low + 99 => format!("{}xx", low / 100),
        _ => format!("{low}-{high}"),
    }
}

/// An instance's, but for its name.
pub(super) fn instance(instance: &Instance) -> Keys {
    let Instance { name: _, host: _, port: _, weight, max_tunnels, backup, state } = instance;
    vec![
        ("address", quoted(&instance.address())),
        ("weight", weight.to_string()),
        ("max_tunnels", or_off(max_tunnels.map(|limit| limit.to_string()))),
        ("backup", backup.to_string()),
        ("state", quoted(state.as_str())),
    ]
}

/// A route's, but for what it takes; `config`: where it stands. Its limit where it is not the document's.
pub(super) fn route(route: &Route, config: &Config) -> Keys {
    let Route { host: _, path: _, upstream, body } = route;
    let mut keys =
        vec![("upstream", quoted(config.upstreams.get(*upstream).map_or("", |upstream| &upstream.name)))];
    if *body != config.limits.body {
        keys.push(("body", or_off(body.map(bytes))));
    }
    keys
}

/// What a route takes: `*.example.com/api/*`.
pub(super) fn route_name(route: &Route) -> String {
    let host = match &route.host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    match &route.path {
        PathPattern::Any => format!("{host}/*"),
        PathPattern::Exact(path) => format!("{host}{path}"),
        PathPattern::Prefix(path) => format!("{host}{path}/*"),
    }
}

fn time(duration: Duration) -> String {
    quoted(&show_duration(duration))
}

fn bytes(size: u64) -> String {
    quoted(&show_size(size))
}

fn or_off(value: Option<String>) -> String {
    value.unwrap_or_else(|| quoted("off"))
}

fn list(values: &[impl ToString]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// A basic string of TOML; on one line whatever is in it.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        _ if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}
