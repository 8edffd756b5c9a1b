//! Another process takes over; and one that lingered ends.

use std::time::Duration;

use hyper::StatusCode;

use super::{Desk, Wrong, api};
use crate::control::by::By;
use crate::control::handover::{self, Refused};
use crate::local::clock;

pub(super) fn upgrade(desk: &Desk, question: &api::Upgrade, _: By) -> Result<api::Upgraded, Wrong> {
    let conflict = |why: String| (StatusCode::CONFLICT, why);
    let view = &desk.view;
    if let Some(begun) = view.lingering.begun() {
        let why = format!("this process lingers: process {} has taken over from it", begun.to);
        return Err(conflict(why));
    }
    if let Some(binary) = &question.binary {
        handover::check(binary).map_err(conflict)?;
    }
    let began = clock::now();
    let handed = handover::hand_over(
        &desk.estate,
        &desk.administrator.orders,
        &view.elders,
        &desk.how,
        &view.ready,
        question.binary.as_deref(),
        Duration::from_millis(question.within),
    );
    let (handed, heir, channel) = handed.map_err(|refused| match refused {
        Refused::Configuration(why) => (StatusCode::UNPROCESSABLE_ENTITY, why),
        Refused::Otherwise(why) => conflict(why),
    })?;
    desk.manager.main_is(handed.to);
    // It waits for that.
    drop(channel);
    desk.linger(heir);
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

#[expect(clippy::unnecessary_wraps, reason = "as all commands")]
pub(super) fn farewell(desk: &Desk, question: &api::Farewell, _: By) -> Result<api::Done, Wrong> {
    desk.view.elders.departs(question.pid, question.metrics.clone());
    Ok(api::Done {})
}

#[expect(clippy::unnecessary_wraps, clippy::trivially_copy_pass_by_ref, reason = "as all commands")]
pub(super) fn reopen(desk: &Desk, _: &api::Done, _: By) -> Result<api::Done, Wrong> {
    desk.scrape.access_log.reopen();
    Ok(api::Done {})
}
