//! A worker's listening sockets, and the tasks that accept there.
//!
//! A socket is put in the hands of the runtime once, and stays there while nobody accepts: to go on takes no descriptor, so that
//! whoever has paused can go on also when there is none left.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::http::{Context, Door};
use crate::listener::accept::{self, Socket};
use crate::listener::bind::Listening;
use crate::listener::permit::Permits;

/// All of them.
pub(super) struct Doors {
    all: Vec<One>,
    ctx: Rc<Context>,
    permits: Arc<Permits>,
}

/// A socket of a listener.
struct One {
    listening: Arc<Listening>,
    door: Arc<Door>,
    /// The same, in the hands of the runtime.
    socket: Option<Rc<Socket>>,
    accepts: Option<JoinHandle<()>>,
}

impl Doors {
    pub(super) fn new(
        listeners: Vec<(Arc<Listening>, Arc<Door>)>,
        ctx: Rc<Context>,
        permits: Arc<Permits>,
    ) -> Self {
        let one = |(listening, door)| One { listening, door, socket: None, accepts: None };
        Doors { all: listeners.into_iter().map(one).collect(), ctx, permits }
    }

    /// Puts the sockets in the hands of the runtime.
    ///
    /// # Errors
    /// When it cannot take one, or there is no descriptor left.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        for one in self.all.iter_mut().filter(|one| one.socket.is_none()) {
            one.socket = Some(Rc::new(Socket::of(&one.listening)?));
        }
        Ok(())
    }

    /// Accepts, at as many as it can.
    ///
    /// # Errors
    /// Of [`Doors::prepare`]; none once that has gone well.
    pub(super) async fn open(&mut self) -> io::Result<()> {
        self.pause().await;
        let prepared = self.prepare();
        for one in &mut self.all {
            let Some(socket) = one.socket.clone() else { continue };
            let accepting = accept::accept(socket, self.ctx.clone(), one.door.clone(), self.permits.clone());
            one.accepts = Some(tokio::task::spawn_local(accepting));
        }
        prepared
    }

    /// Accepts no more. A connection that was accepted is in the hands of a task of its own.
    pub(super) async fn pause(&mut self) {
        for task in self.all.iter_mut().filter_map(|one| one.accepts.take()) {
            task.abort();
            // An error: it was ended.
            let _ = task.await;
        }
    }

    /// Gives the sockets up. Whoever waits at a listener of these names is accepted before.
    pub(super) async fn close(&mut self, last_of: &[String]) {
        self.pause().await;
        for One { listening, door, .. } in self.all.drain(..) {
            if last_of.contains(&door.name) {
                accept::accept_waiting(&listening, &self.ctx, &door, &self.permits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;
    use crate::config::{self, model::ProxyProtocol};
    use crate::generation::Generation;
    use crate::http::Shared;
    use crate::observe::access_log::AccessLog;
    use crate::observe::metrics::ListenerCounters;

    fn doors() -> (Doors, Arc<Door>, SocketAddr) {
        let text = "listen = \":80\"\n[upstream.app]\ninstances = [\"a:1\"]\n[log]\naccess = \"off\"\n";
        let config = config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        let log = AccessLog::open(&config.log.access, config.log.access_format, None).unwrap();
        let generation = Generation { config, upstreams: vec![], leaving: vec![] };
        let ctx = Rc::new(Context::new(0, Shared::new(generation, log, None)));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let door = Door {
            name: "web".to_owned(),
            counters: [ListenerCounters::default()].into(),
            proxy_protocol: ProxyProtocol::Off,
            ways: ArcSwap::default(),
        };
        let door = Arc::new(door);
        let all = vec![(Arc::new(Listening::Tcp(socket)), door.clone())];
        (Doors::new(all, ctx, Permits::new(10)), door, address)
    }

    fn run(life: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.unwrap().block_on(life);
    }

    async fn accepted(door: &Door, wanted: u64) {
        for _ in 0..2_000 {
            if door.counters[0].connections.get() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{} were accepted, not {wanted}", door.counters[0].connections.get());
    }

    /// The regression: to go on took another descriptor, and where there was none left a listener stayed deaf.
    #[test]
    fn to_go_on_takes_no_descriptor() {
        run(async {
            let (mut doors, door, address) = doors();
            doors.prepare().unwrap();
            let socket = |doors: &Doors| doors.all[0].socket.as_ref().map(Rc::as_ptr);
            let before = socket(&doors);
            assert!(before.is_some());
            for number in 0..4 {
                doors.open().await.unwrap();
                assert_eq!(socket(&doors), before);
                let _first = TcpStream::connect(address).unwrap();
                accepted(&door, 2 * number + 1).await;
                doors.pause().await;
                // Whoever comes meanwhile waits.
                let _second = TcpStream::connect(address).unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(door.counters[0].connections.get(), 2 * number + 1);
                doors.open().await.unwrap();
                accepted(&door, 2 * number + 2).await;
            }
        });
    }

    /// The regression: whoever waited at a listener that the next process does not have was cut.
    #[test]
    fn whoever_waits_at_the_last_moment_is_accepted() {
        let check = |last_of: &[&str], expected| {
            run(async move {
                let (mut doors, door, address) = doors();
                doors.open().await.unwrap();
                doors.pause().await;
                let _clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
                let last_of: Vec<String> = last_of.iter().map(ToString::to_string).collect();
                doors.close(&last_of).await;
                assert_eq!(door.counters[0].connections.get(), expected, "{last_of:?}");
                assert!(TcpStream::connect(address).is_err());
            });
        };
        check(&["other", "web"], 3);
        check(&["other"], 0);
    }
}
