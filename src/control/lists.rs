//! Who is connected, and closing some of it: asks every worker, and puts together what they answer.
//!
//! A worker that hangs keeps nobody waiting: it is named, and what the others have is told.

mod id;

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::admin::api;
use super::lifecycle;
use super::publisher::Publisher;
use crate::affinity::sid::table::{Looked, Table};
use crate::config;
use crate::generation::Generation;
use crate::http::census::{Filter, Row, Sorting, Top};
use crate::local::clock::{self, Moment};
use crate::tunnel::{Order, Reason};
use crate::upstream::Upstream;
use crate::upstream::load::Home;
use crate::worker::{CloseAt, Command, List, Orders, Pick, Picked};

/// A worker that has not answered by then hangs, or has much to do.
const PATIENCE: Duration = Duration::from_secs(3);

/// A list has at most so many entries: some 50 MB of JSON.
const LIMIT_MAX: u32 = 100_000;

/// More than these are closed only for whoever says that he knows.
const LOT: u64 = 100;

/// What lists are made of.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) publisher: Arc<Publisher>,
    pub(super) orders: Orders,
    pub(super) sids: Arc<Table<Home>>,
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
        let (mut rows, mut open) = (Vec::new(), 0);
        for (worker, listed) in answers.into_iter().enumerate() {
            let Some(listed) = listed else { continue };
            open += listed.open;
            rows.extend(listed.rows.into_iter().map(|row| (worker, row)));
        }
        rows.sort_unstable_by_key(|(worker, row)| (row.rank, *worker, row.place));
        rows.truncate(most);
        let (now, workers) = (clock::now(), self.orders.workers());
        let tunnels = rows.into_iter().map(|(worker, row)| tunnel(row, worker, workers, now)).collect();
        let upstreams = all(&self.publisher.current()).count();
        Ok(api::Tunnels { now: clock::epoch_seconds(), upstreams, open, silent_workers, tunnels })
    }

    /// The learned sessions, the longest idle first.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub(super) async fn sessions(&self, asked: &api::ListSessions) -> Result<api::Sessions, Refusal> {
        let most = limit(asked.limit)?;
        let filter =
            self.filter(asked.upstream.as_deref(), asked.instance.as_deref(), asked.client.as_deref())?;
        let generation = self.publisher.current();
        let mut first = Top::new(most);
        let (mut from, mut number) = (Some(Looked::default()), 0_u64);
        let now = clock::coarse().since_boot();
        while let Some(at) = from {
            from = self.sids.look(at, now, |seen| {
                let instance = seen.home.instance();
                if !filter.wants_at(instance.id) || !filter.wants_of(seen.client.address()) {
                    return;
                }
                number += 1;
                let open = match (seen.home.is_tunnel(), seen.held) {
                    (true, _) => api::Open::Tunnel,
                    (false, true) => api::Open::Request,
                    (false, false) if seen.home.has_left() => api::Open::Left,
                    (false, false) => api::Open::Nothing,
                };
                // By number, so that those that are idle for equally long stay in the order of the table.
                first.offer((std::cmp::Reverse(seen.idle), number), || {
                    let session = api::Session {
                        sid_hash: format!("{:016x}", seen.home.sid_hash()),
                        client: seen.client.address().to_string(),
                        upstream: String::new(),
                        instance: instance.name.clone(),
                        idle: millis(seen.idle),
                        expires_in: millis(seen.left),
                        open,
                    };
                    (instance.id, session)
                });
            });
            // Others ask meanwhile.
            tokio::task::yield_now().await;
        }
        let (sessions, known) = first.into_sorted();
        let named = |(id, session)| api::Session { upstream: upstream_of(&generation, id), ..session };
        let sessions = sessions.into_iter().map(named).collect();
        let upstreams = all(&generation).count();
        Ok(api::Sessions { now: clock::epoch_seconds(), upstreams, known, sessions })
    }

    /// Closes what was asked for, or nothing.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn close(&self, asked: &api::Close) -> Result<api::Closed, Refusal> {
        let code = code(asked.code)?;
        let order = Order { reason: Reason::Command, code: NonZeroU16::new(code), silent_since: None };
        let closed = match (asked.ids.as_slice(), &asked.client, &asked.instance) {
            ([], None, None) => {
                return Err(Refusal::Bad(
                    "nothing is named: ids of tunnels, a client or an instance".to_owned(),
                ));
            }
            ([], client, instance) => {
                let filter = self.filter(None, instance.as_deref(), client.as_deref())?;
                self.close_all(filter, order, asked.yes).await?
            }
            (ids, None, None) => self.close_these(ids, order).await,
            _ => {
                return Err(Refusal::Bad(
                    "ids name tunnels: a client or an instance besides says nothing".to_owned(),
                ));
            }
        };
        tracing::info!(
            tunnels = closed.tunnels,
            requests = closed.requests,
            over = closed.over,
            code,
            "closed by command"
        );
        Ok(api::Closed { code, ..closed })
    }

    async fn close_these(&self, ids: &[String], order: Order) -> api::Closed {
        let workers = self.orders.workers();
        let mut of_workers = vec![Vec::new(); workers];
        let mut gone = Vec::new();
        for id in ids {
            match id::read(id, workers) {
                Some((worker, place)) if of_workers[worker].iter().any(|(known, _)| *known == place) => {}
                Some((worker, place)) => of_workers[worker].push((place, id)),
                None => gone.push(id.clone()),
            }
        }
        let close = |worker: usize, answer| {
            let places = of_workers[worker].iter().map(|(place, _)| *place).collect();
            Command::CloseAt(CloseAt { places, order, answer })
        };
        let answers = self.orders.ask(PATIENCE, close).await;
        let mut silent_workers = silent(&answers);
        // Of the others nothing was wanted.
        silent_workers.retain(|worker| !of_workers[*worker].is_empty());
        let mut tunnels = 0;
        for (known, found) in of_workers.iter().zip(answers) {
            for ((_, id), was_there) in known.iter().zip(found.unwrap_or_default()) {
                if was_there {
                    tunnels += 1;
                } else {
                    gone.push((*id).clone());
                }
            }
        }
        api::Closed { tunnels, requests: 0, over: 0, code: 0, gone, silent_workers }
    }

    async fn close_all(&self, filter: Filter, order: Order, yes: bool) -> Result<api::Closed, Refusal> {
        let pick = |_, answer| Command::Pick(Pick { filter: filter.clone(), order, answer });
        let answers = self.orders.ask(PATIENCE, pick).await;
        let silent_workers = silent(&answers);
        let picked: Vec<Picked> = answers.into_iter().flatten().collect();
        let tunnels = picked.iter().map(|picked| picked.tunnels as u64).sum::<u64>();
        let requests = picked.iter().map(|picked| picked.exchanges as u64).sum::<u64>();
        let over = self.pace(&filter, tunnels + requests);
        if tunnels + requests > LOT && !yes {
            let takes = config::show_duration(over);
            return Err(Refusal::Lot(format!(
                "that is {tunnels} tunnels and {requests} polls and streams, closed over {takes}; with --yes it is done"
            )));
        }
        for picked in picked {
            // An error: that worker has ended.
            let _ = picked.close.send(over);
        }
        Ok(api::Closed { tunnels, requests, over: millis(over), code: 0, gone: vec![], silent_workers })
    }

    /// Over how long so many are closed: at the pace of `down`, the slowest where several upstreams are concerned.
    fn pace(&self, filter: &Filter, count: u64) -> Duration {
        let generation = self.publisher.current();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let concerned =
            all(&generation).filter(|upstream| upstream.instances.iter().any(|one| filter.wants_at(one.id)));
        let longest = concerned.map(|upstream| upstream.config.down.span(count)).max().unwrap_or_default();
        // In whole milliseconds, as it is told.
        Duration::from_millis(millis(longest))
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

fn upstream_of(generation: &Generation, instance: u32) -> String {
    let has = |upstream: &&Arc<Upstream>| upstream.instances.iter().any(|one| one.id == instance);
    // One that is gone altogether takes its sessions along with their next look.
    all(generation).find(has).map_or_else(|| "-".to_owned(), |upstream| upstream.config.name.clone())
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

/// A code that may go on the wire (RFC 6455 section 7.4 and its registry), and that a proxy may say.
fn code(asked: Option<u16>) -> Result<u16, Refusal> {
    match asked.or(Reason::Command.code()).unwrap_or(1012) {
        code @ (1000..=1003 | 1007..=1009 | 1011..=1014 | 3000..=4999) => Ok(code),
        code => Err(Refusal::Bad(format!(
            "a Close frame cannot say {code}: 1001, 1012 and 1013 make clients come again, 4000 to 4999 are the application's own"
        ))),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
