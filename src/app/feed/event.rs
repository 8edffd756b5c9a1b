//! Events of the feed: their ids, how they are published, and whom they are for.
//!
//! An event is a JSON object. What `/notify` publishes begins with `{"id":"ID","after":"ID"`: its own id in the stream and that of
//! the event before it, so that who reads along sees whether something is missing. What others publish has no id, and is for
//! those who listen at the moment.
//!
//! Pure. Must not: know where events come from or go.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// An event's id: its place in the stream, as Redis gives it. The milliseconds come first, so later is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Milliseconds since the epoch.
    pub millis: u64,
    /// Which one of that millisecond.
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// It is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { text.parse().map_err(|_| NoId) } else { Err(NoId) }
        };
        let (millis, count) = text.split_once('-').ok_or(NoId)?;
        Ok(Self { millis: number(millis)?, number: number(count)? })
    }
}

/// An event as clients get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the stream. None: of somebody else, and never repeated.
    pub id: Option<Id>,
    /// Whom it is for. None: everybody.
    pub user: Option<String>,
    /// The JSON object, with its id, on one line.
    pub text: String,
}

impl Event {
    /// Whether it is for this user.
    pub fn is_for(&self, user: &str) -> bool {
        self.user.as_deref().is_none_or(|other| other == user)
    }

    /// The event of the stream whose place is `id`, and whose object is `text`.
    pub fn stored(id: Id, text: &str) -> Option<Self> {
        let user = addressee(text).ok()?;
        Some(Self { id: Some(id), user, text: with_id(id, text) })
    }
}

/// What is read of an event: the rest is its readers' business.
#[derive(Deserialize)]
struct Addressed {
    #[serde(default, rename = "userId")]
    user: Option<serde_json::Value>,
}

/// Whom an object is for: a user, or everybody.
fn addressee(text: &str) -> Result<Option<String>, Unfit> {
    if !text.trim_start().starts_with('{') {
        return Err(Unfit::NoObject);
    }
    match serde_json::from_str::<Addressed>(text).map_err(|_| Unfit::NoObject)?.user {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(user)) => Ok(Some(user)),
        // A number, as some write their users.
        Some(serde_json::Value::Number(user)) => Ok(Some(user.to_string())),
        Some(_) => Err(Unfit::NoUser),
    }
}

/// The object with its id in front.
fn with_id(id: Id, text: &str) -> String {
    joined(&format!(r#"{{"id":"{id}""#), text)
}

/// The object as it is published: with its id, and that of the one before.
pub fn published(id: Id, after: Id, text: &str) -> String {
    joined(&format!(r#"{{"id":"{id}","after":"{after}""#), text)
}

fn joined(start: &str, text: &str) -> String {
    let rest = text.trim_start().strip_prefix('{').unwrap_or_default().trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{start}{comma}{rest}")
}

/// What was heard on the channel: an event, and which one came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The event.
    pub event: Event,
    /// For one of the stream: the one before it.
    pub after: Option<Id>,
}

/// Reads what was published. None: it is no event.
pub fn heard(payload: &[u8]) -> Option<Heard> {
    // What lies on several lines would be several lines of a stream of events.
    let text: String = str::from_utf8(payload)
        .ok()?
        .chars()
        .map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c })
        .collect();
    let user = addressee(&text).ok()?;
    match placed(&text) {
        Some((id, after, rest)) => {
            let text = format!(r#"{{"id":"{id}"{rest}"#);
            Some(Heard { event: Event { id: Some(id), user, text }, after: Some(after) })
        }
        None => Some(Heard { event: Event { id: None, user, text }, after: None }),
    }
}

/// The ids at the beginning, where they are, and what comes after them.
fn placed(text: &str) -> Option<(Id, Id, &str)> {
    let (id, rest) = text.strip_prefix(r#"{"id":""#)?.split_once('"')?;
    let (after, rest) = rest.strip_prefix(r#","after":""#)?.split_once('"')?;
    Some((id.parse().ok()?, after.parse().ok()?, rest))
}

/// Why something is no event that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no JSON object.
    NoObject,
    /// `userId` is no text.
    NoUser,
    /// It has an id, which only its place in the stream gives.
    HasId,
}

/// The object of an event that is to be sent, on one line.
///
/// # Errors
/// It is none.
pub fn to_send(body: &[u8]) -> Result<String, Unfit> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|_| Unfit::NoObject)?;
    if object.contains_key("id") || object.contains_key("after") {
        return Err(Unfit::HasId);
    }
    let text = serde_json::Value::Object(object).to_string();
    addressee(&text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(millis: u64, number: u64) -> Id {
        Id { millis, number }
    }

    #[test]
    fn ids_are_in_the_order_of_the_stream() {
        let check = |text: &str, expected: Option<Id>| {
            assert_eq!(text.parse().ok(), expected, "{text}");
            assert_eq!(expected.map(|id| id.to_string()).unwrap_or(text.to_owned()), text);
        };
        check("0-0", Some(id(0, 0)));
        check("1700000000000-12", Some(id(1_700_000_000_000, 12)));
        for wrong in
            ["", "-", "1", "1-", "-1", "+1-1", "1--1", "1-1-1", "x-1", "99999999999999999999-0", "1-1 "]
        {
            check(wrong, None);
        }
        assert!(id(9, 0) < id(10, 0) && id(10, 9) < id(10, 10));
    }

    #[test]
    fn what_is_published_is_heard() {
        type Parts<'a> = (Option<Id>, Option<Id>, Option<&'a str>, &'a str);
        let check = |payload: &str, expected: Option<Parts<'_>>| {
            let found = heard(payload.as_bytes());
            let found = found.as_ref().map(|heard| {
                (heard.event.id, heard.after, heard.event.user.as_deref(), heard.event.text.as_str())
            });
            assert_eq!(found, expected, "{payload}");
        };
        let ours = published(id(5, 1), id(5, 0), r#"{"userId":"a","n":1}"#);
        assert_eq!(ours, r#"{"id":"5-1","after":"5-0","userId":"a","n":1}"#);
        check(&ours, Some((Some(id(5, 1)), Some(id(5, 0)), Some("a"), r#"{"id":"5-1","userId":"a","n":1}"#)));
        check(
            &published(id(5, 1), id(0, 0), "{}"),
            Some((Some(id(5, 1)), Some(id(0, 0)), None, r#"{"id":"5-1"}"#)),
        );
        // Of others.
        check(r#"{"userId":"a"}"#, Some((None, None, Some("a"), r#"{"userId":"a"}"#)));
        check(r#"{"id":"5-1","userId":7}"#, Some((None, None, Some("7"), r#"{"id":"5-1","userId":7}"#)));
        check("{\n \"x\":1\r\n}", Some((None, None, None, r#"{  "x":1  }"#)));
        check(r#"{"userId":null}"#, Some((None, None, None, r#"{"userId":null}"#)));
        for none in ["", "[]", "7", "{", r#"{"userId":{}}"#, r#"{"userId":["a"]}"#, r#"["userId"]"#] {
            check(none, None);
        }
        assert_eq!(heard(b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn what_is_to_be_sent_is_an_object_on_one_line() {
        let check = |body: &str, expected: Result<&str, Unfit>| {
            assert_eq!(to_send(body.as_bytes()).as_deref().map_err(|unfit| *unfit), expected, "{body}");
        };
        check("{ \"text\":\n\"a\\nb\" }", Ok(r#"{"text":"a\nb"}"#));
        check(r#"{"userId":"a"}"#, Ok(r#"{"userId":"a"}"#));
        check("{}", Ok("{}"));
        check("[]", Err(Unfit::NoObject));
        check("", Err(Unfit::NoObject));
        check(r#"{"userId":{}}"#, Err(Unfit::NoUser));
        check(r#"{"id":"1-1"}"#, Err(Unfit::HasId));
        check(r#"{"after":"1-1"}"#, Err(Unfit::HasId));
    }

    #[test]
    fn an_event_is_for_its_user_or_for_everybody() {
        let check = |text: &str, expected: [bool; 2]| {
            let event = Event::stored(id(1, 1), text).unwrap();
            assert_eq!([event.is_for("a"), event.is_for("b")], expected, "{text}");
        };
        check(r#"{"userId":"a"}"#, [true, false]);
        check(r#"{"userId":null}"#, [true, true]);
        check("{}", [true, true]);
        assert_eq!(Event::stored(id(1, 1), "7"), None);
    }
}
