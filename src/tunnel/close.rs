//! Why tunnels end: one table, which feeds the Close frame, the access log, the metric and the documentation.
//!
//! Pure.

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client sent a Close frame, or ended its side first.
    ClientClosed,
    /// The instance sent a Close frame, or ended its side first.
    InstanceClosed,
    /// The client's connection broke.
    ClientLost,
    /// The instance's connection broke.
    InstanceLost,
    /// The instance was found dead.
    Down,
    /// The instance is drained.
    Drained,
    /// The instance was removed from the configuration.
    Removed,
    /// The instance holds more than its share.
    Rebalanced,
    /// An operator closed it.
    Command,
    /// Both directions were silent for `tunnel_idle`.
    Idle,
    /// A ping of ours was not answered.
    PingTimeout,
    /// One side ended and the other went on for longer than `half_close`.
    HalfCloseTimeout,
    /// One side took nothing for `send`, or acknowledged nothing for `unacked`.
    Stalled,
    /// A message larger than `limits.message`.
    MessageTooBig,
    /// The proxy stops.
    Shutdown,
    /// Another process took over long ago, and this one ends.
    Upgraded,
    /// Frames that cannot be followed.
    ProtocolError,
    /// A bug of the proxy ended it.
    InternalError,
}

/// Who ended a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The instance.
    Instance,
    /// The proxy.
    Proxy,
}

impl ClosedBy {
    /// The access log's `closed_by`.
    pub fn as_str(self) -> &'static str {
        match self {
            ClosedBy::Client => "client",
            ClosedBy::Instance => "instance",
            ClosedBy::Proxy => "proxy",
        }
    }
}

/// A row of the table: name, who, and the code that the proxy sends (RFC 6455 section 7.4; 0 = it sends none).
struct Row(&'static str, ClosedBy, u16);

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 18] = [
        Reason::ClientClosed,
        Reason::InstanceClosed,
        Reason::ClientLost,
        Reason::InstanceLost,
        Reason::Down,
        Reason::Drained,
        Reason::Removed,
        Reason::Rebalanced,
        Reason::Command,
        Reason::Idle,
        Reason::PingTimeout,
        Reason::HalfCloseTimeout,
        Reason::Stalled,
        Reason::MessageTooBig,
        Reason::Shutdown,
        Reason::Upgraded,
        Reason::ProtocolError,
        Reason::InternalError,
    ];

    /// THE table. 1012 (service restart) where the client shall come back at once, 1001 (going away) where it may.
    const fn row(self) -> Row {
        use ClosedBy::{Client, Instance, Proxy};
        match self {
            Reason::ClientClosed => Row("client_closed", Client, 0),
            Reason::InstanceClosed => Row("instance_closed", Instance, 0),
            Reason::ClientLost => Row("client_lost", Client, 0),
            Reason::InstanceLost => Row("instance_lost", Instance, 0),
            Reason::Down => Row("down", Proxy, 1012),
            Reason::Drained => Row("drained", Proxy, 1012),
            Reason::Removed => Row("removed", Proxy, 1012),
            Reason::Rebalanced => Row("rebalanced", Proxy, 1012),
            Reason::Command => Row("command", Proxy, 1012),
            Reason::Idle => Row("idle", Proxy, 1001),
            Reason::PingTimeout => Row("ping_timeout", Proxy, 1001),
            Reason::HalfCloseTimeout => Row("half_close_timeout", Proxy, 1001),
            Reason::Stalled => Row("stalled", Proxy, 1001),
            Reason::MessageTooBig => Row("message_too_big", Proxy, 1009),
            Reason::Shutdown => Row("shutdown", Proxy, 1012),
            Reason::Upgraded => Row("upgraded", Proxy, 1012),
            Reason::ProtocolError => Row("protocol_error", Proxy, 1002),
            Reason::InternalError => Row("internal_error", Proxy, 1011),
        }
    }

    /// It was closed so that its client goes elsewhere: to come back at once would be in vain.
    pub const fn sends_away(self) -> bool {
        matches!(self, Reason::Drained | Reason::Rebalanced | Reason::Command)
    }

    /// Its name in the access log and in `stickyd_tunnels_closed_total{reason}`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Who ends a tunnel for this reason.
    pub const fn closed_by(self) -> ClosedBy {
        self.row().1
    }

    /// The code of the Close frame that the proxy sends; `None`: the ends have spoken or are gone.
    pub const fn code(self) -> Option<u16> {
        match self.row().2 {
            0 => None,
            code => Some(code),
        }
    }
}

/// A Close frame with a code and no text: 4 bytes, or 8 when masked.
#[derive(Clone, Copy, Debug)]
pub struct CloseFrame {
    bytes: [u8; 8],
    len: u8,
}

impl CloseFrame {
    /// Towards a client: not masked.
    pub fn unmasked(code: u16) -> Self {
        let [high, low] = code.to_be_bytes();
        CloseFrame { bytes: [0x88, 2, high, low, 0, 0, 0, 0], len: 4 }
    }

    /// Towards an instance: the proxy speaks as a client there, which masks (RFC 6455 section 5.1).
    pub fn masked(code: u16, key: [u8; 4]) -> Self {
        let [high, low] = code.to_be_bytes();
        let [a, b, c, d] = key;
        CloseFrame { bytes: [0x88, 0x82, a, b, c, d, high ^ a, low ^ b], len: 8 }
    }

    /// On the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::frame::Scanner;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_code_that_may_be_sent() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            // RFC 6455 section 7.4.1: 1005, 1006 and 1015 never go on the wire.
            assert!(!matches!(reason.code(), Some(1005 | 1006 | 1015)), "{reason:?}");
            assert_eq!(reason.code().is_some(), reason.closed_by() == ClosedBy::Proxy, "{reason:?}");
        }
    }

    #[test]
    fn close_frames_say_their_code() {
        for frame in [CloseFrame::unmasked(1012), CloseFrame::masked(1012, [7, 0x80, 3, 9])] {
            let mut scanner = Scanner::default();
            let scanned = scanner.scan(frame.as_bytes());
            assert_eq!((scanned.whole, scanned.frames), (frame.as_bytes().len(), 1));
            assert!(scanner.close_seen());
            assert_eq!(scanner.close_code(), Some(1012));
        }
    }
}
