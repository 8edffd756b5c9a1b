//! What a request says of where its client belongs. Looked up once, while the head lies in the buffer.

use std::sync::Arc;

use aws_lc_rs::digest;

use super::Context;
use super::candidate::place_of;
use super::request::Notes;
use crate::affinity::cookie;
use crate::affinity::engine_io;
use crate::affinity::sid::table::Held;
use crate::affinity::value_hash::ValueKey;
use crate::codec::body::Framing;
use crate::codec::request::RequestHead;
use crate::config::model::StickyKey;
use crate::local::clock;
use crate::observe::metrics::CookieRejection;
use crate::routing::pick::{Cookie, Need, Sid};
use crate::upstream::Upstream;
use crate::upstream::load::Home;

/// Where a client belongs.
#[derive(Debug)]
pub(super) struct Placing {
    /// What is wanted of an instance.
    pub(super) need: Need,
    /// What the client's cookie says.
    pub(super) cookie: Cookie,
    /// The binding that the cookie holds; `None`: it has none that counts.
    pub(super) bound: Option<Bound>,
    /// Values of `header:` and `query:` keys, each at the place of its key; empty where there are no such keys.
    pub(super) values: Box<[Option<ValueKey>]>,
    /// The Engine.IO session that it goes on with, when it is known.
    pub(super) session: Option<Box<Session>>,
    /// It is of Engine.IO.
    pub(super) engine_io: bool,
    /// It is Engine.IO's polling transport.
    pub(super) polling: bool,
}

/// A cookie's binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// Tells bindings apart. It stays with the client, whatever instance it is bound to, for it may have to rest from one.
    pub(super) id: [u8; 8],
    /// Not yet past half of its time.
    pub(super) fresh: bool,
}

/// A known Engine.IO session, kept from being forgotten while this lives.
#[derive(Debug)]
pub(super) struct Session(Option<Held<Home>>);

impl Session {
    /// Looks at it in the table.
    pub(super) fn held(&self) -> Option<&Held<Home>> {
        self.0.as_ref()
    }
}

impl Drop for Session {
    /// Its time begins anew with the end of an exchange.
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.release(clock::coarse().since_boot());
        }
    }
}

/// A new Engine.IO session by polling. Costs no more than a look at the target.
pub(super) fn starts_by_polling(upstream: &Upstream, head: &RequestHead<'_, '_>) -> bool {
    head.method == "GET"
        && matches!(head.framing, Framing::None | Framing::Length(0))
        && engine_io::Query::of(head.target, &upstream.config.engine_io_paths)
            .is_some_and(|query| query.polling && query.sid.is_none())
}

impl Placing {
    /// Of a request of `upstream`. `upgrades`: it is a handshake that may become a tunnel. `notes` hears of its sid.
    pub(super) fn of(
        ctx: &Context,
        upstream: &Upstream,
        head: &RequestHead<'_, '_>,
        upgrades: bool,
        notes: Option<&mut Notes>,
    ) -> Self {
        let (cookie, bound) = bound(upstream, head, ctx.worker);
        let query = engine_io::Query::of(head.target, &upstream.config.engine_io_paths);
        let sid = query.as_ref().and_then(|query| query.sid.as_deref());
        if let (Some(notes), Some(sid)) = (notes, sid) {
            notes.sid_hash = Some(sid_hash(sid));
        }
        let session = sid.map(|sid| session(ctx, upstream, sid.as_bytes()));
        let polling = query.as_ref().is_some_and(|query| query.polling);
        let plain = matches!(head.framing, Framing::None | Framing::Length(0));
        let polls = polling && head.method == "GET" && plain;
        let need = Need::of(session.as_ref().map(|(sid, _)| *sid), upgrades, polls);
        Placing {
            need,
            cookie,
            bound,
            values: ValueKey::of_request(&upstream.config.sticky.by, head.target, |name| head.header(name))
                .into(),
            session: session.and_then(|(_, session)| session).map(Box::new),
            engine_io: query.is_some(),
            polling,
        }
    }

    /// A poll of a session: it waits until there is something to say.
    pub(super) fn is_poll(&self, method: &str) -> bool {
        self.in_session() && self.polling && method == "GET"
    }

    /// Its session in the table, when it is known.
    pub(super) fn held(&self) -> Option<&Held<Home>> {
        self.session.as_ref()?.held()
    }

    /// It goes on with an Engine.IO session, known or not.
    pub(super) fn in_session(&self) -> bool {
        matches!(self.need, Need::Session(_))
    }

    /// A new Engine.IO session by polling, whose sid is to be learned from the answer.
    pub(super) fn is_learned(&self, upstream: &Upstream) -> bool {
        let by_sid = upstream.config.sticky.by.contains(&StickyKey::Sid);
        by_sid && self.need == Need::Start && self.polling
    }

    /// The id of the binding that the client is to be given for `chosen`; `None`: it is given none. `new`: a fresh id.
    pub(super) fn binding_for(&self, chosen: usize, new: impl FnOnce() -> [u8; 8]) -> Option<[u8; 8]> {
        let stays = self.cookie == Cookie::To(chosen);
        match self.bound {
            Some(bound) if stays => (!bound.fresh).then_some(bound.id),
            // A session belongs to a tab, the cookie to the browser: another tab's binding stays what it is.
            _ if self.in_session() => None,
            Some(bound) => Some(bound.id),
            None => Some(new()),
        }
    }
}

/// What the client's cookies say; what does not count is counted.
fn bound(upstream: &Upstream, head: &RequestHead<'_, '_>, worker: usize) -> (Cookie, Option<Bound>) {
    let sticky = &upstream.config.sticky;
    let Some(keys) = upstream.keys.as_ref().filter(|_| sticky.by.contains(&StickyKey::Cookie)) else {
        return (Cookie::None, None);
    };
    let fields = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("cookie"));
    let values = fields.flat_map(|header| cookie::values(header.value, &sticky.cookie.name));
    let (now, ttl) = (clock::epoch_seconds(), sticky.cookie.ttl.as_secs());
    let mut rejected = None;
    for value in values.take(cookie::VALUES_MAX) {
        match keys.open(&upstream.config.name, value, now, ttl) {
            Ok(binding) => {
                let bound = Bound { id: binding.id, fresh: !binding.is_past_half(now, ttl) };
                return (upstream.bound(&binding).map_or(Cookie::Removed, Cookie::To), Some(bound));
            }
            Err(reason) => rejected = Some(reason),
        }
    }
    if let Some(rejected) = rejected {
        upstream.counters(worker).cookie_rejected(match rejected {
            cookie::Rejected::Expired => CookieRejection::Expired,
            cookie::Rejected::Forged => CookieRejection::Forged,
            cookie::Rejected::Foreign => CookieRejection::Foreign,
            cookie::Rejected::Version => CookieRejection::Version,
        });
    }
    (Cookie::None, None)
}

/// What is known of a session; nothing where sids are no key.
fn session(ctx: &Context, upstream: &Upstream, sid: &[u8]) -> (Sid, Option<Session>) {
    if !upstream.config.sticky.by.contains(&StickyKey::Sid) {
        return (Sid::Unknown, None);
    }
    let key = ctx.sids.key(&upstream.config.name, sid);
    let now = clock::coarse().since_boot();
    let read = |home: &Home, _: Option<&Arc<[u8]>>| (place_of(upstream, home, key, now), home.has_left());
    let mut held = ctx.sids.hold(key, now, read);
    if held.is_none()
        && ctx.heir.is_there()
        && let Some(known) = ctx.heir.ask(key)
    {
        // It began at the process that has taken over, and its client still has a connection to this one.
        ctx.sids.take_over(known, now);
        held = ctx.sids.hold(key, now, read);
    }
    match held {
        None => (Sid::Unknown, None),
        Some((held, (index, had_left))) => {
            if had_left {
                held.edit(Home::is_back);
            }
            (index.map_or(Sid::Gone, Sid::At), Some(Session(Some(held))))
        }
    }
}

/// What the access log shows of a sid: people who know one can find its lines, the lines do not tell the sid. The first 16
/// hexadecimal digits of its SHA-256.
pub(super) fn sid_hash(sid: &str) -> u64 {
    let digest = digest::digest(&digest::SHA256, sid.as_bytes());
    digest.as_ref()[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_given_which_binding() {
        let (id, new) = ([1; 8], [2; 8]);
        let check = |need, cookie, fresh, expected: Option<[u8; 8]>| {
            let bound = (cookie != Cookie::None).then_some(Bound { id, fresh });
            let (values, session) = (Box::default(), None);
            let placing = Placing { need, cookie, bound, values, session, engine_io: false, polling: false };
            assert_eq!(placing.binding_for(0, || new), expected, "{need:?} {cookie:?} {fresh}");
        };
        for need in [Need::Start, Need::Plain] {
            check(need, Cookie::None, true, Some(new));
            check(need, Cookie::Removed, true, Some(id));
            check(need, Cookie::To(1), true, Some(id));
        }
        for sid in [Sid::Unknown, Sid::At(0)] {
            check(Need::Session(sid), Cookie::None, true, None);
            check(Need::Session(sid), Cookie::To(1), false, None);
        }
        for need in [Need::Start, Need::Plain, Need::Session(Sid::At(0))] {
            check(need, Cookie::To(0), true, None);
            check(need, Cookie::To(0), false, Some(id));
        }
    }

    #[test]
    fn a_sid_s_hash_is_the_begin_of_its_sha_256() {
        // FIPS 180-2, B.1
        assert_eq!(format!("{:016x}", sid_hash("abc")), "ba7816bf8f01cfea");
    }
}
