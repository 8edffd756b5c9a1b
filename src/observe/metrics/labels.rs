//! The values that labels can take. Each set is closed, so that no client can make series.

/// Defines an enum whose values are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of the discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label's value; the access log uses the same word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

label! {
    /// Who made an answer.
    Origin {
        /// The proxy itself.
        Proxy = "proxy",
        /// The instance; the proxy passed it on.
        Instance = "instance",
    }
}

label! {
    /// The class of a status code.
    CodeClass {
        /// 100 to 199 (of these only 101 ends an exchange)
        Informational = "1xx",
        /// 200 to 299
        Success = "2xx",
        /// 300 to 399
        Redirection = "3xx",
        /// 400 to 499
        ClientError = "4xx",
        /// 500 to 599
        ServerError = "5xx",
        /// Anything else that three digits can say.
        Other = "other",
    }
}

impl CodeClass {
    /// The class of `code`.
    #[inline]
    pub const fn of(code: u16) -> Self {
        match code / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::Other,
        }
    }
}

label! {
    /// What an open request is.
    Kind {
        /// An ordinary exchange.
        Request = "request",
        /// An Engine.IO long-poll.
        Poll = "poll",
        /// An answer without an end in sight, e.g. server-sent events.
        Stream = "stream",
    }
}

label! {
    /// Which way bytes go through a tunnel.
    Direction {
        /// From the client to the instance.
        Up = "up",
        /// From the instance to the client.
        Down = "down",
    }
}

label! {
    /// What chose the instance.
    DecisionBy {
        /// A known Engine.IO session.
        Sid = "sid",
        /// The cookie's binding.
        Cookie = "cookie",
        /// The client's address.
        IpHash = "ip_hash",
        /// A header of the request.
        Header = "header",
        /// A parameter of the query.
        Query = "query",
        /// No key: `balance`.
        Balance = "balance",
    }
}

label! {
    /// Why a bound client was given another instance.
    RebindReason {
        /// Its instance is down (or refused the connection).
        Down = "down",
        /// Its instance is draining.
        Drain = "drain",
        /// Its instance carries as many tunnels as it may.
        Full = "full",
        /// Its instance is no longer in the file.
        Removed = "removed",
        /// Its instance is in maintenance.
        Maintenance = "maintenance",
        /// It was closed to move elsewhere: drain, rebalance, command.
        Moved = "moved",
    }
}

label! {
    /// Who told a client that its Engine.IO session is not known.
    AnsweredBy {
        /// The proxy: the session's instance is gone.
        Proxy = "proxy",
        /// The instance, with 400.
        Instance = "instance",
    }
}

label! {
    /// What the administrator wants of an instance.
    State {
        /// It takes clients.
        Ready = "ready",
        /// No new clients.
        Cordon = "cordon",
        /// Its clients go elsewhere when they come again.
        Drain = "drain",
        /// Nothing goes there.
        Maintain = "maintain",
    }
}

label! {
    /// What a check of an instance came to.
    CheckResult {
        /// The answer was good and came in time.
        Passed = "passed",
        /// An answer came in time, and was not good: a status, or no HTTP.
        Unfit = "unfit",
        /// No connection, or one that ended before its answer.
        Lost = "lost",
        /// No answer in time.
        Timeout = "timeout",
        /// It could not be made: no file descriptor, no local port.
        NotMade = "not_made",
    }
}

label! {
    /// Why an affinity cookie was ignored.
    CookieRejection {
        /// Older than `sticky.ttl`.
        Expired = "expired",
        /// Not sealed by a secret of ours.
        Forged = "forged",
        /// Sealed by a key that this proxy does not have.
        Foreign = "foreign",
        /// Of a format that this program does not read.
        Version = "version",
    }
}

label! {
    /// Why there is no connection to an instance.
    ConnectError {
        /// Nobody listens there.
        Refused = "refused",
        /// No answer within `timeouts.connect`.
        Timeout = "timeout",
        /// Ended before it was of use.
        Reset = "reset",
        /// No local port is left: never a verdict on the instance.
        NoLocalPort = "no_local_port",
        /// No file descriptor is left: never a verdict on the instance.
        Files = "files",
        /// The name has no address.
        Dns = "dns",
        /// The TLS handshake failed.
        Tls = "tls",
    }
}

impl ConnectError {
    /// It says something of the instance, and not only of this machine.
    pub const fn blames_the_instance(self) -> bool {
        !matches!(self, ConnectError::NoLocalPort | ConnectError::Files)
    }
}

label! {
    /// Why a client was turned away before its request had a route.
    Refused {
        /// `limits.max_connections`
        Limit = "limit",
        /// `limits.connections_per_ip`, `limits.tunnels_per_ip`
        PerIp = "per_ip",
        /// `limits.upgrades_per_ip`
        Rate = "rate",
        /// `limits.deny`
        Denied = "denied",
        /// `limits.origins`
        Origin = "origin",
        /// The header of the PROXY protocol is missing, broken or late, or nobody who may send one has connected.
        ProxyProtocol = "proxy_protocol",
        /// No file descriptor is left.
        Files = "files",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The queue for handshakes is full.
        QueueFull = "queue_full",
        /// Not clean HTTP.
        BadRequest = "bad_request",
    }
}

label! {
    /// What a client's TLS handshake came to.
    Handshake {
        /// A new session.
        Full = "full",
        /// An earlier session went on.
        Resumed = "resumed",
        /// The two do not fit, or the client did not like us.
        Failed = "failed",
        /// It took longer than `timeouts.tls_handshake`.
        Timeout = "timeout",
        /// The client left.
        Gone = "gone",
    }
}

label! {
    /// A limit, named by its key in the configuration.
    Limit {
        /// `limits.max_connections`
        MaxConnections = "max_connections",
        /// `limits.header`
        Header = "header",
        /// `limits.headers`
        Headers = "headers",
        /// `limits.body`, also a route's own
        Body = "body",
        /// `max_handshakes` and its queue
        MaxHandshakes = "max_handshakes",
        /// `max_tunnels`
        MaxTunnels = "max_tunnels",
        /// No key: a TLS handshake waited, because a worker makes a few steps of them between two looks at its sockets
        TlsHandshakes = "tls_handshakes",
        /// `limits.connections_per_ip`
        ConnectionsPerIp = "connections_per_ip",
        /// `limits.tunnels_per_ip`
        TunnelsPerIp = "tunnels_per_ip",
        /// `limits.upgrades_per_ip`
        UpgradesPerIp = "upgrades_per_ip",
        /// `limits.deny`
        Deny = "deny",
        /// `limits.origins`
        Origins = "origins",
        /// `limits.message`
        Message = "message",
    }
}

/// The label `code` of `stickyd_tunnels_closed_total`: the close code of RFC 6455 section 7.4 that ended the tunnel, as
/// one of a bounded set (a peer may send any of 4 000).
pub(super) const fn close_code(code: Option<u16>) -> &'static str {
    match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1003) => "1003",
        Some(1007) => "1007",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1010) => "1010",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(1014) => "1014",
        Some(3000..=3999) => "3xxx",
        Some(4000..=4999) => "4xxx",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_classes() {
        fn check(code: u16, expected: &str) {
            assert_eq!(CodeClass::of(code).as_str(), expected, "{code}");
        }
        check(100, "1xx");
        check(101, "1xx");
        check(199, "1xx");
        check(200, "2xx");
        check(399, "3xx");
        check(404, "4xx");
        check(599, "5xx");
        check(600, "other");
        check(99, "other");
        check(0, "other");
        check(u16::MAX, "other");
    }

    #[test]
    fn close_codes_are_bounded() {
        fn check(code: Option<u16>, expected: &str) {
            assert_eq!(close_code(code), expected, "{code:?}");
        }
        check(None, "none");
        check(Some(1000), "1000");
        check(Some(1004), "other");
        check(Some(1005), "other");
        check(Some(1014), "1014");
        check(Some(2999), "other");
        check(Some(3000), "3xxx");
        check(Some(3999), "3xxx");
        check(Some(4999), "4xxx");
        check(Some(5000), "other");
        let all: std::collections::BTreeSet<_> = (0..=u16::MAX).map(|code| close_code(Some(code))).collect();
        assert_eq!(all.len(), 15);
    }

    #[test]
    fn discriminants_are_indices() {
        for (index, reason) in Refused::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        assert_eq!(Refused::COUNT, 10);
    }
}
