use proptest::prelude::*;

use super::*;

fn opened(sid: &str, ping_interval: u64, ping_timeout: u64) -> Found {
    Found::Opened(Opened {
        sid: sid.into(),
        ping_interval: Duration::from_millis(ping_interval),
        ping_timeout: Duration::from_millis(ping_timeout),
    })
}

/// The first answer that is more than `NotYet`, with the number of bytes after which it was given.
fn learn(pieces: &[&[u8]]) -> (Found, usize) {
    let mut learner = Learner::new();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        match learner.feed(piece) {
            Found::NotYet => {}
            found => {
                assert_eq!(learner.feed(b"0{\"sid\":\"late\"}"), Found::NotYet);
                assert_eq!(learner.end(), Found::NotYet);
                return (found, fed);
            }
        }
    }
    let found = learner.end();
    assert_eq!(learner.end(), Found::NotYet);
    (found, fed)
}

/// Byte by byte and at once it is the same.
fn whole(body: &[u8]) -> (Found, usize) {
    let (found, _) = learn(&[body]);
    let bytes: Vec<_> = body.chunks(1).collect();
    let (bytewise, after) = learn(&bytes);
    assert_eq!(bytewise, found);
    (found, after)
}

/// As these versions wrote it when they were asked (python-engineio: its encoder).
#[test]
fn what_instances_answer() {
    let check = |body: &[u8], sid: &str, ping_interval: u64, ping_timeout: u64| {
        assert_eq!(whole(body).0, opened(sid, ping_interval, ping_timeout), "{}", body.escape_ascii());
    };
    // engine.io 6.6 (Node), Engine.IO 4, an initial packet behind it; 3, and so with a binary one; JSONP of both.
    check(
        b"0{\"sid\":\"I5G0xRdRnDFyOkN7AAAA\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}\x1e4hello",
        "I5G0xRdRnDFyOkN7AAAA",
        25_000,
        20_000,
    );
    check(
        br#"118:0{"sid":"KP2sIXYErlrbNUwHAAAD","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}6:4hello"#,
        "KP2sIXYErlrbNUwHAAAD",
        25_000,
        20_000,
    );
    check(
        b"\x00\x01\x01\x08\xff0{\"sid\":\"sPyfvCnT8GneopnTAAAH\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}\x01\x03\xff\x04\x01\x02",
        "sPyfvCnT8GneopnTAAAH",
        25_000,
        20_000,
    );
    check(
        br#"___eio[0]("0{\"sid\":\"rVKiCo4dmEosCXn_AAAB\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}\u001e4hello");"#,
        "rVKiCo4dmEosCXn_AAAB",
        25_000,
        20_000,
    );
    check(
        br#"___eio[12]("118:0{\"sid\":\"fAZl2wi-ECd1GKRuAAAE\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}6:4hello");"#,
        "fAZl2wi-ECd1GKRuAAAE",
        25_000,
        20_000,
    );
    // engine.io 3.6 (Node): text, binary, JSONP.
    check(
        br#"97:0{"sid":"WB3qNL0gteMWDdoCAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}6:4hello"#,
        "WB3qNL0gteMWDdoCAAAA",
        25_000,
        20_000,
    );
    check(
        b"\x00\x09\x07\xff0{\"sid\":\"nEHRi66ZUrvwztKaAAAC\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000}\x01\x03\xff\x04\x01\x02",
        "nEHRi66ZUrvwztKaAAAC",
        25_000,
        20_000,
    );
    check(
        br#"___eio[12]("97:0{\"sid\":\"vIwlB10fe34DtaE7AAAB\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000}6:4hello");"#,
        "vIwlB10fe34DtaE7AAAB",
        25_000,
        20_000,
    );
    // python-engineio 4: another order; in JSONP only quotes are escaped.
    check(
        b"0{\"sid\":\"q2WTGfvyNTuRZsFaAAAA\",\"upgrades\":[\"websocket\"],\"pingTimeout\":20000,\"pingInterval\":25000,\"maxPayload\":1000000}\x1e40",
        "q2WTGfvyNTuRZsFaAAAA",
        25_000,
        20_000,
    );
    check(
        b"___eio[0](\"0{\\\"sid\\\":\\\"q2WTGfvyNTuRZsFaAAAA\\\",\\\"upgrades\\\":[\\\"websocket\\\"],\\\"pingTimeout\\\":20000,\\\"pingInterval\\\":25000,\\\"maxPayload\\\":1000000}\x1e40\");",
        "q2WTGfvyNTuRZsFaAAAA",
        25_000,
        20_000,
    );
    // python-engineio 3.14: binary unless the client says `b64=1`, in JSONP too.
    check(
        b"\x00\x08\x09\xff0{\"sid\":\"0b6fb5f1a9f14bd7\",\"upgrades\":[\"websocket\"],\"pingTimeout\":60000,\"pingInterval\":25000}\x00\x02\xff40",
        "0b6fb5f1a9f14bd7",
        25_000,
        60_000,
    );
    check(
        b"___eio[0](\"\x00\x08\x09\xff0{\\\"sid\\\":\\\"0b6fb5f1a9f14bd7\\\",\\\"upgrades\\\":[\\\"websocket\\\"],\\\"pingTimeout\\\":60000,\\\"pingInterval\\\":25000}\x00\x02\xff40\");",
        "0b6fb5f1a9f14bd7",
        25_000,
        60_000,
    );
    // engineioxide 0.17, Engine.IO 3.
    check(
        br#"114:0{"sid":"AAHGBLoqZSeMT0dO","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#,
        "AAHGBLoqZSeMT0dO",
        25_000,
        20_000,
    );
    // A client that sends no number for the call.
    check(br#"___eio[]("0{\"sid\":\"a\"}");"#, "a", 25_000, 20_000);
}

#[test]
fn what_a_packet_may_say() {
    let check = |packet: &str, expected: Found| assert_eq!(whole(packet.as_bytes()).0, expected, "{packet}");
    // Escapes, in JSON and, with those of the script, around it.
    check(r#"0{"sid":"\u003ca\/\"}{\\>"}"#, opened(r#"<a/"}{\>"#, 25_000, 20_000));
    check(r#"___eio[0]("0{\"sid\":\"\u003ca\/\\\"}{\\\\>\"}");"#, opened(r#"<a/"}{\>"#, 25_000, 20_000));
    check(
        r#"___eio[0]("\x30\u007b\u0022sid\":\"\u003c\ud83d\ude00\u20ac\"}");"#,
        opened("<😀€", 25_000, 20_000),
    );
    check(r#"___eio[0]("0{\t\n\r\b\"sid\":\"a\"}");"#, Found::Unreadable);
    check(r#"___eio[0]("0{\t\n\r\"sid\":\"a\"}");"#, opened("a", 25_000, 20_000));
    check(r#"0{"sid":"é😀"}"#, opened("é😀", 25_000, 20_000));
    // Space, order, nesting, fields of an application's own.
    check("0 \r\n\t{ \"sid\" :\n\"a\"\t}", opened("a", 25_000, 20_000));
    check("11:0 {\"sid\":\"a\"}", opened("a", 25_000, 20_000));
    check(
        r#"0{"x":{"sid":"no","y":[{},"}",{"z":"\\"}]},"pingTimeout":1,"pingInterval":2,"sid":"a"}"#,
        opened("a", 2, 1),
    );
    // Times.
    check(r#"0{"sid":"a","pingInterval":null}"#, opened("a", 25_000, 20_000));
    check(r#"0{"sid":"a","pingInterval":0,"pingTimeout":0}"#, opened("a", 0, 0));
    check(r#"0{"sid":"a","pingInterval":25000.0,"pingTimeout":2e4}"#, opened("a", 25_000, 20_000));
    check(r#"0{"sid":"a","pingInterval":-5,"pingTimeout":1e300}"#, opened("a", 0, 86_400_000));
    check(r#"0{"sid":"a","pingTimeout":18446744073709551615}"#, opened("a", 25_000, 86_400_000));
    check(r#"0{"sid":"a","pingTimeout":18446744073709551616}"#, opened("a", 25_000, 86_400_000));
    check(r#"0{"sid":"a","pingTimeout":1e999}"#, Found::Unreadable);
    check(r#"0{"sid":"a","pingTimeout":"20000"}"#, Found::Unreadable);
    // Sids.
    let long = "s".repeat(SID_MAX);
    check(&format!(r#"0{{"sid":"{long}"}}"#), opened(&long, 25_000, 20_000));
    check(&format!(r#"0{{"sid":"{long}s"}}"#), Found::Unreadable);
    check(r#"0{"sid":""}"#, Found::Unreadable);
    check(r#"0{"sid":7}"#, Found::Unreadable);
    check(r#"0{"sid":null}"#, Found::Unreadable);
    check(r#"0{"Sid":"a"}"#, Found::Unreadable);
    check(r#"0{"sid":"a","sid":"b"}"#, Found::Unreadable);
}

#[test]
fn what_is_no_open_packet() {
    /// Unreadable after just so many bytes.
    fn check(body: impl AsRef<[u8]>, after: usize) {
        let body = body.as_ref();
        assert_eq!(whole(body), (Found::Unreadable, after), "{}", body.escape_ascii());
    }
    check("", 0);
    check("<!doctype html>", 1);
    check("\u{feff}0{\"sid\":\"a\"}", 1);
    check(" 0{\"sid\":\"a\"}", 1);
    check(":0{\"sid\":\"a\"}", 1);
    check(r#"{"code":0,"message":"Transport unknown"}"#, 1);
    check("ok", 1);
    check(b"\x1f\x8b\x08\x00", 1);
    // Other packets, no object.
    check("6", 1);
    check("40", 2);
    check("2:40", 3);
    check("0:", 2);
    check("0:0:", 4);
    check("0[]", 2);
    check("1{\"sid\":\"a\"}", 2);
    check("1 {\"sid\":\"a\"}", 2);
    check("00{\"sid\":\"a\"}", 3);
    check("03{\"sid\":\"a\"}", 3);
    check("10{\"sid\":\"a\"}", 3);
    check("14:b0{}", 4);
    check("14:0\"", 5);
    check(b"\x02\x01\xff0{}", 1);
    check(b"\x00\x0a\xff0{}", 2);
    check(b"\x00\x01:0{}", 3);
    check(b"\x01\x01\xff\x00{}", 4);
    // No JSON, no whole object.
    check("0{}", 3);
    check("0{]}", 4);
    check("0{'sid':'a'}", 12);
    check(r#"0{"sid":"a""#, 11);
    check(r#"0{"sid":"a}"#, 11);
    check(r#"0{"sid":"a\"}"#, 13);
    check(b"0{\"sid\":\"\xff\"}", 12);
    check(b"0{\"sid\":\"a\x01\"}", 13);
    check(r#"0{"sid":"\ud800"}"#, 17);
    // Scripts.
    check("___eio", 6);
    check("__eio[0](\"0{}\");", 3);
    check("___eio[-1](\"0{}\");", 8);
    check("___eio[0] (\"0{}\");", 10);
    check("___eio[0]('0{}');", 11);
    check("___eio[0](\"\");", 12);
    check(r#"___eio[0]("0{"sid":"a"}");"#, 14);
    check(r#"___eio[0]("\u00g0");"#, 16);
    check(r#"___eio[0]("0{\"\ud83dx\"}");"#, 22);
    check(r#"___eio[0]("0{\"\ud83d\t\"}");"#, 23);
    check(r#"___eio[0]("0{\"\ud83d\u0030\"}");"#, 27);
    check(r#"___eio[0]("0{\"\ude00\"}");"#, 21);
}

#[test]
fn no_more_is_looked_at_than_the_bound() {
    let body = |len: usize| {
        let mut body = br#"0{"sid":"a","x":""#.to_vec();
        body.resize(len - 2, b'x');
        body.extend_from_slice(b"\"}");
        body
    };
    assert_eq!(whole(&body(BYTES_MAX)).0, opened("a", 25_000, 20_000));
    assert_eq!(whole(&body(BYTES_MAX + 1)), (Found::Unreadable, BYTES_MAX));
    // What is escaped counts as it came; what never ends is let go; depth costs no stack.
    assert_eq!(whole(&b"1".repeat(BYTES_MAX * 2)), (Found::Unreadable, BYTES_MAX));
    assert_eq!(whole(format!("0{}", "{".repeat(BYTES_MAX)).as_bytes()), (Found::Unreadable, BYTES_MAX));
    let script = format!(r#"___eio[0]("0{{{}"#, r"\u0020".repeat(BYTES_MAX / 6));
    assert_eq!(whole(script.as_bytes()), (Found::Unreadable, BYTES_MAX));
    let deep =
        format!(r#"0{{"x":{}{},"sid":"a"}}"#, r#"{"x":"#.repeat(300), "1".to_owned() + &"}".repeat(300));
    assert_eq!(whole(deep.as_bytes()).0, opened("a", 25_000, 20_000));
}

/// It waits in an exchange.
#[test]
fn a_learner_is_small() {
    assert!(size_of::<Learner>() <= 72, "{}", size_of::<Learner>());
    assert_eq!(Learner::new().object.capacity(), 0);
}

/// An open packet in all its forms, with something behind it.
fn packets() -> impl Strategy<Value = (Vec<u8>, Found)> {
    let object = ("[ -~é\u{1}😀\u{2028}]{1,40}", 0_u32..100_000, 0_u32..100_000, any::<bool>());
    (object, 0_u8..4, any::<bool>(), "[ -~]{0,20}").prop_map(
        |((sid, interval, timeout, swap), form, script, more)| {
            let mut object = serde_json::json!({ "upgrades": ["websocket"], "pingInterval": interval });
            let late = if swap { "a" } else { "z" };
            object["pingTimeout"] = timeout.into();
            object[late] = serde_json::json!({ "sid": "}", "a": ["{"] });
            object["sid"] = sid.as_str().into();
            let packet = format!("0{object}");
            let length = packet.encode_utf16().count().to_string();
            let mut payload = match form {
                0 => String::new(),
                1 => format!("{length}:"),
                _ => String::from_utf8(length.bytes().map(|digit| digit - b'0').collect()).unwrap(),
            };
            // In a script there is text, in which 0xff cannot stand alone.
            let payload = if form > 1 && !script {
                let mut bytes = vec![form - 2];
                bytes.extend_from_slice(payload.as_bytes());
                bytes.push(0xff);
                bytes.extend_from_slice(packet.as_bytes());
                bytes.extend_from_slice(more.as_bytes());
                bytes
            } else {
                if form > 1 {
                    payload.clear();
                }
                payload.push_str(&packet);
                payload.push_str(&more);
                if script {
                    format!("___eio[7]({});", serde_json::Value::from(payload)).into_bytes()
                } else {
                    payload.into_bytes()
                }
            };
            (payload, opened(&sid, interval.into(), timeout.into()))
        },
    )
}

proptest! {
    #[test]
    fn every_form_is_read_wherever_it_is_cut(
        (body, expected) in packets(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        cuts.sort_by_key(|cut| cut.index(body.len()));
        let mut pieces = Vec::new();
        let mut rest = &body[..];
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.index(body.len()).saturating_sub(body.len() - rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        prop_assert_eq!(learn(&pieces).0, expected.clone());
        prop_assert_eq!(whole(&body).0, expected);
    }

    /// With the object's bytes damaged it is read as JSON reads it, or not at all.
    #[test]
    fn a_packet_is_read_as_json_is(
        (at, byte) in (any::<prop::sample::Index>(), 0_u8..0x80),
    ) {
        let mut object = br#"{"sid":"lv_VI97HAXpY6yYW","upgrades":[{"a":"b"}],"pingInterval":25000}"#.to_vec();
        let at = at.index(object.len());
        object[at] = byte;
        let mut values = serde_json::Deserializer::from_slice(&object).into_iter::<serde_json::Value>();
        let expected = values.next().and_then(Result::ok).filter(serde_json::Value::is_object);
        let body = [b"0", &object[..]].concat();
        match whole(&body).0 {
            Found::Opened(opened) => {
                let value = expected.unwrap();
                prop_assert_eq!(value["sid"].as_str(), Some(&*opened.sid));
                let interval = value["pingInterval"].as_f64().unwrap_or(25_000.0);
                let expected = (interval / 1000.0).clamp(0.0, 86_400.0);
                prop_assert_eq!(opened.ping_interval, Duration::from_secs_f64(expected));
            }
            found => {
                prop_assert_eq!(found, Found::Unreadable);
                let readable = expected.filter(|value| {
                    let is_sid = |sid: &str| !sid.is_empty();
                    value["sid"].as_str().is_some_and(is_sid)
                        && (value["pingInterval"].is_number() || value["pingInterval"].is_null())
                });
                prop_assert!(readable.is_none());
            }
        }
    }

    #[test]
    fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        whole(&body);
        whole(&[b"___eio[0](\"", &body[..]].concat());
        whole(&[b"0{", &body[..]].concat());
    }
}
