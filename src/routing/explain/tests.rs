use super::{Placed, Said, explain};
use crate::affinity::ip_hash::InstanceHash;
use crate::affinity::value_hash::ValueKey;
use crate::config::model::{Balance, InstanceState, IpHash, OnDown, StickyKey};
use crate::routing::pick::{
    By, Candidate, Choice, Client, Cookie, Health, Need, Outcome, Passed, Policy, Silence, Verdict,
};

const RENDEZVOUS: IpHash = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: None };

fn four() -> Vec<Candidate> {
    (0..4).map(|n| Candidate::ready(InstanceHash::of("socketio", &format!("i{n}:3000")), 1)).collect()
}

fn policy(by: &[StickyKey]) -> Policy<'_> {
    Policy { by, ip_hash: RENDEZVOUS, on_down: OnDown::Rebind, balance: Balance::Random }
}

/// It belongs to 2, then 3, 0, 1 by its address, and to 0, then 3, 1, 2 by its value.
fn anna(cookie: Cookie, values: &[Option<ValueKey>]) -> Client<'_> {
    Client { need: Need::Start, address: "192.0.2.1".parse().unwrap(), cookie, values }
}

fn to(instance: usize, by: By, rebind: Option<Passed>) -> Placed {
    Placed { outcome: Outcome::To(Choice { instance, by, rebind }), among: Vec::new() }
}

#[test]
fn every_key_is_asked_alone() {
    let by = [StickyKey::Sid, StickyKey::Cookie, StickyKey::Query("user".to_owned()), StickyKey::IpHash];
    let values = [None, None, ValueKey::of(b"anna")];
    let mut candidates = four();
    candidates[1].state = InstanceState::Drain;
    let explained = explain(policy(&by), anna(Cookie::To(1), &values), &candidates);
    let said = |verdict, asked, order: &[usize]| Said { verdict, asked, order: order.to_vec() };
    assert_eq!(
        explained.keys,
        [
            said(Verdict::Silent(Silence::NoSession), true, &[]),
            said(Verdict::Passed(Passed::Drain), true, &[]),
            said(Verdict::Goes(0), true, &[0, 3, 2]),
            said(Verdict::Goes(2), false, &[2, 3, 0]),
        ]
    );
    assert_eq!(explained.result, to(0, By::Query, Some(Passed::Drain)));
    assert_eq!(explained.if_down, Some(to(3, By::Query, Some(Passed::Drain))));
}

#[test]
fn what_would_be_if_it_were_down() {
    let by = [StickyKey::Cookie, StickyKey::IpHash];
    let explained = explain(policy(&by), anna(Cookie::To(1), &[]), &four());
    assert_eq!(explained.result, to(1, By::Cookie, None));
    assert_eq!(explained.if_down, Some(to(2, By::IpHash, Some(Passed::Down))));

    let failing = Policy { on_down: OnDown::Fail, ..policy(&by) };
    let explained = explain(failing, anna(Cookie::To(1), &[]), &four());
    assert_eq!(explained.result, to(1, By::Cookie, None));
    assert_eq!(explained.if_down, Some(Placed { outcome: Outcome::Fail, among: Vec::new() }));
    // The order is that of the hash all the same.
    assert_eq!(explained.keys[1].order, [2, 3, 0, 1]);
}

#[test]
fn balance_takes_one_of_several() {
    let explained = explain(policy(&[]), anna(Cookie::None, &[]), &four());
    assert_eq!(explained.result.among, [0, 1, 2, 3]);
    assert_eq!(explained.if_down, None, "nobody can tell which");

    let mut one_left = four();
    one_left[..3].iter_mut().for_each(|candidate| candidate.health = Health::Down);
    let explained = explain(policy(&[]), anna(Cookie::None, &[]), &one_left);
    assert_eq!(explained.result, Placed { among: vec![3], ..to(3, By::Balance, None) });
    assert_eq!(explained.if_down, Some(Placed { outcome: Outcome::Nowhere, among: Vec::new() }));
}
