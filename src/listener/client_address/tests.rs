use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::{HOPS_MAX, Peer, Resolved, Scheme, resolve, scheme};
use crate::config::model::ClientIpHeader::{self, Forwarded, XForwardedFor};

/// A proxy's address, in `trusted()`.
const PROXY: Peer = Peer::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "192.168.1.1/32", "fd00::/8"].map(|net| net.parse().unwrap()).into()
}

fn resolved(peer: Peer, header: ClientIpHeader, fields: &[&str]) -> Resolved {
    resolve(peer, header, fields.iter().map(|field| field.as_bytes()), &trusted())
}

fn check(peer: Peer, header: ClientIpHeader, fields: &[&str], address: &str, hops: usize) {
    let found = resolved(peer, header, fields);
    assert_eq!((found.address.to_string().as_str(), found.hops), (address, hops), "{fields:?}");
}

#[test]
fn only_a_trusted_peer_is_believed() {
    let check_peer = |peer: &str, address: &str, trusted: bool| {
        let peer = Peer::Ip(peer.parse().unwrap());
        let found = resolved(peer, XForwardedFor, &["203.0.113.7"]);
        assert_eq!((found.address.to_string().as_str(), found.peer_trusted), (address, trusted), "{peer:?}");
        let found = resolved(peer, Forwarded, &["for=203.0.113.7"]);
        assert_eq!((found.address.to_string().as_str(), found.peer_trusted), (address, trusted), "{peer:?}");
    };
    check_peer("10.0.0.1", "203.0.113.7", true);
    check_peer("::ffff:10.0.0.1", "203.0.113.7", true);
    check_peer("fd00::1", "203.0.113.7", true);
    check_peer("192.168.1.1", "203.0.113.7", true);
    check_peer("192.168.1.2", "192.168.1.2", false);
    check_peer("11.0.0.1", "11.0.0.1", false);
    check_peer("::ffff:11.0.0.1", "11.0.0.1", false);
    check_peer("::10.0.0.1", "::a00:1", false);
    check_peer("2001:db8::1", "2001:db8::1", false);

    let nobody = resolve(PROXY, XForwardedFor, [&b"203.0.113.7"[..]].into_iter(), &[]);
    assert_eq!(nobody, Resolved { address: [10, 0, 0, 1].into(), peer_trusted: false, hops: 0 });
}

#[test]
fn a_unix_peer_is_trusted_without_being_listed() {
    check(Peer::Unix, XForwardedFor, &["203.0.113.7"], "203.0.113.7", 1);
    check(Peer::Unix, XForwardedFor, &["203.0.113.7, 10.0.0.2"], "203.0.113.7", 2);
    check(Peer::Unix, XForwardedFor, &[], "127.0.0.1", 0);
    assert!(resolve(Peer::Unix, XForwardedFor, std::iter::empty(), &[]).peer_trusted);
}

#[test]
fn the_right_most_untrusted_one_is_the_client() {
    let check = |fields: &[&str], address: &str, hops: usize| {
        check(PROXY, XForwardedFor, fields, address, hops);
        // `Forwarded` says the same in other words.
        let written = |element: &str| match element.trim() {
            "" => String::new(),
            address if address.contains(':') => format!(" FOR = \"{address}\" ; by=_x"),
            address => format!("for={address};proto=http"),
        };
        let other: Vec<String> =
            fields.iter().map(|field| field.split(',').map(written).collect::<Vec<_>>().join(",")).collect();
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        self::check(PROXY, Forwarded, &other, address, hops);
    };
    check(&[], "10.0.0.1", 0);
    check(&["203.0.113.7"], "203.0.113.7", 1);
    // What a client sends itself stands to the left of what a proxy saw.
    check(&["1.2.3.4, 203.0.113.7"], "203.0.113.7", 1);
    check(&["1.2.3.4", "203.0.113.7"], "203.0.113.7", 1);
    check(&["203.0.113.7, 10.0.0.2"], "203.0.113.7", 2);
    check(&["1.2.3.4, 203.0.113.7, 192.168.1.1, 10.0.0.2"], "203.0.113.7", 3);
    check(&["1.2.3.4, 203.0.113.7", "192.168.1.1", "10.0.0.2"], "203.0.113.7", 3);
    check(&["1.2.3.4,203.0.113.7,fd12::1,::ffff:10.9.9.9"], "203.0.113.7", 3);
    // All are trusted: the left-most.
    check(&["10.0.0.4, 10.0.0.3, 10.0.0.2"], "10.0.0.4", 3);
    check(&["10.0.0.4", "10.0.0.3"], "10.0.0.4", 2);
    // Ports, brackets, spaces.
    check(&["203.0.113.7:4711"], "203.0.113.7", 1);
    check(&["[2001:db8::1]:4711"], "2001:db8::1", 1);
    check(&["[2001:db8::1]"], "2001:db8::1", 1);
    check(&["2001:db8::1"], "2001:db8::1", 1);
    check(&["\t 203.0.113.7 \t,10.0.0.2:1 "], "203.0.113.7", 2);
    check(&["::ffff:203.0.113.7"], "203.0.113.7", 1);
    check(&["[::ffff:203.0.113.7]:1, [::ffff:10.0.0.2]:2"], "203.0.113.7", 2);
    // Empty elements and fields do not count.
    check(&[",, 203.0.113.7 ,,10.0.0.2, ,"], "203.0.113.7", 2);
    check(&["203.0.113.7", "", " , ", "10.0.0.2"], "203.0.113.7", 2);
    check(&["", ","], "10.0.0.1", 0);
    // What names nobody ends the chain at the last good one, whatever stands to the left of it.
    check(&["unknown"], "10.0.0.1", 0);
    check(&["203.0.113.7, unknown"], "10.0.0.1", 0);
    check(&["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2", 1);
    check(&["203.0.113.7, _hidden, 10.0.0.3, 10.0.0.2"], "10.0.0.3", 2);
    check(&["203.0.113.7", "garbage", "10.0.0.2"], "10.0.0.2", 1);
    for garbage in [
        "203.0.113",
        "203.0.113.256",
        "203.0.113.7.1",
        "203.0.113.07",
        "0x7f.1",
        "203.0.113.7:",
        "203.0.113.7:65536",
        "203.0.113.7:-1",
        "203.0.113.7:+1",
        "203.0.113.7 10.0.0.2",
        "[203.0.113.7]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]4711",
        "[2001:db8::1]:",
        "[[2001:db8::1]]",
        "[]",
        "[]:80",
        "fe80::1%eth0",
        "2001:db8::g",
        "example.com",
        "1",
        ":80",
        "\u{feff}203.0.113.7",
        "203.0.113.7\0",
    ] {
        check(&[&format!("198.51.100.1, {garbage}, 10.0.0.2")], "10.0.0.2", 1);
    }
}

#[test]
fn forwarded_as_in_the_rfc() {
    let check = |field: &str, address: &str, hops: usize| check(PROXY, Forwarded, &[field], address, hops);
    // Examples of RFC 7239, sections 4, 6.3, 7.1
    check("for=\"_gazonk\"", "10.0.0.1", 0);
    check("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17", 1);
    check("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60", 1);
    check("for=192.0.2.43, for=198.51.100.17", "198.51.100.17", 1);
    check("for=_hidden, for=_SEVKISEK", "10.0.0.1", 0);
    check("for=\"192.0.2.43:47011\"", "192.0.2.43", 1);
    check("for=192.0.2.43,for=\"[fd00:db8:cafe::17]\",for=unknown", "10.0.0.1", 0);
    check("for=192.0.2.43,for=\"[fd00:db8:cafe::17]\"", "192.0.2.43", 2);
    check("for=unknown", "10.0.0.1", 0);
    // obfuscated ports
    check("for=\"192.0.2.43:_port-1\"", "192.0.2.43", 1);
    check("for=\"[2001:db8::1]:_x\"", "2001:db8::1", 1);
    check("for=\"192.0.2.43:x\"", "10.0.0.1", 0);
    // Separators inside quotes are none.
    check("for=192.0.2.60;by=\"a, for=1.1.1.1; b\"", "192.0.2.60", 1);
    check("for=1.1.1.1;by=\"\\\", for=2.2.2.2\", for=192.0.2.60", "192.0.2.60", 1);
    check("for=192.0.2.60;ext=\"\\\\\";by=x", "192.0.2.60", 1);
    // any order, any case, extensions, empty pairs
    check("PROTO=https;host=a;FOR=192.0.2.60;;x=y;", "192.0.2.60", 1);
    check(";;for=192.0.2.60", "192.0.2.60", 1);
    check("proto=https", "10.0.0.1", 0);
    check("forx=1.1.1.1;for=192.0.2.60", "192.0.2.60", 1);
    // malformed
    check("for=192.0.2.60;for=192.0.2.61", "10.0.0.1", 0);
    check("for=192.0.2.60;x", "10.0.0.1", 0);
    check("192.0.2.60", "10.0.0.1", 0);
    check("for=\"192.0.2.60", "10.0.0.1", 0);
    check("for=192.0.2.60\"", "10.0.0.1", 0);
    check("for=\"192.0.2.60\"x", "10.0.0.1", 0);
    check("for=\"192.0.2.60\" \"\"", "10.0.0.1", 0);
    check("for=\"\\192.0.2.60\"", "10.0.0.1", 0);
    check("for=", "10.0.0.1", 0);
    check("=192.0.2.60", "10.0.0.1", 0);
}

/// A client that sends an open quote cannot make its own word the last: what is left is the proxy.
#[test]
fn an_open_quote_swallows_nothing_useful() {
    for sent in ["for=\"", "for=6.6.6.6, x=\"", "for=6.6.6.6;x=\"\\", "\"", "for=6.6.6.6,\"a\"\""] {
        for added in ["for=203.0.113.7", "for=\"[2001:db8::7]:80\"", "for=\"203.0.113.7\";by=\"_a\""] {
            let same_field = format!("{sent}, {added}");
            let found = resolved(PROXY, Forwarded, &[&same_field]);
            assert_ne!(found.address.to_string(), "6.6.6.6", "{same_field}");
            let found = resolved(PROXY, Forwarded, &[sent, added]);
            assert_eq!(found.hops, 1, "{sent} {added}");
            assert!(found.address.to_string().ends_with('7'));
        }
    }
}

#[test]
fn sixty_four_elements_are_looked_at() {
    let chain = |count: usize| ["203.0.113.7"].into_iter().chain(std::iter::repeat_n("10.0.0.2", count));
    for (count, address, hops) in [
        (HOPS_MAX - 1, "203.0.113.7", HOPS_MAX),
        (HOPS_MAX, "10.0.0.2", HOPS_MAX),
        (5000, "10.0.0.2", HOPS_MAX),
    ] {
        let one_field = chain(count).collect::<Vec<_>>().join(", ");
        check(PROXY, XForwardedFor, &[&one_field], address, hops);
        check(PROXY, XForwardedFor, &chain(count).collect::<Vec<_>>(), address, hops);
        let forwarded: Vec<String> = chain(count).map(|address| format!("for={address}")).collect();
        check(PROXY, Forwarded, &[&forwarded.join(",")], address, hops);
        check(PROXY, Forwarded, &forwarded.iter().map(String::as_str).collect::<Vec<_>>(), address, hops);
    }
}

#[test]
fn the_scheme_of_the_hop_that_is_believed() {
    use Scheme::{Http, Https};
    let check = |chain: &[&str], protos: &[&str], expected: Option<Scheme>| {
        let found = resolved(PROXY, XForwardedFor, chain);
        let said = scheme(&found, XForwardedFor, protos.iter().map(|field| field.as_bytes()));
        assert_eq!(said, expected, "{chain:?} {protos:?}");
    };
    let direct = ["203.0.113.7"];
    check(&direct, &["https"], Some(Https));
    check(&direct, &["HTTPS"], Some(Https));
    check(&direct, &["http"], Some(Http));
    check(&direct, &["wss"], Some(Https));
    check(&direct, &["ws"], Some(Http));
    check(&direct, &[], None);
    check(&direct, &[""], None);
    check(&direct, &["httpsx"], None);
    check(&direct, &["on"], None);
    // The proxy added its word to what a client had made up.
    check(&direct, &["https, http"], Some(Http));
    check(&direct, &["https", "http"], Some(Http));
    // Two proxies: both added their word, the first spoke to the client.
    let two = ["203.0.113.7, 10.0.0.2"];
    check(&two, &["https, http"], Some(Https));
    check(&two, &["http, https"], Some(Http));
    check(&two, &["https, http, https"], Some(Http));
    // One of them replaced it, or one says nothing that can be read.
    check(&two, &["https"], Some(Https));
    check(&two, &["?, https"], Some(Https));
    // Nobody is named: the peer's own word.
    check(&[], &["https"], Some(Https));
    check(&["unknown"], &["http, https"], Some(Https));
}

#[test]
fn the_scheme_of_forwarded() {
    use Scheme::{Http, Https};
    let check = |field: &str, expected: Option<Scheme>| {
        let found = resolved(PROXY, Forwarded, &[field]);
        assert_eq!(scheme(&found, Forwarded, [field.as_bytes()].into_iter()), expected, "{field}");
    };
    check("for=203.0.113.7;proto=https", Some(Https));
    check("for=203.0.113.7;Proto=\"HTTPS\"", Some(Https));
    check("for=203.0.113.7;proto=http", Some(Http));
    check("for=203.0.113.7", None);
    check("for=6.6.6.6;proto=https, for=203.0.113.7;proto=http", Some(Http));
    check("for=6.6.6.6;proto=https, for=203.0.113.7", None);
    check("for=203.0.113.7;proto=https, for=10.0.0.2;proto=http", Some(Https));
    check("for=203.0.113.7, for=10.0.0.2;proto=https", Some(Https));
    check("for=unknown;proto=https", Some(Https));
    check("proto=https", Some(Https));
    check("for=203.0.113.7;proto=https;proto=http", None);
}

#[test]
fn nobody_else_says_anything_about_the_scheme() {
    let stranger = Peer::Ip([192, 0, 2, 1].into());
    let found = resolved(stranger, XForwardedFor, &["203.0.113.7"]);
    assert_eq!(scheme(&found, XForwardedFor, [&b"https"[..]].into_iter()), None);
}

/// One megabyte each; one that is not linear would hang the test.
#[test]
fn long_fields_take_linear_time() {
    for piece in
        ["10.0.0.2,", ",", "\"", "for=10.0.0.2,", "for=\"10.0.0.2\";", ";", "\\", "\"\\\",", "=", " "]
    {
        let field = piece.repeat(1_000_000 / piece.len());
        for header in [XForwardedFor, Forwarded] {
            let found = resolved(PROXY, header, &[&field]);
            scheme(&found, header, [field.as_bytes()].into_iter());
        }
    }
}

proptest! {
    /// Strangers' words change nothing; what a proxy adds in a field of its own is believed before all else.
    #[test]
    fn what_the_proxy_saw_wins(
        sent in prop::collection::vec("([0-9a-f.:,; \"=\\[\\]_\\\\]|for=|10\\.0\\.0\\.2|6\\.6\\.6\\.6|.){0,12}", 0..6),
        client: [u8; 16],
    ) {
        let address = IpAddr::V6(Ipv6Addr::from(client)).to_canonical();
        let added = [(XForwardedFor, address.to_string()), (Forwarded, format!("for=\"[{}]:1\"", Ipv6Addr::from(client)))];
        for (header, added) in added {
            let fields: Vec<&str> = sent.iter().map(String::as_str).collect();
            let stranger = resolved(Peer::Ip([192, 0, 2, 1].into()), header, &fields);
            prop_assert_eq!((stranger.address, stranger.hops), ([192, 0, 2, 1].into(), 0));

            let with: Vec<&str> = fields.into_iter().chain([added.as_str()]).collect();
            let found = resolved(PROXY, header, &with);
            if trusted().iter().any(|net| net.contains(&address)) {
                prop_assert!(found.hops >= 1);
            } else {
                prop_assert_eq!((found.address, found.hops), (address, 1));
            }
        }
    }

    /// A list may be cut into fields at any comma.
    #[test]
    fn fields_are_one_list(elements in prop::collection::vec(
        prop_oneof!["10\\.0\\.0\\.[0-9]", "for=10\\.0\\.0\\.[0-9]", "for=\"\\[fd00::[0-9]\\]:1\";proto=https", "unknown", "203\\.0\\.113\\.[0-9]", ""],
        0..9,
    ), cut: prop::sample::Index) {
        for header in [XForwardedFor, Forwarded] {
            let whole = resolved(PROXY, header, &[&elements.join(",")]);
            let (left, right) = elements.split_at(cut.index(elements.len() + 1));
            prop_assert_eq!(whole, resolved(PROXY, header, &[&left.join(", "), &right.join(" ,")]));
        }
    }
}
