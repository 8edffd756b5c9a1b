//! What other instances say and ask, and what is answered.
//!
//! Must not: believe that a message is well formed, or that it is for this instance.

use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use socketioxide::ack::AckInnerStream;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, CoreLocalAdapter, Room};
use tokio::sync::watch;

use super::wire::{Ask, Broadcast, Malformed, Options, Packet, Remote, Request, Response, Say};
use super::{RoomAdapter, payload};
use crate::app::bus::{Message, Subscription};
use crate::app::identity::User;

/// Everybody whom another instance means, of those here.
fn local_options(options: Options) -> BroadcastOptions {
    let mut local = BroadcastOptions::default();
    local.rooms.extend(options.rooms.into_iter().map(Room::Owned));
    local.except.extend(options.except.into_iter().map(Room::Owned));
    // No rooms means all.
    local.add_flag(BroadcastFlags::Broadcast);
    if options.volatile {
        local.add_flag(BroadcastFlags::Volatile);
    }
    local
}

impl RoomAdapter {
    /// Hears what others say, until the namespace is closed.
    pub(super) async fn hear(self: Arc<Self>, mut messages: Subscription) {
        let mut closed = self.closed.subscribe();
        loop {
            let message = tokio::select! {
                Some(message) = messages.next() => message,
                () = is_closed(&mut closed) => return,
                else => return,
            };
            if let Err(why) = self.heard(&message) {
                self.context.metrics.adapter_malformed.add_one();
                tracing::debug!(channel = &*message.channel, %why, "not understood");
            }
        }
    }

    fn heard(self: &Arc<Self>, message: &Message) -> Result<(), Malformed> {
        let channels = &self.channels;
        if *message.channel == *channels.request {
            self.asked(Request::decode(&message.payload)?);
        } else if message.channel.starts_with(&channels.response) {
            let response = Response::decode(&message.payload)?;
            // Most are for others.
            self.requests.answer(response);
        } else if let Some(room) = message.channel.strip_prefix(&*channels.broadcast) {
            let room = room.strip_suffix('#').unwrap_or(room);
            if room.is_empty() || self.has(room) {
                self.said(Broadcast::decode(&message.payload)?);
            }
        }
        Ok(())
    }

    /// Whether a socket here is in this room. Most messages are for none of it, and are not even read.
    fn has(&self, room: &str) -> bool {
        let options = Options { rooms: vec![room.to_owned()], ..Options::default() };
        !self.local.sockets(local_options(options)).is_empty()
    }

    /// Another instance says something to clients.
    fn said(&self, message: Broadcast) {
        if message.uid == self.uid || *message.packet.nsp != **self.local.path() {
            return;
        }
        if let Ok(packet) = payload::to_client(message.packet) {
            // A client whose queue is full misses it, which is counted; whoever said it cannot be told.
            let _ = self.deliver(packet, local_options(message.options));
        }
    }

    /// Another instance asks something. What it has asked itself comes back too: that was done when it was asked.
    fn asked(self: &Arc<Self>, request: Request) {
        if request.uid.as_ref() == Some(&self.uid) {
            return;
        }
        let say = match request.ask {
            Ask::Sockets(rooms) => {
                let options = Options { rooms, ..Options::default() };
                let sockets = self.local.sockets(local_options(options));
                Some(Say::Sockets(sockets.iter().map(ToString::to_string).collect()))
            }
            Ask::AllRooms => Some(Say::Rooms(self.rooms_of(local_options(Options::default())))),
            Ask::Join(options, rooms) => self.done(&options, |local, opts| local.add_sockets(opts, rooms)),
            Ask::Leave(options, rooms) => self.done(&options, |local, opts| local.del_sockets(opts, rooms)),
            Ask::Disconnect(options) => self.done(&options, |local, opts| {
                // A client whose queue is full is not told; it is disconnected when it reads again or times out.
                let _ = local.disconnect_socket(opts);
            }),
            Ask::Fetch(options) => Some(Say::Fetched(self.fetch(options))),
            // There is nobody here to hear it, which to the other side is an instance without a listener.
            Ask::ServerSideEmit => None,
            Ask::Broadcast(packet, options) => {
                if let Some(id) = request.id {
                    self.clone().collect(id, packet, options);
                }
                return;
            }
        };
        if let (Some(say), Some(id)) = (say, request.id) {
            self.answer(id, say);
        }
    }

    /// Does something to sockets. It is answered only in its old form, with an id, and where there was somebody.
    fn done(
        &self,
        options: &Options,
        act: impl FnOnce(&CoreLocalAdapter<socketioxide::adapter::Emitter>, BroadcastOptions),
    ) -> Option<Say> {
        let is_anybody = !self.local.sockets(local_options(options.clone())).is_empty();
        act(&self.local, local_options(options.clone()));
        is_anybody.then_some(Say::Done)
    }

    fn answer(&self, id: String, say: Say) {
        self.publish(self.channels.response.clone(), Response { id, say }.encode());
    }

    fn rooms_of(&self, opts: BroadcastOptions) -> Vec<String> {
        self.local.rooms(opts).into_iter().map(Room::into_owned).collect()
    }

    fn fetch(&self, options: Options) -> Vec<Remote> {
        let found = self.local.fetch_sockets(local_options(options));
        let namespace = self.context.io().of(&**self.local.path());
        let describe = |socket: &socketioxide_core::adapter::RemoteSocketData| Remote {
            id: socket.id.to_string(),
            server: Some(socket.server_id.to_string()),
            rooms: self.local.socket_rooms(socket.id).into_iter().map(Room::into_owned).collect(),
            user: namespace
                .as_ref()
                .and_then(|namespace| namespace.get_socket(socket.id))
                .and_then(|socket| socket.extensions.get::<User>())
                .map(|User(user)| user),
        };
        found.iter().map(describe).collect()
    }

    /// Says an event to clients here, and passes on what they acknowledge.
    fn collect(self: Arc<Self>, id: String, packet: Packet, options: Options) {
        let limit = options.timeout_ms.map_or_else(|| self.local.ack_timeout(), Duration::from_millis);
        let packet = if *packet.nsp == **self.local.path() { payload::to_client(packet).ok() } else { None };
        let Some(packet) = packet else { return };
        let (acks, count) = self.local.broadcast_with_ack(packet, local_options(options), Some(limit));
        self.answer(id.clone(), Say::ClientCount(u64::from(count)));
        if count > 0 {
            self.context.tasks.spawn("acks", self.clone().pass_on(id, acks));
        }
    }

    async fn pass_on(self: Arc<Self>, id: String, acks: AckInnerStream) {
        let mut acks = Box::pin(acks);
        // Ends by itself: each acknowledgement has a deadline.
        while let Some((_, ack)) = std::future::poll_fn(|context| acks.as_mut().poll_next(context)).await {
            // Of a client that did not answer nothing is said, as Node does.
            if let Ok(payload) = ack {
                self.answer(id.clone(), Say::Ack(payload::first_of_ack(payload)));
            }
        }
    }
}

async fn is_closed(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}
