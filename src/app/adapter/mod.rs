//! Rooms over all instances: what is said to a room here is published for the others, in the format of Node's Redis adapter.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use socketioxide::adapter::Emitter;
use socketioxide_core::adapter::{
    BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter,
};
use socketioxide_core::packet::Packet;

use super::context::Context;

/// Socket.IO with this adapter.
pub type Io = socketioxide::SocketIo<RoomAdapter>;

/// The adapter of one namespace of one instance.
pub struct RoomAdapter {
    local: CoreLocalAdapter<Emitter>,
}

impl DefinedAdapter for RoomAdapter {}

impl CoreAdapter<Emitter> for RoomAdapter {
    type Error = Infallible;
    type State = Arc<Context>;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(_: &Arc<Context>, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}
