//! Cookies in time: renewed past half, kept over a change of secrets.
//!
//! A rotation is a new first line. Old cookies still bind and are sealed anew only when they are past half of their time, as they would
//! be anyhow: nobody is given a cookie for the rotation's sake. So the old line may go once `ttl` is over.

use std::time::{SystemTime, UNIX_EPOCH};

use stickyd::affinity::cookie::{Binding, Keys};

use super::{NAME, get};
use crate::support::process::Home;
use crate::support::{Answering, Proxy};

const FIRST: &str = "the first secret of them all, 0123456789";
const SECOND: &str = "the second secret of them all, 0123456789";
const OTHER: &str = "a secret of somebody else, 01234567890123";
const TTL: u64 = 24 * 3600;
const ID: [u8; 8] = *b"binding!";

/// Two instances, between which only the cookie decides, and what was sealed for them.
struct Sealed {
    instances: [(&'static str, Answering); 2],
    home: Home,
}

impl Sealed {
    fn new() -> Self {
        let instances = ["blue", "green"].map(|name| (name, Answering::start(name)));
        Sealed { instances, home: Home::new() }
    }

    fn proxy(&self, secrets: &[&str]) -> Proxy {
        let secrets = self.home.write("secrets", &secrets.join("\n"));
        let [blue, green] = self
            .instances
            .each_ref()
            .map(|(name, instance)| format!("{{ name = \"{name}\", address = \"{instance}\" }}"));
        Proxy::start(&format!(
            "[upstream.app]\ninstances = [{blue}, {green}]\n[upstream.app.sticky]\nby = [\"cookie\"]\nsecret_file = \"{secrets}\"\n"
        ))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A cookie for `instance`, sealed with `secret` so many seconds ago.
fn cookie(secret: &str, instance: &str, age: i64) -> String {
    let keys = Keys::parse(secret).unwrap();
    let issued = now().checked_add_signed(-age).unwrap();
    let binding = Binding { instance: keys.instance_tokens("app", instance)[0], issued, id: ID };
    let mut value = Vec::new();
    keys.seal("app", &binding, &mut value);
    format!("{NAME}={}", String::from_utf8(value).unwrap())
}

/// What a cookie that was set says, to whoever has only this secret.
fn opened(secret: &str, cookie: &str) -> Binding {
    let value = cookie.strip_prefix(&format!("{NAME}=")).unwrap();
    Keys::parse(secret).unwrap().open("app", value.as_bytes(), now(), TTL).unwrap()
}

#[test]
fn a_cookie_past_half_of_its_time_is_renewed_and_is_the_same_binding() {
    let sealed = Sealed::new();
    let proxy = sealed.proxy(&[FIRST]);
    let half = TTL.cast_signed() / 2;
    for instance in ["blue", "green"] {
        for age in [0, -30, half - 60] {
            let got = get(&proxy, &cookie(FIRST, instance, age));
            assert_eq!((got.text(), got.cookie(NAME)), (instance, None), "{age}");
        }
        for age in [half + 60, TTL.cast_signed() - 60] {
            let got = get(&proxy, &cookie(FIRST, instance, age));
            assert_eq!(got.text(), instance);
            let (renewed, attributes) = got.cookie(NAME).unwrap();
            assert!(attributes.contains(&format!("Max-Age={TTL}")), "{attributes}");
            let binding = opened(FIRST, &renewed);
            assert_eq!(binding.id, ID, "it is the same binding");
            assert!(now() - binding.issued < 60, "of now");
            assert_eq!(get(&proxy, &renewed).cookie(NAME), None);
        }
    }
    proxy.counts("stickyd_sticky_rebinds_total", &[], 0);
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[], 0);
    // A clock that is a little ahead is believed, one that is far ahead is not.
    for age in [TTL.cast_signed() + 60, -120] {
        assert!(get(&proxy, &cookie(FIRST, "blue", age)).cookie(NAME).is_some());
    }
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[("reason", "expired")], 2);
}

#[test]
fn after_a_rotation_old_cookies_bind_and_new_ones_are_sealed_with_the_new_secret() {
    let sealed = Sealed::new();
    let proxy = sealed.proxy(&[SECOND, FIRST]);
    for instance in ["blue", "green"] {
        // Fresh: it binds, and stays as it is.
        let old = cookie(FIRST, instance, 3600);
        for _ in 0..3 {
            let got = get(&proxy, &old);
            assert_eq!((got.text(), got.cookie(NAME)), (instance, None));
        }
        // Past half it would be renewed anyhow: with the new secret now, and as the same binding.
        let got = get(&proxy, &cookie(FIRST, instance, TTL.cast_signed() - 3600));
        assert_eq!(got.text(), instance);
        let (renewed, _) = got.cookie(NAME).unwrap();
        assert_eq!(opened(SECOND, &renewed).id, ID);
        let got = get(&proxy, &renewed);
        assert_eq!((got.text(), got.cookie(NAME)), (instance, None));
    }
    // Who is new gets the new one, too.
    let (fresh, _) = get(&proxy, "a=b").cookie(NAME).unwrap();
    opened(SECOND, &fresh);
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[], 0);
    // A proxy that has not heard of the new secret yet does not know such cookies, but may be told beforehand.
    let late = sealed.proxy(&[FIRST]);
    assert!(get(&late, &fresh).cookie(NAME).is_some());
    late.counts("stickyd_sticky_cookies_rejected_total", &[("reason", "foreign")], 1);
    let told = sealed.proxy(&[FIRST, SECOND]);
    assert_eq!(get(&told, &fresh).cookie(NAME), None);
    // And where the old line is gone, the old ones count as foreign.
    let done = sealed.proxy(&[SECOND]);
    assert!(get(&done, &cookie(FIRST, "blue", 3600)).cookie(NAME).is_some());
    done.counts("stickyd_sticky_cookies_rejected_total", &[("reason", "foreign")], 1);
}

/// Several of one name: browsers send all that fit, in an order that says nothing.
#[test]
fn the_first_cookie_that_is_good_counts() {
    let sealed = Sealed::new();
    let proxy = sealed.proxy(&[FIRST]);
    let bad = || cookie(OTHER, "blue", 0);
    let good = cookie(FIRST, "green", 0);
    for count in 0..4 {
        let mut all = vec![bad(); count];
        all.push(good.clone());
        let got = get(&proxy, &all.join("; "));
        assert_eq!((got.text(), got.cookie(NAME)), ("green", None), "{count}");
        // In a field each, too.
        let fields: Vec<String> = all.iter().map(|one| format!("Cookie: {one}\r\n")).collect();
        assert_eq!(proxy.get("/", &fields.concat()).text(), "green");
        // None of them is the instance's business.
        for (_, instance) in &sealed.instances {
            assert!(instance.requests().iter().all(|request| request.values("cookie").is_empty()));
        }
    }
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[], 0);
    // Each costs a computation: whoever sends a thousand is not listened to for long.
    let got = get(&proxy, &format!("{}; {good}", vec![bad(); 150].join("; ")));
    assert!(got.cookie(NAME).is_some());
    proxy.counts("stickyd_sticky_cookies_rejected_total", &[("reason", "foreign")], 1);
}
