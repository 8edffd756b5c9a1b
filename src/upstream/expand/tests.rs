use proptest::prelude::*;

use super::*;
use crate::config;
use crate::config::model::InstanceState;

const RULES: Rules = Rules { forget: s(600), most: 4 };

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `10.0.0.N`
fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn addresses(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

/// Members as text: their addresses, a missing one with the second since when.
fn show(members: &[Member]) -> String {
    let show = |member: &Member| match member.presence {
        Presence::Present => member.address.to_string(),
        Presence::Missing { since } => format!("{}-{}", member.address, since.as_secs()),
    };
    members.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// Answers, each at its second, and what the members are after it.
#[track_caller]
fn check(steps: &[(u64, &str, &str)]) {
    let mut members = Vec::new();
    for (second, answer, expected) in steps {
        let heard = hear(&members, &addresses(answer), RULES, s(*second));
        assert_eq!(show(&heard.members), *expected, "at {second} s, after {answer:?}");
        members = heard.members;
    }
}

#[test]
fn each_address_is_a_member() {
    check(&[(0, "10.0.0.2 10.0.0.1", "10.0.0.1 10.0.0.2"), (30, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2")]);
    check(&[(0, "::1 10.0.0.9 ::ffff:10.0.0.9 10.0.0.9", "10.0.0.9 ::1")]);
}

#[test]
fn one_that_is_missing_is_cordoned_and_removed_after_a_while() {
    check(&[
        (0, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        (30, "10.0.0.1", "10.0.0.1 10.0.0.2-30"),
        (60, "10.0.0.1", "10.0.0.1 10.0.0.2-30"),
        (629, "10.0.0.1", "10.0.0.1 10.0.0.2-30"),
        (630, "10.0.0.1", "10.0.0.1"),
        (660, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
    ]);
}

#[test]
fn one_that_comes_back_was_never_away() {
    check(&[
        (0, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        (30, "10.0.0.1", "10.0.0.1 10.0.0.2-30"),
        (600, "10.0.0.2", "10.0.0.1-600 10.0.0.2"),
        (630, "10.0.0.1", "10.0.0.1 10.0.0.2-630"),
    ]);
}

#[test]
fn a_failure_or_an_empty_answer_changes_nothing() {
    check(&[
        (0, "", ""),
        (30, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        (60, "", "10.0.0.1 10.0.0.2"),
        (90, "10.0.0.1", "10.0.0.1 10.0.0.2-90"),
        // Not even what would have been removed meanwhile.
        (10_000, "", "10.0.0.1 10.0.0.2-90"),
        (10_030, "10.0.0.1", "10.0.0.1"),
    ]);
}

#[test]
fn all_of_them_may_be_others() {
    check(&[
        (0, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        (30, "10.0.0.3 10.0.0.4", "10.0.0.1-30 10.0.0.2-30 10.0.0.3 10.0.0.4"),
        (630, "10.0.0.3 10.0.0.4", "10.0.0.3 10.0.0.4"),
    ]);
}

#[test]
fn their_number_is_bounded() {
    let all = "10.0.0.9 10.0.0.8 10.0.0.7 10.0.0.6 10.0.0.5 10.0.0.4";
    // Of many new ones, the same in every proxy.
    check(&[(0, all, "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7")]);
    // Who is there goes before who is new.
    check(&[
        (0, "10.0.0.9 10.0.0.8", "10.0.0.8 10.0.0.9"),
        (30, all, "10.0.0.4 10.0.0.5 10.0.0.8 10.0.0.9"),
        (60, "10.0.0.1 10.0.0.9", "10.0.0.1 10.0.0.4-60 10.0.0.5-60 10.0.0.9"),
    ]);
    // Who is new goes before who is missing, and of those the longest missing goes first.
    check(&[
        (0, "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2"),
        (30, "10.0.0.2", "10.0.0.1-30 10.0.0.2"),
        (60, "10.0.0.5 10.0.0.6", "10.0.0.1-30 10.0.0.2-60 10.0.0.5 10.0.0.6"),
        (90, "10.0.0.5 10.0.0.6 10.0.0.7", "10.0.0.2-60 10.0.0.5 10.0.0.6 10.0.0.7"),
    ]);
    assert_eq!(hear(&[], &addresses(all), RULES, s(0)).left_out, 2);
    assert_eq!(hear(&[], &addresses("10.0.0.1 10.0.0.1"), RULES, s(0)).left_out, 0);
}

/// An upstream that expands; `keys`: its instances, and more.
fn file(keys: &str) -> Upstream {
    let text = format!("listen = \":8080\"\n[upstream.app]\nexpand = true\n{keys}\n");
    config::parse(&text, "test").unwrap_or_else(|report| panic!("{report}")).config.upstreams.remove(0)
}

/// So many members, all present.
fn many(count: u32) -> Vec<Member> {
    (0..count)
        .map(|n| Member { address: IpAddr::from(n.to_be_bytes()), presence: Presence::Present })
        .collect()
}

#[test]
fn members_are_instances_as_the_file_has_their_name() {
    let file = file(
        "instances = [{ address = \"app:3000\", weight = 2, max_tunnels = 7, backup = true, state = \"drain\" }, \
         \"127.0.0.1:80\", { address = \"app:3001\", name = \"other\" }, \"[::1]:80\", \"unknown:80\"]",
    );
    let present = |address: &str| Member { address: address.parse().unwrap(), presence: Presence::Present };
    let missing = Member { address: v4(2), presence: Presence::Missing { since: s(30) } };
    let members = Members::default().with("app", vec![present("10.0.0.1"), missing, present("2001:db8::1")]);
    let show = |file: &Upstream| -> Vec<String> {
        let show = |Expanded { instance, missing }: Expanded| {
            let Instance { name, host, port, weight, max_tunnels, backup, state } = instance;
            assert_eq!(weight == 2, (max_tunnels, backup, state) == (Some(7), true, InstanceState::Drain));
            format!("{name} = {host} {port} x{weight}{}", if missing { " missing" } else { "" })
        };
        instances(file, &members).into_iter().map(show).collect()
    };
    let expected = [
        "app:3000@10.0.0.1 = 10.0.0.1 3000 x2",
        "app:3000@10.0.0.2 = 10.0.0.2 3000 x2 missing",
        "app:3000@2001:db8::1 = 2001:db8::1 3000 x2",
        "127.0.0.1:80 = 127.0.0.1 80 x1",
        "other@10.0.0.1 = 10.0.0.1 3001 x1",
        "other@10.0.0.2 = 10.0.0.2 3001 x1 missing",
        "other@2001:db8::1 = 2001:db8::1 3001 x1",
        "[::1]:80 = ::1 80 x1",
    ];
    assert_eq!(show(&file), expected);
    let not = Upstream { expand: false, ..file.clone() };
    assert_eq!(show(&not).len(), 5, "as the file has them");
    assert_eq!(file.expanded().map(|name| name.host.as_str()).collect::<Vec<_>>(), ["app", "app", "unknown"]);
    assert_eq!(not.expanded().count(), 0);
}

#[test]
fn an_upstream_has_room_for_so_many() {
    let check = |instances: &str, members: &[(&str, u32)], expected| {
        let file = file(&format!("instances = [{instances}]\nresolve_forget = \"7s\""));
        let members = members
            .iter()
            .fold(Members::default(), |members, (name, count)| members.with(name, many(*count)));
        let rules = Rules::of(&file, &members, "app");
        assert_eq!((rules.most, rules.forget), (expected, s(7)), "{instances}");
    };
    check("\"app:80\"", &[], 1000);
    check("\"app:80\"", &[("app", 800)], 1000);
    check("\"app:80\", \"10.0.0.1:80\", \"other:80\", \"unknown:80\"", &[("other", 300), ("app", 7)], 699);
    check("\"app:80\", \"other:80\", \"app:81\", \"other:81\"", &[("other", 300)], 200);
    check("\"app:80\", \"other:80\"", &[("other", 1000)], 0);
    check("\"app:80\", \"other:80\"", &[("other", 2000)], 0);
}

#[test]
fn members_stay_while_the_file_has_their_name() {
    let members = Members::default().with("app", many(2)).with("other", many(3));
    let kept = |keys: &str| members.kept_by(&file(keys));
    assert_eq!(kept("instances = [\"other:80\", \"app:81\"]"), members);
    let kept = kept("instances = [\"new:80\", \"app:81\"]");
    assert_eq!((kept.of("app"), kept.of("other"), kept.of("new")), (&many(2)[..], &[][..], &[][..]));
    let file = Upstream { expand: false, ..file("instances = [\"app:80\"]") };
    assert_eq!(members.kept_by(&file), Members::default());
}

/// Answers out of ten addresses, with the seconds that pass before each.
fn histories() -> impl Strategy<Value = Vec<(u64, Vec<IpAddr>)>> {
    let answer = prop::collection::vec((0_u8..10).prop_map(v4), 0..8);
    prop::collection::vec((0_u64..400, answer), 1..40)
}

proptest! {
    #[test]
    fn whatever_the_answers(history in histories(), most in 1_usize..12) {
        let rules = Rules { most, ..RULES };
        let (mut members, mut now) = (Vec::<Member>::new(), s(0));
        // When each address was answered last, and the first answer after that.
        let mut missed = [None::<Duration>; 10];
        for (pause, answer) in history {
            now += s(pause);
            let before = members;
            let heard = hear(&before, &answer, rules, now);
            let reversed: Vec<IpAddr> = answer.iter().rev().copied().collect();
            prop_assert_eq!(&hear(&before, &reversed, rules, now), &heard, "the order of an answer says nothing");
            prop_assert_eq!(&hear(&heard.members, &answer, rules, now).members, &heard.members, "twice is once");
            members = heard.members;
            if answer.is_empty() {
                prop_assert_eq!(&members, &before);
                continue;
            }
            prop_assert!(members.len() <= most);
            prop_assert!(members.is_sorted_by(|a, b| a.address < b.address));
            for n in 0..10 {
                let (address, at) = (v4(n), usize::from(n));
                let member = members.iter().find(|member| member.address == address);
                let was = before.iter().any(|member| member.address == address);
                if answer.contains(&address) {
                    missed[at] = None;
                    prop_assert!(member.is_none_or(|member| member.presence == Presence::Present));
                    // Only for want of room; and who was there has it.
                    prop_assert!(member.is_some() || (!was || before.len() > most) && heard.left_out > 0);
                } else {
                    let since = *missed[at].get_or_insert(now);
                    let kept = was && now.saturating_sub(since) < rules.forget;
                    if let Some(member) = member {
                        prop_assert!(kept);
                        prop_assert_eq!(member.presence, Presence::Missing { since });
                    } else {
                        prop_assert!(!kept || members.len() == most, "it was removed too early");
                    }
                }
            }
            let distinct = (0..10).filter(|n| answer.contains(&v4(*n))).count();
            prop_assert_eq!(heard.left_out, distinct.saturating_sub(most));
        }
    }
}
