//! Another process takes over; and one that lingered ends.

use std::time::Duration;

use hyper::StatusCode;

use super::{Desk, Wrong, api};
use crate::control::by::By;
use crate::control::handover::{self, Giver, Refused};
use crate::local::clock;

/// How long the new process may take to be ready, in milliseconds: it needs a moment, and the command is answered within a minute.
const WITHIN: std::ops::RangeInclusive<u64> = 1_000..=50_000;

pub(super) fn upgrade(desk: &Desk, question: &api::Upgrade, _: By) -> Result<api::Upgraded, Wrong> {
    let conflict = |why: String| (StatusCode::CONFLICT, why);
    let view = &desk.view;
    if let Some(begun) = view.lingering.begun() {
        let why = format!("this process lingers: process {} has taken over from it", begun.to);
        return Err(conflict(why));
    }
    if let Some(why) = handover::whose_end_is_ours() {
        return Err(conflict(why));
    }
    if let Some(binary) = &question.binary {
        handover::check(binary).map_err(conflict)?;
    }
    let stops = || conflict("this process is stopping".to_owned());
    // Until this process lingers, if it does: a stop has to know.
    let way = desk.estate.under_way.begin().ok_or_else(stops)?;
    let began = clock::now();
    let giver = Giver {
        estate: &desk.estate,
        orders: &desk.administrator.orders,
        elders: &view.elders,
        way: &way,
        started: &desk.how,
        retired: view.rotation.passes_on(),
    };
    let within = Duration::from_millis(question.within.clamp(*WITHIN.start(), *WITHIN.end()));
    let handed = handover::hand_over(giver, question.binary.as_deref(), within);
    let (handed, heir, channel) = handed.map_err(|refused| match refused {
        Refused::Configuration(why) => (StatusCode::UNPROCESSABLE_ENTITY, why),
        Refused::Otherwise(why) => conflict(why),
    })?;
    desk.manager.main_is(handed.to);
    // It waits for that.
    drop(channel);
    desk.linger(heir);
    drop(way);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let generation = view.publisher.current();
    let tunnels = generation.all().flat_map(|upstream| &upstream.instances);
    let upgraded = api::Upgraded {
        pid: handed.to,
        lingers: std::process::id(),
        connections: handover::open(&view.doors),
        tunnels: tunnels.map(|instance| u64::from(instance.load.tunnels())).sum(),
        sids: handed.sids,
        took: millis(clock::now().since(began)),
        paused: millis(handed.paused),
    };
    tracing::info!(?upgraded, "another process has taken over: this one lingers");
    Ok(upgraded)
}

pub(super) fn farewell(desk: &Desk, api::Farewell { pid, metrics }: api::Farewell) -> api::Done {
    tracing::info!(pid, "a process that lingered ends");
    desk.view.elders.departs(pid, metrics);
    api::Done {}
}

pub(super) fn reopen(desk: &Desk, _: api::Done) -> api::Done {
    desk.scrape.access_log.reopen();
    api::Done {}
}
