//! Who is connected, and closing some of it: asks every worker, and puts together what they answer.
//!
//! A worker that hangs keeps nobody waiting: it is named, and what the others have is told.

mod close;
mod id;
mod sessions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admin::api;
use super::lifecycle;
use super::publisher::Publisher;
use crate::affinity::sid::table::Table;
use crate::config;
use crate::generation::Generation;
use crate::http::census::{Filter, Row, Sorting};
use crate::local::clock::{self, Moment};
use crate::upstream::Upstream;
use crate::upstream::load::Home;
use crate::worker::{Command, List, Orders};

/// A worker that has not answered by then hangs, or has much to do.
const PATIENCE: Duration = Duration::from_secs(3);

/// A list has at most so many entries: some 50 MB of JSON. Each worker is asked for as many, as all of them may be one worker's; but one
/// list is made at a time.
const LIMIT_MAX: u32 = 100_000;

/// What lists are made of.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) publisher: Arc<Publisher>,
    pub(super) orders: Orders,
    pub(super) sids: Arc<Table<Home>>,
    /// Who makes a list.
    pub(super) turn: Arc<Semaphore>,
}

/// Why not; nothing is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such upstream or instance; says which there are.
    Unknown(String),
    /// What was asked makes no sense.
    Bad(String),
    /// It is a lot.
    Lot(String),
}

impl Lists {
    /// One list is made at a time: waits for that, and keeps others waiting for as long as the result lives.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // None: never closed.
        self.turn.clone().acquire_owned().await.ok()
    }

    /// The open tunnels.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub(super) async fn tunnels(&self, asked: &api::ListTunnels) -> Result<api::Tunnels, Refusal> {
        let most = limit(asked.limit)?;
        let filter =
            self.filter(asked.upstream.as_deref(), asked.instance.as_deref(), asked.client.as_deref())?;
        let sorting = match asked.sort {
            api::Sort::Age => Sorting::Age,
            api::Sort::Idle => Sorting::Idle,
            api::Sort::Bytes => Sorting::Bytes,
        };
        let list = |_, answer| Command::List(List { filter: filter.clone(), sorting, most, answer });
        let answers = self.orders.ask(PATIENCE, list).await;
        let silent_workers = silent(&answers);
        let (mut rows, mut open, mut unheard) = (Vec::new(), 0, 0);
        for (worker, answer) in answers.into_iter().enumerate() {
            let Some(listed) = answer else { continue };
            let (first, all) = listed.first.into_sorted();
            open += all;
            unheard += listed.unheard as u64;
            rows.extend(first.into_iter().map(|row| (worker, row)));
        }
        rows.sort_unstable_by_key(|(worker, row)| (row.rank, *worker, row.place));
        rows.truncate(most);
        let (now, workers) = (clock::now(), self.orders.workers());
        let tunnels = rows.into_iter().map(|(worker, row)| tunnel(row, worker, workers, now)).collect();
        let upstreams = all(&self.publisher.current()).count();
        Ok(api::Tunnels { now: clock::epoch_seconds(), upstreams, open, silent_workers, unheard, tunnels })
    }

    fn filter(
        &self,
        upstream: Option<&str>,
        instance: Option<&str>,
        client: Option<&str>,
    ) -> Result<Filter, Refusal> {
        let client = client.map(config::parse_network).transpose();
        let client = client.map_err(|wrong| Refusal::Bad(format!("the client {wrong}")))?;
        let generation = self.publisher.current();
        let instances = match (upstream, instance) {
            (None, None) => None,
            (upstream, instance) => Some(ids(&generation, upstream, instance)?.into()),
        };
        Ok(Filter { instances, client })
    }
}

/// Every upstream, those that are emptied too.
fn all(generation: &Generation) -> impl Iterator<Item = &Arc<Upstream>> {
    generation.upstreams.iter().chain(&generation.leaving)
}

/// The numbers of the instances that are meant, sorted; those that the file no longer names too.
fn ids(generation: &Generation, upstream: Option<&str>, instance: Option<&str>) -> Result<Vec<u32>, Refusal> {
    let of_upstream = |of: &&Arc<Upstream>| upstream.is_none_or(|name| name == of.config.name);
    if all(generation).find(of_upstream).is_none() {
        let known: Vec<&str> =
            generation.upstreams.iter().map(|upstream| upstream.config.name.as_str()).collect();
        let called = upstream.unwrap_or_default();
        return Err(Refusal::Unknown(format!(
            "there is no upstream {called}; there are: {}",
            known.join(", ")
        )));
    }
    // Where an upstream is named, its instances need no other name.
    let alone = upstream.is_some() || generation.upstreams.len() == 1;
    let is_called = |of: &Upstream, name: &str| {
        instance.is_none_or(|called| match called.strip_prefix(of.config.name.as_str()) {
            Some("/*") => true,
            Some(rest) if rest.strip_prefix('/') == Some(name) => true,
            _ => alone && name == called,
        })
    };
    let mut ids = Vec::new();
    for of in all(generation).filter(of_upstream) {
        ids.extend(of.instances.iter().filter(|one| is_called(of, &one.name)).map(|one| one.id));
    }
    if let (true, Some(called)) = (ids.is_empty(), instance) {
        let unknown = lifecycle::find(generation, called).err();
        let other = || format!("{called} is no instance of upstream {}", upstream.unwrap_or_default());
        return Err(Refusal::Unknown(unknown.unwrap_or_else(other)));
    }
    ids.sort_unstable();
    Ok(ids)
}

fn tunnel(row: Row, worker: usize, workers: usize, now: Moment) -> api::Tunnel {
    let (host, path, sid_hash) = match row.request {
        Some((host, path, sid_hash)) => (Some(host), Some(path), sid_hash),
        None => (None, None, None),
    };
    api::Tunnel {
        id: id::show(row.place, worker, workers),
        client: shown(row.client),
        upstream: row.upstream,
        instance: row.instance,
        age: millis(now.since(row.began)),
        idle: millis(now.since(row.told.active)),
        bytes_up: row.told.up.bytes,
        bytes_down: row.told.down.bytes,
        frames_up: row.told.up.frames,
        frames_down: row.told.down.frames,
        sticky_key: row.by.to_owned(),
        closing: row.told.closing,
        host,
        path,
        sid_hash: sid_hash.map(|hash| format!("{hash:016x}")),
    }
}

fn shown(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn silent<A>(answers: &[Option<A>]) -> Vec<usize> {
    answers.iter().enumerate().filter(|(_, answer)| answer.is_none()).map(|(worker, _)| worker).collect()
}

fn limit(asked: u32) -> Result<usize, Refusal> {
    if asked > LIMIT_MAX {
        return Err(Refusal::Bad(format!("a list has at most {LIMIT_MAX} entries")));
    }
    Ok(usize::try_from(asked).unwrap_or(usize::MAX))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
