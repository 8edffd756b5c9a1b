use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_521_961_123)
}

fn full(event: Event) -> Entry<'static> {
    Entry {
        request_id: Some(b"4f1c"),
        client: Some("203.0.113.7".parse().unwrap()),
        peer: Some("10.0.0.4:55123".parse().unwrap()),
        listener: Some(":443"),
        method: Some(b"GET"),
        host: Some(b"app.example.com"),
        target: Some(b"/socket.io/?EIO=4&transport=websocket&sid=secret"),
        sid_hash: Some(0xfeed),
        status: Some(101),
        upstream_status: Some(101),
        upstream: Some("socketio"),
        instance: Some("instance-1:3000"),
        sticky_key: Some("cookie"),
        left: Some("instance-2:3000"),
        rebind_reason: Some("down"),
        origin: Some("instance"),
        reason: Some("client_closed"),
        close_code: Some(1000),
        closed_by: Some("client"),
        duration: Some(Duration::from_micros(61_000_045)),
        bytes_up: Some(10),
        bytes_down: Some(u64::MAX),
        frames_up: Some(1),
        frames_down: Some(2),
        tls: Some("TLSv1.3"),
        protocol: Some("HTTP/1.1"),
        referer: Some(b"https://app.example.com/?token=secret"),
        user_agent: Some(b"Mozilla/5.0 \"x\""),
        ..Entry::new(event, noon())
    }
}

fn written(format: AccessFormat, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    line(&mut out, format, &mut Stamp::new(), entry);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_lines() {
    fn check(entry: &Entry<'_>, expected: &str) {
        let line = written(AccessFormat::Json, entry);
        assert_eq!(line, format!("{expected}\n"));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(value.is_object());
    }
    check(
        &full(Event::WsClose),
        r#"{"time":"2026-11-24T12:06:01.123Z","event":"ws_close","request_id":"4f1c","client":"203.0.113.7","peer":"10.0.0.4:55123","listener":":443","method":"GET","host":"app.example.com","path":"/socket.io/?EIO=4&transport=websocket&sid=***","sid_hash":"000000000000feed","status":101,"upstream_status":101,"upstream":"socketio","instance":"instance-1:3000","left":"instance-2:3000","sticky_key":"cookie","rebind_reason":"down","origin":"instance","reason":"client_closed","close_code":1000,"closed_by":"client","duration":61.000045,"bytes_up":10,"bytes_down":18446744073709551615,"frames_up":1,"frames_down":2,"tls":"TLSv1.3","protocol":"HTTP/1.1"}"#,
    );
    check(&Entry::new(Event::WsOpen, noon()), r#"{"time":"2026-11-24T12:06:01.123Z","event":"ws_open"}"#);
    check(
        &Entry { status: Some(400), origin: Some("proxy"), ..Entry::new(Event::Http, UNIX_EPOCH) },
        r#"{"time":"1970-01-01T00:00:00.000Z","event":"http","status":400,"origin":"proxy"}"#,
    );
}

#[test]
fn combined_lines() {
    fn check(entry: &Entry<'_>, expected: &str) {
        assert_eq!(written(AccessFormat::Combined, entry), expected);
    }
    check(
        &full(Event::Http),
        "203.0.113.7 - - [24/Nov/2026:12:06:01 +0000] \"GET \
         /socket.io/?EIO=4&transport=websocket&sid=*** HTTP/1.1\" 101 18446744073709551615 \
         \"https://app.example.com/?token=***\" \"Mozilla/5.0 \\x22x\\x22\"\n",
    );
    check(&full(Event::WsOpen), "");
    check(&Entry::new(Event::Http, noon()), "- - - [24/Nov/2026:12:06:01 +0000] \"-\" 000 0 \"-\" \"-\"\n");
    check(
        &Entry::new(Event::WsClose, noon()),
        "- - - [24/Nov/2026:12:06:01 +0000] \"-\" 101 0 \"-\" \"-\"\n",
    );
    check(
        &Entry { method: Some(b"GET"), target: Some(b"/\" 200 1 \"\n"), ..Entry::new(Event::Http, noon()) },
        "- - - [24/Nov/2026:12:06:01 +0000] \"GET /\\x22 200 1 \\x22\\x0A\" 000 0 \"-\" \"-\"\n",
    );
}

#[test]
fn addresses() {
    fn check(socket_address: &str, address: &str, shown: &str) {
        let (mut out, socket_address) = (Vec::new(), socket_address.parse::<SocketAddr>().unwrap());
        push_address(&mut out, socket_address.ip());
        out.push(b' ');
        push_socket_address(&mut out, socket_address);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{address} {shown}"));
    }
    check("192.0.2.10:80", "192.0.2.10", "192.0.2.10:80");
    check("255.255.255.255:0", "255.255.255.255", "255.255.255.255:0");
    check("[::ffff:192.0.2.10]:80", "192.0.2.10", "192.0.2.10:80");
    check("[2001:db8::1]:65535", "2001:db8::1", "[2001:db8::1]:65535");
    check("[fe80::1%7]:1", "fe80::1", "[fe80::1]:1");
}

#[test]
fn a_line_is_bounded_whatever_a_client_sends() {
    let mut seen = 0;
    for byte in 0..=u8::MAX {
        let bytes = vec![byte; 40_000];
        let path = [b"/?".as_slice(), &bytes].concat();
        let entry = Entry {
            request_id: Some(&bytes),
            method: Some(&bytes),
            host: Some(&bytes),
            target: Some(if byte % 2 == 0 { &bytes } else { &path }),
            referer: Some(&bytes),
            user_agent: Some(&bytes),
            ..full(Event::Http)
        };
        let json = written(AccessFormat::Json, &entry);
        assert!(json.len() < 16_000, "{byte}: {}", json.len());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(value["host"].as_str().unwrap().ends_with('…'), "{value}");
        assert!(value["path"].as_str().unwrap().ends_with('…'), "{value}");
        let combined = written(AccessFormat::Combined, &entry);
        assert!(combined.len() < 16_000, "{byte}: {}", combined.len());
        for line in [json, combined] {
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
            seen += 1;
        }
    }
    assert_eq!(seen, 512);
}
