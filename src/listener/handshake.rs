//! From a socket to one over which TLS is spoken, before anything else is heard of the client.
//!
//! ```text
//! accept    a connection     -> nothing is made until its first bytes are there
//! turn      a few at a time  -> they wait in the kernel until then
//! shaken    http::serve      in a task of its own, which is small
//! ```
//!
//! A handshake costs as much as a hundred messages. When thousands come back at once, a worker must go on with its tunnels: so
//! only [`AT_A_TIME`] of them are worked on before the sockets of everybody else are looked at again.

use std::cell::OnceCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ProtocolVersion, ServerConfig};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::{self, Arrival, Context, Door, Entrance};
use crate::local::stream::Stream;
use crate::local::tls;
use crate::local::{clock, timer};
use crate::observe::events;
use crate::observe::logging::Occasionally;
use crate::observe::metrics::{Handshake, Limit, Refused};

/// Steps of handshakes that are made between two looks at the sockets: about a millisecond of work.
const AT_A_TIME: usize = 4;

/// Said once a minute, whichever worker meets it.
static CROWDED: Occasionally = Occasionally::new(Duration::from_mins(1));

/// Gives turns to the handshakes of one worker, first come, first served.
#[derive(Clone, Debug)]
struct Turns(Rc<Semaphore>);

thread_local! {
    static TURNS: OnceCell<Turns> = const { OnceCell::new() };
}

impl Turns {
    /// All listeners of a worker share its time.
    fn of_this_worker() -> Self {
        TURNS.with(|turns| turns.get_or_init(|| Turns(Rc::new(Semaphore::new(AT_A_TIME)))).clone())
    }

    async fn take(&self, door: &Door, worker: usize) -> Turn<'_> {
        if let Ok(permit) = self.0.try_acquire() {
            return Turn { _permit: Some(permit) };
        }
        door.counters[worker].limit_hit(Limit::TlsHandshakes);
        if let Some(more) = CROWDED.pass(clock::instant()) {
            tracing::warn!(
                target: events::LIMIT,
                listener = door.name,
                more,
                "TLS handshakes wait for their turn: more clients come than can be met at once"
            );
        }
        Turn { _permit: self.0.acquire().await.ok() }
    }
}

/// A turn, over when dropped.
struct Turn<'t> {
    /// `None`: the worker ends.
    _permit: Option<SemaphorePermit<'t>>,
}

/// Shakes hands with a client that has just been accepted, and serves it then.
pub(super) fn begin(ctx: &Rc<Context>, arrival: Arrival, stream: Stream, config: Arc<ServerConfig>) {
    tokio::task::spawn_local(shake(ctx.clone(), arrival, stream, config, Turns::of_this_worker()));
}

async fn shake(
    ctx: Rc<Context>,
    mut arrival: Arrival,
    stream: Stream,
    config: Arc<ServerConfig>,
    turns: Turns,
) {
    let patience = ctx.generation().config.timeouts.tls_handshake;
    let door = arrival.door.clone();
    let turn = async || turns.take(&door, ctx.worker).await;
    let shaken = timer::within(patience, tls::accept(stream, config, turn)).await;
    let counters = &door.counters[ctx.worker];
    let tls = match shaken {
        Some(Ok(tls)) => tls,
        Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            // Balancers look so whether anybody listens.
            return counters.handshake(Handshake::Gone);
        }
        Some(Err(error)) => {
            let peer = arrival.peer.map(SocketAddr::from);
            tracing::debug!(listener = door.name, ?peer, %error, "TLS handshake");
            counters.refused(Refused::Tls);
            return counters.handshake(Handshake::Failed);
        }
        None => {
            counters.refused(Refused::Tls);
            return counters.handshake(Handshake::Timeout);
        }
    };
    counters.handshake(if tls.is_resumed() { Handshake::Resumed } else { Handshake::Full });
    arrival.entrance = match tls.version() {
        Some(ProtocolVersion::TLSv1_2) => Entrance::Tls12,
        _ => Entrance::Tls13,
    };
    tokio::task::spawn_local(http::serve(ctx, arrival, Stream::Tls(Box::new(tls))));
}
