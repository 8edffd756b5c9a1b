//! `rust_socketio` as an application uses it, as many clients as asked for; what happens to each is one line of JSON.
//!
//! ```text
//! stickyd-e2e-rust-client exchange|stay URL polling|websocket|upgrade|default ADDRESS...
//! ```
//!
//! `exchange`: what goes out comes back, before and after two heartbeats; ends when all are done, with failure when one
//! failed. `stay`: each connects, and comes back when it is lost as the library does it; ends when it is stopped.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Payload, TransportType};
use serde_json::{Value, json};

/// For every answer: far above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(mode), Some(url), Some(transport)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: stickyd-e2e-rust-client MODE URL TRANSPORT ADDRESS...");
        return ExitCode::from(2);
    };
    let clients: Vec<_> = args
        .enumerate()
        .map(|(number, address)| {
            let (url, transport) = (url.clone(), transport.clone());
            let life = if mode == "stay" { stay } else { exchange };
            std::thread::spawn(move || match life(number, &url, &transport, address) {
                Ok(()) => true,
                Err(reason) => {
                    tell(number, "failed", json!({ "reason": reason }));
                    false
                }
            })
        })
        .collect();
    let good =
        clients.into_iter().map(|client| client.join().unwrap_or(false)).filter(|good| !good).count() == 0;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(number: usize, event: &str, mut details: Value) {
    details["client"] = json!(number);
    details["event"] = json!(event);
    println!("{details}");
}

/// As the library comes, but for a shorter wait: it tells each instance that greets it and each thing that goes wrong.
fn stay(number: usize, url: &str, transport: &str, address: String) -> Result<(), String> {
    let _client = ClientBuilder::new(url)
        .transport_type(transport_type(transport)?)
        .opening_header("x-forwarded-for", address)
        .reconnect_delay(200, 500)
        .on("hello", move |payload, _| {
            if let Payload::Text(values) = payload {
                tell(number, "hello", json!({ "instance": values[0] }));
            }
        })
        .on("error", move |error, _| tell(number, "lost", json!({ "reason": short(&error) })))
        .on("close", move |_, _| tell(number, "closed", json!({})))
        .connect()
        .map_err(|error| format!("cannot connect: {error}"))?;
    loop {
        std::thread::park();
    }
}

fn exchange(number: usize, url: &str, transport: &str, address: String) -> Result<(), String> {
    let socket = Socket::connect(url, transport, address)?;
    let home = socket.text(&socket.hello, "hello")?;
    tell(number, "hello", json!({ "instance": home[0] }));
    socket.exchange()?;
    // Polls that are parked and tunnels that are silent are still there after them.
    socket.ask("heartbeats", json!(2))?;
    socket.exchange()?;

    let now = socket.ask("whoami", Value::Null)?;
    if now["instance"] != home[0] {
        return Err(format!("moved from {} to {}", home[0], now["instance"]));
    }
    tell(number, "done", json!({ "instance": now["instance"], "transport": now["transport"] }));
    socket.client.disconnect().map_err(|error| format!("disconnect: {error}"))
}

struct Socket {
    client: Client,
    hello: Receiver<Payload>,
    sent_back: Receiver<Payload>,
    reads_binary: bool,
    /// What the library says went wrong: it goes on trying for ever.
    problems: Problems,
}

type Problems = Arc<Mutex<Vec<String>>>;

impl Socket {
    fn connect(url: &str, transport: &str, address: String) -> Result<Self, String> {
        let (greet, hello) = channel();
        let (bring, sent_back) = channel();
        let problems = Problems::default();
        let noted = Arc::clone(&problems);
        let builder = ClientBuilder::new(url)
            .transport_type(transport_type(transport)?)
            .opening_header("x-forwarded-for", address)
            .reconnect(false)
            .on("error", move |error, _| noted.lock().unwrap().push(short(&error)));
        let client = arrivals(arrivals(builder, "hello", greet), "sent-back", bring)
            .connect()
            .map_err(|error| format!("cannot connect: {error}"))?;
        Ok(Self { client, hello, sent_back, reads_binary: transport == "polling", problems })
    }

    fn exchange(&self) -> Result<(), String> {
        let values = [
            json!(0),
            json!(-1.5),
            json!(true),
            json!(""),
            json!("Grüße, 世界 🚀"),
            json!([]),
            json!({ "nested": { "list": [1, "two", null] } }),
        ];
        for value in values {
            self.echo(&value)?;
        }
        self.echo(&json!("0123456789abcdef".repeat(4 * 1024)))?;

        for length in [1_000, 64 * 1024] {
            let bytes: Vec<u8> =
                (0..length).map(|n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            // Without an acknowledgement: the library would send it as an answer.
            self.client
                .emit("keep", Payload::from(bytes.clone()))
                .map_err(|error| format!("emit: {error}"))?;
            if self.ask("kept", Value::Null)? != json!(hex) {
                return Err(format!("{length} bytes arrived otherwise than sent"));
            }
            self.bring_back(bytes)?;
        }

        for number in 0..10 {
            self.echo(&json!(number))?;
        }
        Ok(())
    }

    /// Binary from the instance; over a WebSocket this version of the library takes it for a broken packet.
    fn bring_back(&self, bytes: Vec<u8>) -> Result<(), String> {
        if !self.reads_binary {
            return Ok(());
        }
        let send = Payload::from(bytes.clone());
        self.client.emit("send-back", send).map_err(|error| format!("emit: {error}"))?;
        match self.arrival(&self.sent_back, "sent-back")? {
            Payload::Binary(back) if back == bytes => Ok(()),
            other => Err(format!("{} bytes came back as {}", bytes.len(), short(&other))),
        }
    }

    fn echo(&self, value: &Value) -> Result<(), String> {
        let answer = self.ask("echo", value.clone())?;
        if answer == *value { Ok(()) } else { Err(format!("sent {value:.100}, came back as {answer:.100}")) }
    }

    /// Emits and waits for the acknowledgement; its one argument.
    fn ask(&self, event: &str, value: Value) -> Result<Value, String> {
        let (answer, answers) = channel();
        let payload = if value.is_null() { Payload::Text(vec![]) } else { Payload::Text(vec![value]) };
        self.client
            .emit_with_ack(event, payload, PATIENCE, move |payload: Payload, _| {
                let _ = answer.send(payload);
            })
            .map_err(|error| format!("{event}: {error}"))?;
        match self.text(&answers, event)?.first() {
            // The library hands over the list of arguments as one value.
            Some(Value::Array(arguments)) => Ok(arguments.first().cloned().unwrap_or_default()),
            other => Err(format!("{event} was acknowledged with {other:?}")),
        }
    }

    fn text(&self, arrivals: &Receiver<Payload>, event: &str) -> Result<Vec<Value>, String> {
        match self.arrival(arrivals, event)? {
            Payload::Text(values) => Ok(values),
            other => Err(format!("{event} brought {}", short(&other))),
        }
    }

    fn arrival(&self, arrivals: &Receiver<Payload>, event: &str) -> Result<Payload, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(payload) = arrivals.recv_timeout(Duration::from_millis(50)) {
                return Ok(payload);
            }
            if let Some(problem) = self.problems.lock().unwrap().first() {
                return Err(format!("{event}: {problem}"));
            }
            if Instant::now() > deadline {
                return Err(format!("{event}: nothing came"));
            }
        }
    }
}

fn transport_type(name: &str) -> Result<TransportType, String> {
    match name {
        "polling" => Ok(TransportType::Polling),
        "websocket" => Ok(TransportType::Websocket),
        "upgrade" => Ok(TransportType::WebsocketUpgrade),
        "default" => Ok(TransportType::Any),
        _ => Err(format!("no such transport: {name}")),
    }
}

/// Sends what `event` brings to `to`.
fn arrivals(builder: ClientBuilder, event: &str, to: Sender<Payload>) -> ClientBuilder {
    builder.on(event, move |payload, _| {
        let _ = to.send(payload);
    })
}

fn short(payload: &Payload) -> String {
    format!("{payload:?}").chars().take(200).collect()
}
