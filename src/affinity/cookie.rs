//! The sealed cookie: the binding of a client, which only holders of the secret can make or read.
//!
//! Shape, version 1 (frozen; golden vectors in the tests): 42 bytes, written as 56 characters of URL-safe base64
//! (RFC 4648 section 5) without padding. No bit of the text is unused, so one binding has one spelling.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 | version, 1 |
//! | 1 to 4 | key id: which secret sealed it; what [`Keys::fingerprint`] shows |
//! | 5 to 12 | token: the instance's identity, keyed |
//! | 13 to 17 | issue time, seconds since the epoch, big endian |
//! | 18 to 25 | binding id, random |
//! | 26 to 41 | MAC |
//!
//! All of it comes from HMAC-SHA256 (RFC 2104). A secret is never used itself; one derived key serves each purpose:
//! `derived(purpose) = HMAC(secret, "stickyd cookie 1: " + purpose)`, and then
//!
//! - key id: the first 4 bytes of `derived("key id")`
//! - token: the first 8 bytes of `HMAC(derived("token"), length of upstream in 4 bytes, big endian + upstream + instance)`
//! - MAC: the first 16 bytes of `HMAC(derived("mac"), bytes 0 to 25 + upstream)`
//!
//! So the value shows neither name nor address of the instance, cannot be steered, and is of no use at another
//! upstream. Versions 2 to 15 are kept for successors; a new one is read one release before it is written.
//!
//! Must not: look at a clock, know which instances exist.

mod field;
#[cfg(test)]
mod tests;

pub use field::{set_cookie, strip, values};

use std::fmt;
use std::iter;

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: u8 = 1;
/// The last version byte that can mean a successor of ours; above it is noise.
const VERSION_MAX: u8 = 15;

const KEY_ID_LEN: usize = 4;
const TOKEN_LEN: usize = 8;
const ISSUED_LEN: usize = 5;
const ID_LEN: usize = 8;
const MAC_LEN: usize = 16;

const SIGNED_LEN: usize = 1 + KEY_ID_LEN + TOKEN_LEN + ISSUED_LEN + ID_LEN;
const RAW_LEN: usize = SIGNED_LEN + MAC_LEN;
/// Cookies of one name that are looked at in a request: each costs a MAC. Browsers send one, or two when a path or domain was
/// changed.
pub const VALUES_MAX: usize = 4;
/// Length of a sealed value in characters.
pub const VALUE_LEN: usize = RAW_LEN / 3 * 4;
const _: () =
    assert!(RAW_LEN.is_multiple_of(3), "a partial base64 group would give one binding several spellings");

/// A secret shorter than this many characters is refused: 32 are 128 bits even when they are hexadecimal digits.
const SECRET_CHARS_MIN: usize = 32;
/// Secrets in one file: a rotation needs two, a careless one a few more; each costs a token per instance.
const SECRETS_MAX: usize = 16;
/// How far the clocks of two proxies may be apart, in seconds.
const CLOCK_SKEW: u64 = 60;

/// The secrets of one upstream's `secret_file`: the first seals, all open.
pub struct Keys {
    sealing: Key,
    older: Vec<Key>,
}

/// What is derived from one secret.
struct Key {
    id: [u8; KEY_ID_LEN],
    token: hmac::Key,
    mac: hmac::Key,
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The instance's token under the key that sealed it; [`Binding::instance_of`] finds the instance.
    pub instance: InstanceToken,
    /// When it was issued, seconds since the epoch.
    pub issued: u64,
    /// Random, tells bindings apart.
    pub id: [u8; 8],
}

/// An instance's identity, keyed: opaque without the secret. Each key makes another one, so an instance has as many
/// as there are keys ([`Keys::instance_tokens`]).
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
    /// Space around a secret is no part of it. At most 16.
    ///
    /// # Errors
    /// What is wrong, with the line's number, never with the secret.
    pub fn parse(content: &str) -> Result<Self, String> {
        let mut keys: Vec<(usize, Key)> = Vec::new();
        for (line, secret) in (1..).zip(content.lines().map(str::trim)) {
            if secret.is_empty() || secret.starts_with('#') {
                continue;
            }
            let length = secret.chars().count();
            if length < SECRET_CHARS_MIN {
                return Err(format!(
                    "line {line}: the secret has {length} characters, at least {SECRET_CHARS_MIN} are needed"
                ));
            }
            if keys.len() == SECRETS_MAX {
                return Err(format!("line {line}: more than {SECRETS_MAX} secrets"));
            }
            let key = Key::derive(secret);
            if let Some((first, _)) = keys.iter().find(|(_, known)| known.id == key.id) {
                return Err(format!("line {line}: the same secret as in line {first}"));
            }
            keys.push((line, key));
        }
        let mut keys = keys.into_iter().map(|(_, key)| key);
        let sealing = keys.next().ok_or("there is no secret in it")?;
        Ok(Self { sealing, older: keys.collect() })
    }

    /// Fresh content for a `secret_file`.
    pub fn generate() -> String {
        let mut secret = [0; 32];
        rand::fill(&mut secret).expect("the system has a source of random bytes");
        format!(
            "# Secrets of stickyd's affinity cookie, one a line: the first seals, all open.\n{}\n",
            URL_SAFE_NO_PAD.encode(secret)
        )
    }

    /// Says in 8 hexadecimal digits which secret seals, without showing it.
    pub fn fingerprint(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.sealing.id))
    }

    /// The tokens of an instance (identity = upstream and instance name), one for each key; compute once per generation.
    pub fn instance_tokens(&self, upstream: &str, instance: &str) -> Vec<InstanceToken> {
        self.all().map(|key| key.token(upstream, instance)).collect()
    }

    /// Appends the sealed value ([`VALUE_LEN`] cookie-octets) to `out`. The binding's instance is the first of
    /// [`Keys::instance_tokens`].
    pub fn seal(&self, upstream: &str, binding: &Binding, out: &mut Vec<u8>) {
        let mut signed = [0; SIGNED_LEN];
        let (version, rest) = signed.split_at_mut(1);
        let (key_id, rest) = rest.split_at_mut(KEY_ID_LEN);
        let (token, rest) = rest.split_at_mut(TOKEN_LEN);
        let (issued, id) = rest.split_at_mut(ISSUED_LEN);
        version[0] = VERSION;
        key_id.copy_from_slice(&self.sealing.id);
        token.copy_from_slice(&binding.instance.0);
        issued.copy_from_slice(&binding.issued.to_be_bytes()[8 - ISSUED_LEN..]);
        id.copy_from_slice(&binding.id);

        let mut raw = [0; RAW_LEN];
        raw[..SIGNED_LEN].copy_from_slice(&signed);
        raw[SIGNED_LEN..].copy_from_slice(&self.sealing.mac(upstream, &signed));
        let mut value = [0; VALUE_LEN];
        URL_SAFE_NO_PAD.encode_slice(raw, &mut value).expect("42 bytes are 56 characters");
        out.extend_from_slice(&value);
    }

    /// Opens a value that a client sent; `now` in seconds since the epoch, `ttl` in seconds. Constant-time MAC check; no
    /// allocation.
    ///
    /// # Errors
    /// Why it is to be ignored.
    pub fn open(&self, upstream: &str, value: &[u8], now: u64, ttl: u64) -> Result<Binding, Rejected> {
        let raw = decode(value)?;
        let (signed, mac) = raw.split_at(SIGNED_LEN);
        let (_, rest) = signed.split_at(1);
        let (key_id, rest) = rest.split_at(KEY_ID_LEN);
        let (token, rest) = rest.split_at(TOKEN_LEN);
        let (issued, id) = rest.split_at(ISSUED_LEN);

        let key = self.all().find(|key| key.id == key_id).ok_or(Rejected::Foreign)?;
        constant_time::verify_slices_are_equal(&key.mac(upstream, signed), mac)
            .map_err(|_| Rejected::Forged)?;

        let issued = issued.iter().fold(0, |time, byte| time << 8 | u64::from(*byte));
        if issued.saturating_add(ttl) < now || issued > now.saturating_add(CLOCK_SKEW) {
            return Err(Rejected::Expired);
        }
        Ok(Binding { instance: InstanceToken(copied(token)), issued, id: copied(id) })
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        iter::once(&self.sealing).chain(&self.older)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&format_args!("{}", self.fingerprint())).finish()
    }
}

impl Key {
    fn derive(secret: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = |purpose: &str| hmac::sign(&root, format!("stickyd cookie 1: {purpose}").as_bytes());
        let key = |purpose: &str| hmac::Key::new(hmac::HMAC_SHA256, derived(purpose).as_ref());
        Self { id: prefix(&derived("key id")), token: key("token"), mac: key("mac") }
    }

    fn token(&self, upstream: &str, instance: &str) -> InstanceToken {
        let length = u32::try_from(upstream.len()).expect("a name is far below 4 GiB");
        let mut mac = hmac::Context::with_key(&self.token);
        mac.update(&length.to_be_bytes());
        mac.update(upstream.as_bytes());
        mac.update(instance.as_bytes());
        InstanceToken(prefix(&mac.sign()))
    }

    fn mac(&self, upstream: &str, signed: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = hmac::Context::with_key(&self.mac);
        mac.update(signed);
        mac.update(upstream.as_bytes());
        prefix(&mac.sign())
    }
}

impl Binding {
    /// The index of the instance that this binding names; `tokens` holds [`Keys::instance_tokens`] of each instance, in the
    /// order of the instances. Any key's token counts, so bindings survive a rotation of secrets. `None`: it was
    /// removed.
    pub fn instance_of<'t>(&self, tokens: impl IntoIterator<Item = &'t [InstanceToken]>) -> Option<usize> {
        tokens.into_iter().position(|of_instance| of_instance.contains(&self.instance))
    }

    /// Whether the cookie is to be issued again: more than half of `ttl` seconds are over at `now` (seconds since the epoch).
    pub fn is_past_half(&self, now: u64, ttl: u64) -> bool {
        now.saturating_sub(self.issued) > ttl / 2
    }
}

/// Which secret a value of this version claims to be sealed by, as [`Keys::fingerprint`] says it; `None`: it is no such value.
pub fn sealed_by(value: &[u8]) -> Option<String> {
    let raw = decode(value).ok()?;
    Some(format!("{:08x}", u32::from_be_bytes(copied(&raw[1..=KEY_ID_LEN]))))
}

/// The bytes of a value of this version.
fn decode(value: &[u8]) -> Result<[u8; RAW_LEN], Rejected> {
    // The version first, and alone: a successor may have any length.
    let head = value.get(..4).ok_or(Rejected::Forged)?;
    let mut version = [0; 3];
    URL_SAFE_NO_PAD.decode_slice(head, &mut version).map_err(|_| Rejected::Forged)?;
    match version[0] {
        VERSION if value.len() == VALUE_LEN => {
            let mut raw = [0; RAW_LEN];
            URL_SAFE_NO_PAD.decode_slice(value, &mut raw).map_err(|_| Rejected::Forged)?;
            Ok(raw)
        }
        version if (VERSION + 1..=VERSION_MAX).contains(&version) => Err(Rejected::Version),
        _ => Err(Rejected::Forged),
    }
}

fn prefix<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    copied(&tag.as_ref()[..N])
}

fn copied<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("split at this length")
}
