//! The PROXY protocol, in and out.

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does.
    Off,
    /// Those of trusted peers may.
    Optional,
    /// Only trusted peers may connect, and all do.
    Required,
}

/// Which header of the PROXY protocol instances get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxyProtocol {
    /// None.
    Off,
    /// The one in text.
    V1,
    /// The binary one.
    V2,
}
