//! `GET /events`: events as they happen, in the format that browsers read with `EventSource`.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Listening;
use super::event::Event;
use crate::app::context::Context;

/// How soon a browser comes back.
const START: &str = ": events\nretry: 1000\n\n";

/// Says that the stream is alive, to whatever lies between.
const COMMENT: &str = ":\n\n";

/// An event as lines.
pub(super) fn lines(event: &Event) -> String {
    let mut lines = String::with_capacity(event.text.len() + 48);
    if let Some(id) = event.id {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "id: {id}");
    }
    lines.push_str("data: ");
    lines.push_str(&event.text);
    lines.push_str("\n\n");
    lines
}

/// What a task writes, as a body.
struct Chunks(mpsc::Receiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(waker).map(|chunk| chunk.map(Ok))
    }
}

/// The answer that goes on for as long as the client listens.
pub(super) fn answer(context: &Arc<Context>, listening: Listening) -> Response {
    let (out, chunks) = mpsc::channel(1);
    context.tasks.spawn("stream", run(context.clone(), listening, out));
    let mut response = Response::new(Body::from_stream(Chunks(chunks)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would wait until it has a page of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn run(context: Arc<Context>, listening: Listening, out: mpsc::Sender<Bytes>) {
    context.metrics.feed_streams.up();
    tokio::select! {
        () = write(&context, listening, &out) => {}
        () = out.closed() => {}
        () = context.feed.is_over(&context.settings) => {}
    }
    context.metrics.feed_streams.down();
}

/// Writes until the client is gone or does not read, or what it missed cannot be read; then it comes back by itself.
async fn write(context: &Context, mut listening: Listening, out: &mpsc::Sender<Bytes>) {
    let period = context.settings.comment_interval;
    let mut comments = interval(period);
    comments.reset();
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chunk = START.to_owned();
    // A client that takes nothing for so long does not read.
    let patience = period.max(Duration::from_secs(1));
    while out.send_timeout(chunk.into(), patience).await.is_ok() {
        chunk = tokio::select! {
            next = listening.next() => match next {
                Ok(Some(event)) => lines(&event),
                Ok(None) | Err(_) => return,
            },
            _ = comments.tick() => COMMENT.to_owned(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lines() {
        let check = |id: Option<&str>, expected: &str| {
            let id = id.map(|id| id.parse().unwrap());
            assert_eq!(lines(&Event { id, user: None, text: "{}".to_owned() }), expected);
        };
        check(Some("7-1"), "id: 7-1\ndata: {}\n\n");
        check(None, "data: {}\n\n");
    }
}
