use super::*;

#[test]
fn durations() {
    let ms = |text: &str| duration(text).map(|d| d.as_millis()).ok();
    let table: &[(&str, Option<u128>)] = &[
        ("250ms", Some(250)),
        ("0s", Some(0)),
        ("90s", Some(90_000)),
        ("5m", Some(300_000)),
        ("24h", Some(86_400_000)),
        ("7d", Some(604_800_000)),
        ("1h30m", Some(5_400_000)),
        ("1d12h", Some(129_600_000)),
        ("30 s", Some(30_000)),
        ("99999999999999999999999999d", Some(u128::from(u64::MAX))),
        ("", None),
        ("s", None),
        ("5", None),
        ("-5s", None),
        ("1.5s", None),
        ("30m1h", None),
        ("1h1h", None),
        ("1h ", None),
        (" 1h", None),
        ("1h30", None),
        ("5x", None),
        ("5S", None),
    ];
    for (text, expected) in table {
        assert_eq!(ms(text), *expected, "{text:?}");
    }
}

#[test]
fn what_to_type_instead() {
    let d = |text: &str| duration(text).unwrap_err().write;
    assert_eq!(d("5 minutes"), "write \"5m\"");
    assert_eq!(d("5min"), "write \"5m\"");
    assert_eq!(d("10S"), "write \"10s\"");
    assert_eq!(d("30000"), "write \"500m\" if these are seconds, \"30s\" if they are milliseconds");
    assert_eq!(d("86400"), "write \"24h\" if these are seconds, \"86400ms\" if they are milliseconds");
    assert_eq!(d("1.5s"), "write \"1500ms\" for one and a half seconds");
    assert_eq!(d("5"), "write \"5s\" (seconds), \"5m\" (minutes) or \"5ms\"");
    let s = |text: &str| size(text).unwrap_err().write;
    assert_eq!(s("64kb"), "write \"64k\" (times 1 024 bytes)");
    assert_eq!(s("10485760"), "write \"10m\"");
    assert_eq!(s("1000000"), "write \"1000000b\" (bytes)");
    assert_eq!(rate("20", true).unwrap_err().write, "write \"20/s\" (a second)");
    assert_eq!(percent("50").unwrap_err().write, "write \"50%\"");
}

#[test]
fn sizes() {
    let table: &[(&str, Option<u64>)] = &[
        ("512b", Some(512)),
        ("64k", Some(65_536)),
        ("64K", Some(65_536)),
        ("64KiB", Some(65_536)),
        ("10m", Some(10 << 20)),
        ("1g", Some(1 << 30)),
        ("0b", Some(0)),
        ("99999999999999999999g", Some(u64::MAX)),
        ("", None),
        ("64", None),
        ("64kb", None),
        ("1.5m", None),
        ("-1k", None),
        ("10m1k", None),
    ];
    for (text, expected) in table {
        assert_eq!(size(text).ok(), *expected, "{text:?}");
    }
}

#[test]
fn rates_and_shares() {
    let second = Duration::from_secs(1);
    assert_eq!(rate("1000/s", false), Ok(Rate { events: 1000, per: second, burst: None }));
    assert_eq!(rate("20/s burst 40", true), Ok(Rate { events: 20, per: second, burst: Some(40) }));
    for text in ["", "/s", "0/s", "20/s burst", "20/s burst 0", "20/s 40", "20/x", "x/s", "20/s burst 4 5"] {
        assert!(rate(text, true).is_err(), "{text:?}");
    }
    assert!(rate("20/s burst 40", false).is_err());
    assert_eq!((percent("0%"), percent("100%")), (Ok(0), Ok(100)));
    for text in ["", "%", "101%", "50 %", "-1%", "0.5%"] {
        assert!(percent(text).is_err(), "{text:?}");
    }
}

#[test]
fn shown_as_written() {
    for text in ["0s", "250ms", "90s", "5m", "24h", "36h", "7d"] {
        assert_eq!(show_duration(duration(text).unwrap()), text);
    }
    for text in ["0b", "512b", "64k", "10m", "1g"] {
        assert_eq!(show_size(size(text).unwrap()), text);
    }
}
