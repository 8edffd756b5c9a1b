//! What stands behind the proxies: a WebSocket echo, a 128-byte GET, and `/hang`, which never answers.
//! One thread, several listeners: each listener is one instance of the peers' configurations.
//! Connections and their bytes are `conversation`'s business; this file owns the sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use slab::Slab;

use crate::conversation::{Conversation, Held, Then};
use crate::dial;
use crate::poll::{Interest, Poll, Ready};

/// Bytes of one read. Large enough that a 1 MiB message costs a few reads, small enough to stay in the cache.
const READ: usize = 256 * 1024;

struct Peer {
    stream: TcpStream,
    conversation: Conversation,
    /// Written so far of `unsent`; while there is any, nothing is read.
    sent: usize,
    unsent: Vec<u8>,
    ends: bool,
}

/// Listening, not yet serving.
pub(crate) struct Instance {
    listeners: Vec<TcpListener>,
    poll: Poll,
    peers: Slab<Peer>,
    held: Held,
}

impl Instance {
    /// Binds every address; the first is instance 1.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Instance> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (index, &address) in addresses.iter().enumerate() {
            let listener = dial::listen(address)?;
            poll.add(&listener, index, Interest::Read)?;
            listeners.push(listener);
        }
        Ok(Instance { listeners, poll, peers: Slab::new(), held: Held::default() })
    }

    /// Where it listens (for port 0).
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.local_addr().expect("a bound listener")).collect()
    }

    /// Serves until `stop`, which is looked at ten times a second.
    pub(crate) fn serve(mut self, stop: &AtomicBool) -> Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut input = vec![0; READ];
        let mut output = Vec::with_capacity(READ);
        while !stop.load(Ordering::Relaxed) {
            self.poll.wait(&mut ready, Duration::from_millis(100))?;
            for event in &ready {
                if event.token < self.listeners.len() {
                    self.accept(event.token)?;
                } else {
                    let key = event.token - self.listeners.len();
                    if !self.turn(key, event, &mut input, &mut output)? {
                        let peer = self.peers.remove(key);
                        self.held.forget(&peer.conversation);
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, index: usize) -> Result<()> {
        loop {
            match self.listeners[index].accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let entry = self.peers.vacant_entry();
                    self.poll.add(&stream, entry.key() + self.listeners.len(), Interest::Read)?;
                    let conversation = Conversation::new(index + 1);
                    entry.insert(Peer { stream, conversation, sent: 0, unsent: Vec::new(), ends: false });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // Out of files: a benchmark that goes on from here would measure something else.
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One event of one connection; false when it is over. A connection's errors end it and nothing else.
    fn turn(&mut self, key: usize, event: &Ready, input: &mut [u8], output: &mut Vec<u8>) -> Result<bool> {
        // An earlier event of the same wait may have closed it.
        let Some(peer) = self.peers.get_mut(key) else { return Ok(true) };
        if !peer.unsent.is_empty() {
            if !event.write {
                return Ok(true);
            }
            match (&peer.stream).write(&peer.unsent[peer.sent..]) {
                Ok(count) => peer.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            }
            if peer.sent < peer.unsent.len() {
                return Ok(true);
            }
            peer.unsent = Vec::new();
            peer.sent = 0;
            self.poll.change(&peer.stream, key + self.listeners.len(), Interest::Read)?;
            return Ok(!peer.ends);
        }
        let count = match (&peer.stream).read(input) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        };
        output.clear();
        peer.ends = peer.conversation.take(&mut input[..count], output, &mut self.held) == Then::End;
        if output.is_empty() {
            return Ok(!peer.ends);
        }
        let sent = match (&peer.stream).write(output) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Ok(false),
        };
        if sent == output.len() {
            return Ok(!peer.ends);
        }
        peer.unsent = output[sent..].to_vec();
        self.poll.change(&peer.stream, key + self.listeners.len(), Interest::Write)?;
        Ok(true)
    }
}
