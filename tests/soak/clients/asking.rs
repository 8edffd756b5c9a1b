//! A client that asks for bodies and sends some, over one connection for as long as it is kept.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, PATIENCE, instance_of};
use crate::http::Wire;
use crate::instance::blob;

/// Asks every now and then until it is time to go.
pub(crate) async fn ask(mut client: Client) {
    let mut wire = None;
    loop {
        let pause = Duration::from_millis(client.dice.within(20..=180));
        if !client.pause(pause).await {
            return;
        }
        let since = Instant::now();
        let (mut kept, fresh) = match wire.take() {
            Some(kept) => (kept, false),
            None => match client.connect().await {
                Some(fresh) => (fresh, true),
                None => continue,
            },
        };
        match one(&mut client, &mut kept, since).await {
            Ok(true) => wire = Some(kept),
            Ok(false) => {}
            // A connection that was kept may have been closed at just that moment.
            Err(_) if !fresh => client.tally.count("body: no answer on a kept connection"),
            Err(error) => client.is_unheard("body", &error),
        }
    }
}

/// Connects, asks once and leaves, again and again, until it is time to go. `times`: how long each took, microseconds.
pub(crate) async fn flood(mut client: Client, times: Rc<RefCell<Vec<u32>>>) {
    while client.pause(Duration::from_millis(client.dice.clone().within(0..=3))).await {
        let since = Instant::now();
        let Some(mut wire) = client.connect().await else { continue };
        match one(&mut client, &mut wire, since).await {
            Ok(_) => times.borrow_mut().push(since.elapsed().as_micros() as u32),
            Err(error) => client.is_unheard("flood", &error),
        }
    }
}

/// One request; `true`: the connection can be used again.
async fn one(client: &mut Client, wire: &mut Wire, since: Instant) -> io::Result<bool> {
    let number = client.dice.roll() >> 8;
    let sent = blob(number);
    let posts = client.dice.percent(30);
    let method = if posts { "POST" } else { "GET" };
    let mut request = client.head(&format!("{method} /body?number={number}")).into_bytes();
    if posts {
        request.extend(format!("Content-Length: {}\r\n\r\n", sent.len()).bytes());
        request.extend_from_slice(&sent);
    } else {
        request.extend(b"\r\n");
    }
    let head = client.ask(wire, request).await?;
    let keeps = head.field("connection") != Some("close");
    let body = match timeout(PATIENCE, wire.body(&head)).await {
        Ok(body) => body,
        Err(late) => Err(late.into()),
    };
    let slot = instance_of(&head).map(|(slot, _)| slot);
    match (head.status(), slot, body) {
        (200, Some(slot), Ok(body)) if body == sent => {
            client.tally.slots[slot].answers.update(|answers| answers + 1);
            client.tally.count(format!("body: {method} answered"));
            return Ok(keeps);
        }
        (200, Some(slot), Ok(body)) => {
            client.tally.violated(format!(
                "body {number} of instance {slot}: {} bytes instead of {}, or others",
                body.len(),
                sent.len()
            ));
        }
        (_, Some(slot), Err(_)) if client.tally.was_disturbed(slot, since) => client.tally.count("body: cut"),
        (_, slot, Err(error)) => {
            client.tally.violated(format!("body {number} of instance {slot:?} is cut: {error}"));
        }
        (.., Ok(_)) => client.is_refused("body", &head, since),
    }
    Ok(keeps)
}
