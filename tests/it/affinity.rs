//! Which instance a client gets, and what binds it: the cookie, the address, weights, and what happens when the instance is gone.

mod agree;
mod renewal;
mod values;

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::support::instance::Refusing;
use crate::support::process::Home;
use crate::support::ws;
use crate::support::{Answering, Instance, Message, Proxy};

const NAME: &str = "stickyd-app";

/// The shape of a sealed value: 56 characters of URL-safe base64.
const VALUE_LEN: usize = 56;

/// In front of `instances`; `top`: keys above the sections, `sticky`: keys of the section.
fn proxy(top: &str, instances: &[&dyn Display], sticky: &str) -> Proxy {
    let instances: Vec<String> = instances.iter().map(|instance| format!("\"{instance}\"")).collect();
    Proxy::start(&format!(
        "{top}\n[upstream.app]\ninstances = [{}]\n[upstream.app.sticky]\n{sticky}\n",
        instances.join(", ")
    ))
}

/// A request with this cookie.
fn get(proxy: &Proxy, cookie: &str) -> Message {
    proxy.get("/", &format!("Cookie: {cookie}\r\n"))
}

/// Two instances between which only the cookie decides.
fn two() -> (Answering, Answering, Proxy) {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let proxy = proxy("", &[&blue, &green], "by = [\"cookie\"]");
    (blue, green, proxy)
}

#[test]
fn a_client_stays_where_its_first_answer_came_from() {
    let (_blue, _green, proxy) = two();
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let first = proxy.get("/", "");
        let (cookie, _) = first.cookie(NAME).expect("the first answer sets the cookie");
        *seen.entry(first.text().to_owned()).or_insert(0) += 1;
        for _ in 0..3 {
            let next = get(&proxy, &format!("a=b; {cookie}; c=d"));
            assert_eq!(next.text(), first.text());
            assert_eq!(next.values("set-cookie"), [""; 0], "only once");
            assert_eq!(next.field("cache-control"), None, "nothing is stamped");
        }
    }
    assert_eq!(seen.len(), 2, "both instances got new clients: {seen:?}");
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "cookie")], 60);
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "balance")], 20);
    proxy.counts("stickyd_sticky_rebinds_total", &[], 0);
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[], 0);
}

#[test]
fn the_cookie_has_its_attributes() {
    let blue = Answering::start("blue");
    let check = |top: &str, sticky: &str, fields: &str, expected: &str| {
        let proxy = proxy(top, &[&blue], sticky);
        let (cookie, attributes) = proxy.get("/", fields).cookie(NAME).unwrap();
        assert_eq!(cookie.len(), NAME.len() + 1 + VALUE_LEN, "{cookie}");
        assert_eq!(attributes, expected);
    };
    check("", "", "", "Max-Age=86400; Path=/; SameSite=Lax; HttpOnly");
    check(
        "",
        "ttl = \"1h\"\npath = \"/app\"\ndomain = \"app.example\"\nsame_site = \"strict\"\nsecure = true\nhttp_only = false",
        "",
        "Max-Age=3600; Path=/app; Domain=app.example; SameSite=Strict; Secure",
    );
    check("", "ttl = \"session\"", "", "Path=/; SameSite=Lax; HttpOnly");
    check(
        "",
        "same_site = \"none\"\nsecure = true\npartitioned = true",
        "",
        "Max-Age=86400; Path=/; SameSite=None; Secure; HttpOnly; Partitioned",
    );
    // Secure by what a trusted peer says, and by nobody else's word.
    let https = "X-Forwarded-Proto: https\r\n";
    check(
        "trusted_proxies = [\"127.0.0.1\"]",
        "",
        https,
        "Max-Age=86400; Path=/; SameSite=Lax; Secure; HttpOnly",
    );
    check("", "", https, "Max-Age=86400; Path=/; SameSite=Lax; HttpOnly");
}

#[test]
fn the_cookie_is_set_on_the_101_too() {
    let instance = Instance::start();
    let proxy = proxy("", &[&instance], "");
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    far.send(ws::switch(""));
    let answer = client.answer();
    let (cookie, _) = answer.cookie(NAME).expect("a cookie on the 101");
    let mut client = proxy.connect();
    client.send(ws::handshake("/ws", &format!("Cookie: {cookie}\r\n")));
    let mut far = instance.accept();
    assert_eq!(far.request().field("cookie"), None);
    far.send(ws::switch(""));
    assert_eq!(client.answer().values("set-cookie"), [""; 0]);
}

#[test]
fn a_cookie_never_goes_where_others_could_get_it() {
    let check = |fields: &str, stamped: bool, cache_control: &[&str]| {
        let blue = Answering::with_fields("blue", fields);
        let proxy = proxy("", &[&blue], "");
        let answer = proxy.get("/", "");
        assert_eq!(answer.cookie(NAME).is_some(), stamped, "{fields}");
        assert_eq!(answer.values("cache-control"), cache_control, "{fields}");
    };
    check("", true, &["private"]);
    check("Cache-Control: no-store\r\n", true, &["no-store"]);
    check("Cache-Control: max-age=60\r\n", true, &["max-age=60"]);
    check("Cache-Control: public\r\n", false, &["public"]);
    check("Cache-Control: max-age=60, PUBLIC\r\n", false, &["max-age=60, PUBLIC"]);
    check("Cache-Control: s-maxage=60\r\n", false, &["s-maxage=60"]);
    check("Cache-Control: no-cache\r\nCache-Control: public\r\n", false, &["no-cache", "public"]);
}

#[test]
fn what_the_instance_sets_passes_beside_the_proxy_s_cookie() {
    let blue = Answering::with_fields("blue", "Set-Cookie: own=1\r\nSet-Cookie: two=2\r\n");
    let proxy = proxy("", &[&blue], "");
    let cookies = proxy.get("/", "").values("set-cookie");
    assert_eq!((&*cookies[0], &*cookies[1], cookies.len()), ("own=1", "two=2", 3));
}

#[test]
fn a_client_whose_instance_refuses_is_bound_anew() {
    let (mut blue, mut green, proxy) = two();
    let first = proxy.get("/", "");
    let (old, _) = first.cookie(NAME).unwrap();
    let (gone, stays) = if first.text() == "blue" { (&mut blue, "green") } else { (&mut green, "blue") };
    gone.stop();
    let moved = get(&proxy, &old);
    assert_eq!(moved.text(), stays);
    let (new, _) = moved.cookie(NAME).expect("the binding is made anew");
    assert_ne!(new, old);
    let next = get(&proxy, &new);
    assert_eq!((next.text(), next.values("set-cookie").len()), (stays, 0));
    proxy.counts("stickyd_sticky_rebinds_total", &[("reason", "down")], 1);
}

#[test]
fn a_forged_cookie_is_ignored_and_counted() {
    let (_blue, _green, proxy) = two();
    let first = proxy.get("/", "");
    let (cookie, _) = first.cookie(NAME).unwrap();
    let value = cookie.strip_prefix("stickyd-app=").unwrap();
    let changed = |at: usize| {
        let mut value = value.as_bytes().to_vec();
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(value).unwrap()
    };
    let rejected = |bad: &str, reason: &str, times: u64| {
        let answer = get(&proxy, &format!("{NAME}={bad}"));
        assert_eq!(answer.status(), 200, "{bad}");
        assert!(answer.cookie(NAME).is_some(), "a good one replaces {bad}");
        proxy.counts("stickyd_sticky_cookies_rejected_total", &[("reason", reason)], times);
    };
    rejected(&changed(10), "forged", 1);
    rejected(&changed(VALUE_LEN - 1), "forged", 2);
    rejected("blue", "forged", 3);
    rejected("", "forged", 4);
    // The key's id stands right behind the version.
    rejected(&changed(3), "foreign", 1);
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "cookie")], 0);
    // Another proxy, with a secret of its own, does not know it.
    let (_blue2, _green2, other) = two();
    assert!(get(&other, &cookie).cookie(NAME).is_some());
    other.counts("stickyd_sticky_cookies_rejected_total", &[("reason", "foreign")], 1);
}

#[test]
fn a_cookie_is_good_at_every_proxy_with_the_same_secret() {
    let home = Home::new();
    let secret = home.write("secret", &format!("{}\n", "0123456789abcdef".repeat(3)));
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let sticky = format!("by = [\"cookie\"]\nsecret_file = \"{secret}\"");
    let one = proxy("", &[&blue, &green], &sticky);
    // In another order: what counts is the instance's name.
    let other = proxy("", &[&green, &blue], &sticky);
    for _ in 0..10 {
        let first = one.get("/", "");
        let (cookie, _) = first.cookie(NAME).unwrap();
        let next = get(&other, &cookie);
        assert_eq!((next.text(), next.values("set-cookie").len()), (first.text(), 0));
    }
    // One that does not have the instance any more binds anew.
    let gone = proxy("", &[&green], &sticky);
    let cookie = loop {
        let first = one.get("/", "");
        if first.text() == "blue" {
            break first.cookie(NAME).unwrap().0;
        }
    };
    let moved = get(&gone, &cookie);
    assert_eq!((moved.text(), moved.cookie(NAME).is_some()), ("green", true));
    gone.counts("stickyd_sticky_rebinds_total", &[("reason", "removed")], 1);
}

#[test]
fn a_cookie_is_renewed_past_half_of_its_time_and_refused_after_it() {
    let blue = Answering::start("blue");
    // Times are whole seconds: what is tested here is that time counts at all.
    let proxy = proxy("", &[&blue], "by = [\"cookie\"]\nttl = \"2s\"");
    let (cookie, _) = proxy.get("/", "").cookie(NAME).unwrap();
    assert!(get(&proxy, &cookie).cookie(NAME).is_none());
    crate::support::eventually("it is renewed", || get(&proxy, &cookie).cookie(NAME));
    crate::support::eventually("it is expired", || {
        get(&proxy, &cookie);
        (proxy.count("stickyd_sticky_cookies_rejected_total", &[("reason", "expired")]) > 0).then_some(())
    });
}

#[test]
fn an_address_goes_to_one_instance() {
    let names = ["a", "b", "c"];
    let instances = names.map(Answering::start);
    let all: Vec<&dyn Display> = instances.iter().map(|instance| instance as &dyn Display).collect();
    let proxy = proxy("trusted_proxies = [\"127.0.0.1\"]", &all, "by = [\"ip_hash\"]");
    let place = |address: &str| proxy.get("/", &format!("X-Forwarded-For: {address}\r\n"));
    let mut seen = BTreeMap::new();
    for number in 0..60 {
        let address = format!("203.0.113.{number}");
        let first = place(&address);
        assert_eq!(first.values("set-cookie"), [""; 0], "no cookie was asked for");
        *seen.entry(first.text().to_owned()).or_insert(0) += 1;
        // The same by every spelling, through one more proxy, and from any port.
        for same in [&format!("::ffff:{address}"), &format!("6.6.6.6, {address}"), &format!("{address}:4711")]
        {
            assert_eq!(place(same).text(), first.text(), "{same}");
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    // Of an IPv6 address the network decides.
    let first = place("2001:db8:1:2::1").text().to_owned();
    for host in ["2001:db8:1:2::2", "2001:db8:1:2:ffff:ffff:ffff:ffff", "[2001:db8:1:2:3::4]:80"] {
        assert_eq!(place(host).text(), first, "{host}");
    }
    proxy.counts("stickyd_sticky_decisions_total", &[("by", "ip_hash")], 60 * 4 + 4);
}

#[test]
fn an_address_whose_instance_refuses_goes_to_the_next_and_back() {
    let (dead, blue, green) = (Refusing::start(), Answering::start("blue"), Answering::start("green"));
    let all: [&dyn Display; 3] = [&dead, &blue, &green];
    let proxy = proxy("trusted_proxies = [\"127.0.0.1\"]", &all, "by = [\"ip_hash\"]");
    for number in 0..30 {
        let fields = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let first = proxy.get("/", &fields);
        assert_eq!(first.status(), 200);
        assert_eq!(proxy.get("/", &fields).text(), first.text(), "the next best is always the same");
    }
    assert!(proxy.count("stickyd_connect_errors_total", &[("kind", "refused")]) > 0);
}

#[test]
fn the_cookie_wins_over_the_address_and_the_address_places_who_has_none() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let proxy = proxy("trusted_proxies = [\"127.0.0.1\"]", &[&blue, &green], "");
    let place = |address: &str, cookie: &str| {
        proxy.get("/", &format!("X-Forwarded-For: {address}\r\nCookie: {cookie}\r\n"))
    };
    let first = place("203.0.113.1", "");
    let (cookie, _) = first.cookie(NAME).unwrap();
    // The phone went from one network to another.
    for number in 0..20 {
        assert_eq!(place(&format!("198.51.100.{number}"), &cookie).text(), first.text());
    }
    // The same address without the cookie.
    assert_eq!(place("203.0.113.1", "other=1").text(), first.text());
}

#[test]
fn weights_decide_how_many_new_clients_come() {
    let (blue, green) = (Answering::start("blue"), Answering::start("green"));
    let proxy = Proxy::start(&format!(
        "[upstream.app]\nbalance = \"round_robin\"\ninstances = [{{ address = \"{blue}\", weight = 3 }}, \"{green}\"]\n\
         [upstream.app.sticky]\nby = []\n"
    ));
    for _ in 0..40 {
        proxy.get("/", "");
    }
    assert_eq!((blue.requests().len(), green.requests().len()), (30, 10));
}

#[test]
fn tunnels_decide_where_the_next_one_goes() {
    let (blue, green) = (Instance::start(), Instance::start());
    let proxy = proxy("", &[&blue, &green], "by = []");
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut client = proxy.connect();
        client.send(ws::handshake("/ws", ""));
        let (mut far, at) = crate::support::eventually("a connection", || {
            blue.try_accept().map(|far| (far, 0)).or_else(|| green.try_accept().map(|far| (far, 1)))
        });
        far.request();
        far.send(ws::switch(""));
        assert_eq!(client.answer().status(), 101);
        open.push((client, far, at));
    }
    let blues = open.iter().filter(|tunnel| tunnel.2 == 0).count();
    assert_eq!(blues, 5, "each new tunnel goes where there are fewer");
}

#[test]
fn upstreams_have_cookies_of_their_own() {
    let (chat, shop) = (Answering::start("chat"), Answering::start("shop"));
    let proxy = Proxy::start(&format!(
        "[upstream.chat]\ninstances = [\"{chat}\"]\n[upstream.shop]\ninstances = [\"{shop}\"]\n\
         [[route]]\npath = \"/chat/*\"\nupstream = \"chat\"\n[[route]]\nupstream = \"shop\"\n"
    ));
    let (of_chat, _) = proxy.get("/chat/x", "").cookie("stickyd-chat").unwrap();
    let (of_shop, _) = proxy.get("/x", "").cookie("stickyd-shop").unwrap();
    let answer = proxy.get("/x", &format!("Cookie: {of_chat}; {of_shop}\r\n"));
    assert_eq!(answer.values("set-cookie"), [""; 0]);
    // One's value under the other's name is worth nothing.
    let (_, value) = of_chat.split_once('=').unwrap();
    assert!(proxy.get("/x", &format!("Cookie: stickyd-shop={value}\r\n")).cookie("stickyd-shop").is_some());
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[("upstream", "shop")], 1);
    // Each gets the other's as what it is to it: somebody's cookie.
    let request = shop.requests().pop().unwrap();
    assert_eq!(request.field("cookie"), None);
}
