//! One entry of `[upstream.NAME] instances`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One member of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name; the address as written where the file gives none.
    pub name: String,
    /// Host name or address literal (IPv6 without brackets).
    pub host: String,
    /// 1 to 65535
    pub port: u16,
    /// 1 to 1000; the share of clients relative to the other instances.
    pub weight: u32,
    /// Tunnels that it takes, 1 to 10 000 000; `None` = no limit.
    pub max_tunnels: Option<u32>,
    /// Takes clients only when no other instance can.
    pub backup: bool,
    /// What the file wants of it.
    pub state: InstanceState,
}

impl Instance {
    /// `host:port`, as people write it: an IPv6 address in brackets.
    pub fn address(&self) -> String {
        let Instance { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Its host is a name, not an address.
    pub fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// One of which the file gives nothing but an address.
    pub fn plain(name: String, host: String, port: u16) -> Self {
        Instance {
            name,
            host,
            port,
            weight: 1,
            max_tunnels: None,
            backup: false,
            state: InstanceState::Ready,
        }
    }
}

/// The administrator's axis of an instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Takes clients.
    Ready,
    /// No new clients; those that are bound to it still come.
    Cordon,
    /// Bound clients go elsewhere at their next session start; what runs is closed over `drain.spread`.
    Drain,
    /// Nothing goes there.
    Maintain,
}

impl InstanceState {
    /// As the file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            InstanceState::Ready => "ready",
            InstanceState::Cordon => "cordon",
            InstanceState::Drain => "drain",
            InstanceState::Maintain => "maintain",
        }
    }
}
