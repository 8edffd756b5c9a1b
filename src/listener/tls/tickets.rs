//! Session tickets: a client that comes again shows what it was given, so nobody needs to remember it.
//!
//! A ticket is sealed by a key of this process that seals for some hours and then only opens for as many more. Each listener has
//! keys of its own: what one has found out about a client (`client_ca`) is no word for another.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::local::clock::{self, Moment};

/// How long a key seals. A ticket opens for at least as long.
const SEALS: Duration = Duration::from_hours(6);

/// Bytes that name a key.
const NAME: usize = 16;

/// The tickets of one listener.
pub struct Tickets(Mutex<Keys>);

struct Keys {
    current: Key,
    before: Option<Key>,
}

struct Key {
    name: [u8; NAME],
    secret: RandomizedNonceKey,
    since: Moment,
}

impl Tickets {
    /// With a fresh key. `None`: there is no randomness.
    pub fn new() -> Option<Self> {
        Some(Tickets(Mutex::new(Keys { current: Key::new(clock::coarse())?, before: None })))
    }

    fn keys<T>(&self, now: Moment, act: impl FnOnce(&Keys) -> T) -> T {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.roll(now);
        act(&keys)
    }

    fn seal(&self, plain: &[u8], now: Moment) -> Option<Vec<u8>> {
        self.keys(now, |keys| keys.current.seal(plain))
    }

    fn open(&self, ticket: &[u8], now: Moment) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_at_checked(NAME)?;
        self.keys(now, |keys| {
            let key = [Some(&keys.current), keys.before.as_ref()].into_iter().flatten();
            key.into_iter().find(|key| key.name == name)?.open(sealed)
        })
    }
}

impl Keys {
    fn roll(&mut self, now: Moment) {
        let age = now.since(self.current.since);
        // Without randomness the old key is better than none.
        if age >= SEALS
            && let Some(fresh) = Key::new(now)
        {
            let before = std::mem::replace(&mut self.current, fresh);
            self.before = (age < 2 * SEALS).then_some(before);
        }
    }
}

impl Key {
    fn new(now: Moment) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME], [0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Some(Key { name, secret: RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?, since: now })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.secret.seal_in_place_append_tag(Aad::from(self.name), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let len = self.secret.open_in_place(nonce, Aad::from(self.name), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(SEALS.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, clock::coarse())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, clock::coarse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_for_as_long_as_it_is_promised() {
        let (tickets, begin) = (Tickets::new().unwrap(), clock::coarse());
        let after = |parts: u32| begin.after(SEALS / 4 * parts);
        let ticket = tickets.seal(b"state", begin).unwrap();
        assert!(!ticket.windows(5).any(|bytes| bytes == b"state"));
        assert_eq!(tickets.open(&ticket, after(3)).as_deref(), Some(&b"state"[..]));
        // The key has been followed by another, and opens all the same.
        let second = tickets.seal(b"second", after(5)).unwrap();
        assert_ne!(ticket[..NAME], second[..NAME]);
        assert_eq!(tickets.open(&ticket, after(6)).as_deref(), Some(&b"state"[..]));
        assert_eq!(tickets.open(&second, after(6)).as_deref(), Some(&b"second"[..]));
        // And is gone after the next.
        assert_eq!(tickets.open(&ticket, after(10)), None);
        assert_eq!(tickets.open(&second, after(11)).as_deref(), Some(&b"second"[..]));
        // Nobody came for a long time.
        assert_eq!(tickets.open(&second, after(40)), None);
    }

    #[test]
    fn what_is_no_ticket_of_ours_opens_nothing() {
        let (tickets, now) = (Tickets::new().unwrap(), clock::coarse());
        let ticket = tickets.seal(b"state", now).unwrap();
        assert_eq!(Tickets::new().unwrap().open(&ticket, now), None);
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.open(&other, now), None, "{at}");
            assert_eq!(tickets.open(&ticket[..at], now), None, "{at}");
        }
    }
}
