//! What packets and acknowledgements of Socket.IO carry, as values and back: here JSON with bytes beside it, among
//! instances one value with bytes in it.

use rmpv::Value;
use socketioxide::ParserError;
use socketioxide_core::Value as Payload;
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::Parse;
use socketioxide_parser_common::CommonParser;

use super::wire;
use crate::app::value::Args;

/// The packet that clients of this instance get.
pub(super) fn to_client(packet: wire::Packet) -> Result<Packet, ParserError> {
    let mut data = packet.data.into_iter();
    let event = data.next();
    let args = Args(data.collect());
    let event = event.as_ref().and_then(Value::as_str);
    Ok(Packet::event(packet.nsp, CommonParser.encode_value(&args, event)?))
}

/// The packet that other instances get. None for what is no event.
pub(super) fn to_instances(packet: &Packet) -> Option<wire::Packet> {
    let (PacketData::Event(payload, _) | PacketData::BinaryEvent(payload, _)) = &packet.inner else {
        return None;
    };
    let args: Args = CommonParser.decode_value(&mut payload.clone(), false).ok()?;
    Some(wire::Packet { nsp: packet.ns.to_string(), data: args.0 })
}

/// An acknowledgement that another instance passes on.
pub(super) fn ack(value: Value) -> Result<Payload, ParserError> {
    CommonParser.encode_value(&Args(vec![value]), None)
}

/// What is passed on of an acknowledgement: its first argument, as Node does.
pub(super) fn first_of_ack(mut payload: Payload) -> Value {
    let args: Args = CommonParser.decode_value(&mut payload, false).unwrap_or_default();
    args.0.into_iter().next().unwrap_or(Value::Nil)
}
