//! Instances of stickyd-app in one process: they share rooms, and one that is killed is gone like a process.

use std::net::SocketAddr;
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use stickyd::app::context::Context;
use stickyd::app::instance::{Instance, Running};
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;

use super::support::Socket;
use super::support::ws::{self, CLOSE, Frame, TEXT};

fn settings(name: &str) -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        name: name.to_owned(),
        namespaces: vec!["/chat".to_owned()],
        insecure_demo: true,
        spread: Duration::ZERO,
        ..Settings::default()
    }
}

fn start(name: &str, shared: &Shared) -> Running {
    Instance::start(settings(name), shared).unwrap()
}

/// A client of Socket.IO over WebSocket, in raw packets.
struct Client(Socket);

impl Client {
    fn connect(instance: &Running) -> Self {
        let mut socket = Socket::connect(instance.address());
        socket.send(ws::handshake("/socket.io/?EIO=4&transport=websocket", ""));
        assert!(socket.head().starts_with("HTTP/1.1 101 "));
        let mut client = Client(socket);
        assert!(client.packet().starts_with("0{"));
        client.send(r#"40{"userId":"u"}"#);
        assert!(client.packet().starts_with("40{"));
        client
    }

    fn send(&mut self, packet: &str) {
        self.0.send(Frame::masked(TEXT, packet).bytes());
    }

    /// The next packet that is no ping.
    fn packet(&mut self) -> String {
        loop {
            let frame = Frame::read(&mut self.0);
            assert_eq!(frame.first, TEXT, "{frame:?}");
            match String::from_utf8(frame.payload).unwrap().as_str() {
                "2" => self.send("3"),
                packet => return packet.to_owned(),
            }
        }
    }

    /// Says an event and gets its answer.
    fn ask(&mut self, event: &str) {
        self.send(&format!("421{event}"));
        assert_eq!(self.packet(), r#"431[{"ok":true}]"#, "{event}");
    }

    fn join(mut self, room: &str) -> Self {
        self.ask(&format!(r#"["join","{room}"]"#));
        self
    }

    /// Says a word to a room; whether it is in it, the word comes before the answer.
    fn say(&mut self, room: &str, word: &str) {
        self.ask(&format!(r#"["say",{{"room":"{room}","event":"word","data":"{word}"}}]"#));
    }

    #[track_caller]
    fn hears(&mut self, word: &str) {
        assert_eq!(self.packet(), format!(r#"42["word","{word}"]"#));
    }
}

/// What came, without the ping that comes with a handshake.
fn without_ping(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[TEXT, 1, b'2']).unwrap_or(bytes)
}

#[test]
fn instances_that_share_hear_each_other_once_and_nobody_else() {
    let shared = Shared::in_process();
    let [a, b] = ["a", "b"].map(|name| start(name, &shared));
    let stranger = start("stranger", &Shared::in_process());
    let mut speaker = Client::connect(&a);
    let mut near = Client::connect(&a).join("r");
    let mut far = Client::connect(&b).join("r");
    let mut other = Client::connect(&stranger).join("r");
    for word in ["one", "zwölf"] {
        speaker.say("r", word);
        near.hears(word);
        far.hears(word);
    }
    // It hears only its own, and had it heard more that would come first.
    Client::connect(&stranger).say("r", "alone");
    other.hears("alone");
}

#[test]
fn who_is_killed_says_nothing_and_can_be_revived() {
    let shared = Shared::in_process();
    let [a, b] = ["a", "b"].map(|name| start(name, &shared));
    let mut client = Client::connect(&a).join("r");
    let mut far = Client::connect(&b).join("r");
    let address = a.address();
    a.kill();
    // No Close frame, no packet: the connection ends.
    assert!(without_ping(&client.0.rest().0).is_empty());
    a.join();
    Client::connect(&b).say("r", "without it");
    far.hears("without it");
    let revived = Instance::start(Settings { listen: address, ..settings("a") }, &shared).unwrap();
    Client::connect(&revived).say("r", "again");
    far.hears("again");
}

#[test]
fn who_stops_closes_its_clients_and_ends() {
    let a = start("a", &Shared::in_process());
    let mut clients = [Client::connect(&a), Client::connect(&a)];
    a.stop();
    for client in &mut clients {
        // At most a Close frame; a packet that says why would make it stay away.
        let rest = client.0.rest().0;
        let rest = without_ping(&rest);
        assert!(rest.is_empty() || rest == [CLOSE, 0], "{rest:?}");
    }
    a.join();
}

#[test]
fn nothing_of_an_instance_stays() {
    let mut stays = Vec::new();
    for (is_killed, clients) in [(true, 0), (true, 2), (false, 0), (false, 2)] {
        let (tell, told) = mpsc::channel::<Weak<Context>>();
        let begin = move |context: &Arc<Context>| tell.send(Arc::downgrade(context)).unwrap();
        let instance = Instance::start_with(settings("a"), &Shared::in_process(), begin).unwrap();
        let context = told.recv().unwrap();
        let _clients: Vec<_> = (0..clients).map(|_| Client::connect(&instance).join("r")).collect();
        let begun = Instant::now();
        if is_killed {
            instance.kill();
        } else {
            instance.stop();
        }
        instance.join();
        assert!(begun.elapsed() < Duration::from_secs(1), "nothing is waited for in vain");
        if context.upgrade().is_some() {
            stays.push((is_killed, clients, context.strong_count()));
        }
    }
    assert!(stays.is_empty(), "{stays:?}");
}
