//! The learned sessions, without their sids.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Lists, Refusal, all, limit, millis};
use crate::affinity::sid::table::{Looked, Seen};
use crate::control::admin::api;
use crate::generation::Generation;
use crate::http::census::{Filter, Top};
use crate::local::clock;
use crate::upstream::Upstream;
use crate::upstream::load::Home;

impl Lists {
    /// The learned sessions, the longest idle first.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub(in crate::control) async fn sessions(
        &self,
        asked: &api::ListSessions,
    ) -> Result<api::Sessions, Refusal> {
        let most = limit(asked.limit)?;
        let filter =
            self.filter(asked.upstream.as_deref(), asked.instance.as_deref(), asked.client.as_deref())?;
        let generation = self.publisher.current();
        let upstreams = homes(&generation);
        let (mut first, mut number) = (Top::new(most), 0_u64);
        let now = clock::coarse().since_boot();
        let mut from = Some(Looked::default());
        while let Some(at) = from {
            from = self.sids.look(at, now, |seen| {
                // One whose instance is gone altogether is forgotten when its client comes again.
                let upstream = upstreams.get(&seen.home.instance().id).copied();
                if is_wanted(&filter, upstream, &seen) {
                    number += 1;
                    // By number, so that those that are idle for equally long stay in the order of the table.
                    first.offer((Reverse(seen.idle), number), || session(upstream, &seen));
                }
            });
            // Others ask meanwhile.
            tokio::task::yield_now().await;
        }
        let (sessions, known) = first.into_sorted();
        let upstreams = all(&generation).count();
        Ok(api::Sessions { now: clock::epoch_seconds(), upstreams, known, sessions })
    }
}

/// The upstream of each instance, by its number.
fn homes(generation: &Generation) -> HashMap<u32, &Arc<Upstream>> {
    all(generation)
        .flat_map(|upstream| upstream.instances.iter().map(move |one| (one.id, upstream)))
        .collect()
}

/// The table knows of a client's address what tells clients apart: of IPv6 most often half of it.
fn is_wanted(filter: &Filter, upstream: Option<&Arc<Upstream>>, seen: &Seen<'_, Home>) -> bool {
    let of_client = filter.client.is_none_or(|network| {
        let same = |upstream: &Arc<Upstream>| upstream.client_key(network.network()) == seen.client;
        network.contains(&seen.client.address()) || upstream.is_some_and(same)
    });
    of_client && filter.wants_at(seen.home.instance().id)
}

fn session(upstream: Option<&Arc<Upstream>>, seen: &Seen<'_, Home>) -> api::Session {
    api::Session {
        sid_hash: format!("{:016x}", seen.home.sid_hash()),
        client: seen.client.address().to_string(),
        upstream: upstream.map_or_else(|| "-".to_owned(), |upstream| upstream.config.name.clone()),
        instance: seen.home.instance().name.clone(),
        idle: millis(seen.idle),
        expires_in: millis(seen.left),
        open: match (seen.home.is_tunnel(), seen.held) {
            (true, _) => api::Open::Tunnel,
            (false, true) => api::Open::Request,
            (false, false) if seen.home.has_left() => api::Open::Left,
            (false, false) => api::Open::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::affinity::ClientKey;
    use crate::config;

    #[test]
    fn a_client_is_found_by_what_is_known_of_its_address() {
        let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"127.0.0.1:81\"]\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let upstream = Arc::new(Upstream::new(config.upstreams[0].clone(), None, 1));
        let home = Home::of(upstream.instances[0].clone(), 7);
        let check = |client: &str, network: &str, expected| {
            let filter = Filter { instances: None, client: Some(config::parse_network(network).unwrap()) };
            let client: ClientKey = upstream.client_key(client.parse().unwrap());
            let seen = Seen { home: &home, client, held: false, idle: Duration::ZERO, left: Duration::ZERO };
            assert_eq!(is_wanted(&filter, Some(&upstream), &seen), expected, "{client:?} {network}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "192.0.2.0/24", true);
        check("2001:db8::7", "2001:db8::7", true);
        // That one as well: the table cannot tell them apart.
        check("2001:db8::7", "2001:db8::8", true);
        check("2001:db8:0:1::7", "2001:db8::7", false);
        check("2001:db8:0:1::7", "2001:db8::/32", true);
        check("2001:db8::7", "192.0.2.1", false);
    }
}
