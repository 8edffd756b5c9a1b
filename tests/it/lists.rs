//! Who is connected, and who is no longer: `stickyd tunnels`, `stickyd sessions` and `stickyd close`, through the binary, over two
//! workers.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Type};

use crate::support::engine_io::{UNKNOWN, answer, open_packet, poll, start};
use crate::support::process::{Home, Process};
use crate::support::ws::{self, Frame};
use crate::support::{Instance, Socket, eventually};

/// A proxy before two instances of one upstream, and one of another.
struct Site {
    home: Home,
    instances: [Instance; 3],
    process: Process,
}

const NAMES: [&str; 3] = ["app/blue", "app/green", "other/red"];

/// A tunnel: client and far end, and which instance has it.
struct Open {
    client: Socket,
    far: Socket,
    at: usize,
}

impl Site {
    fn start(more: &str) -> Self {
        let (home, instances) = (Home::new(), [Instance::start(), Instance::start(), Instance::start()]);
        let [blue, green, red] = &instances;
        let file = home.write(
            "config.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\nworkers = 2\n[upstream.app]\nbalance = \"round_robin\"\nsticky.by = [\"sid\"]\n\
                 health.check = \"off\"\ninstances = [\n  {{ address = \"{blue}\", name = \"blue\" }},\n  \
                 {{ address = \"{green}\", name = \"green\" }},\n]\n{more}\n[upstream.other]\nsticky.by = []\nhealth.check = \"off\"\n\
                 instances = [{{ address = \"{red}\", name = \"red\" }}]\n[[route]]\npath = \"/red/*\"\nupstream = \"other\"\n\
                 [[route]]\npath = \"/*\"\nupstream = \"app\"\n\
                 [log]\naccess = \"{}\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n",
                home.path("access.log")
            ),
        );
        let mut process = home.start(&["run", "--config", &file]);
        process.address();
        Site { home, instances, process }
    }

    /// What a command prints; it has to end with this code.
    #[track_caller]
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        self.home.says(code, arguments)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(0, &[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The tunnels that are listed, and how many there are.
    #[track_caller]
    fn tunnels(&self, arguments: &[&str]) -> (Vec<Value>, u64) {
        let list = self.json(&[&["tunnels"], arguments].concat());
        assert_eq!((&list["silent_workers"], &list["unheard"]), (&Value::Array(vec![]), &0.into()));
        (list["tunnels"].as_array().unwrap().clone(), list["open"].as_u64().unwrap())
    }

    /// The ids that are listed.
    #[track_caller]
    fn ids(&self, arguments: &[&str]) -> Vec<String> {
        self.tunnels(arguments).0.iter().map(|tunnel| text(tunnel, "id")).collect()
    }

    /// A connection from this address of the client's machine.
    fn connect_from(&mut self, last: u8) -> Socket {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&self.process.address().into()).unwrap();
        Socket::of(TcpStream::from(socket))
    }

    /// The next connection that comes to an instance.
    fn accept(&self) -> (Socket, usize) {
        eventually("a connection", || {
            (0..).zip(&self.instances).find_map(|(at, instance)| Some((instance.try_accept()?, at)))
        })
    }

    fn open(&mut self, last: u8, path: &str) -> Open {
        let mut client = self.connect_from(last);
        client.send(ws::handshake(path, ""));
        let (mut far, at) = self.accept();
        far.request();
        far.send(ws::switch(""));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        Open { client, far, at }
    }

    /// A session of Engine.IO that polls: the client, with a poll parked or between two, and the instance's end.
    fn session(&mut self, last: u8, sid: &str, parked: bool) -> Open {
        let mut client = self.connect_from(last);
        client.send(start(""));
        let (mut far, at) = self.accept();
        far.request();
        far.send(answer("", &open_packet(sid)));
        client.answer();
        if parked {
            client.send(poll(sid, ""));
            far.request();
        }
        Open { client, far, at }
    }

    /// The lines of the access log that say how tunnels ended.
    fn log_of_closes(&self, count: usize) -> Vec<Value> {
        eventually("lines of the access log", || {
            let log = fs::read_to_string(self.home.path("access.log")).unwrap();
            let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let closes: Vec<Value> = lines.into_iter().filter(|line| line["event"] == "ws_close").collect();
            (closes.len() >= count).then_some(closes)
        })
    }

    #[track_caller]
    fn counts(&mut self, code: &str, expected: u64) {
        eventually(&format!("{expected} tunnels closed by command"), || {
            let labels = [("reason", "command"), ("code", code)];
            let sum = self.process.scrape().sum("stickyd_tunnels_closed_total", &labels);
            (sum as u64 == expected).then_some(())
        });
    }
}

impl Open {
    /// It was closed with this code, and both ends have answered.
    #[track_caller]
    fn is_closed(&mut self, code: u16) {
        ws::closed(&mut self.client, &mut self.far, code);
    }

    #[track_caller]
    fn talks(&mut self) {
        self.client.send(Frame::masked(ws::TEXT, "up").bytes());
        assert_eq!(Frame::read(&mut self.far).payload, b"up");
    }

    fn name(&self) -> &'static str {
        NAMES[self.at]
    }
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of}")).to_owned()
}

#[test]
fn tunnels_are_listed_filtered_sorted_and_cut() {
    let mut site = Site::start("");
    assert_eq!(site.says(0, &["tunnels"]), "no tunnels\n");
    let mut open: Vec<Open> = [2, 2, 3, 3, 3, 4, 4, 4]
        .into_iter()
        .map(|last| site.open(last, if last == 4 { "/red/ws?token=secret" } else { "/ws" }))
        .collect();
    // In the order in which they began.
    let ids = site.ids(&[]);
    let (rows, count) = site.tunnels(&["--sort", "age"]);
    assert_eq!((rows.len(), count), (8, 8));
    for (row, open) in rows.iter().zip(&open) {
        let client = open.client.local().ip().to_string();
        assert_eq!(
            (&text(row, "client"), format!("{}/{}", text(row, "upstream"), text(row, "instance"))),
            (&client, open.name().to_owned())
        );
        assert_eq!((text(row, "sticky_key"), &row["closing"]), ("balance".to_owned(), &false.into()));
        let path = if open.at == 2 { "/red/ws" } else { "/ws" };
        assert_eq!((text(row, "host"), text(row, "path")), ("app".to_owned(), path.to_owned()), "no query");
        assert_eq!((&row["sid_hash"], &row["bytes_up"]), (&Value::Null, &0.into()));
    }
    assert_eq!(site.ids(&[]), ids, "an id stays");
    let mut known = ids.clone();
    known.sort();
    known.dedup();
    assert_eq!(known.len(), 8);
    assert!(known.iter().all(|id| id.len() <= 7), "short enough to type: {known:?}");
    // What they carry, and when. The clock of that has steps of a few milliseconds.
    let step = || std::thread::sleep(Duration::from_millis(20));
    step();
    open[1].client.send(Frame::masked(ws::BINARY, vec![7; 5000]).bytes());
    Frame::read(&mut open[1].far);
    step();
    open[6].far.send([Frame::new(ws::TEXT, "a").bytes(), Frame::new(ws::TEXT, "b").bytes()].concat());
    (0..2).for_each(|_| drop(Frame::read(&mut open[6].client)));
    let (rows, _) = site.tunnels(&["--sort", "bytes", "--limit", "2"]);
    let figures = |row: &Value| {
        ["bytes_up", "bytes_down", "frames_up", "frames_down"].map(|key| row[key].as_u64().unwrap())
    };
    assert_eq!((text(&rows[0], "id"), figures(&rows[0])), (ids[1].clone(), [5008, 0, 1, 0]));
    assert_eq!((text(&rows[1], "id"), figures(&rows[1])), (ids[6].clone(), [0, 6, 0, 2]));
    let idle = site.ids(&["--sort", "idle"]);
    assert_eq!(idle[6..], [ids[1].clone(), ids[6].clone()], "those that spoke last come last");
    let (rows, _) = site.tunnels(&["--sort", "idle"]);
    assert!(rows[0]["idle"].as_u64() >= Some(20) && rows[7]["idle"].as_u64() < rows[0]["idle"].as_u64());
    // Which ones.
    assert_eq!(site.ids(&["--client", "127.0.0.3"]), ids[2..5]);
    assert_eq!(site.ids(&["--client", "127.0.0.2/31"]), ids[..5]);
    assert_eq!(site.ids(&["--client", "::1"]), [""; 0]);
    assert_eq!(site.ids(&["--upstream", "other"]), ids[5..]);
    assert_eq!(site.ids(&["--instance", "other/red", "--client", "127.0.0.4"]), ids[5..]);
    assert_eq!(site.ids(&["--upstream", "other", "--instance", "red"]), ids[5..]);
    let at_blue: Vec<String> =
        ids.iter().zip(&open).filter(|(_, open)| open.at == 0).map(|(id, _)| id.clone()).collect();
    assert_eq!(site.ids(&["--instance", "app/blue"]), at_blue);
    assert_eq!(site.ids(&["--limit", "3"]), ids[..3], "sorted over all workers before it is cut");
    let printed = site.says(0, &["tunnels", "--limit", "3"]);
    assert!(printed.ends_with("3 of 8 tunnels shown, the oldest first; --limit shows more\n"), "{printed}");
    assert!(printed.lines().all(|line| line.len() <= 80), "{printed}");
    assert!(
        printed.lines().nth(1).unwrap().starts_with(&format!("{}  127.0.0.2  app/", ids[0])),
        "{printed}"
    );
    let printed = site.says(0, &["tunnels", "--limit", "0", "--upstream", "app"]);
    assert!(printed.starts_with("0 of 5 tunnels shown"), "{printed}");
    let wrong = site.says(1, &["tunnels", "--instance", "app/red"]);
    assert!(wrong.contains("no instance app/red; there are: app/blue, app/green, other/red"), "{wrong}");
    let wrong = site.says(1, &["tunnels", "--upstream", "ap"]);
    assert!(wrong.contains("there is no upstream ap; there are: app, other"), "{wrong}");
    assert!(!site.says(0, &["tunnels", "--json"]).contains("secret"));
    open.iter_mut().for_each(Open::talks);
}

/// Keys of the JSON are an interface: none is renamed or goes away.
#[test]
fn the_keys_of_the_json_are_these() {
    let mut site = Site::start("");
    let open = site.open(2, "/ws");
    let _session = site.session(2, "a-secret-sid", true);
    let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    // In the order of the alphabet.
    let list = site.json(&["tunnels"]);
    assert_eq!(keys(&list), "now open silent_workers tunnels unheard upstreams");
    assert_eq!(
        keys(&list["tunnels"][0]),
        "age bytes_down bytes_up client closing frames_down frames_up host id idle instance path sid_hash sticky_key upstream"
    );
    let list = site.json(&["sessions"]);
    assert_eq!(keys(&list), "known now sessions upstreams");
    assert_eq!(keys(&list["sessions"][0]), "client expires_in idle instance open sid_hash upstream");
    let id = text(&site.json(&["tunnels"])["tunnels"][0], "id");
    drop(open);
    eventually("it is gone", || (site.ids(&[]).is_empty()).then_some(()));
    let (code, printed) = site.home.run(&["close", "--json", &id]);
    let json = printed.split("\nerror: ").next().unwrap();
    let closed: Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (code, keys(&closed)),
        (1, "code gone over requests silent_workers tunnels unheard".to_owned())
    );
    assert_eq!(closed["gone"], Value::Array(vec![id.into()]));
}

#[test]
fn ids_close_their_tunnels_and_no_others() {
    let mut site = Site::start("");
    let mut open: Vec<Open> = (0..6).map(|_| site.open(2, "/ws")).collect();
    let ids = site.ids(&[]);
    assert_eq!(
        site.says(0, &["close", &ids[1], &ids[4].to_uppercase(), &ids[1]]),
        "2 tunnels closed (1012)\n"
    );
    // They are listed until both ends have answered.
    let (rows, count) = site.tunnels(&["--limit", "2"]);
    assert_eq!((&rows[1]["id"], &rows[1]["closing"], count), (&ids[1].clone().into(), &true.into(), 6));
    open[1].is_closed(1012);
    open[4].is_closed(1012);
    assert_eq!(
        site.says(0, &["close", &ids[0], "--code", "4001", "--reason", "a test"]),
        "1 tunnel closed (4001)\n"
    );
    open[0].is_closed(4001);
    site.process.says(&["\"command\"", "Close { ids: ", "a test"]);
    let lines = site.log_of_closes(3);
    let said: Vec<_> =
        lines.iter().map(|line| (&line["reason"], &line["close_code"], &line["closed_by"])).collect();
    let row = |code: u16| (Value::from("command"), Value::from(code), Value::from("proxy"));
    for code in [1012, 1012, 4001] {
        let (reason, code, by) = row(code);
        assert!(said.contains(&(&reason, &code, &by)), "{said:?}");
    }
    site.counts("1012", 2);
    site.counts("4xxx", 1);
    // Whoever takes the place of one that is gone has another id.
    let mut next: Vec<Open> = (0..6).map(|_| site.open(2, "/ws")).collect();
    let text = site.says(1, &["close", &ids[0], &ids[1], &ids[4], "nonsense"]);
    assert!(text.starts_with("nothing is closed"), "{text}");
    assert!(ids[..2].iter().all(|id| text.contains(id.as_str())) && text.contains("nonsense"), "{text}");
    assert_eq!(site.ids(&[]).len(), 9);
    for at in [2, 3, 5] {
        open[at].talks();
    }
    next.iter_mut().for_each(Open::talks);
    let text = site.says(1, &["close", &ids[2], "--code", "1006"]);
    assert!(text.contains("a Close frame cannot say 1006"), "{text}");
    open[2].talks();
}

#[test]
fn a_client_is_closed_wherever_it_is_and_may_come_back() {
    let mut site = Site::start("");
    let mut mine: Vec<Open> = (0..3).map(|_| site.open(2, "/ws")).collect();
    mine.push(site.open(2, "/red/ws"));
    let mut others: Vec<Open> = (0..4).map(|_| site.open(3, "/ws")).collect();
    let mut polls = site.session(2, "mine", true);
    let mut others_polls = site.session(3, "theirs", true);
    let text = site.says(0, &["close", "--client", "127.0.0.2"]);
    assert_eq!(text, "4 tunnels, 1 poll or stream closed (1012)\n");
    for open in &mut mine {
        open.is_closed(1012);
    }
    let told = polls.client.answer();
    assert_eq!((told.status(), told.text()), (400, UNKNOWN));
    others.iter_mut().for_each(Open::talks);
    others_polls.far.send(answer("", "6"));
    assert_eq!(others_polls.client.answer().text(), "6");
    // This is no ban.
    site.open(2, "/red/ws").talks();
    assert_eq!(
        site.says(0, &["close", "--client", "192.0.2.0/24"]),
        "nothing is closed: nothing of that is open\n"
    );
    assert_eq!(
        site.says(0, &["close", "--client", "127.0.0.3", "--instance", "other/red"]),
        "nothing is closed: nothing of that is open\n"
    );
    others.iter_mut().for_each(Open::talks);
    site.counts("1012", 4);
}

#[test]
fn an_instance_is_closed_at_a_pace_and_a_lot_needs_a_yes() {
    let mut site = Site::start("down.rate = \"100/s\"");
    let mut open: Vec<Open> = (0..202).map(|_| site.open(2, "/ws")).collect();
    let text = site.says(1, &["close", "--instance", "app/blue"]);
    assert!(
        text.contains(
            "that is 101 tunnels and 0 polls and streams, closed over 960ms; with --yes it is done"
        ),
        "{text}"
    );
    open.iter_mut().for_each(Open::talks);
    let began = std::time::Instant::now();
    let text = site.says(0, &["close", "--instance", "app/blue", "--yes"]);
    assert_eq!(text, "101 tunnels closed (1012), the last in 1s\n");
    for open in open.iter_mut().filter(|open| open.at == 0) {
        open.is_closed(1012);
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    for open in open.iter_mut().filter(|open| open.at == 1) {
        open.talks();
    }
    assert_eq!(site.tunnels(&["--limit", "0"]).1, 101);
    let text = site.says(1, &["close", "--instance", "app/red"]);
    assert!(text.contains("no instance app/red; there are: app/blue"), "{text}");
}

#[test]
fn sessions_are_listed_without_their_sids() {
    let mut site = Site::start("");
    assert_eq!(site.says(0, &["sessions"]), "no sessions\n");
    let between = site.session(2, "a-secret-sid-1", false);
    std::thread::sleep(Duration::from_millis(20));
    let parked = site.session(3, "a-secret-sid-2", true);
    let list = site.json(&["sessions"]);
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!((sessions.len(), &list["known"]), (2, &2.into()));
    let row = |of: &Value| {
        [text(of, "client"), text(of, "upstream"), text(of, "instance"), text(of, "open")].join(" ")
    };
    let name = |open: &Open| NAMES[open.at].replace('/', " ");
    assert_eq!(row(&sessions[0]), format!("127.0.0.2 {} nothing", name(&between)));
    assert_eq!(row(&sessions[1]), format!("127.0.0.3 {} request", name(&parked)));
    assert!(sessions[0]["idle"].as_u64() >= Some(20) && sessions[1]["idle"] == 0);
    assert!(sessions[0]["expires_in"].as_u64() > Some(40_000), "pingInterval + pingTimeout + 10 s");
    // As in the access log.
    let hash = text(&sessions[1], "sid_hash");
    let mut client = between.client;
    drop(parked.client);
    eventually("its line of the access log", || {
        let log = fs::read_to_string(site.home.path("access.log")).unwrap();
        log.contains(&format!("\"sid_hash\":\"{hash}\"")).then_some(())
    });
    eventually("it has left", || {
        let list = site.json(&["sessions", "--client", "127.0.0.3"]);
        (list["known"] == 1 && list["sessions"][0]["open"] == "left").then_some(())
    });
    let printed = site.says(0, &["sessions"]) + &site.says(0, &["sessions", "--json"]);
    assert!(!printed.contains("secret"), "{printed}");
    assert_eq!(site.json(&["sessions", "--upstream", "other"])["known"], 0);
    assert_eq!(site.json(&["sessions", "--instance", NAMES[between.at], "--limit", "0"])["known"], 1);
    // It goes over to a tunnel.
    client.send(ws::handshake("/socket.io/?EIO=4&transport=websocket&sid=a-secret-sid-1", ""));
    let mut far = between.far;
    let (mut far, _) = if far.has_at_least(1) { (far, between.at) } else { site.accept() };
    far.request();
    far.send(ws::switch(""));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let list = site.json(&["sessions", "--client", "127.0.0.2"]);
    assert_eq!(text(&list["sessions"][0], "open"), "tunnel");
    let (rows, _) = site.tunnels(&[]);
    assert_eq!(
        (text(&rows[0], "sticky_key"), &rows[0]["sid_hash"]),
        ("sid".to_owned(), &list["sessions"][0]["sid_hash"])
    );
}

#[test]
fn what_makes_no_sense_closes_nothing() {
    let mut site = Site::start("");
    let mut open = site.open(2, "/ws");
    let check = |request: &str, body: &str, status: u16, part: &str| {
        let mut client = Socket::connect_unix(Path::new(&site.home.path("admin.sock")));
        client.send(format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let answer = client.answer();
        assert!(answer.status() == status && answer.text().contains(part), "{body}: {}", answer.text());
    };
    check("GET /v1/tunnels", "", 405, "POST");
    check("POST /v1/tunnels", "{}", 400, "missing field `limit`");
    check("POST /v1/tunnels", "{\"limit\": 100001}", 400, "at most 100000 entries");
    check("POST /v1/tunnels", "{\"limit\": 1, \"client\": \"127.0.0.1/33\"}", 400, "prefix that is too long");
    check("POST /v1/sessions", "{\"limit\": 1, \"sort\": \"age\"}", 400, "unknown field `sort`");
    check("POST /v1/close", "{}", 400, "nothing is named");
    check("POST /v1/close", "{\"ids\": [\"000000\"], \"client\": \"127.0.0.2\"}", 400, "ids name tunnels");
    check("POST /v1/close", "{\"client\": \"127.0.0.2\", \"code\": 1005}", 400, "cannot say 1005");
    check("POST /v1/close", "{\"client\": \"\"}", 400, "the client must hold addresses or networks");
    check("POST /v1/close", "{\"instance\": \"app\"}", 404, "there is no instance app");
    open.talks();
}

#[test]
fn nobody_is_reached() {
    let home = Home::new();
    for command in [&["tunnels"][..], &["sessions"], &["close", "abcdef"]] {
        let (code, text) = home.run(command);
        assert_eq!(code, 69, "{text}");
        assert!(text.contains("cannot reach stickyd"), "{text}");
    }
}
