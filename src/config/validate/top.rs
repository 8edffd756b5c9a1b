//! The top level's own keys, `[metrics]`, `[reload]`, `[shutdown]` and `[upgrade]`.

use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

use super::super::model::{ClientIpHeader, Page, Reload, Shutdown, Upgrade};
use super::super::raw::{
    Table, auto_or, boolean, choice, count, duration, list, off_or, percent, show_duration, text,
};
use super::super::report::Problem;
use super::{address, admin, names};

/// The keys above the first section.
pub(super) struct General {
    pub(super) workers: NonZeroUsize,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) client_ip_header: ClientIpHeader,
    pub(super) health_path: Option<String>,
    pub(super) upgrade_protocols: Vec<String>,
}

pub(super) fn read(top: &mut Table<'_>) -> General {
    let workers = top.get("workers", None, auto_or(count::<usize>(1..=1024)));
    General {
        workers: workers.and_then(NonZeroUsize::new).unwrap_or_else(every_cpu),
        trusted_proxies: top.get("trusted_proxies", vec![], list(text(address::network))),
        client_ip_header: top.get(
            "client_ip_header",
            ClientIpHeader::XForwardedFor,
            choice(&[
                ("x-forwarded-for", ClientIpHeader::XForwardedFor),
                ("forwarded", ClientIpHeader::Forwarded),
            ]),
        ),
        health_path: top.get("health_path", None, off_or(text(names::path))),
        upgrade_protocols: top.get("upgrade_protocols", vec![], list(text(names::upgrade_protocol))),
    }
}

/// One worker for each CPU that the process may use (affinity mask and cgroup quota count).
fn every_cpu() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// `[metrics]`
pub(super) fn metrics(top: &mut Table<'_>) -> Option<Page> {
    let mut table = top.table_or_off("metrics", Some("{ address = \"off\" }"));
    let page = admin::page(&mut table, Page::METRICS);
    table.finish();
    page
}

/// `[reload]`
pub(super) fn reload(top: &mut Table<'_>) -> Reload {
    let mut table = top.table("reload");
    let reload = Reload {
        watch: table.get("watch", true, boolean),
        max_removed: table.get("max_removed", 50, text(percent)),
    };
    table.finish();
    reload
}

/// `[upgrade]`
pub(super) fn upgrade(top: &mut Table<'_>) -> Upgrade {
    let hour = Duration::from_hours(1);
    let mut table = top.table("upgrade");
    let upgrade = Upgrade {
        linger: table.get("linger", 12 * hour, duration(Duration::ZERO..=30 * 24 * hour)),
        spread: table.get("spread", Duration::from_mins(10), duration(Duration::ZERO..=24 * hour)),
    };
    table.finish();
    // The default of one need not fit what somebody writes for the other.
    Upgrade { spread: upgrade.spread.min(upgrade.linger), ..upgrade }
}

pub(super) fn shutdown(top: &mut Table<'_>, general: &General) -> Shutdown {
    let hour = Duration::from_hours(1);
    let mut table = top.table("shutdown");
    let shutdown = Shutdown {
        ready_delay: table.get("ready_delay", Duration::ZERO, duration(Duration::ZERO..=hour)),
        spread: table.get("spread", Duration::from_secs(5), duration(Duration::ZERO..=hour)),
        deadline: table.get("deadline", Duration::from_secs(10), duration(Duration::ZERO..=24 * hour)),
    };
    if shutdown.spread > shutdown.deadline {
        let span = table.value_span("spread").or(table.value_span("deadline")).unwrap_or_default();
        let (spread, deadline) = (show_duration(shutdown.spread), show_duration(shutdown.deadline));
        let title = format!("`shutdown.spread` ({spread}) is longer than `shutdown.deadline` ({deadline})");
        let label = format!("write a spread of at most \"{deadline}\", or raise the deadline");
        table.walk().report_if_whole(Problem::error(span, title, label));
    }
    if let (true, None, Some(span)) =
        (!shutdown.ready_delay.is_zero(), &general.health_path, table.value_span("ready_delay"))
    {
        let title = "`shutdown.ready_delay` waits for nobody: `health_path` is off";
        let label = "add health_path = \"/-/ready\" at the top, or delete this line";
        table.walk().report_if_whole(Problem::warning(span, title, label));
    }
    table.finish();
    shutdown
}
