use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// An upstream of these `name@host:port`.
fn upstream(instances: &[&str]) -> Upstream {
    let text = "listen = \":80\"\n[upstream.socketio]\ninstances = [\"a:1\"]\n";
    let mut upstream = crate::config::parse(text, "x").unwrap().config.upstreams.remove(0);
    let instance = |text: &&str| {
        let (name, address) = text.split_once('@').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        Instance::plain(name.to_owned(), host.to_owned(), port.parse().unwrap())
    };
    upstream.instances = instances.iter().map(instance).collect();
    upstream
}

#[test]
fn who_goes_on_as_whom() {
    let check = |old: &[&str], new: &[&str], expected: &[Option<usize>]| {
        assert_eq!(pairs(&upstream(old), &upstream(new)), expected, "{old:?} -> {new:?}");
    };
    check(&["a@h:1", "b@h:2"], &["a@h:1", "b@h:2"], &[Some(0), Some(1)]);
    check(&["a@h:1", "b@h:2"], &["b@h:2", "a@h:1"], &[Some(1), Some(0)]);
    // Added, removed, replaced by another.
    check(&["a@h:1"], &["a@h:1", "b@h:2"], &[Some(0), None]);
    check(&["a@h:1", "b@h:2"], &["b@h:2"], &[Some(1)]);
    check(&["a@h:1"], &["b@h:2"], &[None]);
    // Renamed, moved.
    check(&["a@h:1", "b@h:2"], &["c@h:1", "b@h:2"], &[Some(0), Some(1)]);
    check(&["a@H.:1"], &["c@h:1"], &[Some(0)]);
    check(&["a@h:1"], &["a@other:1"], &[Some(0)]);
    check(&["a@h:1"], &["c@h:11"], &[None]);
    // Two swap their names; a ring of three.
    check(&["a@h:1", "b@h:2"], &["b@h:1", "a@h:2"], &[Some(1), Some(0)]);
    check(&["a@h:1", "b@h:2", "c@h:3"], &["c@h:1", "a@h:2", "b@h:3"], &[Some(2), Some(0), Some(1)]);
    // The name of one with the address of another, which is gone: the name wins.
    check(&["a@h:1", "b@h:2"], &["b@h:1"], &[Some(1)]);
    // What one has by name, no other gets by address; what is left by name, another gets.
    check(&["a@h:1"], &["b@h:1", "a@h:2"], &[None, Some(0)]);
    check(&["a@h:1", "b@h:2"], &["b@h:1", "c@h:2"], &[Some(1), None]);
}

/// Instances with names that are unique, and addresses that are.
fn instances() -> impl Strategy<Value = Vec<Instance>> {
    prop::collection::btree_map(0..6_u8, 1..7_u16, 1..6).prop_map(|map| {
        let mut seen = HashSet::new();
        let unique = map.into_iter().filter(|(_, port)| seen.insert(*port));
        unique.map(|(name, port)| Instance::plain(format!("i{name}"), "h".to_owned(), port)).collect()
    })
}

proptest! {
    #[test]
    fn pairs_are_a_matching(old in instances(), new in instances()) {
        let blank = upstream(&[]);
        let old = Upstream { instances: old, ..blank.clone() };
        let new = Upstream { instances: new, ..blank };
        let pairs = pairs(&old, &new);
        prop_assert_eq!(pairs.len(), new.instances.len());
        let mut seen = HashSet::new();
        for (instance, pair) in new.instances.iter().zip(&pairs) {
            let with = |same: &dyn Fn(&Instance) -> bool| old.instances.iter().position(same);
            let named = with(&|old| old.name == instance.name);
            match *pair {
                Some(index) => {
                    prop_assert!(seen.insert(index), "{} comes twice", index);
                    let old = &old.instances[index];
                    prop_assert!(old.name == instance.name || (named.is_none() && old.port == instance.port));
                }
                // One of its name or address there is not, or somebody has it by name.
                None => {
                    prop_assert!(named.is_none());
                    let there = with(&|old| old.port == instance.port);
                    let is_named = |at: usize| new.instances.iter().any(|new| new.name == old.instances[at].name);
                    prop_assert!(there.is_none_or(is_named));
                }
            }
        }
    }
}
