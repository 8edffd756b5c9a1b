//! The rules, one table each. Instances are written as words: `ready drain+down full+x3 backup`.

mod balanced;
mod bounded;
mod properties;
mod slow_start;

use super::{
    By, Candidate, Client, Cookie, Health, Need, Opening, Outcome, Passed, Policy, Sid, Silence, Verdict,
};
use super::{consider, pick};
use crate::affinity::ip_hash::InstanceHash;
use crate::affinity::value_hash::ValueKey;
use crate::config::model::{Balance, InstanceState, IpHash, OnDown, StickyKey};

const RENDEZVOUS: IpHash = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: None };

/// The instances `i0:3000`, `i1:3000` and so on. Of each: `ready`, `cordon`, `drain` or `maintain`; `degraded`, `silent` or `down`; `full`,
/// `backup`, `away`; `x` and its weight; `%` and its share; `=` and its load; in any order, joined by `+`.
fn instances(text: &str) -> Vec<Candidate> {
    let one = |(index, words): (usize, &str)| {
        let hash = InstanceHash::of("socketio", &format!("i{index}:3000"));
        let mut candidate = Candidate::ready(hash, 1);
        for word in words.split('+') {
            match word {
                "ready" => candidate.state = InstanceState::Ready,
                "cordon" => candidate.state = InstanceState::Cordon,
                "drain" => candidate.state = InstanceState::Drain,
                "maintain" => candidate.state = InstanceState::Maintain,
                "degraded" => candidate.health = Health::Degraded,
                "silent" => candidate.health = Health::Silent,
                "down" => candidate.health = Health::Down,
                "full" => candidate.full = true,
                "backup" => candidate.backup = true,
                "away" => candidate.away = true,
                _ => match word.split_at(1) {
                    ("%", share) => candidate.share = share.parse().unwrap(),
                    ("x", weight) => candidate.weight = weight.parse().unwrap(),
                    ("=", load) => candidate.load = load.parse().unwrap(),
                    _ => panic!("{word}"),
                },
            }
        }
        candidate
    };
    text.split_whitespace().enumerate().map(one).collect()
}

fn policy(by: &[StickyKey]) -> Policy<'_> {
    Policy { by, ip_hash: RENDEZVOUS, on_down: OnDown::Rebind, balance: Balance::RoundRobin }
}

fn client(need: Need, address: &str, cookie: Cookie) -> Client<'static> {
    Client { need, address: address.parse().unwrap(), cookie, values: &[] }
}

/// `2 cookie`, `1 ip_hash after drain`, `gone`, `fail`, `nowhere`
fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::To(choice) => {
            let after = choice.rebind.map(|why| format!(" after {}", format!("{why:?}").to_lowercase()));
            format!("{} {}{}", choice.instance, choice.by.as_str(), after.unwrap_or_default())
        }
        Outcome::SessionGone => "gone".to_owned(),
        Outcome::Fail => "fail".to_owned(),
        Outcome::Nowhere => "nowhere".to_owned(),
    }
}

/// Turn 0 of a round robin is the first that is eligible, so what falls to `balance` is `0 balance` where all are ready.
#[track_caller]
fn check(policy: Policy<'_>, client: Client<'_>, text: &str, expected: &str) {
    let outcome = pick(policy, client, &instances(text), |_| 0);
    assert_eq!(words(outcome), expected, "{text}; {client:?}");
}

use Cookie::To;
use Need::{Plain, Session, Start};

/// What lets in whom.
#[test]
fn openings() {
    for (words, start, plain, session) in [
        ("ready", Opening::New, Opening::New, Opening::New),
        ("cordon", Opening::Bound, Opening::Bound, Opening::Bound),
        ("degraded", Opening::Bound, Opening::Bound, Opening::Bound),
        ("silent", Opening::Held, Opening::Bound, Opening::Bound),
        ("cordon+silent", Opening::Held, Opening::Bound, Opening::Bound),
        ("full", Opening::Held, Opening::New, Opening::New),
        ("full+cordon", Opening::Held, Opening::Bound, Opening::Bound),
        ("full+degraded", Opening::Held, Opening::Bound, Opening::Bound),
        ("drain", Opening::Held, Opening::Held, Opening::Held),
        ("drain+degraded", Opening::Held, Opening::Held, Opening::Held),
        ("maintain", Opening::Nothing, Opening::Nothing, Opening::Nothing),
        ("down", Opening::Nothing, Opening::Nothing, Opening::Nothing),
        ("cordon+down", Opening::Nothing, Opening::Nothing, Opening::Nothing),
        // That is about one client, and no more than a wish.
        ("away", Opening::New, Opening::New, Opening::New),
    ] {
        let candidate = instances(words)[0];
        let found = [Start, Plain, Session(Sid::Unknown)].map(|need| candidate.opening(need));
        assert_eq!(found, [start, plain, session], "{words}");
    }
}

/// By rendezvous 192.0.2.1 belongs to 2, then 3, 0, 1 of four; golden vectors are in the hash's own tests.
#[test]
fn keys_in_their_order() {
    use StickyKey::{Cookie as ByCookie, IpHash as ByAddress};
    let all = "ready ready ready ready";
    for (by, cookie, instances, expected) in [
        (&[ByCookie, ByAddress][..], To(3), all, "3 cookie"),
        (&[ByCookie, ByAddress], Cookie::None, all, "2 ip_hash"),
        (&[ByAddress, ByCookie], To(3), all, "2 ip_hash"),
        (&[ByAddress], To(3), all, "2 ip_hash"),
        (&[ByCookie], To(3), all, "3 cookie"),
        (&[ByCookie], Cookie::None, all, "0 balance"),
        (&[], To(3), all, "0 balance"),
        (&[ByAddress], Cookie::None, "ready ready down ready", "3 ip_hash"),
        (&[ByAddress], Cookie::None, "ready ready down down", "0 ip_hash"),
        (&[ByAddress], Cookie::None, "down ready down down", "1 ip_hash"),
        (&[ByAddress], Cookie::None, "down down down down", "nowhere"),
        (&[ByCookie, ByAddress], To(2), "ready ready down ready", "3 ip_hash after down"),
        (&[ByCookie], To(0), "down ready", "1 balance after down"),
        (&[ByCookie], Cookie::Removed, all, "0 balance after removed"),
        (&[ByCookie], To(4), all, "0 balance after removed"),
        (&[ByCookie], To(usize::MAX), all, "0 balance after removed"),
        // Decided before the cookie was asked.
        (&[ByAddress, ByCookie], To(3), "ready ready ready down", "2 ip_hash"),
        (&[ByAddress, ByCookie], Cookie::Removed, all, "2 ip_hash"),
        (&[ByAddress], Cookie::None, "", "nowhere"),
        (&[], Cookie::None, "", "nowhere"),
    ] {
        for need in [Start, Plain, Session(Sid::Unknown)] {
            check(policy(by), client(need, "192.0.2.1", cookie), instances, expected);
        }
    }
}

/// A client that is bound to instance 1 of three; whom it is placed at otherwise is 0 or, where that may not be, 2.
#[test]
fn bound_clients() {
    for (state, start, plain) in [
        ("ready", "1 cookie", "1 cookie"),
        ("cordon", "1 cookie", "1 cookie"),
        ("degraded", "1 cookie", "1 cookie"),
        ("silent", "0 balance after down", "1 cookie"),
        ("silent+full", "0 balance after full", "1 cookie"),
        ("backup", "1 cookie", "1 cookie"),
        ("full", "0 balance after full", "1 cookie"),
        ("full+cordon", "0 balance after full", "1 cookie"),
        ("drain", "0 balance after drain", "1 cookie"),
        ("drain+full", "0 balance after drain", "1 cookie"),
        ("maintain", "0 balance after maintenance", "0 balance after maintenance"),
        ("maintain+down", "0 balance after maintenance", "0 balance after maintenance"),
        ("down", "0 balance after down", "0 balance after down"),
        ("drain+down", "0 balance after down", "0 balance after down"),
        ("full+down+away", "0 balance after down", "0 balance after down"),
        ("away", "0 balance after moved", "1 cookie"),
        ("away+cordon", "0 balance after moved", "1 cookie"),
        ("away+full", "0 balance after full", "1 cookie"),
    ] {
        let instances = format!("ready {state} ready");
        let by = [StickyKey::Sid, StickyKey::Cookie];
        check(policy(&by), client(Start, "192.0.2.1", To(1)), &instances, start);
        check(policy(&by), client(Plain, "192.0.2.1", To(1)), &instances, plain);
        // Who has a session that nobody here knows goes the way of a plain request.
        check(policy(&by), client(Session(Sid::Unknown), "192.0.2.1", To(1)), &instances, plain);
    }
}

/// There, or nowhere.
#[test]
fn known_sessions() {
    let by = [StickyKey::Sid, StickyKey::Cookie, StickyKey::IpHash];
    for (state, expected) in [
        ("ready", "1 sid"),
        ("cordon", "1 sid"),
        ("degraded", "1 sid"),
        ("silent", "1 sid"),
        ("full", "1 sid"),
        ("drain", "1 sid"),
        ("away", "1 sid"),
        ("backup", "1 sid"),
        ("maintain", "gone"),
        ("down", "gone"),
        ("drain+down", "gone"),
    ] {
        let instances = format!("ready {state} ready");
        for cookie in [Cookie::None, Cookie::Removed, To(0), To(1)] {
            for on_down in [OnDown::Rebind, OnDown::Fail] {
                let policy = Policy { on_down, ..policy(&by) };
                check(policy, client(Session(Sid::At(1)), "192.0.2.1", cookie), &instances, expected);
            }
        }
    }
    let all = "ready ready ready ready";
    check(policy(&by), client(Session(Sid::Gone), "192.0.2.1", To(0)), all, "gone");
    check(policy(&by), client(Session(Sid::At(4)), "192.0.2.1", To(0)), all, "gone");
    check(policy(&by), client(Session(Sid::Unknown), "192.0.2.1", To(0)), all, "0 cookie");
    check(policy(&by), client(Session(Sid::Unknown), "192.0.2.1", Cookie::None), all, "2 ip_hash");
    // Where sids are no key nobody learns them, and what is known of them counts for nothing.
    check(policy(&by[1..]), client(Session(Sid::At(1)), "192.0.2.1", To(0)), all, "0 cookie");
    // The first key decides.
    let by = [StickyKey::Cookie, StickyKey::Sid];
    check(policy(&by), client(Session(Sid::At(1)), "192.0.2.1", To(0)), all, "0 cookie");
    check(policy(&by), client(Session(Sid::At(1)), "192.0.2.1", To(0)), "down ready", "1 sid after down");
}

/// Clients that nothing binds, and sessions that nobody here knows: who takes them. 192.0.2.1 belongs to 2, then 3, 0, 1.
#[test]
fn new_clients() {
    let by = [StickyKey::IpHash];
    for (instances, start, plain, session) in [
        ("ready ready ready ready", "2 ip_hash", "2 ip_hash", "2 ip_hash"),
        ("ready ready cordon ready", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("ready ready degraded ready", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("ready ready drain ready", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("ready ready full ready", "3 ip_hash", "2 ip_hash", "2 ip_hash"),
        ("ready ready maintain ready", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("ready ready away ready", "3 ip_hash", "3 ip_hash", "2 ip_hash"),
        ("ready ready backup ready", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        // A backup helps when no other is left in the set, whatever the reason.
        ("down cordon backup drain", "2 ip_hash", "2 ip_hash", "2 ip_hash"),
        ("down down backup backup", "2 ip_hash", "2 ip_hash", "2 ip_hash"),
        ("full full backup full", "2 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("down down away+backup backup", "3 ip_hash", "3 ip_hash", "2 ip_hash"),
        // To rest is a wish: it gives way when nobody else is left, even then not to a backup that is away too.
        ("away away away away", "2 ip_hash", "2 ip_hash", "2 ip_hash"),
        ("down away down down", "1 ip_hash", "1 ip_hash", "1 ip_hash"),
        ("away away away+backup away", "3 ip_hash", "3 ip_hash", "3 ip_hash"),
        ("away away away backup", "3 ip_hash", "3 ip_hash", "2 ip_hash"),
        ("cordon cordon cordon cordon", "nowhere", "nowhere", "2 ip_hash"),
        ("drain drain drain drain", "nowhere", "nowhere", "2 ip_hash"),
        ("full full full full", "nowhere", "2 ip_hash", "2 ip_hash"),
        ("maintain maintain down down", "nowhere", "nowhere", "nowhere"),
    ] {
        check(policy(&by), client(Start, "192.0.2.1", Cookie::None), instances, start);
        check(policy(&by), client(Plain, "192.0.2.1", Cookie::None), instances, plain);
        check(policy(&by), client(Session(Sid::Unknown), "192.0.2.1", Cookie::None), instances, session);
    }
    // Balance chooses from the same set.
    for (instances, start, plain, session) in [
        ("drain ready", "1 balance", "1 balance", "1 balance"),
        ("away ready", "1 balance", "1 balance", "0 balance"),
        ("full ready", "1 balance", "0 balance", "0 balance"),
        ("backup ready", "1 balance", "1 balance", "1 balance"),
        ("down backup", "1 balance", "1 balance", "1 balance"),
        ("cordon maintain", "nowhere", "nowhere", "0 balance"),
    ] {
        check(policy(&[]), client(Start, "192.0.2.1", Cookie::None), instances, start);
        check(policy(&[]), client(Plain, "192.0.2.1", Cookie::None), instances, plain);
        check(policy(&[]), client(Session(Sid::Unknown), "192.0.2.1", Cookie::None), instances, session);
    }
}

/// A client that was moved away from the last instance that is left goes back: no rebinding, and no cookie anew.
#[test]
fn back_to_the_only_one_is_no_rebinding() {
    let by = [StickyKey::Cookie, StickyKey::IpHash];
    check(policy(&by), client(Start, "192.0.2.1", To(0)), "away", "0 ip_hash");
    check(policy(&by), client(Start, "192.0.2.1", To(0)), "away down", "0 ip_hash");
    check(policy(&by), client(Start, "192.0.2.1", To(0)), "away away", "0 ip_hash");
    check(policy(&by), client(Start, "192.0.2.1", To(1)), "away away", "0 ip_hash after moved");
}

/// anna belongs to 0, then 3, 1, 2; bert to 3, then 2, 0, 1.
#[test]
fn headers_and_queries() {
    let by = [StickyKey::Header("x-user".to_owned()), StickyKey::Query("user".to_owned()), StickyKey::IpHash];
    let all = "ready ready ready ready";
    let (anna, bert) = (ValueKey::of(b"anna"), ValueKey::of(b"bert"));
    for (values, instances, expected) in [
        (&[anna, bert, None][..], all, "0 header"),
        (&[None, bert, None], all, "3 query"),
        (&[None, bert], all, "3 query"),
        (&[None, None, None], all, "2 ip_hash"),
        (&[], all, "2 ip_hash"),
        (&[anna], "down ready ready ready", "3 header"),
        (&[anna], "cordon ready ready drain", "1 header"),
        (&[None, bert], "ready ready ready away", "2 query"),
        (&[anna], "down down down down", "nowhere"),
    ] {
        let client = Client { values, ..client(Start, "192.0.2.1", Cookie::None) };
        check(policy(&by), client, instances, expected);
    }
    // They come before or behind a cookie, as the file says.
    let of_anna = Client { values: &[anna], ..client(Start, "192.0.2.1", To(1)) };
    check(policy(&[by[0].clone(), StickyKey::Cookie]), of_anna, all, "0 header");
    let of_anna = Client { values: &[None, anna], ..of_anna };
    check(policy(&[StickyKey::Cookie, by[0].clone()]), of_anna, all, "1 cookie");
    check(policy(&[StickyKey::Cookie, by[0].clone()]), of_anna, "ready drain", "0 header after drain");
}

#[test]
fn on_down_fail() {
    let by = [StickyKey::Cookie, StickyKey::IpHash];
    for (cookie, instances, expected) in [
        (To(1), "ready ready ready ready", "1 cookie"),
        (To(1), "ready down ready ready", "fail"),
        (To(1), "ready down+drain ready ready", "fail"),
        // Whoever is taken out of service on purpose is no failure.
        (To(1), "ready maintain+down ready ready", "2 ip_hash after maintenance"),
        (To(1), "ready drain ready ready", "2 ip_hash after drain"),
        (Cookie::Removed, "ready ready ready ready", "2 ip_hash after removed"),
        // 192.0.2.1 belongs to 2, then 3.
        (Cookie::None, "down down ready down", "2 ip_hash"),
        (Cookie::None, "ready ready down ready", "fail"),
        (Cookie::None, "down down down down", "fail"),
        // Were it up, it would not get new clients.
        (Cookie::None, "ready ready cordon+down ready", "3 ip_hash"),
        (Cookie::None, "ready ready maintain+down ready", "3 ip_hash"),
        (Cookie::None, "ready ready full+down ready", "3 ip_hash"),
        (Cookie::None, "ready ready away+down ready", "3 ip_hash"),
        (Cookie::None, "ready ready backup+down ready", "3 ip_hash"),
        (Cookie::None, "ready ready cordon down", "fail"),
        // A backup takes over from those that are out of service, not from those that are down.
        (Cookie::None, "down down down backup", "fail"),
        (Cookie::None, "maintain maintain drain backup", "3 ip_hash"),
        (To(3), "ready ready drain drain", "0 ip_hash after drain"),
        (To(3), "ready ready down drain", "fail"),
        (Cookie::None, "drain drain drain drain", "nowhere"),
    ] {
        let policy = Policy { on_down: OnDown::Fail, ..policy(&by) };
        check(policy, client(Start, "192.0.2.1", cookie), instances, expected);
    }
    let values = [ValueKey::of(b"anna")];
    let anna = Client { values: &values, ..client(Plain, "192.0.2.1", Cookie::None) };
    let by = [StickyKey::Header("x-user".to_owned())];
    check(Policy { on_down: OnDown::Fail, ..policy(&by) }, anna, "down ready ready ready", "fail");
    // Balance binds nobody.
    check(Policy { on_down: OnDown::Fail, ..policy(&[]) }, anna, "down ready", "1 balance");
    check(Policy { on_down: OnDown::Fail, ..policy(&[]) }, anna, "down down", "nowhere");
}

#[test]
fn prefixes() {
    let by = [StickyKey::IpHash];
    let ten = instances(&"ready ".repeat(10));
    let choose = |ipv4_prefix, address: &str| {
        let ip_hash = IpHash::Rendezvous { ipv4_prefix, ipv6_prefix: 64, bound: None };
        pick(Policy { ip_hash, ..policy(&by) }, client(Start, address, Cookie::None), &ten, |_| 0)
    };
    assert_eq!(choose(24, "192.0.2.1"), choose(24, "::ffff:192.0.2.254"));
    assert_ne!(choose(32, "192.0.2.1"), choose(32, "192.0.2.2"));
    assert_eq!(choose(32, "2001:db8::1"), choose(32, "2001:db8:0:0:ffff::1"));
}

/// Of four nginx gives 8.8.8.8 the instances 3, 2 and 10.1.2.3 the instances 3, 1; of two it gives 8.8.8.8 the second.
#[test]
fn nginx() {
    let by = [StickyKey::IpHash];
    for (address, instances, expected) in [
        ("8.8.8.8", "down ready ready down", "2 ip_hash"),
        ("10.1.2.3", "down ready ready down", "1 ip_hash"),
        ("8.8.8.8", "maintain ready ready drain", "2 ip_hash"),
        ("8.8.8.8", "ready ready", "1 ip_hash"),
        // A backup stands in a line of its own, as nginx has it.
        ("8.8.8.8", "backup ready backup ready", "3 ip_hash"),
        ("8.8.8.8", "down backup down backup", "3 ip_hash"),
        ("8.8.8.8", "backup+x1000 ready ready", "2 ip_hash"),
        // It gives up after 21 tries.
        ("8.8.8.8", "down+x1000 ready", "1 balance"),
        ("8.8.8.8", "down down", "nowhere"),
    ] {
        let policy = Policy { ip_hash: IpHash::Nginx, ..policy(&by) };
        check(policy, client(Start, address, Cookie::None), instances, expected);
    }
    let policy = Policy { ip_hash: IpHash::Nginx, on_down: OnDown::Fail, ..policy(&by) };
    check(policy, client(Start, "8.8.8.8", Cookie::None), "ready down", "fail");
    check(policy, client(Start, "8.8.8.8", Cookie::None), "down ready", "1 ip_hash");
}

/// What each key says when it is asked alone.
#[test]
fn verdicts() {
    use Verdict::{Ended, Failed, Goes, Passed as Over, Silent};
    let by = [StickyKey::Sid, StickyKey::Cookie, StickyKey::Header("x-user".to_owned()), StickyKey::IpHash];
    let anna = [None, None, ValueKey::of(b"anna")];
    let check = |need, cookie, values: &[_], text: &str, expected: [Verdict; 4]| {
        let (client, candidates) = (Client { values, ..client(need, "192.0.2.1", cookie) }, instances(text));
        let said = [0, 1, 2, 3].map(|place| consider(policy(&by), client, &candidates, place));
        assert_eq!(said, expected, "{text}");
    };
    let all = "ready ready ready ready";
    let nothing = [Silent(Silence::NoSession), Silent(Silence::NoCookie), Silent(Silence::NoValue)];
    let [no_session, no_cookie, no_value] = nothing;
    check(Start, Cookie::None, &[], all, [no_session, no_cookie, no_value, Goes(2)]);
    check(Plain, To(1), &anna, all, [no_session, Goes(1), Goes(0), Goes(2)]);
    let unknown = Silent(Silence::UnknownSession);
    check(
        Session(Sid::Unknown),
        Cookie::Removed,
        &anna,
        all,
        [unknown, Over(Passed::Removed), Goes(0), Goes(2)],
    );
    check(Session(Sid::At(3)), To(1), &[], all, [Goes(3), Goes(1), no_value, Goes(2)]);
    check(Session(Sid::Gone), To(1), &[], all, [Ended, Goes(1), no_value, Goes(2)]);
    let nobody = Silent(Silence::Nobody);
    check(Start, To(1), &anna, "down drain", [no_session, Over(Passed::Drain), nobody, nobody]);

    let (client, candidates) = (client(Start, "192.0.2.1", To(0)), instances("down ready down"));
    let failing = Policy { on_down: OnDown::Fail, ..policy(&by) };
    assert_eq!(consider(failing, client, &candidates, 1), Failed(0));
    assert_eq!(consider(failing, client, &candidates, 3), Failed(2));
    let nginx = Policy { ip_hash: IpHash::Nginx, ..policy(&by) };
    assert_eq!(consider(nginx, client, &instances("down+x1000 ready"), 3), Silent(Silence::GaveUp));
}

#[test]
fn loads_are_looked_at_where_they_decide() {
    let bounded = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: Some(125) };
    let cookie = &[StickyKey::Sid, StickyKey::Cookie][..];
    let address = &[StickyKey::Cookie, StickyKey::IpHash][..];
    for (by, ip_hash, balance, start, plain) in [
        (cookie, RENDEZVOUS, Balance::LeastTunnels, true, true),
        (cookie, RENDEZVOUS, Balance::RoundRobin, false, false),
        (cookie, bounded, Balance::Random, false, false),
        (address, RENDEZVOUS, Balance::LeastTunnels, false, false),
        (address, bounded, Balance::LeastTunnels, true, false),
        (address, bounded, Balance::Random, true, false),
        (address, IpHash::Nginx, Balance::LeastTunnels, true, true),
        (address, IpHash::Nginx, Balance::Random, false, false),
        (&[], bounded, Balance::LeastTunnels, true, true),
    ] {
        let policy = Policy { ip_hash, balance, ..policy(by) };
        let found = [Start, Plain].map(|need| policy.looks_at_loads(need));
        assert_eq!(found, [start, plain], "{policy:?}");
    }
}

/// A turn that was taken for a client whose key decided would be missing in the round.
#[test]
fn a_number_is_asked_for_only_by_balance() {
    let by = [StickyKey::Cookie, StickyKey::IpHash];
    let never = |_| panic!("asked for");
    let outcome = pick(policy(&by), client(Start, "192.0.2.1", To(0)), &instances("drain ready"), never);
    assert_eq!(words(outcome), "1 ip_hash after drain");
    let nobody = pick(policy(&[]), client(Start, "192.0.2.1", To(0)), &instances("drain drain"), never);
    assert_eq!(nobody, Outcome::Nowhere);
    let asked = pick(policy(&[]), client(Start, "192.0.2.1", To(0)), &instances("ready ready"), |balance| {
        assert_eq!(balance, Balance::RoundRobin);
        1
    });
    assert_eq!(words(asked), "1 balance");
}

#[test]
fn the_words_of_what_decided() {
    let words = [By::Sid, By::Cookie, By::IpHash, By::Header, By::Query, By::Balance].map(By::as_str);
    assert_eq!(words, ["sid", "cookie", "ip_hash", "header", "query", "balance"]);
}
