//! A client of Engine.IO that polls: every packet, each way, is numbered, comes once and in order, at the instance that knows it.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, PATIENCE, instance_of};
use crate::http::{Head, Wire};

/// A session that has begun.
struct Session {
    sid: String,
    slot: usize,
    life: String,
    since: Instant,
    /// The client has said that it leaves: then a poll that was on its way is of a session that is over.
    left: Cell<bool>,
}

/// Why a session is over.
type Over = Result<&'static str, String>;

/// Keeps a session until it is time to go.
pub(crate) async fn keep(mut client: Client) {
    loop {
        if let Some(session) = begin(&mut client).await {
            client.succeeds();
            match talk(&mut client, &session).await {
                Ok(how) => client.tally.count(format!("session ends: {how}")),
                Err(what) => client.tally.violated(format!(
                    "session {}, {:.1} s old: {what}",
                    session.sid,
                    session.since.elapsed().as_secs_f64()
                )),
            }
        }
        if !client.rests().await {
            return;
        }
    }
}

async fn begin(client: &mut Client) -> Option<Session> {
    let since = Instant::now();
    let mut wire = client.connect().await?;
    let request = client.head("GET /socket.io/?EIO=4&transport=polling") + "\r\n";
    let answered = async {
        let head = client.ask(&mut wire, request).await?;
        let body = wire.body(&head).await?;
        io::Result::Ok((head, body))
    };
    let (head, body) = match answered.await {
        Ok(answered) => answered,
        Err(error) => {
            client.is_unheard("session", &error);
            return None;
        }
    };
    let Some((slot, life)) = instance_of(&head).filter(|_| head.status() == 200) else {
        client.is_refused("session", &head, since);
        return None;
    };
    client.tally.count("session: begun");
    let open: serde_json::Value = serde_json::from_slice(body.get(1..)?).ok()?;
    Some(Session {
        sid: open["sid"].as_str()?.to_owned(),
        slot,
        life: life.to_owned(),
        since,
        left: Cell::new(false),
    })
}

/// Polls on one connection and posts on another, until either hears that it is over.
async fn talk(client: &mut Client, session: &Session) -> Over {
    let (Some(polls), Some(posts)) = (client.connect().await, client.connect().await) else {
        return Ok("not connected");
    };
    let enough = session.since + Duration::from_millis(client.dice.within(3_000..=120_000));
    let client = &*client;
    tokio::select! {
        over = poll(client, session, polls) => over,
        over = post(client, session, posts, enough) => over,
    }
}

async fn poll(client: &Client, session: &Session, mut wire: Wire) -> Over {
    let mut dice = client.dice.clone();
    let mut expected = 0_u64;
    loop {
        let (park, count) = (dice.within(0..=2_500), dice.within(1..=4));
        let line = format!(
            "GET /socket.io/?EIO=4&transport=polling&sid={}&park={park}&packets={count}",
            session.sid
        );
        let body = match exchange(client, session, &mut wire, client.head(&line) + "\r\n").await? {
            Answer::Body(body) => body,
            Answer::Over(how) => return Ok(how),
        };
        let packets: Vec<String> = (expected..expected + count).map(|number| format!("4{number}")).collect();
        if body == packets.join("\x1e") {
            expected += count;
            client.tally.count("session: polls");
        } else if body != "6" {
            return Err(format!("a poll says {body:?} instead of {packets:?}"));
        }
    }
}

async fn post(client: &Client, session: &Session, mut wire: Wire, enough: Instant) -> Over {
    let mut dice = client.dice.clone();
    let mut number = 0_u64;
    loop {
        let goes_on =
            client.pause(Duration::from_millis(dice.within(300..=2_000))).await && Instant::now() < enough;
        session.left.set(!goes_on);
        let packet = if goes_on { format!("4{number}") } else { "1".to_owned() };
        let line = format!("POST /socket.io/?EIO=4&transport=polling&sid={}", session.sid);
        let request = client.head(&line) + &format!("Content-Length: {}\r\n\r\n{packet}", packet.len());
        match exchange(client, session, &mut wire, request).await? {
            Answer::Body(body) if body == "ok" => client.tally.count("session: packets"),
            Answer::Body(body) => return Err(format!("a packet is answered by {body:?}")),
            Answer::Over(how) => return Ok(how),
        }
        if !goes_on {
            return Ok("we left");
        }
        number += 1;
    }
}

enum Answer {
    Body(String),
    Over(&'static str),
}

/// One request of a session, and what is behind its answer.
async fn exchange(
    client: &Client,
    session: &Session,
    wire: &mut Wire,
    request: String,
) -> Result<Answer, String> {
    let answered = async {
        wire.send(request).await?;
        let head = wire.answer().await?;
        let body = wire.body(&head).await?;
        io::Result::Ok((head, String::from_utf8_lossy(&body).into_owned()))
    };
    let answered = match timeout(PATIENCE, answered).await {
        Ok(answered) => answered,
        Err(late) => Err(late.into()),
    };
    let disturbed = client.tally.was_disturbed(session.slot, session.since);
    let excused = |how| {
        if disturbed || session.left.get() {
            Ok(Answer::Over(how))
        } else {
            Err(format!("{how}, and nothing was done to its instance"))
        }
    };
    let Ok((head, body)) = answered else { return excused("cut") };
    if head.field("connection") == Some("close") {
        match client.connect().await {
            Some(next) => *wire = next,
            None => return Ok(Answer::Over("not connected")),
        }
    }
    match head.status() {
        200 if is_of(&head, session) => Ok(Answer::Body(body)),
        200 => Err(format!("{:?} answers", head.field("x-instance"))),
        400 if body.contains(r#""code":1"#) => excused(if head.field("x-instance").is_some() {
            "unknown to the instance"
        } else {
            "unknown to the proxy"
        }),
        502..=504 => excused("502 to 504"),
        status => Err(format!("status {status}: {body}")),
    }
}

fn is_of(head: &Head, session: &Session) -> bool {
    instance_of(head) == Some((session.slot, session.life.as_str()))
}
