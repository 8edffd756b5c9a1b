//! hyper, fed with bytes out of memory.

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    rt::{Read, ReadBufCursor, Write},
    service::service_fn,
};

use super::{Body, End, Fields, LIMITS, fields};

/// A request as hyper's server read it.
#[derive(Clone, Debug)]
pub(super) struct HyperRequest {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) authority: Option<String>,
    pub(super) version: Version,
    pub(super) fields: Fields,
    pub(super) body: Body,
}

/// An answer as hyper's client read it.
#[derive(Clone, Debug)]
pub(super) struct HyperAnswer {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) fields: Fields,
    pub(super) body: Body,
}

/// Requests read off one connection, and why there were no more.
pub(super) async fn requests(bytes: &[u8]) -> (Vec<HyperRequest>, End<String>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let body_end = Rc::new(RefCell::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let (seen, body_end) = (Rc::clone(&seen), Rc::clone(&body_end));
        async move {
            let (head, body) = request.into_parts();
            match read_body(body).await {
                Ok(body) => seen.borrow_mut().push(HyperRequest {
                    method: head.method.to_string(),
                    target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
                    authority: head.uri.authority().map(ToString::to_string),
                    version: head.version,
                    fields: hyper_fields(&head.headers),
                    body,
                }),
                Err(end) => *body_end.borrow_mut() = Some(end),
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let outcome = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(LIMITS.headers)
        .serve_connection(Canned::new(bytes, true), service)
        .await;
    let body_end = body_end.borrow_mut().take();
    let seen = seen.borrow().clone();
    (seen, body_end.unwrap_or_else(|| outcome.map_or_else(|error| end_of(&error), |()| End::Clean)))
}

/// The final answer to a request with this method.
pub(super) async fn answer(bytes: &[u8], method: Method) -> Result<HyperAnswer, End<String>> {
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_headers(LIMITS.headers)
        .handshake(Canned::new(bytes, false));
    let (mut sender, connection) = handshake.await.map_err(|error| end_of(&error))?;
    let request = Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new());
    let request = request.expect("a good request");
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| end_of(&error))?;
        let (head, body) = answer.into_parts();
        let body = read_body(body).await?;
        Ok(HyperAnswer {
            status: head.status,
            version: head.version,
            fields: hyper_fields(&head.headers),
            body,
        })
    };
    // The connection's own end says nothing more: it fails also when bytes follow the answer.
    let (_, answer) = tokio::join!(connection, exchange);
    answer
}

async fn read_body(body: Incoming) -> Result<Body, End<String>> {
    let body = body.collect().await.map_err(|error| end_of(&error))?;
    let trailers = body.trailers().map(hyper_fields).unwrap_or_default();
    Ok(Body { content: body.to_bytes().escape_ascii().to_string(), trailers })
}

fn hyper_fields(map: &hyper::HeaderMap) -> Fields {
    fields(map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

fn end_of(error: &hyper::Error) -> End<String> {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    if error.is_incomplete_message() || text.contains("end of file") {
        End::Incomplete
    } else {
        End::Refused(text)
    }
}

/// A connection that has sent all it will ever send, and takes all that is written.
struct Canned {
    left: Vec<u8>,
    /// Reads may go on. A client is answered only after it has asked.
    open: bool,
    reader: Option<Waker>,
}

impl Canned {
    fn new(bytes: &[u8], open: bool) -> Self {
        Self { left: bytes.to_vec(), open, reader: None }
    }
}

impl Read for Canned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.open {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = self.left.len().min(buffer.remaining());
        buffer.put_slice(&self.left[..len]);
        self.left.drain(..len);
        Poll::Ready(Ok(()))
    }
}

impl Write for Canned {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.open = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
