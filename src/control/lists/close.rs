//! Closing by command: counted first, and then all of it at one pace.

use std::num::NonZeroU16;
use std::time::Duration;

use super::{Lists, PATIENCE, Refusal, all, id, millis, silent};
use crate::control::admin::api;
use crate::http::census::Filter;
use crate::tunnel::{Force, Order, Reason};
use crate::worker::{CloseAt, Command, Pick, Picked};

impl Lists {
    /// Closes what was asked for, or nothing.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::control) async fn close(&self, asked: &api::Close) -> Result<api::Closed, Refusal> {
        let code = code(asked.code)?;
        let order = Order { reason: Reason::Command, code: NonZeroU16::new(code), force: Force::Gently };
        let closed = match (asked.ids.as_slice(), &asked.client, &asked.instance) {
            ([], None, None) => {
                return Err(Refusal::Bad(
                    "nothing is named: ids of tunnels, a client or an instance".to_owned(),
                ));
            }
            ([], client, instance) => {
                let filter = self.filter(None, instance.as_deref(), client.as_deref())?;
                self.close_all(filter, order, asked).await?
            }
            (_, None, None) if asked.count => {
                return Err(Refusal::Bad("ids are counted without being asked".to_owned()));
            }
            (ids, None, None) => self.close_these(ids, order).await,
            _ => {
                return Err(Refusal::Bad(
                    "ids name tunnels: a client or an instance besides says nothing".to_owned(),
                ));
            }
        };
        if asked.count {
            return Ok(api::Closed { code, ..closed });
        }
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
        api::Closed { tunnels, requests: 0, over: 0, code: 0, gone, silent_workers, unheard: 0 }
    }

    async fn close_all(
        &self,
        filter: Filter,
        order: Order,
        asked: &api::Close,
    ) -> Result<api::Closed, Refusal> {
        let pick = |_, answer| Command::Pick(Pick { filter: filter.clone(), order, answer });
        let answers = self.orders.ask(PATIENCE, pick).await;
        let silent_workers = silent(&answers);
        let picked: Vec<Picked> = answers.into_iter().flatten().collect();
        let tunnels = picked.iter().map(|picked| picked.tunnels as u64).sum::<u64>();
        let requests = picked.iter().map(|picked| picked.exchanges as u64).sum::<u64>();
        let unheard = picked.iter().map(|picked| picked.unheard as u64).sum();
        let over = self.pace(&filter, tunnels + requests);
        let closed = api::Closed {
            tunnels,
            requests,
            over: millis(over),
            code: 0,
            gone: vec![],
            silent_workers,
            unheard,
        };
        match api::Close::is_a_lot(tunnels, requests, closed.over) {
            // Whoever dropped them closes nothing.
            _ if asked.count => return Ok(closed),
            Some(why) if !asked.yes => return Err(Refusal::Lot(why)),
            _ => {}
        }
        for picked in picked {
            // An error: that worker has ended.
            let _ = picked.close.send(over);
        }
        Ok(closed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_said() {
        let check = |asked, said: Option<u16>| assert_eq!(code(asked).ok(), said, "{asked:?}");
        check(None, Some(1012));
        for good in [1000, 1001, 1003, 1008, 1013, 3000, 4001, 4999] {
            check(Some(good), Some(good));
        }
        // RFC 6455 section 7.4: never on the wire, a client's own, not given out.
        for bad in [0, 999, 1004, 1005, 1006, 1010, 1015, 1016, 2999, 5000] {
            check(Some(bad), None);
        }
    }
}
