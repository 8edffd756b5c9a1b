//! A client's connection, which can be ended from this side as if the client had gone.
//!
//! socketioxide closes one socket only in a way after which clients do not come back ("io server disconnect"), or all at once.
//! So that clients of an instance that stops leave one after the other, its connections end here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection.
pub(super) struct Line {
    stream: TcpStream,
    end: End,
    lines: Arc<Lines>,
}

/// The end of a connection that is in our hands. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct End(Arc<EndInner>);

#[derive(Debug, Default)]
struct EndInner {
    has_come: AtomicBool,
    reader: Mutex<Option<Waker>>,
    /// The session whose WebSocket this is, or wants to become.
    sid: Mutex<Option<String>>,
}

impl End {
    /// From now on nothing more comes from the client.
    pub(super) fn come(&self) {
        self.0.has_come.store(true, Ordering::Release);
        if let Some(reader) = lock(&self.0.reader).take() {
            reader.wake();
        }
    }

    /// Whether it has come. Otherwise this reader is woken when it does.
    fn has_come(&self, context: &Context<'_>) -> bool {
        let mut reader = lock(&self.0.reader);
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
            *reader = Some(context.waker().clone());
        }
        drop(reader);
        self.0.has_come.load(Ordering::Acquire)
    }
}

impl Line {
    pub(super) fn new(stream: TcpStream, lines: &Arc<Lines>) -> (Self, End) {
        let end = End::default();
        (Self { stream, end: end.clone(), lines: lines.clone() }, end)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.forget(&self.end);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.has_come(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Which connection the WebSocket of a session is on, by the session's id. As many as there are connections, at most.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<String, End>>);

impl Lines {
    /// A session goes on over this connection, until it ends.
    pub(super) fn note(&self, sid: &str, end: &End) {
        self.forget(end);
        *lock(&end.0.sid) = Some(sid.to_owned());
        lock(&self.0).insert(sid.to_owned(), end.clone());
    }

    /// The session's connection.
    pub(super) fn find(&self, sid: &str) -> Option<End> {
        lock(&self.0).get(sid).cloned()
    }

    fn forget(&self, end: &End) {
        if let Some(sid) = lock(&end.0.sid).take()
            && let Entry::Occupied(entry) = lock(&self.0).entry(sid)
            && Arc::ptr_eq(&entry.get().0, &end.0)
        {
            entry.remove();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(lines: &Arc<Lines>) -> (Line, End, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (line, end) = Line::new(listener.accept().await.unwrap().0, lines);
        (line, end, client)
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_told_of_the_end() {
        let (mut line, end, _client) = pair(&Arc::default()).await;
        let mut buffer = [0; 8];
        let (read, ()) = tokio::join!(line.read(&mut buffer), async {
            tokio::task::yield_now().await;
            end.come();
        });
        assert_eq!(read.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_connection_is_found_by_its_last_session_until_it_ends() {
        let lines = Arc::new(Lines::default());
        let (first, first_end, _client) = pair(&lines).await;
        let (second, second_end, _other) = pair(&lines).await;
        lines.note("a", &first_end);
        lines.note("b", &first_end);
        assert!(lines.find("a").is_none());
        // A session that has moved stays where it went.
        lines.note("b", &second_end);
        drop(first);
        assert!(Arc::ptr_eq(&lines.find("b").unwrap().0, &second_end.0));
        drop(second);
        assert!(lock(&lines.0).is_empty());
    }
}
