//! A client that keeps a tunnel open, and opens the next one when it has ended.

use std::time::Duration;

use tokio::time::Instant;

use super::{Client, instance_of};
use crate::conversation::{How, Outcome, Plan, Talk};
use crate::http::Wire;
use crate::stream::Side;
use crate::tally::Tally;

/// What is told to go nowhere gets nothing new any more, once that long has passed: a request may have been on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// Keeps one open until it is time to go. `steady`: nobody is to end it, if it is not 0 ([`Plan::of`]).
pub(crate) async fn keep(mut client: Client, steady: u64) {
    let begin = client.dice.within(0..=3_000);
    let mut goes_on = client.pause(Duration::from_millis(begin)).await;
    while goes_on {
        let tunnel = client.dice.roll() >> 1;
        match open(&mut client, tunnel, steady).await {
            Some((wire, slot, since)) => {
                client.succeeds();
                hold(&client, tunnel, steady, (wire, slot, since)).await;
            }
            None => client.tally.count("tunnel: not opened"),
        }
        goes_on = client.rests().await;
    }
}

/// The connection, its instance, and when it began.
type Opened = (Wire, usize, Instant);

async fn open(client: &mut Client, tunnel: u64, steady: u64) -> Option<Opened> {
    let since = Instant::now();
    let mut wire = client.connect().await?;
    let steady = if steady > 0 { format!("&steady={steady}") } else { String::new() };
    let request = client.head(&format!("GET /socket.io/?EIO=4&transport=websocket&tunnel={tunnel}{steady}"))
        + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let head = match client.ask(&mut wire, request).await {
        Ok(head) => head,
        Err(error) => {
            client.is_unheard("tunnel", &error);
            return None;
        }
    };
    let Some((slot, _)) = instance_of(&head).filter(|_| head.status() == 101) else {
        client.is_refused("tunnel", &head, since);
        return None;
    };
    if head.field("sec-websocket-accept") != Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        client.tally.violated(format!("tunnel {tunnel}: the answer to another key"));
    }
    let at = &client.tally.slots[slot];
    at.opened.update(|opened| opened + 1);
    if at.shut_since.get().is_some_and(|shut| shut + ON_ITS_WAY < since) {
        client
            .tally
            .violated(format!("tunnel {tunnel} was opened at instance {slot}, which gets no new ones"));
    }
    Some((wire, slot, since))
}

async fn hold(client: &Client, tunnel: u64, steady: u64, (wire, slot, since): Opened) {
    let tally = &client.tally;
    let plan = Plan::of(tunnel, steady);
    let on_pong = |took: Duration| tally.pongs.borrow_mut().push(took.as_micros() as u32);
    let talk = Talk { tunnel, side: Side::Client, plan, leave: tally.leaving(), on_pong: &on_pong };
    tally.open.update(|open| open + 1);
    let (stream, early) = wire.into_parts();
    let result = talk.talk(stream, early).await;
    tally.open.update(|open| open - 1);
    let judged = result.and_then(|outcome| {
        tally.frames.update(|frames| frames + outcome.frames);
        tally.bytes.update(|bytes| bytes + outcome.bytes);
        (0..outcome.proxy_pings).for_each(|_| tally.count("tunnel: pings of the proxy"));
        judge(&outcome, &plan, tally, slot, since)
    });
    match judged {
        Ok(how) => tally.count(format!("tunnel ends: {how}")),
        Err(what) => tally.violated(format!(
            "tunnel {tunnel} of instance {slot}, {:.1} s old, {plan:?}: {what}",
            since.elapsed().as_secs_f64()
        )),
    }
}

/// How it ended, in words; an error when it should not have ended so.
fn judge(
    outcome: &Outcome,
    plan: &Plan,
    tally: &Tally,
    slot: usize,
    since: Instant,
) -> Result<String, String> {
    let disturbed = tally.was_disturbed(slot, since);
    let breaks_off = matches!(plan.end, Some((Side::Instance, How::Fin | How::Reset, _)));
    let excused = disturbed || breaks_off;
    let (words, fine) = match (outcome.said, outcome.heard) {
        (Some(How::Close), Some((_, true))) => ("we said Close, and were answered".to_owned(), true),
        (Some(How::Close), Some((code, false))) => {
            (format!("we said Close, and so did the proxy: {code:?}"), excused && code == Some(1012))
        }
        (Some(How::Close), None) => ("we said Close, and nobody answered".to_owned(), excused),
        (Some(how), _) => (format!("we broke off: {how:?}"), true),
        (None, Some((code, true))) => {
            let planned = matches!(plan.end, Some((Side::Instance, How::Close, _)));
            (format!("the instance said Close: {code:?}"), planned)
        }
        (None, Some((code, false))) => {
            (format!("the proxy said Close: {code:?}"), excused && code == Some(1012))
        }
        (None, None) if outcome.inside => ("cut inside a frame".to_owned(), excused),
        (None, None) => ("ended between two frames without a Close".to_owned(), false),
    };
    if fine { Ok(words) } else { Err(format!("{words}; {} frames came", outcome.frames)) }
}
