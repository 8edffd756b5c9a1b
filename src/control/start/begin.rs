//! What a process needs besides workers, and the moment from which it serves. Everything that can fail, or last, is made before: a process
//! that takes over says that it is ready in between, and after that the other one does not wait for it for long.

use std::sync::Arc;
use std::time::Duration;

use super::{Origin, Others, Running, StartError, unavailable};
use crate::control::certificates::Renewal;
use crate::control::follow::Followed;
use crate::control::handover::Adoption;
use crate::control::notify::herald::Herald;
use crate::control::pages::Page;
use crate::control::{admin, health, lifecycle, scrape, sockets};
use crate::worker::Command;

/// For the workers, to accept.
const SETTLE: Duration = Duration::from_secs(10);

impl Running {
    /// Makes all that is needed. It begins when the process serves.
    pub(super) fn prepare(
        &mut self,
        origin: Option<Origin>,
        (metrics_socket, page_socket, commands): Others,
    ) -> Result<(), StartError> {
        self.kept.restore(&self.generation());
        let resolver = self.surroundings.resolver.clone();
        let pulse = self.pulses[self.pulses.len() - 1].clone();
        let supervisor = health::supervise(self.administrator(), resolver, pulse, self.gate.clone());
        self.supervisor = Some(supervisor.map_err(unavailable)?);
        if let Some((_, socket)) = metrics_socket {
            let (ready, rotation) = (self.ready.clone(), self.rotation.clone());
            let serving = scrape::serve(socket, self.scrape(), ready, rotation, self.gate.clone())?;
            self.pages.serves(serving, Page::Metrics);
        }
        self.renewal = Some(Renewal::begin(self.certificates.clone()).map_err(unavailable)?);
        let file = origin.and_then(|origin| origin.file);
        self.followed = file.map(|file| Followed::new(file, self.reloader()));
        if let Some((_, socket)) = page_socket {
            self.pages.serves(admin::page::serve(socket, self.view(), self.gate.clone())?, Page::Status);
        }
        if let Some(socket) = commands {
            self.estate.commands_are_taken(socket.place.clone());
            self.admin = Some(admin::serve(socket, self.desk()).map_err(unavailable)?);
        }
        let manager = self.surroundings.manager.clone();
        if manager.listens() {
            let herald = Herald::begin(manager, self.publisher.clone(), &self.pulses);
            self.herald = Some(herald.map_err(unavailable)?);
        }
        self.orders().settle(SETTLE, Command::Prepare).map_err(unavailable)
    }

    /// Serves from now on, and is the main process when this returns.
    pub(super) fn serve(&mut self, mut adoption: Option<Adoption>) -> Result<(), StartError> {
        let (generation, orders) = (self.generation(), self.orders());
        if let Some(adoption) = &adoption {
            adoption.instances(&generation).into_iter().for_each(|command| orders.send_blocking(command));
            if let Some(retired) = adoption.retired() {
                self.rotation.goes_on(&orders, retired);
            }
        }
        self.begin_drains();
        if let Some(place) = self.estate.admin() {
            place.put().map_err(unavailable)?;
            tracing::info!(socket = %place.path().display(), "commands");
            self.admin_socket = Some(place.path());
        }
        if let Some(adoption) = &mut adoption {
            adoption.serves(self.admin_socket.clone()).map_err(unavailable)?;
        }
        // Until here another process could take back what it gave: it would find it as it was.
        sockets::configure(&generation.config, &self.estate.listeners());
        self.gate.open();
        match orders.settle(SETTLE, Command::Accept) {
            // Nobody else serves.
            Err(error) if adoption.is_some() => tracing::error!(%error, "a worker does not accept"),
            settled => settled.map_err(unavailable)?,
        }
        self.kept.keep(&self.generation());
        self.estate.sign();
        self.watcher = self.followed.as_ref().and_then(Followed::watch);
        if let Some(adoption) = adoption {
            adoption.waits_until_main();
        }
        self.surroundings.manager.be_silent(false);
        Ok(())
    }

    /// Empties those that the file, or a command before the restart, wants to be empty.
    fn begin_drains(&self) {
        let (generation, orders) = (self.generation(), self.orders());
        for upstream in &generation.upstreams {
            let begin = |instance: &Arc<_>| lifecycle::begin(upstream, instance);
            upstream.named().iter().filter_map(begin).for_each(|command| orders.send_blocking(command));
        }
    }
}
