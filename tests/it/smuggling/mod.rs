//! Request smuggling: what a client sends and an instance answers that could be read in two ways, and what the other side sees of
//! it. The corpus is two tables; `peers` shows what nginx and HAProxy make of the same bytes.

mod answers;
mod instance;
mod peers;
mod requests;

use answers::Gets;
use instance::Scripted;
use requests::Case;

use crate::requests::refused::{BAD, BAD_BODIES};
use crate::support::{Answering, Instance, Message, Proxy, Socket};

/// What stands behind each request of the corpus: served as a request of its own, or not at all.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Those that are refused by their head, of another table.
fn refused_elsewhere() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    BAD.iter().map(|(name, bytes)| (*name, bytes.as_bytes().to_vec()))
}

/// Those that are refused by their body: when it comes, the head has been passed on.
fn refused_bodies() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    BAD_BODIES.iter().map(move |(name, bytes)| (*name, format!("{head}{bytes}").into_bytes()))
}

/// A request as the tables have it.
fn shown(request: &Message) -> String {
    let mut words = request.line().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    format!("{method} {target} {}", request.body.escape_ascii())
}

/// What `bytes` and the last request behind them bring a client, and have an instance see.
fn ask(mut client: Socket, bytes: &[u8], instance: &Answering) -> (Vec<u8>, Vec<String>) {
    let before = instance.requests().len();
    client.send(bytes);
    // The other side may be gone by now.
    let _ = client.try_send(LAST);
    let (answers, _) = client.rest();
    (answers, instance.requests()[before..].iter().map(shown).collect())
}

fn expected(Case(_, _, sees, goes_on): &Case) -> Vec<String> {
    let escaped = sees.iter().map(|request| request.as_bytes().escape_ascii().to_string());
    escaped.chain(goes_on.then(|| "GET /last ".to_owned())).collect()
}

#[test]
fn an_instance_sees_what_was_meant_or_nothing() {
    let instance = Answering::start("blue");
    let proxy = Proxy::before(&instance);
    let mut wrong = Vec::new();
    for case in requests::CASES {
        let Case(name, bytes, sees, _) = case;
        let (answers, seen) = ask(proxy.connect(), bytes, &instance);
        if seen != expected(case) {
            wrong.push(format!("{name}: the instance saw {seen:?}"));
        }
        let refused = answers.starts_with(b"HTTP/1.1 400 ");
        if refused != sees.is_empty() {
            wrong.push(format!("{name}: the client got {}", answers.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Whatever it was, what went on was written by the proxy.
    for request in instance.requests() {
        let head = &request.head;
        for (name, value) in request.fields() {
            let plain = name.replace('_', "-");
            let ours = ["content-length", "transfer-encoding", "x-forwarded-for", "x-real-ip"];
            assert!(plain == name || !ours.contains(&&*plain), "{head}");
            let hop_by_hop =
                ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"];
            assert!(!hop_by_hop.contains(&&*name), "{head}");
            assert!(!value.contains("6.6.6.6") && name != "x-evil", "{head}");
        }
        for name in ["host", "x-forwarded-for", "x-real-ip", "x-request-id"] {
            assert_eq!(request.values(name).len(), 1, "{name} of {head}");
        }
        let framed = request.values("content-length").len() + request.values("transfer-encoding").len();
        assert!(framed <= 1, "{head}");
    }
}

#[test]
fn a_client_gets_its_own_answer_or_none() {
    let instance = Scripted::start();
    let proxy = Proxy::before(&instance);
    let mut wrong = Vec::new();
    for answers::Case(name, method, answer, gets) in answers::CASES {
        instance.answers(answer, *name == "neither");
        let got = self::got(proxy.connect(), method);
        // Another client.
        let second = self::second(proxy.connect());
        let reused = instance.served_both();
        let is_right = match gets {
            Gets::Bad => got == Ok((502, String::new())) && !reused,
            Gets::Whole(status, body) => got == Ok((*status, (*body).to_owned())) && reused,
            Gets::Last(status, body) => got == Ok((*status, (*body).to_owned())) && !reused,
            Gets::Cut => !matches!(got, Ok((status, _)) if status != 502) && !reused,
        };
        if !is_right || second != "second" {
            wrong.push(format!("{name}: {got:?}, connection used again: {reused}; the next got {second:?}"));
        }
        if *gets == Gets::Cut {
            instance.answers_slowly(answer);
            let got = self::got(proxy.connect(), method);
            let second = self::second(proxy.connect());
            if got.is_ok() || instance.served_both() || second != "second" {
                wrong.push(format!("{name}, slowly: {got:?}; the next got {second:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Status and body (none of a 502) of the answer to a request for `/a`.
fn got(mut client: Socket, method: &str) -> Result<(u16, String), String> {
    client.send(format!("{method} /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let (answer, end) = client.rest();
    let text = String::from_utf8_lossy(&answer).into_owned();
    // Interim ones pass.
    let from = text.find("HTTP/1.1 2").or(text.find("HTTP/1.1 ")).ok_or("no answer")?;
    let text = &text[if text.starts_with("HTTP/1.1 1") { from } else { 0 }..];
    let (head, body) = text.split_once("\r\n\r\n").ok_or("half a head")?;
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    if end != crate::support::End::Fin {
        return Err(format!("{status}, broken off"));
    }
    if status == 502 {
        return Ok((502, String::new()));
    }
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = match (chunked && method != "HEAD", body) {
        (false, body) => body.to_owned(),
        (true, body) => unchunked(body).ok_or_else(|| format!("{status}, no end: {body}"))?,
    };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let has_body = method != "HEAD" && ![204, 304].contains(&status);
    match length {
        Some(length) if has_body && body.len() < length => Err(format!("{status}, too short: {body}")),
        _ => Ok((status, body)),
    }
}

fn unchunked(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (line, rest) = chunks.split_once("\r\n")?;
        let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        if size == 0 {
            return rest.ends_with("\r\n").then_some(body);
        }
        body.push_str(rest.get(..size)?);
        chunks = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// The body of the answer to a request for `/b`.
fn second(mut client: Socket) -> String {
    client.send("GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.try_answer().map_or_else(|error| error, |answer| format!("{}", answer.body.escape_ascii()))
}

/// An instance that answers before it has read the body: what is left of that is nobody's request, and the connection serves no other.
#[test]
fn an_early_answer_leaves_nothing_behind() {
    let body = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    for (framing, whole) in [
        (format!("Content-Length: {}\r\n\r\n", body.len() * 2), false),
        ("Transfer-Encoding: chunked\r\n\r\n".to_owned(), false),
        (format!("Content-Length: {}\r\n\r\n{body}", body.len()), true),
    ] {
        let instance = Instance::start();
        let proxy = Proxy::before(&instance);
        let mut client = proxy.connect();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}"));
        let mut far = instance.accept();
        if whole {
            far.request();
        } else {
            far.head();
        }
        far.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().status(), 403);
        // What is left of the body looks like requests.
        let _ = client.try_send(format!("{body}{body}"));
        let mut other = proxy.connect();
        other.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        if whole {
            // Then they are requests, each on a connection that has served to its end.
            let mut second = instance.accept();
            let targets = [far.request(), second.request()].map(|request| shown(&request));
            assert!(targets.contains(&"GET /b ".to_owned()), "{targets:?}");
            continue;
        }
        let mut fresh = instance.accept();
        assert_eq!(shown(&fresh.request()), "GET /b ");
        let (left, _) = far.rest();
        assert!(!left.starts_with(b"GET "), "{}", left.escape_ascii());
        let (rest, _) = client.rest();
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
}

#[test]
fn the_corpus_has_not_shrunk() {
    let requests = requests::CASES.len() + BAD.len() + BAD_BODIES.len();
    assert!(requests >= 180, "{requests}");
    assert!(answers::CASES.len() >= 70, "{}", answers::CASES.len());
}
