//! TLS, at both ends.

use std::path::PathBuf;

/// How clients of a listener are met: `tls` of a `[[listen]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// At least one; the name that a client asks for chooses, the first is the default.
    pub certificates: Vec<Certificate>,
    /// Who signs the certificates that clients must have; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with those that lead to who signed it, and its key; both may be in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the certificate itself first.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// How instances are spoken to: `tls` of an `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceTls {
    /// Who signs the certificates of instances; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The name that they are called by, and must have; `None`: the host of their address.
    pub sni: Option<String>,
    /// What is shown to instances that ask.
    pub client: Option<Certificate>,
}
