//! What whoever is on call asks: events, readiness, a balancer's rotation, and where a client goes.

use std::sync::atomic::Ordering;

use hyper::StatusCode;

use super::super::by::By;
use super::super::explain::{Field, Question, Url, explain_live};
use super::{Desk, Wrong, api};
use crate::generation::Open;
use crate::local::clock;
use crate::observe::events;

/// `?after=NUMBER&since=SECONDS`: behind that number, and not before that moment.
pub(super) fn events(query: Option<&str>) -> Result<api::Events, Wrong> {
    let (mut after, mut since) = (0, 0);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let number = || {
            value
                .parse()
                .map_err(|_| (StatusCode::BAD_REQUEST, format!("not understood: {name} is no number")))
        };
        match &*name {
            "after" => after = number()?,
            "since" => since = number()?,
            _ => return Err((StatusCode::BAD_REQUEST, format!("not understood: there is no {name}"))),
        }
    }
    let events::Excerpt { events, last, overwritten } = events::after(after, since);
    Ok(api::Events { pid: std::process::id(), last, overwritten, events })
}

/// Whether the process is ready for clients.
pub(super) fn ready(desk: &Desk) -> api::Ready {
    let view = &desk.view;
    let why = if !view.ready.load(Ordering::Relaxed) {
        "it is stopping"
    } else if view.rotation.left().is_some() {
        "it is retired; `stickyd retire --undo` takes it back"
    } else {
        ""
    };
    api::Ready {
        ready: why.is_empty(),
        why: why.to_owned(),
        pid: std::process::id(),
        listeners: view.doors.iter().map(|door| door.name.clone()).collect(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    reason = "as all commands are called"
)]
pub(super) fn retire(desk: &Desk, question: &api::Retire, by: By) -> Result<api::Retired, Wrong> {
    let (rotation, orders) = (&desk.view.rotation, &desk.administrator.orders);
    if question.undo {
        rotation.come_back(orders, by);
    } else {
        rotation.leave(orders, &desk.view.publisher.current().config.shutdown, by);
    }
    Ok(retired(desk))
}

/// How far a retirement is.
pub(super) fn retired(desk: &Desk) -> api::Retired {
    let generation = desk.view.publisher.current();
    let now = clock::coarse();
    let in_millis = |moment: clock::Moment| u64::try_from(moment.since(now).as_millis()).unwrap_or(u64::MAX);
    let retired = desk.view.rotation.left().map(|left| api::Retirement {
        since: left.since,
        closes_in: in_millis(left.closes),
        told_in: in_millis(left.closes.after(left.spread)),
    });
    let Open { tunnels, sessions, requests } = generation.open();
    let health_path = generation.config.health_path.is_some();
    api::Retired { retired, health_path, tunnels, sessions, requests }
}

/// Where a client goes now, and why.
pub(super) fn explain(desk: &Desk, question: api::Explain) -> Result<serde_json::Value, Wrong> {
    let bad = |error: String| (StatusCode::BAD_REQUEST, format!("not understood: {error}"));
    let api::Explain { ip, cookie, sid, url, headers } = question;
    let question = Question {
        address: ip,
        cookie,
        sid,
        url: url.as_deref().map(Url::parse).transpose().map_err(bad)?,
        headers: headers.iter().map(|field| Field::parse(field)).collect::<Result<_, _>>().map_err(bad)?,
    };
    let generation = desk.view.publisher.current();
    explain_live(&generation, &desk.sids, &desk.rest, &question)
        .map(|explanation| explanation.to_json())
        .map_err(|why| (StatusCode::INTERNAL_SERVER_ERROR, why))
}
