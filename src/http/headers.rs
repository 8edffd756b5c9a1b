//! Heads as they are passed on: what concerns one connection only is taken out, what the next reader must know is put in.
//!
//! Pure: a parsed head in, bytes out. Framing fields are never copied; they are written from what the codec understood.

use std::net::IpAddr;

use crate::affinity::cookie;
use crate::codec::body::Framing;
use crate::codec::request::RequestHead;
use crate::codec::response::ResponseHead;
use crate::codec::{Header, Version};
use crate::config::model::ClientIpHeader;

/// What the proxy knows of the client and tells the instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// The client's address.
    pub(super) client: IpAddr,
    /// The other end of the connection, when it has an address.
    pub(super) peer: Option<IpAddr>,
    /// The peer's word on where the client came from is believed, and passed on.
    pub(super) peer_trusted: bool,
    /// The header in which it is believed.
    pub(super) believed: ClientIpHeader,
    /// The client used https.
    pub(super) https: bool,
    /// `X-Request-ID`, made or kept.
    pub(super) request_id: &'a [u8],
    /// The answer is to come uncompressed.
    pub(super) identity: bool,
    /// Name of the affinity cookie, which is the proxy's own business.
    pub(super) cookie: Option<&'a str>,
}

/// What a request's field is to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Passed on, unless `Connection` names it.
    Other,
    /// Concerns this connection only, or is written anew.
    Dropped,
    Cookie,
    AcceptEncoding,
    Expect,
    XForwardedFor,
    /// Passed on from a trusted peer, otherwise written anew.
    XForwardedProto,
    /// Passed on from a trusted peer, otherwise written anew.
    XForwardedHost,
    Forwarded,
}

fn field(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        4 if is("host") => Field::Dropped,
        6 if is("cookie") => Field::Cookie,
        6 if is("expect") => Field::Expect,
        9 if is("forwarded") => Field::Forwarded,
        9 if is("x-real-ip") => Field::Dropped,
        12 if is("x-request-id") => Field::Dropped,
        14 if is("content-length") => Field::Dropped,
        15 if is("accept-encoding") => Field::AcceptEncoding,
        15 if is("x-forwarded-for") => Field::XForwardedFor,
        16 if is("x-forwarded-host") => Field::XForwardedHost,
        17 if is("x-forwarded-proto") => Field::XForwardedProto,
        _ if is_hop_by_hop(name) || is_spelling_of_ours(name) => Field::Dropped,
        _ => Field::Other,
    }
}

/// Concerns one connection only (RFC 9110 section 7.6.1), in requests and answers.
fn is_hop_by_hop(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        14 => is("http2-settings"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}

/// `X_Forwarded_For`, `Content_Length` and the like: many instances read them as the real ones.
fn is_spelling_of_ours(name: &str) -> bool {
    name.contains('_')
        && OURS.iter().any(|ours| {
            ours.len() == name.len()
                && ours.bytes().zip(name.bytes()).all(|(ours, byte)| match byte {
                    b'_' => ours == b'-',
                    _ => ours == byte.to_ascii_lowercase(),
                })
        })
}

/// What the proxy says of the client and of the message.
const OURS: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
    "content-length",
    "transfer-encoding",
];

/// Names that `Connection` fields declare to concern this connection only.
struct Named<'b> {
    names: [&'b [u8]; NAMED_MAX],
    count: usize,
}

/// So many names are heeded: real peers name one or two, and every one is compared with every field.
const NAMED_MAX: usize = 8;

impl<'b> Named<'b> {
    fn of(headers: &[Header<'b>]) -> Self {
        const USUAL: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b""];
        let unusual = |token: &&[u8]| !USUAL.iter().any(|usual| token.eq_ignore_ascii_case(usual));
        let mut named = Named { names: [b""; NAMED_MAX], count: 0 };
        for (slot, token) in named.names.iter_mut().zip(tokens(headers).filter(unusual)) {
            *slot = token;
            named.count += 1;
        }
        named
    }

    fn contains(&self, name: &str) -> bool {
        self.names[..self.count].iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The tokens of all `Connection` fields.
fn tokens<'h, 'b>(headers: &'h [Header<'b>]) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Appends the request as the instance gets it. `upgrade`: the token of a handshake that is passed on.
pub(super) fn write_request(
    head: &RequestHead<'_, '_>,
    origin: Origin<'_>,
    upgrade: Option<&str>,
    out: &mut Vec<u8>,
) {
    put(out, &[head.method.as_bytes(), b" ", head.target.as_bytes(), b" HTTP/1.1\r\n"]);
    put_field(out, "Host", head.host.as_bytes());
    let named = Named::of(head.headers);
    let (mut proto, mut host) = (false, false);
    // Who is believed by `Forwarded` may pass the client's own `X-Forwarded-*` on without a look.
    let believed = origin.peer_trusted && origin.believed == ClientIpHeader::XForwardedFor;
    for header in head.headers {
        let pass = match field(header.name) {
            Field::Other => !named.contains(header.name),
            Field::Cookie => {
                put_cookie(out, header, origin.cookie);
                false
            }
            Field::AcceptEncoding => !origin.identity && !named.contains(header.name),
            Field::Expect => head.version == Version::Http11,
            Field::XForwardedProto => {
                proto |= believed;
                believed
            }
            Field::XForwardedHost => {
                host |= believed;
                believed
            }
            Field::Dropped | Field::XForwardedFor | Field::Forwarded => false,
        };
        if pass {
            put_field(out, header.name, header.value);
        }
    }
    if origin.identity {
        put_field(out, "Accept-Encoding", b"identity");
    }
    put_framing(out, head.framing);
    if let Some(protocol) = upgrade {
        put(out, &[b"Connection: Upgrade\r\nUpgrade: ", protocol.as_bytes(), b"\r\n"]);
    }
    put_origin(out, head, origin, proto, host);
    out.extend_from_slice(b"\r\n");
}

/// Who the client is and how it came.
fn put_origin(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, origin: Origin<'_>, proto: bool, host: bool) {
    let client = origin.client.to_string();
    put_forwarded_for(out, head, origin, &client);
    put_field(out, "X-Real-IP", client.as_bytes());
    let scheme: &[u8] = if origin.https { b"https" } else { b"http" };
    if !proto {
        put_field(out, "X-Forwarded-Proto", scheme);
    }
    if !host && !head.host.is_empty() {
        put_field(out, "X-Forwarded-Host", head.host.as_bytes());
    }
    if origin.believed == ClientIpHeader::Forwarded {
        put_forwarded(out, head, origin, scheme);
    }
    put_field(out, "X-Request-ID", origin.request_id);
}

/// `X-Forwarded-For`: the believed chain with our peer added, or just the client.
fn put_forwarded_for(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, origin: Origin<'_>, client: &str) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    let chain = origin.peer_trusted && origin.believed == ClientIpHeader::XForwardedFor;
    let any = chain && put_chain(out, head, Field::XForwardedFor);
    match origin.peer {
        Some(peer) if any => put(out, &[b", ", peer.to_canonical().to_string().as_bytes()]),
        None if any => {}
        _ => out.extend_from_slice(client.as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// `Forwarded` (RFC 7239): the believed chain with our peer added.
fn put_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, origin: Origin<'_>, scheme: &[u8]) {
    out.extend_from_slice(b"Forwarded: ");
    if origin.peer_trusted && put_chain(out, head, Field::Forwarded) {
        out.extend_from_slice(b", ");
    }
    let peer = match origin.peer.map(|peer| peer.to_canonical()) {
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => "unknown".to_owned(),
    };
    put(out, &[b"for=", peer.as_bytes(), b";proto=", scheme, b";host=\"", head.host.as_bytes(), b"\"\r\n"]);
}

/// All values of a list field, joined; `false`: there are none.
fn put_chain(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, which: Field) -> bool {
    let mut any = false;
    for header in head.headers.iter().filter(|header| field(header.name) == which && !header.value.is_empty())
    {
        if any {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(header.value);
        any = true;
    }
    any
}

fn put_cookie(out: &mut Vec<u8>, header: &Header<'_>, ours: Option<&str>) {
    let Some(ours) = ours else { return put_field(out, header.name, header.value) };
    let start = out.len();
    put(out, &[header.name.as_bytes(), b": "]);
    if cookie::strip(header.value, ours, out) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(start);
    }
}

/// How an answer goes to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery<'a> {
    /// How the body is delimited for the client.
    pub(super) framing: Framing,
    /// `Connection`, when something must be said.
    pub(super) connection: Option<&'static str>,
    /// The token of a protocol that both ends switch to.
    pub(super) upgrade: Option<&'a str>,
    /// A `Set-Cookie` value of our own.
    pub(super) set_cookie: Option<&'a [u8]>,
}

/// Appends an answer's head as the client gets it.
pub(super) fn write_response(head: &ResponseHead<'_, '_>, delivery: Delivery<'_>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    put(out, &[b"HTTP/1.1 ", digits.format(head.status).as_bytes(), b" ", head.reason.as_bytes(), b"\r\n"]);
    let named = Named::of(head.headers);
    let mut cache_control = false;
    for header in head.headers {
        let pass = if header.name.eq_ignore_ascii_case("content-length") {
            // With no body it says how long one would be: the answer to HEAD, and 304.
            delivery.framing == Framing::None
        } else {
            !is_hop_by_hop(header.name) && !named.contains(header.name)
        };
        if pass {
            cache_control |= header.name.eq_ignore_ascii_case("cache-control");
            put_field(out, header.name, header.value);
        }
    }
    put_framing(out, delivery.framing);
    if let Some(protocol) = delivery.upgrade {
        put(out, &[b"Connection: Upgrade\r\nUpgrade: ", protocol.as_bytes(), b"\r\n"]);
    }
    if let Some(connection) = delivery.connection {
        put_field(out, "Connection", connection.as_bytes());
    }
    if let Some(value) = delivery.set_cookie {
        put_field(out, "Set-Cookie", value);
        if !cache_control {
            out.extend_from_slice(b"Cache-Control: private\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A cache may keep the answer and give it to others: a cookie must not go with it.
pub(super) fn is_shared(head: &ResponseHead<'_, '_>) -> bool {
    head.headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("cache-control"))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|directive| {
            directive.eq_ignore_ascii_case(b"public")
                || directive.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"s-maxage"))
        })
}

fn put_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            put_field(out, "Content-Length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(out, &[name.as_bytes(), b": ", value, b"\r\n"]);
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str, value: &'static str) -> Header<'static> {
        Header { name, value: value.as_bytes() }
    }

    /// The regression: thirty thousand commas cost as many comparisons with every field.
    #[test]
    fn connection_names_few_fields() {
        let many = format!("{}X-A, B1, B2, B3, B4, B5, B6, B7, X-Late", ",".repeat(30_000));
        let headers = [Header { name: "Connection", value: many.as_bytes() }, header("connection", "close")];
        let named = Named::of(&headers);
        assert_eq!(named.count, NAMED_MAX);
        assert!(named.contains("x-a") && named.contains("B7"));
        assert!(!named.contains("X-Late") && !named.contains("close") && !named.contains(""));
    }

    #[test]
    fn spellings_that_pass_for_ours() {
        let check = |name, expected| assert_eq!(field(name), expected, "{name}");
        check("X_Forwarded_For", Field::Dropped);
        check("x-forwarded_proto", Field::Dropped);
        check("Content_Length", Field::Dropped);
        check("Transfer_Encoding", Field::Dropped);
        check("X_Other", Field::Other);
        check("Accept", Field::Other);
    }
}
