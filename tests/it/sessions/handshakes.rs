//! `max_handshakes`: how many sessions may begin at an instance at a time, and what becomes of the others.

use std::time::{Duration, Instant};

use crate::support::engine_io::{answer, get, open_packet, poll, post, start, upgrade};
use crate::support::{Instance, Message, Proxy, Socket, eventually, ws};

/// Handshakes that may wait at one instance.
const QUEUE: usize = 256;

fn one(instance: &Instance, upstream: &str) -> Proxy {
    Proxy::start(&format!("[upstream.app]\ninstances = [\"{instance}\"]\n{upstream}\n"))
}

/// Counts of the one instance: in flight, queued, shed.
#[track_caller]
fn counts(proxy: &Proxy, in_flight: u64, queued: u64, shed: u64) {
    proxy.counts("stickyd_upgrades_in_flight", &[("upstream", "app")], in_flight);
    proxy.counts("stickyd_upgrades_queued", &[("upstream", "app")], queued);
    proxy.counts("stickyd_upgrades_shed_total", &[("upstream", "app")], shed);
}

/// A handshake of either kind that can be told from others.
fn numbered(number: usize) -> String {
    let which = format!("X-Number: {number}\r\n");
    if number.is_multiple_of(2) { start(&which) } else { ws::handshake("/ws", &which) }
}

fn number_of(request: &Message) -> usize {
    request.field("x-number").unwrap().parse().unwrap()
}

/// Answers a [`numbered`] handshake.
fn accept(far: &mut Socket, number: usize) {
    let sid = format!("sid-{number}");
    far.send(match number % 2 {
        0 => answer("Connection: close\r\n", &open_packet(&sid)),
        _ => ws::switch(""),
    });
}

#[track_caller]
fn is_shed(got: &Message) {
    assert_eq!((got.status(), got.field("retry-after").as_deref()), (503, Some("1")), "{}", got.head);
    assert_eq!(got.text(), "too many handshakes in flight\n");
    assert_eq!(got.values("set-cookie"), [""; 0]);
}

#[test]
fn handshakes_wait_for_their_turn_and_come_in_their_order() {
    let instance = Instance::start();
    let proxy = one(&instance, "max_handshakes = 3");
    let mut clients = Vec::new();
    for number in 0..9 {
        let mut client = proxy.connect();
        client.send(numbered(number));
        clients.push(client);
        counts(&proxy, clients.len().min(3) as u64, clients.len().saturating_sub(3) as u64, 0);
    }
    let mut in_flight: Vec<_> = (0..3).map(|_| instance.accept()).collect();
    for (number, far) in in_flight.iter_mut().enumerate() {
        assert_eq!(number_of(&far.request()), number);
    }
    instance.saw_nothing();
    // Whatever begins no session passes.
    for request in
        [get("/", ""), poll("abc", ""), post("abc", "4hi"), start("").replacen("GET", "OPTIONS", 1)]
    {
        let mut client = proxy.connect();
        client.send(&request);
        let mut far = instance.accept();
        far.request();
        far.send(answer("Connection: close\r\n", "passed"));
        assert_eq!(client.answer().text(), "passed", "{request}");
    }
    let mut tunnels = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        // Of those that begin at once any may be answered first.
        let mut far = in_flight.remove(0);
        accept(&mut far, number);
        assert_eq!(client.answer().status(), if number % 2 == 0 { 200 } else { 101 });
        if number + 3 < 9 {
            tunnels.push(far);
            let mut next = instance.accept();
            assert_eq!(number_of(&next.request()), number + 3);
            in_flight.push(next);
        } else {
            tunnels.push(far);
        }
        tunnels.push(client);
    }
    counts(&proxy, 0, 0, 0);
    proxy.counts("stickyd_tunnels_open", &[], 4);
    proxy.counts("stickyd_sids", &[], 5);
    proxy.counts("stickyd_refused_total", &[], 0);
}

#[test]
fn whoever_finds_the_queue_full_is_told_so_at_once() {
    let instance = Instance::start();
    let proxy = one(&instance, "max_handshakes = 1");
    let mut first = proxy.connect();
    first.send(numbered(0));
    let mut far = instance.accept();
    far.request();
    let mut waiting = Vec::new();
    for number in 1..=QUEUE {
        let mut client = proxy.connect();
        client.send(numbered(number));
        waiting.push(client);
    }
    counts(&proxy, 1, QUEUE as u64, 0);
    let mut late = proxy.connect();
    let begin = Instant::now();
    for (times, request) in (1..).zip([start(""), ws::handshake("/ws", ""), start("")]) {
        late.send(request);
        is_shed(&late.answer());
        counts(&proxy, 1, QUEUE as u64, times);
        proxy.counts("stickyd_refused_total", &[("reason", "queue_full")], times);
        proxy.counts("stickyd_limit_hits_total", &[("limit", "max_handshakes")], times);
    }
    assert!(begin.elapsed() < Duration::from_secs(3), "it waited: {:?}", begin.elapsed());
    instance.saw_nothing();
    // All but the last leave. When their turn comes they cost the instance nothing.
    let mut last = waiting.pop().unwrap();
    for (number, client) in waiting.into_iter().enumerate() {
        if number % 3 == 0 { client.reset() } else { client.close() }
    }
    accept(&mut far, 0);
    first.answer();
    let mut far = instance.accept();
    assert_eq!(number_of(&far.request()), QUEUE);
    accept(&mut far, QUEUE);
    assert_eq!(last.answer().status(), 200);
    instance.saw_nothing();
    counts(&proxy, 0, 0, 3);
    proxy.counts("stickyd_connections_open", &[], 3);
    proxy.counts("stickyd_requests_open", &[], 0);
}

/// The one test that waits for it.
#[test]
fn whoever_waits_for_too_long_is_told_to_come_again() {
    let instance = Instance::start();
    let proxy = one(&instance, "max_handshakes = 1");
    let mut clients: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    clients[0].send(start(""));
    let mut far = instance.accept();
    far.request();
    let begin = Instant::now();
    clients[1].send(start(""));
    clients[2].send(ws::handshake("/ws", ""));
    for client in &mut clients[1..] {
        is_shed(&client.answer());
    }
    assert!((4900..8000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    counts(&proxy, 1, 0, 2);
    // The one in flight has its own time.
    far.send(answer("", &open_packet("abc")));
    assert_eq!(clients[0].answer().status(), 200);
    clients[1].send(start(""));
    far.request();
}

/// What a handshake that has its turn comes to; afterwards the next has it, though this client's exchange may go on.
struct Case {
    what: &'static str,
    request: String,
    /// What client and instance do; what they keep stays open.
    act: fn(Socket, Socket) -> (Vec<Socket>, Option<u16>),
}

/// More than the kernel holds for a client that does not read.
const FLOOD: usize = 8_000_000;

fn cases() -> Vec<Case> {
    fn case(
        what: &'static str,
        request: String,
        act: fn(Socket, Socket) -> (Vec<Socket>, Option<u16>),
    ) -> Case {
        Case { what, request, act }
    }
    let ws = || ws::handshake("/ws", "");
    vec![
        case("answered", start(""), |mut client, mut far| {
            far.send(answer("Connection: close\r\n", &open_packet("abc")));
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("answered, and the answer does not end", start(""), |mut client, mut far| {
            far.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            far.send(format!("{:x}\r\n{}\r\n", open_packet("abc").len(), open_packet("abc")));
            client.head();
            (vec![client, far], None)
        }),
        case("a head, and nothing behind it", start(""), |mut client, mut far| {
            far.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
            client.head();
            (vec![client, far], None)
        }),
        case("answered with too much for a client that does not read", start(""), |client, mut far| {
            far.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\n\r\n{}", open_packet("abc")));
            far.fill_up();
            (vec![client, far], None)
        }),
        case("answered with rubbish for a client that does not read", start(""), |client, mut far| {
            far.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\n\r\nrubbish"));
            far.fill_up();
            (vec![client, far], None)
        }),
        case("refused", start(""), |mut client, mut far| {
            far.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("the instance breaks", start(""), |mut client, far| {
            far.close();
            let status = client.answer().status();
            (vec![client], Some(status))
        }),
        case("the client leaves", start(""), |client, mut far| {
            client.close();
            far.is_gone();
            (vec![far], None)
        }),
        case("switched", ws(), |mut client, mut far| {
            far.send(ws::switch(""));
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("switched within a session", upgrade("unknown", ""), |mut client, mut far| {
            far.send(ws::switch(""));
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("an upgrade refused", ws(), |mut client, mut far| {
            far.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("an upgrade refused with a page, to a client that does not read", ws(), |client, mut far| {
            far.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\n\r\n"));
            far.fill_up();
            (vec![client, far], None)
        }),
        case("an upgrade answered with events", ws(), |mut client, mut far| {
            far.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
            client.head();
            (vec![client, far], None)
        }),
        case("an upgrade answered wrongly", ws(), |mut client, mut far| {
            far.send(ws::switch("").replace("s3p", "S3P"));
            let status = client.answer().status();
            (vec![client, far], Some(status))
        }),
        case("an instance that breaks during an upgrade", ws(), |mut client, far| {
            far.reset();
            let status = client.answer().status();
            (vec![client], Some(status))
        }),
        case("a client that breaks off an upgrade", ws(), |client, mut far| {
            client.reset();
            far.is_gone();
            (vec![far], None)
        }),
    ]
}

/// The regression: an upgrade that was answered with a download or with events kept its turn for as long as these lasted, so that
/// `max_handshakes` slow readers shut everybody else out.
#[test]
fn a_turn_ends_with_the_instance_s_answer() {
    let mut statuses = Vec::new();
    for Case { what, request, act } in cases() {
        let instance = Instance::start();
        let proxy = one(&instance, "max_handshakes = 1");
        let mut client = proxy.connect();
        client.send(request);
        let mut far = instance.accept();
        far.head();
        let mut next = proxy.connect();
        next.send(ws::handshake("/next", ""));
        counts(&proxy, 1, 1, 0);
        let (kept, status) = act(client, far);
        let begin = Instant::now();
        let mut far = instance.accept();
        assert!(far.request().line().starts_with("GET /next "), "{what}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{what}: {:?}", begin.elapsed());
        far.send(ws::switch(""));
        assert_eq!(next.answer().status(), 101, "{what}");
        statuses.extend(status);
        drop(kept);
    }
    assert_eq!(statuses, [200, 403, 502, 101, 101, 400, 502, 502]);
}

/// Its client could hold the turn for as long as it likes, and no Socket.IO client sends one.
#[test]
fn a_start_with_a_body_is_no_handshake() {
    let instance = Instance::start();
    let proxy = one(&instance, "max_handshakes = 1");
    let mut slow = proxy.connect();
    slow.send(start("Content-Length: 5\r\n"));
    let mut far = instance.accept();
    far.head();
    counts(&proxy, 0, 0, 0);
    let mut next = proxy.connect();
    next.send(ws::handshake("/next", ""));
    let mut other = instance.accept();
    other.request();
    other.send(ws::switch(""));
    assert_eq!(next.answer().status(), 101);
}

#[test]
fn all_workers_share_the_turns_of_an_instance() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!(
        "workers = 2\n[upstream.app]\nmax_handshakes = 4\ninstances = [\"{instance}\"]\n"
    ));
    let mut clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(ws::handshake("/ws", ""));
    }
    counts(&proxy, 4, 36, 0);
    let mut tunnels = Vec::new();
    for waiting in (0..36).rev() {
        let mut far = instance.accept();
        far.request();
        far.send(ws::switch(""));
        tunnels.push(far);
        counts(&proxy, 4, waiting, 0);
    }
    instance.accept();
}

#[test]
fn without_a_limit_nobody_waits() {
    let instance = Instance::start();
    let proxy = one(&instance, "max_handshakes = \"off\"");
    let mut clients: Vec<_> = (0..100).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(start(""));
    }
    counts(&proxy, 100, 0, 0);
    for _ in 0..100 {
        instance.accept().request();
    }
}

/// The regression: those that wait did not count, so that of a crowd all came to the instance where they waited already.
#[test]
fn those_that_wait_count_where_they_wait() {
    for policy in
        ["sticky = { by = [\"ip_hash\"], ip_hash = { bound = 1.25 } }", "balance = \"least_tunnels\""]
    {
        let instances = [Instance::start(), Instance::start()];
        let names = instances.iter().map(Instance::address);
        let by = if policy.contains("ip_hash") { "" } else { "sticky = { by = [] }" };
        let proxy = Proxy::start(&format!(
            "[upstream.app]\nmax_handshakes = 1\n{policy}\n{by}\ninstances = [{}]\n",
            names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
        ));
        let mut clients = Vec::new();
        for number in 0..40 {
            let mut client = proxy.connect();
            client.send(numbered(number));
            clients.push(client);
            let of = [("upstream", "app")];
            let has_come = || {
                let counts = ["stickyd_upgrades_in_flight", "stickyd_upgrades_queued"];
                counts.iter().map(|name| proxy.count(name, &of)).sum::<u64>() == clients.len() as u64
            };
            eventually("it has come", || has_come().then_some(()));
        }
        for instance in &instances {
            let address = instance.address().to_string();
            let of = [("upstream", "app"), ("instance", address.as_str())];
            let all = proxy.count("stickyd_upgrades_queued", &of) + 1;
            assert!((15..=25).contains(&all), "{policy}: {all} of 40 are at {address}");
        }
    }
}

/// Nothing binds it to the instance where it may not even wait.
#[test]
fn whoever_belongs_nowhere_and_finds_the_queue_full_goes_to_another() {
    let [silent, quick] = [Instance::start(), Instance::start()];
    let proxy = Proxy::start(&format!(
        "[upstream.app]\nmax_handshakes = 1\nbalance = \"round_robin\"\nsticky = {{ by = [] }}\n\
         instances = [\"{silent}\", \"{quick}\"]\n"
    ));
    let come = || {
        let mut client = proxy.connect();
        client.send(ws::handshake("/ws", ""));
        client
    };
    let everybody = 2 * (1 + QUEUE);
    let _waiting: Vec<_> = (0..everybody).map(|_| come()).collect();
    counts(&proxy, 2, 2 * QUEUE as u64, 0);
    is_shed(&come().answer());
    counts(&proxy, 2, 2 * QUEUE as u64, 2);
    proxy.counts("stickyd_refused_total", &[("reason", "queue_full")], 1);
    // As soon as one has room, whoever comes waits there: also whose turn it is to go to the other.
    let queued = |expected| proxy.counts("stickyd_upgrades_queued", &[("upstream", "app")], expected);
    let mut kept = Vec::new();
    for _ in 0..4 {
        let mut far = quick.accept();
        far.request();
        far.send(ws::switch(""));
        queued(2 * QUEUE as u64 - 1);
        kept.extend([far, come()]);
        queued(2 * QUEUE as u64);
    }
    proxy.counts("stickyd_refused_total", &[("reason", "queue_full")], 1);
    assert!(proxy.count("stickyd_upgrades_shed_total", &[]) > 2, "nobody found the queue full");
}
