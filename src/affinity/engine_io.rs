//! Engine.IO on the wire, as far as a proxy must know it: what a request's target says, and the answer that a client
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
        let (mut sid, mut transport) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "sid" => &mut sid,
                "transport" => &mut transport,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        Query { sid: sid.filter(|sid| !sid.is_empty()), polling: transport.as_deref() == Some("polling") }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn query(target: &str) -> Option<Query<'_>> {
        Query::of(target, &["/socket.io/".to_owned(), "/chat".to_owned()])
    }

    #[test]
    fn what_targets_say() {
        let check = |target: &str, sid: Option<&str>, polling| {
            let expected = Query { sid: sid.map(Into::into), polling };
            assert_eq!(query(target), Some(expected), "{target}");
        };
        check("/socket.io/?EIO=4&transport=polling&t=abc", None, true);
        let sid = "lv_VI97HAXpY6yYWAAAB";
        check(&format!("/socket.io/?EIO=4&transport=polling&t=x&sid={sid}"), Some(sid), true);
        check("/socket.io?EIO=3&transport=websocket&sid=a", Some("a"), false);
        check("/socket.io/?transport=polling&j=7&sid=a%2Bb%3D+c", Some("a+b= c"), true);
        check("/socket.io/?sid=&transport=polling", None, true);
        check("/socket.io/?sid=one&sid=two", Some("one"), false);
        check("/socket.io/?%73id=one", Some("one"), false);
        check("/socket.io/?j=99999999999&EIO=44", None, false);
        check("/chat/room?EIO=4&xsid=a", None, false);
        check("/socket.io/?", None, false);
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
}
