//! Who is online, by the rules: a user is while at least one socket is, and a socket is for so long after it was last told.
//!
//! | what happens | the user comes | the user goes |
//! | --- | --- | --- |
//! | a socket is told (when it comes, and every refresh) | when nobody had announced the user | |
//! | a socket leaves | | when it was the last |
//! | a socket left, and could not say so in time | | when the user is due, unless another socket is told before |
//! | its instance died: nothing is told any more | | when the last socket has run out, and the user is due |
//!
//! So coming and going alternate, each once, whatever instances do. What is *due* is looked at by [`Ledger::sweep`].
//!
//! Pure: the store in Redis follows the same rules in Lua, and the same tests. Must not: know what time it is.

use std::collections::HashMap;

/// Something that an instance says of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These sockets of a user are there.
    Told {
        /// Whose they are.
        user: String,
        /// Which.
        members: Vec<String>,
    },
    /// A socket of a user has left.
    Left {
        /// Whose it was.
        user: String,
        /// Which.
        member: String,
    },
    /// A socket left some time ago, when nobody could be told.
    LeftBefore {
        /// Whose it was.
        user: String,
        /// Which.
        member: String,
    },
}

/// What somebody has to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Same,
    /// The user is online now.
    Came,
    /// The user is offline now.
    Went,
}

#[derive(Debug, Default)]
struct Entry {
    /// Each socket, and until when it is there.
    sockets: HashMap<String, u64>,
    /// Until when the user is online.
    until: u64,
    /// When it is to be looked whether the user is gone.
    due: u64,
}

/// Who is online. Times are milliseconds since the epoch.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Everybody who was announced as online and not yet as offline.
    users: HashMap<String, Entry>,
}

impl Ledger {
    /// Notes a change. A socket that is told stays for `ttl`; who left before is due after `grace`.
    pub fn apply(&mut self, change: &Change, now: u64, ttl: u64, grace: u64) -> Outcome {
        match change {
            Change::Told { user, members } => {
                let is_new = !self.users.contains_key(user);
                let entry = self.users.entry(user.clone()).or_default();
                entry.sockets.retain(|_, until| *until > now);
                entry.sockets.extend(members.iter().map(|member| (member.clone(), now + ttl)));
                (entry.until, entry.due) = (now + ttl, now + ttl);
                if is_new { Outcome::Came } else { Outcome::Same }
            }
            Change::Left { user, member } => {
                let Some(entry) = self.users.get_mut(user) else { return Outcome::Same };
                let Some(until) = entry.without(member, now) else {
                    self.users.remove(user);
                    return Outcome::Went;
                };
                (entry.until, entry.due) = (until, until);
                Outcome::Same
            }
            Change::LeftBefore { user, member } => {
                let entry = self.users.entry(user.clone()).or_default();
                (entry.until, entry.due) = match entry.without(member, now) {
                    Some(until) => (until, until),
                    None => (now, now + grace),
                };
                Outcome::Same
            }
        }
    }

    /// The users who have run out by now, each of them once.
    pub fn sweep(&mut self, now: u64) -> Vec<String> {
        let mut gone = Vec::new();
        self.users.retain(|user, entry| {
            let stays = entry.due > now || entry.until > now;
            if !stays {
                gone.push(user.clone());
            }
            stays
        });
        gone
    }

    /// Whether a user is online.
    pub fn is_online(&self, user: &str, now: u64) -> bool {
        self.users.get(user).is_some_and(|entry| entry.until > now)
    }
}

impl Entry {
    /// Until when the user is online without this socket, where there is another.
    fn without(&mut self, member: &str, now: u64) -> Option<u64> {
        self.sockets.remove(member);
        self.sockets.retain(|_, until| *until > now);
        self.sockets.values().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: &str, members: &[&str]) -> Change {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        Change::Told { user: user.to_owned(), members }
    }

    fn left(user: &str, member: &str) -> Change {
        Change::Left { user: user.to_owned(), member: member.to_owned() }
    }

    fn left_before(user: &str, member: &str) -> Change {
        Change::LeftBefore { user: user.to_owned(), member: member.to_owned() }
    }

    /// What is said when, what has to be announced, and whether the user `u` is online then.
    type Step = (u64, Change, Outcome, bool);

    #[test]
    fn a_user_is_online_while_a_socket_is() {
        use Outcome::{Came, Same, Went};
        let check = |name: &str, steps: &[Step]| {
            let mut ledger = Ledger::default();
            for (at, change, expected, online) in steps {
                assert_eq!(ledger.apply(change, *at, 30, 5), *expected, "{name}: {change:?} at {at}");
                assert_eq!(ledger.is_online("u", *at), *online, "{name}: {change:?} at {at}");
            }
        };
        check("one tab", &[(0, told("u", &["a"]), Came, true), (1, left("u", "a"), Went, false)]);
        check(
            "two tabs, the first closes first",
            &[
                (0, told("u", &["a"]), Came, true),
                (1, told("u", &["b"]), Same, true),
                (2, left("u", "a"), Same, true),
                (3, left("u", "b"), Went, false),
            ],
        );
        check(
            "two tabs, the second closes first",
            &[
                (0, told("u", &["a"]), Came, true),
                (1, told("u", &["b"]), Same, true),
                (2, left("u", "b"), Same, true),
                (3, left("u", "a"), Went, false),
            ],
        );
        check(
            "refreshed",
            &[
                (0, told("u", &["a"]), Came, true),
                (10, told("u", &["a"]), Same, true),
                (39, told("u", &["a"]), Same, true),
            ],
        );
        check(
            "comes again",
            &[
                (0, told("u", &["a"]), Came, true),
                (1, left("u", "a"), Went, false),
                (2, told("u", &["b"]), Came, true),
            ],
        );
        check(
            "a tab of a dead instance does not keep the user for longer than it lasts",
            &[
                (0, told("u", &["dead"]), Came, true),
                (20, told("u", &["b"]), Same, true),
                (31, left("u", "b"), Went, false),
            ],
        );
        check(
            "leaving twice",
            &[
                (0, told("u", &["a"]), Came, true),
                (1, left("u", "a"), Went, false),
                (1, left("u", "a"), Same, false),
            ],
        );
        check("one that nobody knows", &[(0, left("u", "a"), Same, false)]);
        check("somebody else", &[(0, told("v", &["a"]), Came, false)]);
        check(
            "left before, with another tab",
            &[
                (0, told("u", &["a", "b"]), Came, true),
                (1, left_before("u", "a"), Same, true),
                (2, left("u", "b"), Went, false),
            ],
        );
        check(
            "left before, and comes again in time",
            &[
                (0, told("u", &["a"]), Came, true),
                (1, left_before("u", "a"), Same, false),
                (2, told("u", &["b"]), Same, true),
            ],
        );
        check(
            "run out, and back before anybody has looked: nobody heard of it",
            &[(0, told("u", &["a"]), Came, true), (31, told("u", &["a"]), Same, true)],
        );
    }

    #[test]
    fn each_who_runs_out_is_announced_once() {
        let mut ledger = Ledger::default();
        let check =
            |ledger: &mut Ledger, at: u64, expected: &[&str]| assert_eq!(ledger.sweep(at), expected, "{at}");
        ledger.apply(&told("u", &["a"]), 0, 30, 5);
        ledger.apply(&told("v", &["b"]), 5, 30, 5);
        check(&mut ledger, 29, &[]);
        check(&mut ledger, 30, &["u"]);
        check(&mut ledger, 30, &[]);
        ledger.apply(&told("v", &["c"]), 33, 30, 5);
        check(&mut ledger, 36, &[]);
        check(&mut ledger, 63, &["v"]);
        // Nobody knows of `w` any more; that it left is announced all the same, and once.
        ledger.apply(&left_before("w", "d"), 70, 30, 5);
        ledger.apply(&left_before("w", "e"), 71, 30, 5);
        check(&mut ledger, 75, &[]);
        check(&mut ledger, 76, &["w"]);
        check(&mut ledger, 90, &[]);
    }
}
