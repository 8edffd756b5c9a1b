//! Acknowledgements of clients of all instances, as one stream: those of this instance, and what others pass on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use socketioxide::AckError;
use socketioxide::ack::AckInnerStream;
use socketioxide_core::Sid;
use socketioxide_core::adapter::AckStreamItem;
use tokio::time::{Sleep, sleep};

use super::payload;
use super::requests::Answers;
use super::wire::Say;

/// Acknowledgements of clients of all instances.
pub struct Acks {
    local: Pin<Box<AckInnerStream>>,
    remote: Option<Remote>,
    /// Acknowledgements that have not come in time, to be said one after the other.
    missing: u64,
}

/// What others pass on.
struct Remote {
    answers: Answers,
    /// Instances that have not said how many clients they have.
    silent: u64,
    /// Clients that are known and have not answered. Below zero where answers come before their number.
    expected: i64,
    deadline: Pin<Box<Sleep>>,
}

impl Acks {
    /// Those of this instance.
    pub(super) fn local(local: AckInnerStream) -> Self {
        Self { local: Box::pin(local), remote: None, missing: 0 }
    }

    /// Those of so many other instances too.
    pub(super) fn and_of(mut self, others: u64, answers: Answers, limit: Duration) -> Self {
        if others > 0 {
            let deadline = Box::pin(sleep(limit));
            self.remote = Some(Remote { answers, silent: others, expected: 0, deadline });
        }
        self
    }
}

impl Remote {
    /// The next acknowledgement that another instance passes on; none when all are there, or with those that are missing.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<rmpv::Value, u64>> {
        while self.silent > 0 || self.expected > 0 {
            match self.answers.poll_next(context) {
                Poll::Ready(Some(Say::ClientCount(count))) => {
                    self.silent = self.silent.saturating_sub(1);
                    self.expected = self.expected.saturating_add_unsigned(count);
                }
                Poll::Ready(Some(Say::Ack(value))) => {
                    self.expected -= 1;
                    return Poll::Ready(Ok(value));
                }
                Poll::Ready(Some(_)) => {}
                // Nobody can answer any more.
                Poll::Ready(None) => break,
                Poll::Pending if self.deadline.as_mut().poll(context).is_ready() => {
                    let known = u64::try_from(self.expected).unwrap_or_default();
                    // Of an instance that said nothing nobody knows how many clients it has: at least it is one answer less.
                    return Poll::Ready(Err(known.saturating_add(self.silent)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Err(0))
    }
}

impl Stream for Acks {
    type Item = AckStreamItem<AckError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(Some(ack)) = self.local.as_mut().poll_next(context) {
            return Poll::Ready(Some(ack));
        }
        if let Some(remote) = &mut self.remote {
            match remote.poll_next(context) {
                // What others pass on does not say whose it is.
                Poll::Ready(Ok(value)) => {
                    return Poll::Ready(Some((Sid::new(), payload::ack(value).map_err(AckError::Decode))));
                }
                Poll::Ready(Err(missing)) => {
                    self.remote = None;
                    self.missing = missing;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.missing > 0 {
            self.missing -= 1;
            return Poll::Ready(Some((Sid::new(), Err(AckError::Timeout))));
        }
        if self.local.is_terminated() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl FusedStream for Acks {
    fn is_terminated(&self) -> bool {
        self.remote.is_none() && self.missing == 0 && self.local.is_terminated()
    }
}
