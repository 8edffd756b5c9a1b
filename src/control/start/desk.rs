//! What a running proxy shows, and what commands work with.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Running;
use crate::control::admin::{Desk, View};
use crate::control::follow::Followed;
use crate::control::handover::Started;
use crate::control::lists::Lists;
use crate::local::clock;

impl Running {
    pub(super) fn view(&self) -> View {
        View {
            publisher: self.publisher.clone(),
            doors: self.doors.clone(),
            metrics: self.metrics().map(|address| address.to_string()),
            page: self.page().map(|address| address.to_string()),
            connections_limit: self.connections_limit,
            ready: self.ready.clone(),
            rotation: self.rotation.clone(),
            started: clock::epoch_seconds(),
            file: self.followed.as_ref().map(Followed::name),
            certificates: self.certificates.clone(),
            lingering: self.lingering.clone(),
            elders: self.elders.clone(),
        }
    }

    pub(super) fn desk(&self) -> Desk {
        let (sids, rest) = (self.shared.sids.clone(), self.shared.rest.clone());
        let (publisher, turn) = (self.publisher.clone(), Arc::new(Semaphore::new(1)));
        let lists = Lists { publisher, orders: self.orders(), sids: sids.clone(), turn };
        Desk {
            view: self.view(),
            administrator: self.administrator(),
            followed: self.followed.clone(),
            lists,
            sids,
            rest,
            estate: self.estate.clone(),
            how: Started::as_it_was(),
            scrape: self.scrape(),
            pages: self.pages.clone(),
            manager: self.surroundings.manager.clone(),
        }
    }
}
