//! Engine.IO as bytes, and an instance that speaks it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::{Answering, Message, ws};

/// What Engine.IO servers answer to a sid that they do not know.
pub(crate) const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// A request of a client that keeps its connection; `fields`: whole lines.
pub(crate) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app\r\n{fields}\r\n")
}

/// A polling client begins; `fields`: whole lines.
pub(crate) fn start(fields: &str) -> String {
    get("/socket.io/?EIO=4&transport=polling&t=abc", fields)
}

/// It polls.
pub(crate) fn poll(sid: &str, fields: &str) -> String {
    get(&format!("/socket.io/?EIO=4&transport=polling&t=abc&sid={sid}"), fields)
}

/// It sends a packet.
pub(crate) fn post(sid: &str, packet: &str) -> String {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n{packet}",
        packet.len()
    )
}

/// It goes over to WebSocket.
pub(crate) fn upgrade(sid: &str, fields: &str) -> String {
    ws::handshake(&format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"), fields)
}

/// The open packet of Engine.IO 4, with the times of Node.
pub(crate) fn open_packet(sid: &str) -> String {
    format!(
        r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
    )
}

/// An answer as Node gives it; `fields`: whole lines.
pub(crate) fn answer(fields: &str, packets: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n{fields}\
         Content-Length: {}\r\n\r\n{packets}",
        packets.len()
    )
}

/// An instance of Engine.IO 4: its sids are its name and a number, it knows no others, and it never parks a poll. Each answer says
/// its name in `X-Instance`.
#[derive(Debug)]
pub(crate) struct EngineIo {
    pub(crate) instance: Answering,
}

#[derive(Default)]
struct Sessions {
    known: HashSet<String>,
    begun: usize,
}

impl EngineIo {
    pub(crate) fn start(name: &str) -> Self {
        let (name, sessions) = (name.to_owned(), Arc::new(Mutex::new(Sessions::default())));
        let instance =
            Answering::speaking(move |request| speak(&name, &mut sessions.lock().unwrap(), request));
        EngineIo { instance }
    }
}

impl fmt::Display for EngineIo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instance.fmt(out)
    }
}

fn speak(name: &str, sessions: &mut Sessions, request: &Message) -> String {
    let fields = format!("X-Instance: {name}\r\n");
    let target = request.line().split(' ').nth(1).unwrap();
    let sid = target.split(['?', '&']).find_map(|part| part.strip_prefix("sid="));
    match sid {
        Some(sid) if !sessions.known.contains(sid) => {
            let length = UNKNOWN.len();
            format!("HTTP/1.1 400 Bad Request\r\n{fields}Content-Length: {length}\r\n\r\n{UNKNOWN}")
        }
        _ if request.field("upgrade").is_some() => ws::switch(&fields),
        Some(_) if request.line().starts_with("POST ") => answer(&fields, "ok"),
        Some(_) => answer(&fields, "6"),
        None if target.contains("transport=polling") => {
            sessions.begun += 1;
            let sid = format!("{name}-{}", sessions.begun);
            let packet = open_packet(&sid);
            sessions.known.insert(sid);
            answer(&fields, &packet)
        }
        None => answer(&fields, name),
    }
}

/// The sid in an answer to [`start`].
#[track_caller]
pub(crate) fn sid_of(answer: &Message) -> String {
    assert_eq!(answer.status(), 200, "{}", answer.head);
    let text = answer.text();
    let packet = text.strip_prefix('0').unwrap_or_else(|| panic!("no open packet: {text}"));
    let packet: serde_json::Value = serde_json::from_str(packet).unwrap();
    packet["sid"].as_str().unwrap().to_owned()
}

/// Which instance answered.
#[track_caller]
pub(crate) fn instance_of(answer: &Message) -> String {
    answer.field("x-instance").unwrap_or_else(|| panic!("no instance answered: {}", answer.head))
}
