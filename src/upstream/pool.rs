//! Idle connections to instances, kept for the next request: one pool per worker, no lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use crate::local::clock::{self, Moment};
use crate::local::stream::Stream;
use crate::upstream::Instance;

/// Idle connections that one worker keeps to one instance. More than a worker has requests in flight at a time helps
/// nobody, and every one of them costs the instance a socket.
const PER_INSTANCE: usize = 256;

/// One worker's idle connections.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<u32, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Moment,
    /// The number of the endpoint that it leads to: an instance may have another one by now.
    endpoint: u32,
}

impl Pool {
    /// The connection that was used last, if it is younger than `upstream_idle`, the instance has not ended it, and it leads where
    /// the instance is: one in use all the time would go to an old address for ever.
    pub fn take(&self, instance: &Instance, upstream_idle: Duration) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&instance.id)?;
        while let Some(Idle { mut stream, since, endpoint }) = list.pop() {
            if clock::coarse().since(since) >= upstream_idle {
                // Those below are older still.
                list.clear();
                return None;
            }
            let leads = endpoint == instance.endpoint.number;
            if leads && stream.is_quiet() && instance.endpoint.still_leads(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was whole and that said nothing since. `instance`: the one that it was made to, or
    /// [taken](Self::take) for; the file may have moved it since.
    pub fn put(&self, instance: &Instance, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(instance.id).or_default();
        if list.len() < PER_INSTANCE {
            list.push(Idle { stream, since: clock::coarse(), endpoint: instance.endpoint.number });
        }
    }

    /// Closes what has been idle for too long, so that a quiet proxy holds no dead sockets, and what leads elsewhere by now. `keep`:
    /// the number of an instance to that of its endpoint, and its `upstream_idle`; `None`: there is no such instance.
    pub fn sweep(&self, keep: impl Fn(u32) -> Option<(u32, Duration)>) {
        let now = clock::coarse();
        self.idle.borrow_mut().retain(|id, list| {
            let keep = keep(*id);
            list.retain(|idle| {
                keep.is_some_and(|(endpoint, most)| idle.endpoint == endpoint && now.since(idle.since) < most)
            });
            !list.is_empty()
        });
    }

    /// Closes all of them: their descriptors are wanted.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
