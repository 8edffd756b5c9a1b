//! The processes of one proxy: the one that serves, and those that linger after an upgrade. Commands ask the first, tell all, and sum.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::admin::{Client, Failure, api};

/// How everything is, over all processes; and each of those that linger.
pub(super) struct All {
    pub(super) status: api::Status,
    pub(super) lingering: Vec<api::Status>,
}

/// Asks all. One that lingers and does not answer has ended just now, or is told of on standard error.
pub(super) fn status(client: &Client, within: Option<Duration>) -> Result<All, Failure> {
    let mut status: api::Status = client.get("/v1/status", within)?;
    let mut lingering = Vec::new();
    for elder in &status.elders {
        let answered = asked(elder, |client| client.get::<api::Status>("/v1/status", within));
        lingering.extend(answered.filter(|answer| answer.lingers.is_some()));
    }
    for one in &lingering {
        status.connections.open += one.connections.open;
        for upstream in &one.upstreams {
            upstream.instances.iter().for_each(|instance| add(&mut status, upstream, instance));
        }
    }
    Ok(All { status, lingering })
}

/// Tells those that linger what the one that serves has obeyed; their answers.
pub(super) fn tell<A: DeserializeOwned>(
    client: &Client,
    path: &str,
    question: &impl Serialize,
) -> Result<Vec<A>, Failure> {
    let status: api::Status = client.get("/v1/status", None)?;
    let tell = |elder| asked(elder, |client| client.post::<A>(path, question, None));
    Ok(status.elders.iter().filter_map(tell).collect())
}

fn asked<A>(elder: &api::Elder, ask: impl FnOnce(&Client) -> Result<A, Failure>) -> Option<A> {
    let client = Client::new(Some(elder.socket.clone()));
    let answered =
        client.map_err(|error| Failure::Unreachable(error.to_string())).and_then(|client| ask(&client));
    let why = match answered {
        Ok(answer) => return Some(answer),
        Err(Failure::Unreachable(_)) if has_ended(elder) => return None,
        Err(Failure::Unreachable(why) | Failure::Configuration(why) | Failure::Refused(why)) => why,
    };
    let _ = writeln!(std::io::stderr(), "process {}, which lingers: {}", elder.pid, why.trim_end());
    None
}

/// It has ended, or is about to: its socket goes last.
fn has_ended(elder: &api::Elder) -> bool {
    (0..20).any(|_| {
        let gone = !elder.socket.exists();
        if !gone {
            std::thread::sleep(Duration::from_millis(25));
        }
        gone
    })
}

/// The instance has at another process what `other` says.
fn add(status: &mut api::Status, of: &api::Upstream, other: &api::Instance) {
    let Some(upstream) = status.upstreams.iter_mut().find(|known| known.name == of.name) else {
        let instances = vec![other.clone()];
        status.upstreams.push(api::Upstream { removed: true, instances, ..of.clone() });
        return;
    };
    match upstream.instances.iter_mut().find(|known| known.name == other.name) {
        Some(instance) => sum(instance, other),
        None if other.empty => {}
        None => upstream.instances.push(api::Instance { removed: true, ..other.clone() }),
    }
}

/// Adds what the same instance has at another process.
pub(super) fn sum(instance: &mut api::Instance, other: &api::Instance) {
    instance.tunnels += other.tunnels;
    instance.sessions += other.sessions;
    instance.requests += other.requests;
    instance.handshakes += other.handshakes;
    instance.queued += other.queued;
    instance.empty &= other.empty;
    if let (Some(drain), Some(other)) = (&mut instance.drain, &other.drain) {
        drain.began_with += other.began_with;
    }
}

/// Open tunnels of a process.
pub(super) fn tunnels(status: &api::Status) -> u64 {
    status.upstreams.iter().flat_map(|upstream| &upstream.instances).map(|one| u64::from(one.tunnels)).sum()
}

/// Adds the tunnels of processes that linger to a list. (Sessions the one that serves knows all.)
pub(super) fn add_tunnels(list: &mut api::Tunnels, those: Vec<api::Tunnels>, asked: &api::ListTunnels) {
    for other in those {
        list.open += other.open;
        list.tunnels.extend(other.tunnels);
    }
    list.tunnels.sort_by_key(|tunnel| {
        std::cmp::Reverse(match asked.sort {
            api::Sort::Age => tunnel.age,
            api::Sort::Idle => tunnel.idle,
            api::Sort::Bytes => tunnel.bytes_up.saturating_add(tunnel.bytes_down),
        })
    });
    list.tunnels.truncate(asked.limit as usize);
}

/// Adds what processes that linger have closed. An id is of one of them only.
pub(super) fn add_closed(closed: &mut api::Closed, those: Vec<api::Closed>) {
    for other in those {
        closed.tunnels += other.tunnels;
        closed.requests += other.requests;
        closed.over = closed.over.max(other.over);
        closed.gone.retain(|id| other.gone.contains(id));
    }
}
