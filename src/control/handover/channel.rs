//! A socket between two processes of this machine: whole messages, and descriptors with them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};

use super::wire::{DESCRIPTORS, LARGEST};

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// What was received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends; neither outlives an exec unless somebody sees to it.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(ours), Channel(theirs)))
    }

    /// The end that this descriptor is.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn of(descriptor: OwnedFd) -> io::Result<Self> {
        if socket_type(&descriptor)? == SocketType::SEQPACKET {
            Ok(Channel(descriptor))
        } else {
            Err(io::Error::other("it is another sort of socket"))
        }
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// What is sent or received from now on may take so long (at least 1 ms), and then fails with `TimedOut`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn within(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, patience)?)
    }

    /// Another descriptor of this end.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Channel)
    }

    /// Nothing is sent to this end any more, nor by it: whoever tries fails. What was sent before is received.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn end(&self) -> io::Result<()> {
        match shutdown(&self.0, Shutdown::Both) {
            // The other end has been closed.
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Sends a message, and these descriptors (at most [`DESCRIPTORS`]) with it.
    ///
    /// # Errors
    /// When nobody is at the other end, or nobody takes it in time.
    pub(super) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let sent = retried(|| sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// The next message; `None`: the other end is closed.
    ///
    /// # Errors
    /// When none comes in time, or one that is too long.
    pub(super) fn receive(&self) -> io::Result<Option<Received>> {
        let mut bytes = vec![0; LARGEST + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut receive =
            || recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = match retried(&mut receive) {
            // The other end was closed before it had read everything. That is said once, and what it said last comes behind.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => retried(&mut receive)?,
            other => other?,
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || received.bytes > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
        }
        bytes.truncate(received.bytes);
        Ok((received.bytes > 0).then_some(Received { bytes, descriptors }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A signal is none of its business; a time that is up is called so.
fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn whole_messages_with_descriptors() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::of(theirs.into_descriptor()).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        ours.send(b"one", &[writer.as_fd()]).unwrap();
        ours.send(&vec![7; LARGEST], &[]).unwrap();
        drop(writer);
        let mut first = theirs.receive().unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.descriptors.len()), (b"one".as_slice(), 1));
        File::from(first.descriptors.remove(0)).write_all(b"through").unwrap();
        let mut through = String::new();
        reader.read_to_string(&mut through).unwrap();
        assert_eq!(through, "through", "and it was the last of the writing ends");
        assert_eq!(theirs.receive().unwrap().unwrap().bytes.len(), LARGEST);
        theirs.within(Duration::from_millis(5)).unwrap();
        assert_eq!(theirs.receive().unwrap_err().kind(), io::ErrorKind::TimedOut);
        ours.send(&vec![7; LARGEST + 1], &[]).unwrap();
        assert_eq!(theirs.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(ours);
        assert!(theirs.receive().unwrap().is_none());
        assert!(theirs.send(b"nobody", &[]).is_err());
    }

    /// The regression: whoever gave up early was not heard.
    #[test]
    fn last_words_of_one_that_has_not_read_everything() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.send(b"unread", &[]).unwrap();
        theirs.send(b"farewell", &[]).unwrap();
        drop(theirs);
        assert!(ours.send(b"more", &[]).is_err());
        assert_eq!(ours.receive().unwrap().unwrap().bytes, b"farewell");
        assert!(ours.receive().unwrap().is_none());
    }

    /// What decides who serves: it was said before the end, or it cannot be said.
    #[test]
    fn after_the_end_nothing_is_said() {
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.send(b"before", &[]).unwrap();
        ours.send(b"unread", &[]).unwrap();
        ours.try_clone().unwrap().end().unwrap();
        assert_eq!(theirs.send(b"after", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(ours.receive().unwrap().unwrap().bytes, b"before");
        assert!(ours.receive().unwrap().is_none());
        assert_eq!(theirs.receive().unwrap().unwrap().bytes, b"unread");
        assert!(theirs.receive().unwrap().is_none());
        drop(theirs);
        ours.end().unwrap();
    }

    #[test]
    fn other_descriptors_are_no_channel() {
        assert!(Channel::of(io::pipe().unwrap().0.into()).is_err());
        assert!(Channel::of(std::os::unix::net::UnixStream::pair().unwrap().0.into()).is_err());
    }
}
