//! The messages of Node's Redis adapter (`@socket.io/redis-adapter`, classic) and of its emitter, as bytes. Pure.
//!
//! MessagePack and JSON, told apart by the first byte as Node does; both become the same value here. Fields are found by
//! name, because adapter and emitter write them in another order.

use std::fmt;

use rmpv::Value;
use serde_json::json;

use super::super::value::{field, map};

/// Bytes of a message at most. Clients may send 1 MB, instances among each other more; this is against mistakes.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Nested arrays and maps at most; a client's JSON cannot have more.
const DEPTH_MAX: usize = 128;

/// What one event of a packet is called in MessagePack, with and without binary.
const EVENT: u64 = 2;

/// The message cannot be understood, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Who is meant, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Sockets of any of these rooms; of none: all.
    pub rooms: Vec<String>,
    /// But not sockets of these.
    pub except: Vec<String>,
    /// May be dropped for a client that is not ready.
    pub volatile: bool,
    /// Milliseconds to wait for acknowledgements.
    pub timeout_ms: Option<u64>,
}

impl Options {
    fn to_value(&self) -> Value {
        let mut flags = Vec::new();
        if self.volatile {
            flags.push(("volatile".into(), true.into()));
        }
        if let Some(timeout_ms) = self.timeout_ms {
            flags.push(("timeout".into(), timeout_ms.into()));
        }
        map([("rooms", names(&self.rooms)), ("except", names(&self.except)), ("flags", Value::Map(flags))])
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "rooms": self.rooms, "except": self.except })
    }

    fn read(value: Option<&Value>) -> Result<Self, Malformed> {
        let value = value.filter(|value| value.is_map()).ok_or(Malformed("no options"))?;
        let flags = field(value, "flags");
        let flag = |name| flags.and_then(|flags| field(flags, name));
        Ok(Self {
            rooms: read_names(field(value, "rooms"))?,
            except: read_names(field(value, "except"))?,
            volatile: flag("volatile").and_then(Value::as_bool).unwrap_or_default(),
            timeout_ms: flag("timeout").and_then(Value::as_u64),
        })
    }
}

/// An event for clients: `[event, ...arguments]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// The namespace.
    pub nsp: String,
    /// The event's name and its arguments.
    pub data: Vec<Value>,
}

impl Packet {
    fn to_value(&self) -> Value {
        map([
            ("type", EVENT.into()),
            ("data", Value::Array(self.data.clone())),
            ("nsp", self.nsp.as_str().into()),
        ])
    }

    fn read(value: Option<&Value>) -> Result<Self, Malformed> {
        let value = value.filter(|value| value.is_map()).ok_or(Malformed("no packet"))?;
        let data =
            field(value, "data").and_then(Value::as_array).ok_or(Malformed("a packet without data"))?;
        if !data.first().is_some_and(Value::is_str) {
            return Err(Malformed("an event without a name"));
        }
        // Left out by old emitters.
        let nsp = field(value, "nsp").map_or(Some("/"), Value::as_str).ok_or(Malformed("no namespace"))?;
        Ok(Self { nsp: nsp.to_owned(), data: data.iter().map(for_json).collect() })
    }
}

/// An event that is broadcast: what the channel of a namespace carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Who publishes it; `emitter` for an emitter.
    pub uid: String,
    /// The event.
    pub packet: Packet,
    /// For whom.
    pub options: Options,
}

impl Broadcast {
    /// As it is published.
    pub fn encode(&self) -> Vec<u8> {
        let parts = vec![self.uid.as_str().into(), self.packet.to_value(), self.options.to_value()];
        pack(&Value::Array(parts))
    }

    /// # Errors
    /// [`Malformed`]
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = unpack(bytes)?;
        let [uid, packet, options, ..] = message.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(Malformed("not three parts"));
        };
        // An old emitter says nil or nothing; it is nobody's own then.
        let uid = uid.as_str().unwrap_or_default().to_owned();
        Ok(Self { uid, packet: Packet::read(Some(packet))?, options: Options::read(Some(options))? })
    }
}

/// What instances ask each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who asks; none for an emitter.
    pub uid: Option<String>,
    /// What an answer names; none where none is expected.
    pub id: Option<String>,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Ids of sockets of these rooms (old).
    Sockets(Vec<String>),
    /// All rooms.
    AllRooms,
    /// Sockets to join rooms.
    Join(Options, Vec<String>),
    /// Sockets to leave rooms.
    Leave(Options, Vec<String>),
    /// Sockets to be disconnected.
    Disconnect(Options),
    /// Sockets, with what is known of them.
    Fetch(Options),
    /// An event for whoever acknowledges it.
    Broadcast(Packet, Options),
    /// An event among servers, which is nothing here.
    ServerSideEmit,
}

impl Request {
    /// As it is published.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, rest) = match &self.ask {
            Ask::Sockets(rooms) => (0, json!({ "rooms": rooms })),
            Ask::AllRooms => (1, json!({})),
            Ask::Join(options, rooms) => (2, json!({ "opts": options.to_json(), "rooms": rooms })),
            Ask::Leave(options, rooms) => (3, json!({ "opts": options.to_json(), "rooms": rooms })),
            Ask::Disconnect(options) => (4, json!({ "opts": options.to_json(), "close": false })),
            Ask::Fetch(options) => (5, json!({ "opts": options.to_json() })),
            Ask::ServerSideEmit => (6, json!({ "data": [] })),
            Ask::Broadcast(packet, options) => return self.encode_broadcast(packet, options),
        };
        let mut request = rest;
        for (name, value) in [("uid", &self.uid), ("requestId", &self.id)] {
            if let Some(value) = value {
                request[name] = value.as_str().into();
            }
        }
        request["type"] = kind.into();
        request.to_string().into_bytes()
    }

    /// MessagePack, because the event may have bytes.
    fn encode_broadcast(&self, packet: &Packet, options: &Options) -> Vec<u8> {
        pack(&map([
            ("uid", self.uid.as_deref().unwrap_or_default().into()),
            ("requestId", self.id.as_deref().unwrap_or_default().into()),
            ("type", 7.into()),
            ("packet", packet.to_value()),
            ("opts", options.to_value()),
        ]))
    }

    /// # Errors
    /// [`Malformed`]
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = unpack(bytes)?;
        let text = |name| field(&message, name).and_then(Value::as_str).map(str::to_owned);
        let options = || match text("sid") {
            // The old form: one socket by its id.
            Some(sid) => Ok(Options { rooms: vec![sid], ..Options::default() }),
            None => Options::read(field(&message, "opts")),
        };
        let rooms = || match field(&message, "room") {
            Some(room) => read_name(room).map(|room| vec![room]),
            None => read_names(field(&message, "rooms")),
        };
        let kind = field(&message, "type").and_then(Value::as_u64).ok_or(Malformed("no type"))?;
        let ask = match kind {
            0 => Ask::Sockets(rooms()?),
            1 => Ask::AllRooms,
            2 => Ask::Join(options()?, rooms()?),
            3 => Ask::Leave(options()?, rooms()?),
            4 => Ask::Disconnect(options()?),
            5 => Ask::Fetch(options()?),
            6 => Ask::ServerSideEmit,
            7 => Ask::Broadcast(Packet::read(field(&message, "packet"))?, options()?),
            _ => return Err(Malformed("an unknown type")),
        };
        Ok(Self { uid: text("uid"), id: text("requestId"), ask })
    }
}

/// A socket of another instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Its id.
    pub id: String,
    /// The instance of stickyd-app that has it; none for Node.
    pub server: Option<String>,
    /// Its rooms.
    pub rooms: Vec<String>,
    /// Whose it is.
    pub user: Option<String>,
}

impl Remote {
    /// What a request of its handshake said is not told: cookies and addresses are nobody else's business.
    fn to_json(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "handshake": { "headers": {}, "query": {}, "auth": {} },
            "rooms": self.rooms,
            "data": { "userId": self.user },
            "server": self.server,
        })
    }

    fn read(value: &Value) -> Result<Self, Malformed> {
        let text = |name| field(value, name).and_then(Value::as_str).map(str::to_owned);
        let user = field(value, "data").and_then(|data| field(data, "userId")).and_then(Value::as_str);
        Ok(Self {
            id: text("id").ok_or(Malformed("a socket without id"))?,
            server: text("server"),
            rooms: read_names(field(value, "rooms"))?,
            user: user.map(str::to_owned),
        })
    }
}

/// What instances answer each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// What was asked.
    pub id: String,
    /// What is said to it.
    pub say: Say,
}

/// What is said to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Say {
    /// Ids of sockets (old).
    Sockets(Vec<String>),
    /// Rooms of an instance.
    Rooms(Vec<String>),
    /// Sockets of an instance.
    Fetched(Vec<Remote>),
    /// So many acknowledgements will come.
    ClientCount(u64),
    /// One of them: its first argument.
    Ack(Value),
    /// It was done (old), or it is an answer to nothing that is asked here.
    Done,
}

impl Response {
    /// As it is published.
    pub fn encode(&self) -> Vec<u8> {
        let id = &self.id;
        let answer = match &self.say {
            Say::Sockets(sockets) => json!({ "requestId": id, "sockets": sockets }),
            Say::Rooms(rooms) => json!({ "requestId": id, "rooms": rooms }),
            Say::Fetched(sockets) => {
                let sockets: Vec<_> = sockets.iter().map(Remote::to_json).collect();
                json!({ "requestId": id, "sockets": sockets })
            }
            Say::ClientCount(count) => json!({ "type": 8, "requestId": id, "clientCount": count }),
            // MessagePack, because it may have bytes.
            Say::Ack(value) => {
                let id = id.as_str().into();
                return pack(&map([("type", 9.into()), ("requestId", id), ("packet", value.clone())]));
            }
            Say::Done => json!({ "requestId": id }),
        };
        answer.to_string().into_bytes()
    }

    /// # Errors
    /// [`Malformed`]
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = unpack(bytes)?;
        let id = field(&message, "requestId").and_then(Value::as_str).ok_or(Malformed("no requestId"))?;
        let say = match field(&message, "type").and_then(Value::as_u64) {
            Some(8) => {
                let count = field(&message, "clientCount").and_then(Value::as_u64);
                Say::ClientCount(count.ok_or(Malformed("no clientCount"))?)
            }
            Some(9) => Say::Ack(field(&message, "packet").map_or(Value::Nil, for_json)),
            Some(_) => Say::Done,
            None => Self::decode_untyped(&message)?,
        };
        Ok(Self { id: id.to_owned(), say })
    }

    fn decode_untyped(message: &Value) -> Result<Say, Malformed> {
        if let Some(rooms) = field(message, "rooms") {
            return Ok(Say::Rooms(read_names(Some(rooms))?));
        }
        match field(message, "sockets").and_then(Value::as_array) {
            Some(sockets) if sockets.first().is_some_and(Value::is_map) => {
                Ok(Say::Fetched(sockets.iter().map(Remote::read).collect::<Result<_, _>>()?))
            }
            // Of none nobody can say what they would have been.
            Some(sockets) if sockets.is_empty() => Ok(Say::Fetched(Vec::new())),
            Some(_) => Ok(Say::Sockets(read_names(field(message, "sockets"))?)),
            None => Ok(Say::Done),
        }
    }
}

fn names(names: &[String]) -> Value {
    Value::Array(names.iter().map(|name| name.as_str().into()).collect())
}

fn read_names(value: Option<&Value>) -> Result<Vec<String>, Malformed> {
    match value {
        None | Some(Value::Nil) => Ok(Vec::new()),
        Some(Value::Array(names)) => names.iter().map(read_name).collect(),
        Some(_) => Err(Malformed("no array of names")),
    }
}

/// A room's name, which may be a number for Node.
fn read_name(value: &Value) -> Result<String, Malformed> {
    match value {
        Value::String(name) => name.as_str().map(str::to_owned).ok_or(Malformed("a name that is no text")),
        Value::Integer(number) => Ok(number.to_string()),
        Value::F32(number) => Ok(number.to_string()),
        Value::F64(number) => Ok(number.to_string()),
        _ => Err(Malformed("a name that is no text")),
    }
}

fn pack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Writing to a vector does not fail.
    let _ = rmpv::encode::write_value(&mut bytes, value);
    bytes
}

fn unpack(bytes: &[u8]) -> Result<Value, Malformed> {
    if bytes.len() > BYTES_MAX {
        return Err(Malformed("a message that is too long"));
    }
    if bytes.first() == Some(&b'{') {
        return serde_json::from_slice(bytes).map_err(|_| Malformed("no JSON"));
    }
    let mut rest = bytes;
    rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX).map_err(|_| Malformed("no MessagePack"))
}

/// The value as Node's JSON would show it to a client: a date as text, keys as text, bytes as they are.
fn for_json(value: &Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.iter().map(for_json).collect()),
        Value::Map(fields) => {
            let fields =
                fields.iter().filter_map(|(key, value)| Some((text_key(key)?.into(), for_json(value))));
            Value::Map(fields.collect())
        }
        Value::Ext(-1, bytes) => super::date::iso(bytes).map_or(Value::Nil, Into::into),
        // Of another type nobody knows what it means.
        Value::Ext(..) => Value::Nil,
        Value::String(text) if text.as_str().is_none() => Value::Binary(text.as_bytes().to_vec()),
        other => other.clone(),
    }
}

fn text_key(key: &Value) -> Option<String> {
    match key {
        Value::Boolean(value) => Some(value.to_string()),
        Value::Nil => Some("null".to_owned()),
        other => read_name(other).ok(),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
