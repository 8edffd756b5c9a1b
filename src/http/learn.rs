//! Learns the sid of a new Engine.IO session from the answer on its way to the client, before the client can read it.

use std::rc::Rc;
use std::sync::Arc;

use super::Context;
use super::heir::Place;
use super::lease::Placed;
use super::placing::sid_hash;
use super::request::Request;
use crate::affinity::ClientKey;
use crate::affinity::sid;
use crate::affinity::sid::open_packet::{Found, Learner, Opened};
use crate::affinity::sid::table::{CORS_MAX, Known};
use crate::codec::Header;
use crate::codec::response::ResponseHead;
use crate::local::clock;
use crate::upstream::load::{Handshake, Home};
use crate::upstream::{Instance, Upstream};

/// An answer in which a sid is looked for.
#[derive(Debug)]
pub(super) struct Learning {
    ctx: Rc<Context>,
    upstream: Arc<Upstream>,
    instance: Arc<Instance>,
    client: ClientKey,
    cors: Vec<u8>,
    learner: Learner,
    /// Counts until the session does.
    handshake: Option<Box<Handshake>>,
    done: bool,
}

impl Learning {
    /// Of the answer to this request, which began with `handshake`; `None`: there is nothing to learn from it.
    pub(super) fn of(
        ctx: &Rc<Context>,
        request: &Request,
        placed: &Placed,
        head: &ResponseHead<'_, '_>,
        handshake: Option<Box<Handshake>>,
    ) -> Option<Box<Self>> {
        if !request.placing.is_learned(&request.upstream) || head.status != 200 {
            return None;
        }
        let mut learning = Box::new(Learning {
            ctx: ctx.clone(),
            upstream: request.upstream.clone(),
            instance: placed.instance.clone(),
            client: request.upstream.client_key(request.client),
            cors: cors(head.headers),
            learner: Learner::new(),
            handshake,
            done: false,
        });
        if head.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            learning.unreadable();
        }
        Some(learning)
    }

    /// The next bytes of the body, before they are passed on.
    pub(super) fn look(&mut self, bytes: &[u8]) {
        if !self.done {
            let found = self.learner.feed(bytes);
            self.found(found);
        }
    }

    /// The body has ended.
    pub(super) fn end(&mut self) {
        if !self.done {
            let found = self.learner.end();
            self.found(found);
        }
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::NotYet => {}
            Found::Opened(opened) => self.learn(&opened),
            Found::Unreadable => self.unreadable(),
        }
    }

    fn learn(&mut self, opened: &Opened) {
        let sids = &self.ctx.sids;
        let key = sids.key(&self.upstream.config.name, opened.sid.as_bytes());
        let sid_hash = sid_hash(&opened.sid);
        let home = Home::of(self.instance.clone(), sid_hash);
        let cors = (!self.cors.is_empty()).then_some(self.cors.as_slice());
        let (lifetime, now) = (sid::lifetime(opened), clock::coarse().since_boot());
        let learned = sids.learn(key, self.client, home, cors, lifetime, now);
        if let Some(evicted) = learned.evicted {
            evicted.instance().load.one_evicted();
        }
        if !learned.kept {
            self.instance.load.one_evicted();
        }
        if self.ctx.heir.is_there() {
            self.ctx.heir.tell(&Known {
                key,
                client: self.client,
                home: Place { upstream: &self.upstream, instance: &self.instance, sid_hash },
                cors: cors.map(Arc::from),
                lifetime,
                used: false,
            });
        }
        self.finish();
    }

    fn unreadable(&mut self) {
        self.upstream.counters(self.ctx.worker).sids_unreadable.one();
        self.finish();
    }

    fn finish(&mut self) {
        self.done = true;
        self.handshake = None;
    }
}

/// The fields of an answer without which a browser does not show it to a page of another origin, as they came.
fn cors(headers: &[Header<'_>]) -> Vec<u8> {
    let mut fields = Vec::new();
    for header in headers {
        let starts = header.name.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("access-control-"));
        if starts || header.name.eq_ignore_ascii_case("vary") {
            for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
                fields.extend_from_slice(part);
            }
        }
    }
    if fields.len() > CORS_MAX { Vec::new() } else { fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cors_fields_are_kept_as_they_came() {
        let header = |name, value: &'static str| Header { name, value: value.as_bytes() };
        let long: &'static str = Box::leak("x".repeat(CORS_MAX).into_boxed_str());
        assert_eq!(
            cors(&[
                header("Content-Type", "text/plain"),
                header("access-control-allow-origin", "https://app.example.com"),
                header("Access-Control-Allow-Credentials", "true"),
                header("Vary", "Origin"),
                header("Set-Cookie", "io=secret"),
            ]),
            b"access-control-allow-origin: https://app.example.com\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n"
        );
        assert_eq!(cors(&[header("Access-Control-Allow-Origin", long)]), b"");
        assert_eq!(cors(&[]), b"");
    }
}
