use super::*;

#[test]
fn where_to_listen() {
    let ip = |text: &str| ListenAddress::Ip(text.parse().unwrap());
    let table: &[(&str, ListenAddress)] = &[
        (":80", ListenAddress::Any(80)),
        (":0", ListenAddress::Any(0)),
        ("1.2.3.4:80", ip("1.2.3.4:80")),
        ("0.0.0.0:80", ip("0.0.0.0:80")),
        ("[::1]:8080", ip("[::1]:8080")),
        ("[::]:0", ip("[::]:0")),
        ("unix:/run/a.sock", ListenAddress::Unix("/run/a.sock".into())),
        ("fd:http", ListenAddress::Fd("http".into())),
    ];
    for (text, expected) in table {
        assert_eq!(listen(text).as_ref(), Ok(expected), "{text}");
    }
}

#[test]
fn where_not_to_listen() {
    let table = [
        ("80", "write \":80\""),
        ("*:80", "write \":80\" for every address"),
        ("localhost:80", "write \"127.0.0.1:80\", or \"[::1]:80\""),
        ("::1:80", "write \"[::1]:80\""),
        ("fe80::1", "write \"[fe80::1]:80\" or another port"),
        ("[::1]", "write \"[::1]:80\" or another port"),
        ("unix:run/x.sock", "write \"unix:/run/x.sock\""),
        ("1.2.3.4", "write \"1.2.3.4:80\" or another port"),
        ("http://:80", "write \":80\""),
        ("/run/x.sock", "write \"unix:/run/x.sock\" for a unix socket"),
        ("unix:x.sock", "write for example \"unix:/run/stickyd/x.sock\""),
        ("unix:", "write for example \"unix:/run/stickyd/"),
        (":65536", "ports are 0 to 65535"),
        (":+80", "ports are 0 to 65535"),
        (":", "ports are 0 to 65535"),
        ("1.2.3:80", "write \":80\" for every address"),
        ("example.com:80", "write \":80\" for every address"),
        ("[::1:80", "write for example \"[::1]:80\""),
        ("fd:", "write for example \"fd:http\""),
        ("", "write \":80\" or another port"),
    ];
    for (text, expected) in table {
        let wrong = listen(text).unwrap_err();
        assert!(wrong.write.starts_with(expected), "{text}: {wrong:?}");
    }
    assert!(listen(&format!("unix:/{}", "x".repeat(200))).is_err());
}

#[test]
fn instances() {
    let table: &[(&str, Option<(&str, u16)>)] = &[
        ("instance-1:3000", Some(("instance-1", 3000))),
        ("a.example.:3000", Some(("a.example.", 3000))),
        ("10.0.0.1:3000", Some(("10.0.0.1", 3000))),
        ("[::1]:3000", Some(("::1", 3000))),
        ("[0:0::1]:3000", Some(("::1", 3000))),
        ("a", None),
        ("3000", None),
        (":3000", None),
        ("a:0", None),
        ("a:x", None),
        ("a:65536", None),
        ("::1:3000", None),
        ("http://a:3000", None),
        ("a:3000/x", None),
        ("1.2.3:3000", None),
        ("a.1:3000", None),
        ("0.0.0.0:3000", None),
        ("224.0.0.1:3000", None),
        ("unix:/run/a", None),
        ("a b:1", None),
        ("", None),
        (":", None),
        ("[]:1", None),
    ];
    for (text, expected) in table {
        let found = instance(text).ok();
        assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), *expected, "{text}");
    }
}

#[test]
fn networks() {
    for good in ["10.0.0.0/16", "10.1.2.3", "::1", "fd00::/8", "0.0.0.0/0", "10.1.2.3/32"] {
        assert!(network(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "10.0.0.5/16",
        "10.0.0.0/33",
        "10.0.0/16",
        "a/8",
        "/8",
        "10.0.0.0/",
        "::ffff:10.0.0.1",
        "private",
    ] {
        assert!(network(bad).is_err(), "{bad}");
    }
    let wrong = network("10.0.3.5/16").unwrap_err();
    assert_eq!(wrong.write, "write \"10.0.0.0/16\" for the network, \"10.0.3.5\" for the one address");
}
