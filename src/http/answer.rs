//! The head of an instance's answer on its way to the client: what it means for both connections, and what goes with it.

use std::rc::Rc;

use super::Context;
use super::headers::{self, Delivery};
use super::learn::Learning;
use super::lease::{Lease, Placed};
use super::request::Request;
use super::upgrade::Handshake;
use crate::affinity::cookie;
use crate::codec::Version;
use crate::codec::body::Framing;
use crate::codec::response::ResponseHead;
use crate::local::clock;
use crate::local::random;
use crate::observe::metrics::Kind;
use crate::upstream::Upstream;
use crate::upstream::load::Handshake as Turn;

/// The head of the instance's answer, taken apart.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The handshake is answered: what follows belongs to the tunnel.
    pub(super) switched: bool,
    /// An answer without an end in sight.
    pub(super) stream: bool,
    pub(super) framing: Framing,
    /// The instance keeps its connection.
    pub(super) instance_keeps: bool,
    /// The client's connection can be kept.
    pub(super) client_keeps: bool,
    /// The binding that its cookie gives the client.
    pub(super) stamped: Option<[u8; 8]>,
    /// The sid of a new session is in it.
    pub(super) learning: Option<Box<Learning>>,
    /// As it goes to the client.
    pub(super) head: Vec<u8>,
}

impl Answer {
    /// What kind of exchange this has become.
    pub(super) fn kind(&self, request: &Request) -> Kind {
        if self.stream { Kind::Stream } else { request.kind }
    }

    /// The head as it goes to the client.
    pub(super) fn into_head(self) -> Vec<u8> {
        self.head
    }
}

/// The final answer as the client gets it.
pub(super) fn prepare(
    ctx: &Rc<Context>,
    request: &Request,
    lease: &Lease,
    head: &ResponseHead<'_, '_>,
    request_is_whole: bool,
    handshake: Option<Box<Turn>>,
) -> Answer {
    let switched = head.status == 101;
    let http11 = request.version == Version::Http11;
    let framing = match head.framing {
        Framing::UntilClose if http11 => Framing::Chunked,
        Framing::Chunked if !http11 => Framing::UntilClose,
        framing => framing,
    };
    // Behind a request that is still on its way nobody can tell where the next one begins in time.
    let may_keep = request.keep_alive && !ctx.lingering.get();
    let client_keeps = may_keep && request_is_whole && framing != Framing::UntilClose && !switched;
    let connection = match (client_keeps, http11) {
        _ if switched => None,
        (false, _) => Some("close"),
        (true, false) => Some("keep-alive"),
        (true, true) => None,
    };
    let (stamped, set_cookie) = stamp(request, &lease.placed, head).unzip();
    let delivery = Delivery {
        framing,
        connection,
        upgrade: request.handshake.as_deref().filter(|_| switched).map(Handshake::protocol),
        set_cookie: set_cookie.as_deref(),
    };
    let mut out = Vec::with_capacity(1024);
    headers::write_response(head, delivery, &mut out);
    let event_stream = head
        .header("content-type")
        .and_then(|value| value.get(..17))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"));
    Answer {
        status: head.status,
        switched,
        stream: event_stream,
        framing: head.framing,
        instance_keeps: head.keep_alive && request.upstream.keeps_connections(),
        client_keeps,
        stamped,
        learning: Learning::of(ctx, request, &lease.placed, head, handshake),
        head: out,
    }
}

/// The cookie that binds the client to the instance it got, and the binding in it; `None` if it has a good one or others
/// could get it from a cache.
fn stamp(request: &Request, placed: &Placed, head: &ResponseHead<'_, '_>) -> Option<([u8; 8], Vec<u8>)> {
    let upstream: &Upstream = &request.upstream;
    let (keys, token) = (upstream.keys.as_ref()?, placed.instance.token()?);
    if headers::is_shared(head) {
        return None;
    }
    let id = request.placing.binding_for(placed.index, random::secret)?;
    let binding = cookie::Binding { instance: token, issued: clock::epoch_seconds(), id };
    let mut value = Vec::with_capacity(cookie::VALUE_LEN);
    keys.seal(&upstream.config.name, &binding, &mut value);
    let mut field = Vec::with_capacity(192);
    cookie::set_cookie(&upstream.config.sticky.cookie, request.https, &value, &mut field);
    Some((id, field))
}
