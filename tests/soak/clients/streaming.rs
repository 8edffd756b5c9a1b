//! A client that reads numbered events until it has had enough.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, PATIENCE, instance_of};
use crate::dice::Dice;

/// Reads one stream after the other until it is time to go.
pub(crate) async fn read(mut client: Client) {
    loop {
        stream(&mut client).await;
        if !client.rests().await {
            return;
        }
    }
}

async fn stream(client: &mut Client) {
    let since = Instant::now();
    let Some(mut wire) = client.connect().await else { return };
    let number = client.dice.roll() >> 8;
    let request = client.head(&format!("GET /stream?number={number}")) + "\r\n";
    let head = match client.ask(&mut wire, request).await {
        Ok(head) => head,
        Err(error) => return client.is_unheard("stream", &error),
    };
    let Some((slot, _)) = instance_of(&head).filter(|_| head.status() == 200) else {
        return client.is_refused("stream", &head, since);
    };
    client.succeeds();
    let enough = since + Duration::from_millis(client.dice.within(1_000..=60_000));
    let mut dice = Dice::of(number, "events", 0);
    for event in 0_u64.. {
        let expected = format!("id: {event}\ndata: {:x}\n\n", dice.roll());
        dice.within(100..=1_000);
        match timeout(PATIENCE, wire.chunk()).await {
            // The proxy may cut chunks anew; events are so small and so far apart that it does not.
            Ok(Ok(Some(chunk))) if chunk == expected.as_bytes() => {}
            Ok(Ok(Some(chunk))) => {
                let came = String::from_utf8_lossy(&chunk).into_owned();
                return client
                    .tally
                    .violated(format!("stream of instance {slot}: {came:?} instead of {expected:?}"));
            }
            Ok(ended) if client.tally.was_disturbed(slot, since) => {
                return client
                    .tally
                    .count(format!("stream ends: {}", if ended.is_ok() { "in order" } else { "cut" }));
            }
            ended => {
                return client
                    .tally
                    .violated(format!("stream of instance {slot} ended after {event} events: {ended:?}"));
            }
        }
        if Instant::now() > enough || client.tally.is_leaving() {
            return client.tally.count("stream ends: we left");
        }
    }
}
