//! Rooms over all instances: what is said to a room here is said to it everywhere, in the format of Node's Redis adapter.
//!
//! | file | what |
//! | --- | --- |
//! | `wire.rs` | messages as bytes; pure |
//! | `date.rs` | dates that Node sends; pure |
//! | `payload.rs` | packets of Socket.IO as values |
//! | `requests.rs` | questions that wait for answers |
//! | `acks.rs` | acknowledgements of clients of all instances, as one stream |
//! | `hear.rs` | what other instances say and ask |
//!
//! Which sockets are in a room, each instance knows of its own. What is said is given to the sockets here first and
//! published then, so that Redis, or its absence, changes nothing for them; one's own messages that come back are ignored.

mod acks;
mod date;
mod hear;
mod payload;
mod requests;
pub mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide::adapter::Emitter;
use socketioxide_core::adapter::errors::{AdapterError, BroadcastError, SocketError};
use socketioxide_core::adapter::{
    BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, RemoteSocketData, Room,
    RoomParam,
};
use socketioxide_core::packet::Packet;
use socketioxide_core::{Sid, Uid};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::bus::{Away, Interest};
use super::context::Context;
use super::random;
use acks::Acks;
use requests::{Answers, Requests};
use wire::{Ask, Broadcast, Options, Request, Say};

/// Socket.IO with this adapter.
pub type Io = socketioxide::SocketIo<RoomAdapter>;

/// The adapter of one namespace of one instance.
pub struct RoomAdapter {
    local: CoreLocalAdapter<Emitter>,
    context: Arc<Context>,
    /// What this adapter calls itself among the others.
    uid: String,
    channels: Channels,
    requests: Requests,
    closed: watch::Sender<bool>,
}

/// Names of channels, as Node has them.
#[derive(Debug)]
struct Channels {
    /// Of events for no room or several; for one room its name and `#` follow.
    broadcast: String,
    request: String,
    response: String,
    /// Of answers to this adapter alone, where the other side is set to say them so.
    own_response: String,
}

impl Channels {
    fn new(prefix: &str, namespace: &str, uid: &str) -> Self {
        let response = format!("{prefix}-response#{namespace}#");
        Self {
            broadcast: format!("{prefix}#{namespace}#"),
            request: format!("{prefix}-request#{namespace}#"),
            own_response: format!("{response}{uid}#"),
            response,
        }
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::Prefix(self.broadcast.clone()),
            Interest::Exact(self.request.clone()),
            Interest::Exact(self.response.clone()),
            Interest::Exact(self.own_response.clone()),
        ]
    }
}

/// Other instances could not be asked, or not all have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The bus is away.
    Away,
    /// Not all answered in time; one may have died just now.
    Timeout,
    /// Too many questions are open.
    Busy,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "other instances cannot be reached",
            Self::Timeout => "not all instances have answered in time",
            Self::Busy => "too many questions to other instances are open",
        })
    }
}

impl std::error::Error for Failure {}

impl From<Away> for Failure {
    fn from(_: Away) -> Self {
        Self::Away
    }
}

impl From<Failure> for AdapterError {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl fmt::Debug for RoomAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomAdapter")
            .field("uid", &self.uid)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

impl DefinedAdapter for RoomAdapter {}

impl CoreAdapter<Emitter> for RoomAdapter {
    type Error = Failure;
    type State = Arc<Context>;
    type AckStream = Acks;
    type InitRes = ();

    fn new(context: &Arc<Context>, local: CoreLocalAdapter<Emitter>) -> Self {
        let uid = random::id();
        let channels = Channels::new(&context.settings.prefix, local.path(), &uid);
        let closed = watch::Sender::new(false);
        Self { local, context: context.clone(), uid, channels, requests: Requests::default(), closed }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        let context = self.context.clone();
        context.add_adapter(self.local.path(), self.clone());
        let messages = context.link.bus().subscribe(self.channels.interests());
        context.tasks.spawn("adapter", self.hear(messages));
        on_success();
    }

    async fn close(&self) -> Result<(), Failure> {
        self.closed.send_replace(true);
        self.local.close();
        Ok(())
    }

    async fn server_count(&self) -> Result<u16, Failure> {
        let count = self.context.link.bus().subscribers(&self.channels.request).await?;
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    }

    async fn broadcast(&self, packet: Packet, opts: BroadcastOptions) -> Result<(), BroadcastError> {
        let message = self.for_others(&opts).and_then(|options| {
            let packet = payload::to_instances(&packet)?;
            Some(Broadcast { uid: self.uid.clone(), packet, options })
        });
        let done = self.deliver(packet, opts);
        if let Some(message) = message {
            let channel = match message.options.rooms.as_slice() {
                [room] => format!("{}{room}#", self.channels.broadcast),
                _ => self.channels.broadcast.clone(),
            };
            self.publish(channel, message.encode());
        }
        Ok(done?)
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Acks, Failure> {
        let limit = timeout.unwrap_or_else(|| self.local.ack_timeout());
        let ask = self.for_others(&opts).and_then(|mut options| {
            options.timeout_ms = u64::try_from(limit.as_millis()).ok();
            Some(Ask::Broadcast(payload::to_instances(&packet)?, options))
        });
        // Clients here hear it whether or not others can be asked.
        let (local, _) = self.local.broadcast_with_ack(packet, opts, Some(limit));
        let acks = Acks::local(local);
        let (Some(ask), Ok(others)) = (ask, self.others().await) else { return Ok(acks) };
        if others == 0 {
            return Ok(acks);
        }
        let answers = self.ask(ask)?;
        Ok(acks.and_of(others, answers, limit))
    }

    async fn add_sockets(&self, opts: BroadcastOptions, rooms: impl RoomParam) -> Result<(), Failure> {
        let rooms: Vec<Room> = rooms.into_room_iter().collect();
        let options = self.for_others(&opts);
        let names = rooms.iter().map(|room| room.clone().into_owned()).collect();
        self.local.add_sockets(opts, rooms);
        self.tell(options.map(|options| Ask::Join(options, names)));
        Ok(())
    }

    async fn del_sockets(&self, opts: BroadcastOptions, rooms: impl RoomParam) -> Result<(), Failure> {
        let rooms: Vec<Room> = rooms.into_room_iter().collect();
        let options = self.for_others(&opts);
        let names = rooms.iter().map(|room| room.clone().into_owned()).collect();
        self.local.del_sockets(opts, rooms);
        self.tell(options.map(|options| Ask::Leave(options, names)));
        Ok(())
    }

    async fn disconnect_socket(&self, opts: BroadcastOptions) -> Result<(), BroadcastError> {
        let options = self.for_others(&opts);
        let done = self.local.disconnect_socket(opts);
        self.tell(options.map(Ask::Disconnect));
        Ok(done?)
    }

    async fn rooms(&self, opts: BroadcastOptions) -> Result<Vec<Room>, Failure> {
        let ask = self.for_others(&opts).map(|options| {
            let is_of_all = options.rooms.is_empty() && options.except.is_empty();
            if is_of_all { Ask::AllRooms } else { Ask::Fetch(options) }
        });
        let mut rooms = self.local.rooms(opts);
        if let Some(ask) = ask {
            self.ask_all(ask, |say| match say {
                Say::Rooms(names) => rooms.extend(names.into_iter().map(Room::Owned)),
                Say::Fetched(sockets) => {
                    rooms.extend(sockets.into_iter().flat_map(|socket| socket.rooms).map(Room::Owned));
                }
                _ => {}
            })
            .await?;
        }
        Ok(rooms.into_iter().collect())
    }

    async fn fetch_sockets(&self, opts: BroadcastOptions) -> Result<Vec<RemoteSocketData>, Failure> {
        let options = self.for_others(&opts);
        let mut found = self.local.fetch_sockets(opts);
        if let Some(options) = options {
            self.ask_all(Ask::Fetch(options), |say| {
                if let Say::Fetched(sockets) = say {
                    found.extend(sockets.iter().filter_map(|socket| self.remote(socket)));
                }
            })
            .await?;
        }
        Ok(found)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl RoomAdapter {
    /// Whom others are to take it for. None where it does not concern them.
    fn for_others(&self, opts: &BroadcastOptions) -> Option<Options> {
        let is_broadcast = opts.has_flag(BroadcastFlags::Broadcast);
        let is_for_nobody = opts.rooms.is_empty() && !is_broadcast && opts.sid.is_none();
        if opts.is_local(self.local.server_id()) || is_for_nobody {
            return None;
        }
        let names = |rooms: &[Room]| rooms.iter().map(|room| room.clone().into_owned()).collect::<Vec<_>>();
        let mut options = Options {
            rooms: names(&opts.rooms),
            except: names(&opts.except),
            volatile: opts.has_flag(BroadcastFlags::Volatile),
            timeout_ms: None,
        };
        if let Some(sid) = opts.sid {
            // Every socket is in the room of its own id.
            if is_broadcast {
                options.except.push(sid.to_string());
            } else if options.rooms.is_empty() {
                options.rooms.push(sid.to_string());
            }
        }
        Some(options)
    }

    /// Gives an event to the clients here.
    fn deliver(&self, packet: Packet, opts: BroadcastOptions) -> Result<(), Vec<SocketError>> {
        self.local.broadcast(packet, opts).inspect_err(|errors| {
            let full =
                errors.iter().filter(|error| matches!(error, SocketError::InternalChannelFull)).count();
            self.context.metrics.deliveries_dropped.add(full as u64);
        })
    }

    fn publish(&self, channel: String, message: Vec<u8>) {
        self.context.link.bus().publish(channel, Bytes::from(message));
    }

    /// Says what needs no answer.
    fn tell(&self, ask: Option<Ask>) {
        if let Some(ask) = ask {
            let request = Request { uid: Some(self.uid.clone()), id: None, ask };
            self.publish(self.channels.request.clone(), request.encode());
        }
    }

    /// Says what is answered.
    fn ask(&self, ask: Ask) -> Result<Answers, Failure> {
        let answers = self.requests.open().ok_or(Failure::Busy)?;
        let request = Request { uid: Some(self.uid.clone()), id: Some(answers.id().to_owned()), ask };
        self.publish(self.channels.request.clone(), request.encode());
        Ok(answers)
    }

    /// Asks all others, and takes their answers.
    async fn ask_all(&self, ask: Ask, mut take: impl FnMut(Say) + Send) -> Result<(), Failure> {
        let others = self.others().await?;
        if others == 0 {
            return Ok(());
        }
        let mut answers = self.ask(ask)?;
        let deadline = Instant::from_std(super::clock::instant()) + self.context.settings.requests_timeout;
        for _ in 0..others {
            let Ok(Some(say)) = timeout_at(deadline, answers.next()).await else {
                self.context.metrics.adapter_timeouts.add_one();
                return Err(Failure::Timeout);
            };
            take(say);
        }
        Ok(())
    }

    /// How many other instances there are.
    async fn others(&self) -> Result<u64, Failure> {
        Ok(self.context.link.bus().subscribers(&self.channels.request).await?.saturating_sub(1))
    }

    /// A socket of another instance, where it is one of stickyd-app: Node's ids do not fit the type.
    fn remote(&self, socket: &wire::Remote) -> Option<RemoteSocketData> {
        let id: Sid = socket.id.parse().ok()?;
        let server_id: Uid = socket.server.as_deref()?.parse().ok()?;
        Some(RemoteSocketData { id, server_id, ns: self.local.path().clone() })
    }
}
