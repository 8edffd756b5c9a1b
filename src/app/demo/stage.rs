//! The instances of the demonstration: each can be killed as a crash would do it, and comes back at the same address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::instance::{Instance, Running};
use crate::app::settings::Settings;
use crate::app::shared::Shared;

/// The instances, and what they share.
#[derive(Debug)]
pub(super) struct Stage {
    shared: Shared,
    /// In the order of their names. Locked over a death, so that nobody revives what is just dying.
    actors: Mutex<Vec<Actor>>,
}

#[derive(Debug)]
struct Actor {
    settings: Settings,
    /// `None`: it is dead.
    running: Option<Running>,
}

/// What the page shows of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) up: bool,
    /// Clients that are connected.
    pub(super) sockets: u64,
    /// Events that it has heard of its clients since it started.
    pub(super) events: u64,
}

/// What is asked of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Kill,
    Revive,
}

impl Stage {
    /// Starts so many, named a, b, c and so on, each at a free port of this machine.
    pub(super) fn start(count: u8, shared: Shared) -> io::Result<Self> {
        let begin = |letter: u8| {
            let settings = Settings {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                name: char::from(letter).to_string(),
                insecure_demo: true,
                ..Settings::default()
            };
            let running = Instance::start(settings.clone(), &shared)?;
            // Where it comes back.
            let settings = Settings { listen: running.address(), ..settings };
            Ok(Actor { settings, running: Some(running) })
        };
        let actors = (b'a'..b'a' + count).map(begin).collect::<io::Result<_>>()?;
        Ok(Self { shared, actors: Mutex::new(actors) })
    }

    /// All of them, as they are now.
    pub(super) async fn look(&self) -> Vec<Seen> {
        self.actors.lock().await.iter().map(Actor::look).collect()
    }

    /// Does it, and says what has become of the instance; `None`: there is none of this name. What was done already is no mistake.
    pub(super) async fn act(&self, name: &str, deed: Deed) -> Option<io::Result<Seen>> {
        let mut actors = self.actors.lock().await;
        let actor = actors.iter_mut().find(|actor| actor.settings.name == name)?;
        let done = match deed {
            Deed::Kill => {
                actor.die().await;
                Ok(())
            }
            Deed::Revive => actor.rise(&self.shared),
        };
        Some(done.map(|()| actor.look()))
    }

    /// Ends all of them, with nothing said: the proxy has told their clients.
    pub(super) async fn end(&self) {
        for actor in &mut *self.actors.lock().await {
            actor.die().await;
        }
    }
}

impl Actor {
    fn look(&self) -> Seen {
        let (name, address) = (self.settings.name.clone(), self.settings.listen);
        let alive = self.running.as_ref().filter(|running| !running.has_ended());
        let counts = alive.map(|running| (running.metrics().sockets.get(), running.metrics().events.get()));
        let (sockets, events) = counts.unwrap_or_default();
        Seen { name, address, up: counts.is_some(), sockets, events }
    }

    async fn die(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
            running.ended().await;
        }
    }

    fn rise(&mut self, shared: &Shared) -> io::Result<()> {
        if self.running.as_ref().is_none_or(Running::has_ended) {
            self.running = Some(Instance::start(self.settings.clone(), shared)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_instance_dies_and_comes_back_where_it_was() {
        let stage = Stage::start(2, Shared::in_process()).unwrap();
        let before = stage.look().await;
        assert_eq!(before.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(before.iter().all(|seen| seen.up));
        for _ in 0..2 {
            let dead = stage.act("b", Deed::Kill).await.unwrap().unwrap();
            assert_eq!(dead, Seen { up: false, ..before[1].clone() });
            assert!(tokio::net::TcpStream::connect(dead.address).await.is_err());
        }
        for _ in 0..2 {
            assert_eq!(stage.act("b", Deed::Revive).await.unwrap().unwrap(), before[1]);
            assert!(tokio::net::TcpStream::connect(before[1].address).await.is_ok());
        }
        assert!(stage.act("c", Deed::Kill).await.is_none());
        stage.end().await;
        assert!(stage.look().await.iter().all(|seen| !seen.up));
    }
}
