//! Messages as Node's adapter and emitter have been seen to say them, and messages that nobody should say.

use proptest::prelude::*;

use super::*;

/// The bytes that these hexadecimal digits say.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn options(rooms: &[&str], except: &[&str]) -> Options {
    Options { rooms: owned(rooms), except: owned(except), ..Options::default() }
}

fn broadcast(nsp: &str, data: Vec<Value>, options: Options) -> Broadcast {
    Broadcast { uid: "abc123".to_owned(), packet: Packet { nsp: nsp.to_owned(), data }, options }
}

#[test]
fn broadcasts_of_node_are_understood() {
    let check = |captured: &str, expected: &Broadcast| {
        assert_eq!(Broadcast::decode(&hex(captured)).as_ref(), Ok(expected), "{captured}");
    };
    let text = map([("text", "Hello everyone".into())]);
    let to_one = broadcast("/", vec!["message".into(), text], options(&["room-123"], &[]));
    let one =
        "93a661626331323383a47479706502a46461746192a76d65737361676581a474657874ae48656c6c6f2065766572796f6e65
               a36e7370a12f83a5726f6f6d7391a8726f6f6d2d313233a665786365707490a5666c61677380";
    check(one, &to_one);
    // To the byte what Node says.
    assert_eq!(to_one.encode(), hex(one));

    let numbers: Vec<Value> =
        vec!["m".into(), "zwölf".into(), 1.5.into(), (-7).into(), 70000.into(), true.into()];
    let all = [numbers, vec![Value::Nil, Value::Nil]].concat();
    check(
        "93a661626331323383a47479706502a46461746198a16da67a77c3b66c66cb3ff8000000000000f9ce00011170c3c0c0
         a36e7370a12f83a5726f6f6d7390a665786365707490a5666c61677380",
        &broadcast("/", all, options(&[], &[])),
    );
    check(
        "93a661626331323383a47479706502a46461746192a16dc403010203a36e7370a12f83a5726f6f6d7392a27231a27232
         a665786365707491a178a5666c61677380",
        &broadcast("/", vec!["m".into(), Value::Binary(vec![1, 2, 3])], options(&["r1", "r2"], &["x"])),
    );
    // Dates, with and without milliseconds, are what JSON says of them.
    check(
        "93a661626331323383a47479706502a46461746193a16dd7ff1d5353006743a484d6ff6743a484a36e7370a52f63686174
         83a5726f6f6d7390a665786365707490a5666c61677381a8766f6c6174696c65c3",
        &broadcast(
            "/chat",
            vec!["m".into(), "2024-11-24T22:11:16.123Z".into(), "2024-11-24T22:11:16.000Z".into()],
            Options { volatile: true, ..options(&[], &[]) },
        ),
    );
    // A room may be a number.
    check(
        "93a661626331323383a47479706502a46461746191a16da36e7370a12f83a5726f6f6d739105a665786365707490a5666c61677380",
        &broadcast("/", vec!["m".into()], options(&["5"], &[])),
    );
}

#[test]
fn requests_of_node_are_understood() {
    let check = |said: &[u8], uid: Option<&str>, id: Option<&str>, ask: Ask| {
        let expected = Request { uid: uid.map(str::to_owned), id: id.map(str::to_owned), ask };
        assert_eq!(Request::decode(said), Ok(expected), "{}", String::from_utf8_lossy(said));
    };
    let node = Some("abc123");
    let x_y = owned(&["x", "y"]);
    check(
        br#"{"uid":"abc123","type":2,"opts":{"rooms":["r"],"except":[]},"rooms":["x","y"]}"#,
        node,
        None,
        Ask::Join(options(&["r"], &[]), x_y.clone()),
    );
    check(
        br#"{"type":3,"opts":{"rooms":["r"],"except":["q"]},"rooms":["x","y"]}"#,
        None,
        None,
        Ask::Leave(options(&["r"], &["q"]), x_y),
    );
    check(
        br#"{"uid":"abc123","type":4,"opts":{"rooms":[],"except":["q"]},"close":true}"#,
        node,
        None,
        Ask::Disconnect(options(&[], &["q"])),
    );
    check(br#"{"uid":"abc123","requestId":"q1","type":1}"#, node, Some("q1"), Ask::AllRooms);
    check(
        br#"{"uid":"abc123","requestId":"q1","type":5,"opts":{"rooms":["r"],"except":[]}}"#,
        node,
        Some("q1"),
        Ask::Fetch(options(&["r"], &[])),
    );
    check(br#"{"uid":"abc123","type":6,"data":["h",1]}"#, node, None, Ask::ServerSideEmit);
    // Old forms.
    check(
        br#"{"uid":"abc123","requestId":"q1","type":0,"rooms":[5]}"#,
        node,
        Some("q1"),
        Ask::Sockets(owned(&["5"])),
    );
    check(
        br#"{"requestId":"q1","type":2,"sid":"s","room":"x"}"#,
        None,
        Some("q1"),
        Ask::Join(options(&["s"], &[]), owned(&["x"])),
    );
    // With an acknowledgement.
    let packet = Packet { nsp: "/".to_owned(), data: vec!["q".into(), Value::Binary(vec![9])] };
    check(
        &hex("85a3756964a6616263313233a9726571756573744964a6425157787a66a47479706507a67061636b657483a47479706502
              a46461746192a171c40109a36e7370a12fa46f70747383a5726f6f6d7390a665786365707490
              a5666c61677381a774696d656f7574cd07d0"),
        node,
        Some("BQWxzf"),
        Ask::Broadcast(packet, Options { timeout_ms: Some(2000), ..Options::default() }),
    );
}

#[test]
fn what_is_said_is_understood_again() {
    let asks = [
        Ask::Sockets(owned(&["ä"])),
        Ask::AllRooms,
        Ask::Join(options(&["r"], &["x"]), owned(&["1", "ü"])),
        Ask::Leave(options(&[], &[]), owned(&["1"])),
        Ask::Disconnect(options(&["r"], &[])),
        Ask::Fetch(options(&["r"], &["x"])),
        Ask::ServerSideEmit,
        Ask::Broadcast(
            Packet { nsp: "/n".to_owned(), data: vec!["e".into(), Value::Binary(vec![0, 255])] },
            Options { volatile: true, timeout_ms: Some(7), ..options(&["r"], &[]) },
        ),
    ];
    for ask in asks {
        let request = Request { uid: Some("u".to_owned()), id: Some("i".to_owned()), ask };
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    let remote = Remote {
        id: "s".to_owned(),
        server: Some("i".to_owned()),
        rooms: owned(&["s", "r"]),
        user: Some("ö".to_owned()),
    };
    let says = [
        Say::Rooms(owned(&["a"])),
        Say::Sockets(owned(&["a"])),
        Say::Fetched(Vec::new()),
        Say::Fetched(vec![remote]),
        Say::ClientCount(3),
        Say::Ack(Value::Binary(vec![1])),
        Say::Done,
    ];
    for say in says {
        let response = Response { id: "i".to_owned(), say };
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
}

#[test]
fn answers_of_node_are_understood() {
    let check = |said: &[u8], say: Say| {
        assert_eq!(Response::decode(said), Ok(Response { id: "q1".to_owned(), say }));
    };
    check(br#"{"type":8,"requestId":"q1","clientCount":2}"#, Say::ClientCount(2));
    check(br#"{"requestId":"q1","rooms":["a",7]}"#, Say::Rooms(owned(&["a", "7"])));
    let remote = Remote { id: "i".to_owned(), server: None, rooms: owned(&["i", "r"]), user: None };
    check(
        br#"{"requestId":"q1","sockets":[{"id":"i","handshake":{"headers":{"cookie":"c"}},"rooms":["i","r"],"data":{}}]}"#,
        Say::Fetched(vec![remote]),
    );
    check(br#"{"type":6,"requestId":"q1","data":1}"#, Say::Done);
    check(
        &hex("83a47479706509a9726571756573744964a27131a67061636b6574c40101"),
        Say::Ack(Value::Binary(vec![1])),
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let check = |said: &[u8]| {
        assert!(Broadcast::decode(said).is_err(), "{said:?}");
        assert!(Request::decode(said).is_err(), "{said:?}");
        assert!(Response::decode(said).is_err(), "{said:?}");
    };
    check(b"");
    check(b"{");
    check(br#"{"type":99}"#);
    // An array of four thousand million parts that are not there.
    check(&hex("ddffffffff"));
    // Arrays in arrays without end.
    check(&[0x91; 4096]);
    check(&"{\"a\":".repeat(4096).into_bytes());
    check(&vec![0xc0; BYTES_MAX + 1]);
    // No name, which a client could not tell from another event.
    let nameless = broadcast("/", vec![1.into()], Options::default());
    assert!(Broadcast::decode(&nameless.encode()).is_err());
}

#[test]
fn values_become_what_json_can_say() {
    let check = |value: Value, expected: Value| assert_eq!(for_json(&value), expected);
    check(Value::Map(vec![(1.into(), 2.into())]), map([("1", 2.into())]));
    check(Value::Map(vec![(Value::Array(vec![]), 2.into())]), Value::Map(vec![]));
    check(Value::Ext(5, vec![1]), Value::Nil);
    check(
        Value::Array(vec![Value::Ext(-1, vec![0; 4])]),
        Value::Array(vec!["1970-01-01T00:00:00.000Z".into()]),
    );
}

/// What is understood is the same when it is said again. Compared as bytes, for there are numbers that are not themselves.
fn decode_all(bytes: &[u8]) {
    if let Ok(broadcast) = Broadcast::decode(bytes) {
        let again = broadcast.encode();
        assert_eq!(Broadcast::decode(&again).unwrap().encode(), again);
    }
    if let Ok(request) = Request::decode(bytes) {
        let again = request.encode();
        assert_eq!(Request::decode(&again).unwrap().encode(), again);
    }
    if let Ok(response) = Response::decode(bytes) {
        let again = response.encode();
        assert_eq!(Response::decode(&again).unwrap().encode(), again);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_changed_message_panics(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
        let binary = Value::Binary(vec![1; 20]);
        let data = vec!["e".into(), binary, Value::Ext(-1, vec![1; 8]), map([("k", 1.5.into())])];
        let message = broadcast("/", data, options(&["r", "s"], &["x"]));
        let request = Request {
            uid: None,
            id: Some("i".to_owned()),
            ask: Ask::Broadcast(message.packet.clone(), message.options.clone()),
        };
        for mut bytes in [message.encode(), request.encode()] {
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut.max(1));
            decode_all(&bytes);
        }
    }

    #[test]
    fn text_that_begins_like_json_panics_nobody(text in "\\{.{0,200}") {
        decode_all(text.as_bytes());
    }
}
