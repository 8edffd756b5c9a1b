//! Engine.IO on the wire, as far as a proxy must know it: what a request's target says, and the two answers that a client
//! understands when its session is over. Protocol: github.com/socketio/engine.io-protocol, revisions 3 and 4.
//!
//! Must not: know instances, or what is learned of sids.

use std::borrow::Cow;

/// What an Engine.IO request says in its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'t> {
    /// The session that it belongs to; `None`: it begins one, or is nothing of the kind.
    pub sid: Option<Cow<'t, str>>,
    /// `transport=polling`
    pub polling: bool,
    /// In which words an answer is to be given.
    pub dialect: Dialect,
}

/// In which words a polling client expects its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// `EIO=4`; everything else is revision 3, as the reference servers see it.
    pub revision_4: bool,
    /// `j`: packets come as a script that calls this callback.
    pub jsonp: Option<u32>,
}

impl<'t> Query<'t> {
    /// Of a target (origin form) whose path is one of `paths`, or below it; `None`: it is not Engine.IO's.
    pub fn of(target: &'t str, paths: &[String]) -> Option<Self> {
        let (path, query) = target.split_once('?')?;
        let spoken = paths.iter().any(|spoken| {
            path.strip_prefix(spoken.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        spoken.then(|| Query::read(query))
    }

    /// The first of each parameter counts.
    fn read(query: &'t str) -> Self {
        let (mut sid, mut transport, mut revision, mut jsonp) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "sid" => &mut sid,
                "transport" => &mut transport,
                "EIO" => &mut revision,
                "j" => &mut jsonp,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        Query {
            sid: sid.filter(|sid| !sid.is_empty()),
            polling: transport.as_deref() == Some("polling"),
            dialect: Dialect {
                revision_4: revision.as_deref() == Some("4"),
                jsonp: jsonp.and_then(|callback| callback.parse().ok()),
            },
        }
    }
}

/// The value of a parameter of the target's query, decoded; the first counts, an empty one does not.
pub fn parameter<'t>(target: &'t str, name: &str) -> Option<Cow<'t, str>> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// What Engine.IO servers answer (400) to a session that they do not know; clients start a new one.
pub const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// The body that ends a parked poll: the packet `close`, for which clients know a clean end of the transport.
pub fn close_packet(dialect: Dialect) -> Cow<'static, str> {
    let payload = if dialect.revision_4 { "1" } else { "1:1" };
    match dialect.jsonp {
        None => payload.into(),
        Some(callback) => format!("___eio[{callback}](\"{payload}\");").into(),
    }
}

impl Dialect {
    /// The `Content-Type` of packets.
    pub fn content_type(self) -> &'static str {
        if self.jsonp.is_some() { "text/javascript; charset=UTF-8" } else { "text/plain; charset=UTF-8" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(target: &str) -> Option<Query<'_>> {
        Query::of(target, &["/socket.io/".to_owned(), "/chat".to_owned()])
    }

    #[test]
    fn what_targets_say() {
        let check = |target: &str, sid: Option<&str>, polling, revision_4, jsonp| {
            let expected =
                Query { sid: sid.map(Into::into), polling, dialect: Dialect { revision_4, jsonp } };
            assert_eq!(query(target), Some(expected), "{target}");
        };
        check("/socket.io/?EIO=4&transport=polling&t=abc", None, true, true, None);
        check(
            "/socket.io/?EIO=4&transport=polling&t=x&sid=lv_VI97HAXpY6yYWAAAB",
            Some("lv_VI97HAXpY6yYWAAAB"),
            true,
            true,
            None,
        );
        check("/socket.io?EIO=3&transport=websocket&sid=a", Some("a"), false, false, None);
        check("/socket.io/?transport=polling&j=7&sid=a%2Bb%3D+c", Some("a+b= c"), true, false, Some(7));
        check("/socket.io/?sid=&transport=polling", None, true, false, None);
        check("/socket.io/?sid=one&sid=two", Some("one"), false, false, None);
        check("/socket.io/?%73id=one", Some("one"), false, false, None);
        check("/socket.io/?j=99999999999&EIO=44", None, false, false, None);
        check("/chat/room?EIO=4&xsid=a", None, false, true, None);
        check("/socket.io/?", None, false, false, None);
        for other in ["/socket.io/", "/socket.iox?EIO=4", "/?EIO=4", "*", "/other?a=/socket.io/?sid=1"] {
            assert_eq!(query(other), None, "{other}");
        }
        assert_eq!(Query::of("/?EIO=4&sid=a", &[]), None);
        assert_eq!(Query::of("/?EIO=4&sid=a", &["/".to_owned()]).unwrap().sid.as_deref(), Some("a"));
    }

    #[test]
    fn parameters_are_decoded() {
        let check =
            |target, expected: Option<&str>| assert_eq!(parameter(target, "user").as_deref(), expected);
        check("/?user=anna", Some("anna"));
        check("/a?x=1&user=anna%20b&user=c", Some("anna b"));
        check("/?user=", None);
        check("/?users=anna", None);
        check("/user=anna", None);
    }

    #[test]
    fn the_close_packet_of_every_dialect() {
        let check = |revision_4, jsonp, expected| {
            assert_eq!(close_packet(Dialect { revision_4, jsonp }), expected);
        };
        check(true, None, "1");
        check(false, None, "1:1");
        check(true, Some(0), "___eio[0](\"1\");");
        check(false, Some(12), "___eio[12](\"1:1\");");
    }
}
