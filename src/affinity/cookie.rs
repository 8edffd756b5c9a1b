//! The sealed cookie: the binding of a client, which only holders of the secret can make or read.
//!
//! Shape, version 1 (frozen; golden vectors in the tests). Document the layout here: version byte, key id, keyed
//! 8-byte token of the instance's identity, issue time, random 8-byte binding id, MAC over all of it and the
//! upstream's name; base64 url-safe without padding. Shows neither name nor address of the instance.

/// The secrets of one upstream's `secret_file`: the first seals, all open.
pub struct Keys {}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// [`Keys::instance_token`] of the instance, under the key that sealed it.
    pub instance: InstanceToken,
    /// When it was issued, seconds since the epoch.
    pub issued: u64,
    /// Random, tells bindings apart.
    pub id: [u8; 8],
}

/// An instance's identity, keyed: opaque without the secret. Carries which key made it, so that after a rotation of
/// secrets tokens of old keys still compare equal to [`Keys::matches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceToken(pub [u8; 8]);

/// Why a cookie's value was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Older than `sticky.ttl` (or issued in the future by more than a minute).
    Expired,
    /// Not sealed by a secret of ours.
    Forged,
    /// Sealed by an unknown key id.
    Foreign,
    /// A version that this program does not read.
    Version,
}

impl Keys {
    /// Reads a `secret_file`'s content: one secret a line, blank lines and `#` lines ignored, each at least 32 characters.
    ///
    /// # Errors
    /// What is wrong, with the line's number, never with the secret.
    pub fn parse(_content: &str) -> Result<Self, String> {
        todo!()
    }

    /// Fresh content for a `secret_file`.
    pub fn generate() -> String {
        todo!()
    }

    /// Says in 8 hexadecimal digits which secret seals, without showing it.
    pub fn fingerprint(&self) -> String {
        todo!()
    }

    /// The tokens of an instance (identity = upstream and instance name), one for each key; compute once per generation.
    pub fn instance_tokens(&self, _upstream: &str, _instance: &str) -> Vec<InstanceToken> {
        todo!()
    }

    /// Appends the sealed value (cookie-octets only) to `out`. `token` is the first of [`Keys::instance_tokens`].
    pub fn seal(&self, _upstream: &str, _binding: &Binding, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Opens a value that a client sent. Constant-time MAC check; no allocation.
    ///
    /// # Errors
    /// Why it is to be ignored.
    pub fn open(&self, _upstream: &str, _value: &[u8], _now: u64, _ttl: u64) -> Result<Binding, Rejected> {
        todo!()
    }
}

/// Finds a cookie by name in one `Cookie` field (RFC 6265 section 4.2, as lenient as browsers need). First match wins.
pub fn find<'b>(_field: &'b [u8], _name: &str) -> Option<&'b [u8]> {
    todo!()
}

/// Appends the `Cookie` field without the cookie of that name; `false` when nothing is left of it.
pub fn strip(_field: &[u8], _name: &str, _out: &mut Vec<u8>) -> bool {
    todo!()
}

/// Appends a `Set-Cookie` value: the sealed value and the attributes of `config`; `https`: the client used https.
pub fn set_cookie(_config: &crate::config::model::Cookie, _https: bool, _value: &[u8], _out: &mut Vec<u8>) {
    todo!()
}
