//! What clients of the bundled application say and hear. Every event is answered by its acknowledgement.
//!
//! A mistake is answered `{ ok: false, error }`; what went well `{ ok: true }` or what was asked for.

use std::sync::{Arc, Mutex, PoisonError};

use rmpv::Value;
use socketioxide::TransportType;
use socketioxide::extract::{AckSender, Data, Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;

use super::adapter::{Io, RoomAdapter};
use super::context::Context;
use super::identity::{self, Refused, User};
use super::presence::{self, Stay};
use super::value::{Args, field, map};

type Socket = SocketRef<RoomAdapter>;
type Ack = AckSender<RoomAdapter>;

/// Events that mean something to clients, so that no client may say them to another: Socket.IO's own, and presence.
const RESERVED: &[&str] = &[
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
    "user-online",
    "user-offline",
];

/// Serves the events on `/` and the namespaces that the settings name.
pub(super) fn attach(io: &Io, context: &Arc<Context>) {
    let namespaces = context.settings.namespaces.iter().map(String::as_str);
    for namespace in ["/"].into_iter().chain(namespaces) {
        let context = context.clone();
        // Everything is done before the client hears that it is connected: what it says next finds its handlers, and what is
        // said to it finds its room.
        let admit = async move |socket: Socket, TryData(auth): TryData<Value>| -> Result<(), Refused> {
            let user = identity::of_handshake(&auth.unwrap_or(Value::Nil), &context.settings);
            let user = user.inspect_err(|_| context.metrics.handshakes_refused.add_one())?;
            welcome(&socket, user, &context).await;
            Ok(())
        };
        io.ns(namespace.to_owned(), (async || {}).with(admit));
    }
}

/// A client is there.
async fn welcome(socket: &Socket, user: User, context: &Arc<Context>) {
    // Node's sockets are all in the room of their own id, and the adapter's format relies on it.
    socket.join(socket.id);
    socket.extensions.insert(user.clone());
    socket.extensions.insert(Counted::new(context));
    let context_of_events = context.clone();
    // One handler for all events, instead of a table of them in every socket.
    socket.on_fallback(async move |Event(event): Event, socket: Socket, Data(args): Data<Args>, ack: Ack| {
        let context = &context_of_events;
        context.turns.take().await;
        context.metrics.events.add_one();
        let answer = answer(context, &socket, &event, args).await.unwrap_or_else(|error| {
            context.metrics.events_refused.add_one();
            Args(vec![map([("ok", false.into()), ("error", error.into())])])
        });
        // The client may be gone, or its queue be full: then it hears no answer.
        let _ = ack.send(&answer);
    });
    let stays = Stays::default();
    let stays_of_end = stays.clone();
    socket.on_disconnect(async move || stays_of_end.end());
    if !user.0.is_empty() {
        let member = match socket.ns() {
            "/" => socket.id.to_string(),
            namespace => format!("{}{namespace}", socket.id),
        };
        stays.begin(context.presence.enter(&user.0, member).await);
        // With the socket it ends at the latest, also where a client is gone before it was let in.
        socket.extensions.insert(stays);
    }
}

/// That a socket's user is online, until it ends. A clone is the same.
#[derive(Clone, Default)]
struct Stays(Arc<Mutex<Option<Stay>>>);

impl Stays {
    fn begin(&self, stay: Stay) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stay);
    }

    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// That a socket is counted as one that is there, until it is gone. Not until it disconnects: of a client that is gone before it
/// was let in, the library does not say so.
#[derive(Clone)]
struct Counted {
    _until_gone: Arc<UntilGone>,
}

struct UntilGone(Arc<Context>);

impl Counted {
    fn new(context: &Arc<Context>) -> Self {
        context.metrics.sockets.up();
        context.metrics.sockets_opened.add_one();
        Self { _until_gone: Arc::new(UntilGone(context.clone())) }
    }
}

impl Drop for UntilGone {
    fn drop(&mut self) {
        self.0.metrics.sockets.down();
    }
}

/// Why an event was refused, as its client is told.
type Mistake = &'static str;

/// What an event is answered. Handlers of one client begin in the order of its events, and one that waits for nothing ends
/// before the next begins: the runtime has one thread.
async fn answer(context: &Context, socket: &Socket, event: &str, args: Args) -> Result<Args, Mistake> {
    match event {
        "join" => join(context, socket, &args),
        "leave" => leave(context, socket, &args),
        "say" => say(context, &args).await,
        "echo" => Ok(args),
        "who" => Ok(who(context, socket)),
        "watch" => watch(context, socket, &args).await,
        _ => Err("there is no such event"),
    }
}

fn join(context: &Context, socket: &Socket, args: &Args) -> Result<Args, Mistake> {
    let room = name(context, args.text(0)).ok_or("join(room): a room has a name, and a short one")?;
    if socket.rooms().len() >= context.settings.rooms_max {
        return Err("join(room): in too many rooms");
    }
    socket.join(room.to_owned());
    Ok(done())
}

fn leave(context: &Context, socket: &Socket, args: &Args) -> Result<Args, Mistake> {
    let room = name(context, args.text(0)).ok_or("leave(room): a room has a name, and a short one")?;
    if room == socket.id.as_str() {
        return Err("leave(room): every socket stays in the room of its own id");
    }
    socket.leave(room.to_owned());
    Ok(done())
}

/// Says something to a room, on all instances.
async fn say(context: &Context, args: &Args) -> Result<Args, Mistake> {
    let said = args.0.first().ok_or("say({ room, event, data }): nothing is said")?;
    let text = |field_name| name(context, field(said, field_name).and_then(Value::as_str));
    let room = text("room").ok_or("say({ room, event, data }): the room has no name, or a long one")?;
    let event = text("event").ok_or("say({ room, event, data }): the event has no name, or a long one")?;
    if RESERVED.contains(&event) {
        return Err("say({ room, event, data }): this event is not for clients to say");
    }
    let data = field(said, "data").unwrap_or(&Value::Nil);
    // A client whose queue is full misses it, and the others have it: no mistake of who said it.
    let _ = context.io().to(room.to_owned()).emit(event, data).await;
    Ok(done())
}

fn who(context: &Context, socket: &Socket) -> Args {
    let transport = match socket.transport_type() {
        TransportType::Polling => "polling",
        TransportType::Websocket => "websocket",
    };
    let user = socket.extensions.get::<User>().map_or_else(String::new, |User(user)| user);
    let id = context.settings.name.as_str();
    Args(vec![map([("id", id.into()), ("transport", transport.into()), ("userId", user.into())])])
}

/// Hears of these users when they come and go, and who of them is there now.
async fn watch(context: &Context, socket: &Socket, args: &Args) -> Result<Args, Mistake> {
    let named = args.0.first().and_then(Value::as_array).ok_or("watch(userIds): no array of users")?;
    let mut users = Vec::with_capacity(named.len());
    for user in named {
        let user = name(context, user.as_str());
        users.push(user.ok_or("watch(userIds): a user has a name, and a short one")?.to_owned());
    }
    if socket.rooms().len() + users.len() > context.settings.rooms_max {
        return Err("watch(userIds): too many");
    }
    // Before it is asked: who comes meanwhile is heard of twice rather than never.
    socket.join(users.iter().map(|user| presence::room_of(user)).collect::<Vec<_>>());
    let online = context.presence.online(users).await;
    let online = online.map_err(|_| "watch(userIds): who is online is not known, for Redis is away")?;
    Ok(Args(vec![Value::Array(online.into_iter().map(Value::from).collect())]))
}

/// A name that a client gives, where it is none too short or long.
fn name<'a>(context: &Context, name: Option<&'a str>) -> Option<&'a str> {
    name.filter(|name| !name.is_empty() && name.len() <= context.settings.name_bytes_max)
}

fn done() -> Args {
    Args(vec![map([("ok", true.into())])])
}
