//! The instance: a process of its own, so that it can be killed and stopped. It answers tunnels, Engine.IO polls, event streams, bodies;
//! checks what comes, and writes what should not have come into a file that outlives it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::conversation::{Plan, Talk};
use crate::dice::Dice;
use crate::http::{Head, Wire};
use crate::site;
use crate::stream::Side;

/// RFC 6455 section 1.3
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where it listens; the parent holds the port
    #[arg(long)]
    listen: SocketAddr,
    /// Its number
    #[arg(long)]
    slot: usize,
    /// The how-manieth process it is
    #[arg(long)]
    life: u32,
    /// Where it writes what should not have come
    #[arg(long)]
    violations: PathBuf,
}

/// An Engine.IO session.
#[derive(Debug, Default)]
struct Session {
    /// The number of the next packet of the client.
    expects: u64,
    /// The number of our next packet.
    says: u64,
    /// A poll of it waits.
    polled: bool,
    over: bool,
}

#[derive(Debug)]
struct Instance {
    options: Options,
    sessions: RefCell<HashMap<String, Session>>,
    begun: RefCell<u64>,
    /// Never says that it is time to go: clients do.
    stay: watch::Receiver<bool>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    site::end_with_parent();
    let runtime = site::runtime();
    let (_stay, stay) = watch::channel(false);
    let instance = Rc::new(Instance {
        options: options.clone(),
        sessions: RefCell::default(),
        begun: RefCell::default(),
        stay,
    });
    runtime.block_on(async {
        let listener = TcpListener::from_std(site::listen(instance.options.listen).unwrap()).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let instance = instance.clone();
                tokio::task::spawn_local(async move {
                    // An error: the proxy hung up, which it may.
                    let _ = instance.serve(stream).await;
                });
            }
        }
    })
}

impl Instance {
    fn violated(&self, what: &str) {
        let Options { slot, life, violations, .. } = &self.options;
        let file = OpenOptions::new().append(true).create(true).open(violations);
        // One write, so that lines of several processes do not mix.
        let line = format!("instance {slot}, life {life}: {what}\n");
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("violations can be written");
    }

    fn head(&self, status: &str, fields: &str) -> String {
        format!("HTTP/1.1 {status}\r\nX-Instance: {}.{}\r\n{fields}", self.options.slot, self.options.life)
    }

    fn whole(&self, status: &str, body: &[u8]) -> Vec<u8> {
        let mut answer = self.head(status, &format!("Content-Length: {}\r\n\r\n", body.len())).into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut wire = Wire::of(stream);
        while let Some(head) = wire.head().await? {
            if head.field("upgrade").is_some() {
                return self.tunnel(wire, &head).await;
            }
            let body = wire.body(&head).await?;
            let target = head.target();
            if target.starts_with("/socket.io/") {
                let answer = self.engine_io(&head, &body).await;
                wire.send(answer).await?;
            } else if target.starts_with("/stream") {
                return self.stream(wire, &head).await;
            } else {
                let answer = self.plain(&head, &body);
                wire.send(answer).await?;
            }
        }
        Ok(())
    }

    async fn tunnel(&self, mut wire: Wire, head: &Head) -> io::Result<()> {
        let Some(tunnel) = head.number("tunnel") else {
            self.violated(&format!("an upgrade that no client sent: {}", head.line));
            return Ok(());
        };
        let key = head.field("sec-websocket-key").unwrap_or_default();
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
        let fields =
            format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        wire.send(self.head("101 Switching Protocols", &fields)).await?;
        let (stream, early) = wire.into_parts();
        let plan = Plan::of(tunnel, head.number("steady").unwrap_or(0));
        let talk = Talk { tunnel, side: Side::Instance, plan, leave: self.stay.clone(), on_pong: &|_| {} };
        match talk.talk(stream, early).await {
            // Without a count it is the proxy's.
            Ok(outcome) if matches!(outcome.heard, Some((code, false)) if code != Some(1012)) => {
                self.violated(&format!("tunnel {tunnel}: the proxy's Close says {:?}", outcome.heard));
            }
            Ok(_) => {}
            Err(what) => self.violated(&format!("tunnel {tunnel}: {what}")),
        }
        Ok(())
    }

    async fn engine_io(&self, head: &Head, body: &[u8]) -> Vec<u8> {
        let Some(sid) = head.query("sid") else {
            let number = self.begun.replace_with(|begun| *begun + 1);
            let sid = format!("s{}i{}n{number}", self.options.slot, self.options.life);
            self.sessions.borrow_mut().insert(sid.clone(), Session::default());
            let open = format!(
                r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
            );
            return self.whole("200 OK", open.as_bytes());
        };
        // Of a life before, of another instance: whether that is right, its client knows. Or it has ended meanwhile.
        if self.sessions.borrow().get(sid).is_none_or(|session| session.over) {
            return self.whole("400 Bad Request", UNKNOWN.as_bytes());
        }
        if head.line.starts_with("POST ") { self.packet(sid, body) } else { self.poll(sid, head).await }
    }

    /// A packet of a client: each comes once, in order.
    fn packet(&self, sid: &str, body: &[u8]) -> Vec<u8> {
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.get_mut(sid).unwrap();
        let expected = format!("4{}", session.expects);
        if body == b"1" {
            session.over = true;
        } else if body == expected.as_bytes() {
            session.expects += 1;
        } else {
            self.violated(&format!(
                "session {sid}: {:?} instead of {expected:?}",
                String::from_utf8_lossy(body)
            ));
        }
        self.whole("200 OK", b"ok")
    }

    /// A poll: parked for a while, as the client says, so that many wait at a time.
    async fn poll(&self, sid: &str, head: &Head) -> Vec<u8> {
        let twice = self
            .sessions
            .borrow_mut()
            .get_mut(sid)
            .is_none_or(|session| std::mem::replace(&mut session.polled, true));
        if twice {
            self.violated(&format!("session {sid}: two polls at a time"));
        }
        sleep(Duration::from_millis(head.number("park").unwrap_or(0))).await;
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.get_mut(sid).unwrap();
        session.polled = false;
        let count = head.number("packets").unwrap_or(1);
        let packets: Vec<String> =
            (session.says..session.says + count).map(|number| format!("4{number}")).collect();
        session.says += count;
        self.whole("200 OK", packets.join("\x1e").as_bytes())
    }

    /// Numbered events until the client leaves.
    async fn stream(&self, mut wire: Wire, head: &Head) -> io::Result<()> {
        let mut dice = Dice::of(head.number("number").unwrap_or(0), "events", 0);
        wire.send(
            self.head("200 OK", "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        )
        .await?;
        for number in 0_u64.. {
            let event = format!("id: {number}\ndata: {:x}\n\n", dice.roll());
            wire.send(format!("{:x}\r\n{event}\r\n", event.len())).await?;
            sleep(Duration::from_millis(dice.within(100..=1_000))).await;
        }
        Ok(())
    }

    /// A body by its number, by length or in chunks; what came with a POST is checked and sent back.
    fn plain(&self, head: &Head, body: &[u8]) -> Vec<u8> {
        let number = head.number("number").unwrap_or(0);
        let sent = blob(number);
        if head.line.starts_with("POST ") && body != sent {
            self.violated(&format!(
                "body {number}: {} bytes came, {} were sent, or others",
                body.len(),
                sent.len()
            ));
        }
        if number.is_multiple_of(2) {
            return self.whole("200 OK", &sent);
        }
        let mut answer = self.head("200 OK", "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in sent.chunks(7_001) {
            answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
            answer.extend_from_slice(chunk);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    }
}

/// The body with this number: both ends know it.
pub(crate) fn blob(number: u64) -> Vec<u8> {
    let mut dice = Dice::of(number, "body", 0);
    let size = if dice.percent(80) { dice.within(0..=4_000) } else { dice.within(4_000..=120_000) };
    let mut body = Vec::new();
    dice.fill(&mut body, size as usize);
    body
}
