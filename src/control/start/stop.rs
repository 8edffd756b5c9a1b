//! The end of a running proxy.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Running;
use crate::config::model;
use crate::control::{handover, sockets};
use crate::generation::Open;
use crate::worker::{Command, Left, Orders, Worker};

impl Running {
    /// Stops as `[shutdown]` says, and returns when everything has ended; what was left at the deadline, and was cut.
    pub fn stop(mut self) -> Open {
        self.ready.store(false, Ordering::Relaxed);
        // First of all: no new process is left with what it was given, and from then on it is certain whether one serves.
        self.estate.under_way.break_off();
        let lingers = self.lingering.begun().is_some();
        let mut rules = self.generation().config.shutdown;
        if self.lingering.is_over() {
            // What is left has had its time.
            (rules.ready_delay, rules.spread) = (Duration::ZERO, Duration::ZERO);
        }
        let model::Shutdown { ready_delay, spread, deadline } = rules;
        if let Some(watcher) = self.watcher.take() {
            watcher.stop();
        }
        if let Some(renewal) = self.renewal.take() {
            renewal.stop();
        }
        self.surroundings.manager.stopping(ready_delay + deadline);
        let orders = Orders::to(&self.workers);
        orders.send_blocking(Command::Retire);
        std::thread::sleep(self.rotation.is_left_of(ready_delay));
        self.estate.close();
        orders.send_blocking(Command::Stop { spread, deadline });
        let Left { tunnels, exchanges } = Worker::join_all(std::mem::take(&mut self.workers), deadline);
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let cut = Open { tunnels: number(tunnels), requests: number(exchanges), ..Open::default() };
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop();
        }
        if lingers && let Some(place) = self.estate.admin() {
            handover::say_farewell(place.serves_now().as_deref(), self.scrape().own());
        }
        self.pages.stop();
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(herald) = self.herald.take() {
            herald.stop();
        }
        self.shared.access_log.close();
        if !lingers {
            sockets::remove_unix(&self.leaves);
        }
        cut
    }
}
