//! Tokens of users: who somebody is, until when, signed with a secret that the instances share.
//!
//! `s1.USER.EXPIRES.MAC`: the user's name (base64url), seconds since the epoch, and HMAC-SHA256 (base64url) over everything before
//! the last dot. The key is derived from the secret for this purpose alone, so what is signed with it is a token and nothing
//! else. A token is valid at every instance until it expires; a socket that was let in with it stays.
//!
//! Pure. Must not: read a file, know what time it is.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Version and algorithm: a token of another kind begins otherwise.
const KIND: &str = "s1";

/// What the key is derived for.
const PURPOSE: &[u8] = b"stickyd-app user token 1";

/// Bytes of a token that is looked at; one for the longest name has a fourth of it.
const BYTES_MAX: usize = 4096;

/// A secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// These bytes are secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Whether they are these, in a time that does not tell where they differ.
    pub fn is(&self, bytes: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, bytes).is_ok()
    }

    /// The bytes themselves, for what signs with them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no token.
    Form,
    /// Nobody who has the secret has signed it.
    Signature,
    /// It was valid once.
    Expired,
}

/// Signs and verifies tokens.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// The key of this secret.
    pub fn of(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, PURPOSE).as_ref()))
    }

    /// A token for `user` until `expires` (seconds since the epoch).
    pub fn sign(&self, user: &str, expires: u64) -> String {
        let said = format!("{KIND}.{}.{expires}", URL_SAFE_NO_PAD.encode(user));
        let mac = hmac::sign(&self.0, said.as_bytes());
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whose token it is, at `now` (seconds since the epoch).
    ///
    /// # Errors
    /// It is not believed.
    pub fn verify(&self, token: &str, now: u64) -> Result<String, Wrong> {
        if token.len() > BYTES_MAX {
            return Err(Wrong::Form);
        }
        let (said, mac) = token.rsplit_once('.').ok_or(Wrong::Form)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| Wrong::Form)?;
        // Before anything else is read: what nobody signed says nothing.
        hmac::verify(&self.0, said.as_bytes(), &mac).map_err(|_| Wrong::Signature)?;
        let mut parts = said.split('.');
        let (Some(KIND), Some(user), Some(expires), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Wrong::Form);
        };
        let user = URL_SAFE_NO_PAD.decode(user).map_err(|_| Wrong::Form)?;
        let user = String::from_utf8(user).map_err(|_| Wrong::Form)?;
        let expires: u64 = expires.parse().map_err(|_| Wrong::Form)?;
        if user.is_empty() {
            return Err(Wrong::Form);
        }
        if now >= expires { Err(Wrong::Expired) } else { Ok(user) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Key {
        Key::of(&Secret::new(secret))
    }

    #[test]
    fn a_token_says_who_until_it_expires() {
        let key = key("0123456789abcdef");
        for user in ["alice", "a", "Zoë, 名前", "with.dot"] {
            let token = key.sign(user, 1_000);
            assert_eq!(key.verify(&token, 0), Ok(user.to_owned()));
            assert_eq!(key.verify(&token, 999), Ok(user.to_owned()));
            assert_eq!(key.verify(&token, 1_000), Err(Wrong::Expired));
        }
    }

    #[test]
    fn what_was_changed_is_not_believed() {
        let right = key("0123456789abcdef");
        let token = right.sign("alice", 1_000);
        let (said, mac) = token.rsplit_once('.').unwrap();
        let check =
            |token: &str, expected: Wrong| assert_eq!(right.verify(token, 0), Err(expected), "{token}");
        check(&key("0123456789abcdeg").sign("alice", 1_000), Wrong::Signature);
        check(&token.replace(".1000.", ".9000."), Wrong::Signature);
        check(&token.replacen("s1", "s2", 1), Wrong::Signature);
        check(&format!("{said}."), Wrong::Signature);
        check(&format!("{said}.{}", &mac[..mac.len() - 1]), Wrong::Form);
        check(&format!("{said}.{mac}="), Wrong::Form);
        check("", Wrong::Form);
        check("s1.YQ.1000", Wrong::Signature);
        check(&"x".repeat(BYTES_MAX + 1), Wrong::Form);
        check(&right.sign("", 1_000), Wrong::Form);
    }

    #[test]
    fn a_token_is_made_as_the_header_says() {
        // By another program: Python's hmac, hashlib and base64.
        assert_eq!(
            key("0123456789abcdef").sign("alice", 1_700_000_000),
            "s1.YWxpY2U.1700000000.tAQyfRTCgWLywCuViXOAw09Wb-FYR1DENMYoMonZdLE"
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("0123456789abcdef");
        assert!(!format!("{secret:?} {:?}", Key::of(&secret)).contains("0123"));
        assert!(secret.is(b"0123456789abcdef"));
        assert!(!secret.is(b"0123456789abcde") && !secret.is(b"0123456789abcdeg") && !secret.is(b""));
    }
}
