//! Two proxies that have nothing in common but a secret and a list of instances.

use std::fmt::Write;

use super::{NAME, get};
use crate::support::process::Home;
use crate::support::{Answering, Message, Proxy, Socket};

/// Before each set of instances, others each time.
const CLIENTS: usize = 125;
/// Sets of so many instances, of which the last dies.
const INSTANCES: std::ops::RangeInclusive<usize> = 2..=9;

/// Clients as an outer proxy shows them, over one connection.
struct Front(Socket);

impl Front {
    fn to(proxy: &Proxy) -> Self {
        Front(proxy.connect())
    }

    fn ask(&mut self, number: usize, cookie: &str) -> Message {
        let [third, fourth] = [number / CLIENTS, number % CLIENTS];
        self.0.send(format!(
            "GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 10.1.{third}.{fourth}\r\nCookie: {cookie}\r\n\r\n"
        ));
        let got = self.0.answer();
        assert_eq!(got.status(), 200, "{}", got.head);
        got
    }
}

#[test]
fn two_proxies_agree_on_a_thousand_clients() {
    let home = Home::new();
    let secret = home.write("secret", &format!("{}\n", "0123456789abcdef".repeat(3)));
    let names: Vec<String> = (0..9).map(|number| format!("instance-{number}")).collect();
    let mut instances: Vec<Answering> = names.iter().map(|name| Answering::start(name)).collect();
    for count in INSTANCES {
        let proxy = |order: &mut dyn Iterator<Item = usize>| {
            let mut list = String::new();
            for at in order {
                write!(list, "{{ name = \"{}\", address = \"{}\" }}, ", names[at], instances[at]).unwrap();
            }
            Proxy::start(&format!(
                "trusted_proxies = [\"127.0.0.1\"]\n[upstream.app]\ninstances = [{list}]\n\
                 [upstream.app.sticky]\nsecret_file = \"{secret}\"\n"
            ))
        };
        let (one, other) = (proxy(&mut (0..count)), proxy(&mut (0..count).rev()));
        let (mut at_one, mut at_other) = (Front::to(&one), Front::to(&other));
        let mut bound = Vec::new();
        let numbers = count * CLIENTS..(count + 1) * CLIENTS;
        for number in numbers.clone() {
            let first = at_one.ask(number, "");
            assert_eq!(at_other.ask(number, "").text(), first.text(), "by address: {number} of {count}");
            bound.push((first.text().to_owned(), first.cookie(NAME).unwrap().0));
        }
        let dead = &names[count - 1];
        let share = bound.iter().filter(|(place, _)| place == dead).count();
        assert!((CLIENTS / count / 3..CLIENTS * 2 / count).contains(&share), "{share} of {count}");
        instances[count - 1].stop();
        for (number, (place, cookie)) in numbers.zip(&bound) {
            let by_address = at_other.ask(number, "");
            // From somewhere else, so that only the cookie decides.
            let by_cookie = at_other.ask(number + 10 * CLIENTS, cookie);
            if place == dead {
                assert_eq!(
                    at_one.ask(number, "").text(),
                    by_address.text(),
                    "by address: {number} of {count}"
                );
                assert_ne!(by_cookie.text(), dead);
                assert!(by_cookie.cookie(NAME).is_some());
            } else {
                assert_eq!((by_cookie.text(), by_cookie.cookie(NAME)), (&**place, None));
                assert_eq!(by_address.text(), place, "only the dead one's clients move");
            }
        }
        // Who was bound anew by one is known to the other.
        let moved = get(&one, &bound.iter().find(|(place, _)| place == dead).unwrap().1);
        let (new, _) = moved.cookie(NAME).unwrap();
        assert_eq!(get(&other, &new).text(), moved.text());
        instances[count - 1] = Answering::start(dead);
    }
}
