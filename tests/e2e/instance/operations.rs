//! An instance of stickyd-app that does to rooms what a client of the namespace `/operations` tells it: the counterpart of
//! `operations.mjs`. `NAME`, `PORT` and `REDIS` come from the environment.

use std::env;
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use rmpv::Value;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::operators::BroadcastOperators;
use socketioxide_core::adapter::CoreAdapter;
use stickyd::app::adapter::RoomAdapter;
use stickyd::app::context::Context;
use stickyd::app::identity::User;
use stickyd::app::instance::Instance;
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;
use stickyd::app::value::{Args, field, map};
use stickyd::app::{cli, limits};

type Done = Result<Value, String>;

/// What went wrong, in words.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn main() -> Result<(), Box<dyn Error>> {
    cli::log();
    limits::raise_open_files();
    let shared = Shared::redis(&env::var("REDIS")?)?;
    let settings = Settings {
        listen: format!("127.0.0.1:{}", env::var("PORT")?).parse()?,
        name: env::var("NAME")?,
        namespaces: vec!["/chat".to_owned(), "/zwölf".to_owned()],
        insecure_demo: true,
        requests_timeout: Duration::from_secs(2),
        ..Settings::default()
    };
    Instance::start_with(settings, &shared, attach)?.join();
    Ok(())
}

fn attach(context: &Arc<Context>) {
    let context_of_clients = context.clone();
    context.io().ns("/operations", async move |socket: SocketRef<RoomAdapter>| {
        let context = context_of_clients;
        socket.on("operate", async move |Data(told): Data<Value>, ack: AckSender<RoomAdapter>| {
            let done = operate(&context, &told).await;
            let answer = done.unwrap_or_else(|error| map([("error", error.into())]));
            let _ = ack.send(&answer);
        });
    });
}

async fn operate(context: &Context, told: &Value) -> Done {
    let text = |name| field(told, name).and_then(Value::as_str).unwrap_or_default();
    let namespace = text("nsp");
    let (event, args) = (text("event"), Args(array(told, "args")));
    let rooms = names(told, "rooms");
    let target = target(context, told).ok_or("no such namespace or socket")?;
    match text("do") {
        "emit" => target.emit(event, &args).await.map_err(words)?,
        "ask" => return ask(target.timeout(Duration::from_secs(2)), event, &args).await,
        "join" => target.join(rooms).await.map_err(words)?,
        "leave" => target.leave(rooms).await.map_err(words)?,
        "disconnect" => target.disconnect().await.map_err(words)?,
        "fetch" => {
            let found = target.fetch_sockets().await.map_err(words)?;
            let ids = found.iter().map(|socket| socket.data().id.to_string().into());
            return Ok(Value::Array(ids.collect()));
        }
        "rooms" => {
            let found = target.rooms().await.map_err(words)?;
            return Ok(Value::Array(found.into_iter().map(|room| room.into_owned().into()).collect()));
        }
        "count" => {
            let adapter = context.adapter(namespace).ok_or("no such namespace")?;
            return Ok(adapter.server_count().await.map_err(words)?.into());
        }
        other => return Err(format!("no such operation: {other}")),
    }
    Ok("done".into())
}

/// Who is meant: `nsp`, `to`, `except`, `volatile`, and `from`, the user whose socket says it.
fn target(context: &Context, told: &Value) -> Option<BroadcastOperators<RoomAdapter>> {
    let namespace = context.io().of(field(told, "nsp")?.as_str()?)?;
    let from = field(told, "from").and_then(Value::as_str);
    let mut target = match from {
        Some(user) => {
            let sockets = namespace.sockets();
            let is_it = |socket: &&SocketRef<RoomAdapter>| {
                socket.extensions.get::<User>().is_some_and(|User(name)| name == user)
            };
            sockets.iter().find(is_it)?.broadcast()
        }
        None => namespace,
    };
    target = target.to(names(told, "to")).except(names(told, "except"));
    if field(told, "volatile").and_then(Value::as_bool) == Some(true) {
        target = target.volatile();
    }
    Some(target)
}

async fn ask(target: BroadcastOperators<RoomAdapter>, event: &str, args: &Args) -> Done {
    let mut answers = pin!(target.emit_with_ack::<_, Value>(event, args).await.map_err(words)?);
    let mut all = Vec::new();
    while let Some((_, answer)) = poll_fn(|context| answers.as_mut().poll_next(context)).await {
        all.push(answer.unwrap_or_else(|error| format!("{error}").into()));
    }
    Ok(Value::Array(all))
}

fn array(told: &Value, name: &str) -> Vec<Value> {
    field(told, name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn names(told: &Value, name: &str) -> Vec<String> {
    array(told, name).iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
