//! Instances that are found dead, and those that break off.

use std::time::{Duration, Instant};

use super::{tunnel, upstream};
use crate::support::{Instance, Proxy, Socket, engine_io, ws};

/// Both ends of so many tunnels.
fn ends(proxy: &Proxy, instance: &Instance, count: usize) -> (Vec<Socket>, Vec<Socket>) {
    let open = |_| {
        let (client, far, _) = tunnel(proxy, &[instance]);
        (client, far)
    };
    (0..count).map(open).unzip()
}

/// At a hundred tunnels the last client is told within a tenth of a second, the first at once.
#[test]
fn clients_of_a_killed_instance_get_their_close_at_once() {
    let instance = Instance::start();
    let proxy = Proxy::start(&upstream(&[&instance], ""));
    let (mut clients, fars) = ends(&proxy, &instance, 100);
    let begin = Instant::now();
    // As the kernel does for a process that is killed.
    drop(fars);
    for client in &mut clients {
        ws::expect_close(client, 1012, false);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    drop(clients);
    proxy.counts("stickyd_tunnels_open", &[], 0);
    proxy.counts("stickyd_tunnels_closed_total", &[("code", "1012")], 100);
}

#[test]
fn closes_of_many_are_paced() {
    let instance = Instance::start();
    let proxy = Proxy::start(&upstream(&[&instance], "down.rate = \"40/s\""));
    let (mut clients, fars) = ends(&proxy, &instance, 40);
    let begin = Instant::now();
    drop(fars);
    for client in &mut clients {
        ws::expect_close(client, 1012, false);
    }
    let took = begin.elapsed();
    assert!((300..2500).contains(&took.as_millis()), "{took:?}");
}

mod hung {
    use super::*;
    use crate::health::{Checked, DOWN, Does, FAST, is};

    fn before(blue: &Checked, green: &Checked, more: &str) -> Proxy {
        let health = FAST.replace("\"2s\"", "\"150ms\"");
        Proxy::start(&upstream(&[blue, green], &format!("health = {{ {health} }}\n{more}")))
    }

    /// Echoing tunnels, an equal number at each of the two.
    fn tunnels(proxy: &Proxy) -> Vec<Socket> {
        let open = |_| {
            let mut client = proxy.connect();
            client.send(ws::handshake("/ws", ""));
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            client
        };
        (0..8).map(open).collect()
    }

    #[test]
    fn its_silent_tunnels_are_closed_and_nobody_else_s() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "");
        let mut clients = tunnels(&proxy);
        proxy.counts("stickyd_tunnels_open", &[], 8);
        blue.hangs();
        is(&proxy, &blue, DOWN);
        // Every one of them has been told by then.
        std::thread::sleep(Duration::from_millis(100));
        let mut closed = 0;
        for client in &mut clients {
            if client.has_at_once(4) {
                ws::expect_close(client, 1012, false);
                client.send(ws::Frame::masked(ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
                closed += 1;
            }
        }
        assert_eq!(closed, 4);
        proxy.counts("stickyd_tunnels_closed_total", &[("reason", "down")], 4);
        proxy.counts("stickyd_tunnels_open", &[], 4);
    }

    #[test]
    fn requests_that_wait_for_it_end() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "");
        blue.clients(Does::Hangs);
        green.clients(Does::Hangs);
        let mut clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = proxy.connect();
                client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
                client
            })
            .collect();
        proxy.counts("stickyd_requests_open", &[("instance", &blue.to_string())], 2);
        blue.checks(Does::Hangs);
        is(&proxy, &blue, DOWN);
        proxy.counts("stickyd_requests_open", &[("instance", &blue.to_string())], 0);
        proxy.counts("stickyd_requests_open", &[("instance", &green.to_string())], 2);
        let failed = clients.iter_mut().map(|client| usize::from(client.has_at_once(12))).sum::<usize>();
        assert_eq!(failed, 2);
    }

    /// Whoever starts a session is served by another instance, and hears of no failure. `blue` is found to be so.
    fn starts_go_elsewhere(blue: &Checked, proxy: &Proxy, fails: impl FnOnce(), becomes: (u64, u64)) {
        blue.clients(Does::Hangs);
        let mut clients: Vec<_> = (0..6)
            .map(|_| {
                let mut client = proxy.connect();
                client.send(engine_io::start(""));
                client
            })
            .collect();
        let waits = [("instance", &*blue.to_string())].map(|(key, value)| (key, value.to_owned()));
        let waits = [(waits[0].0, waits[0].1.as_str())];
        proxy.counts_at_least("stickyd_requests_open", &waits, 2);
        fails();
        is(proxy, blue, becomes);
        for client in &mut clients {
            assert_eq!(client.answer().status(), 200);
        }
        proxy.counts("stickyd_requests_open", &waits, 0);
        assert_eq!(proxy.count("stickyd_requests_total", &[("origin", "proxy")]), 0);
    }

    #[test]
    fn session_starts_that_wait_for_it_go_elsewhere() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "");
        starts_go_elsewhere(&blue, &proxy, || blue.checks(Does::Hangs), DOWN);
    }

    /// The regression: whoever had come a moment before waited for 20 s, for the instance was not down.
    #[test]
    fn session_starts_that_wait_for_one_that_is_too_busy_go_elsewhere() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "");
        // Later than the checks' time-out.
        starts_go_elsewhere(&blue, &proxy, || blue.checks(Does::Slowly(300)), crate::health::DEGRADED);
    }

    /// The regression: of two that hung the second was found when too few passed to believe the checks, and held its new clients.
    #[test]
    fn session_starts_leave_the_second_one_that_hangs_too() {
        let all @ [blue, green, red] = &["blue", "green", "red"].map(Checked::start);
        let health = FAST.replace("\"2s\"", "\"150ms\"").replace("\"0%\"", "\"50%\"");
        let proxy = Proxy::start(&upstream(&[blue, green, red], &format!("health = {{ {health} }}")));
        for one in all {
            is(&proxy, one, crate::health::UP);
        }
        blue.hangs();
        is(&proxy, blue, DOWN);
        starts_go_elsewhere(green, &proxy, || green.checks(Does::Hangs), DOWN);
    }

    /// To wait for it is better than to knock in vain.
    #[test]
    fn nothing_is_closed_when_there_is_nowhere_to_go() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "");
        let mut clients = tunnels(&proxy);
        green.checks(Does::Fails);
        is(&proxy, &green, crate::health::DEGRADED);
        blue.hangs();
        is(&proxy, &blue, DOWN);
        std::thread::sleep(Duration::from_millis(300));
        assert!(clients.iter_mut().all(|client| !client.has_at_once(1)), "a client was told");
    }

    /// Redis is away, and the health path says so: nobody's tunnel ends.
    #[test]
    fn an_instance_that_fails_its_checks_by_status_loses_no_tunnel() {
        let (blue, green) = (Checked::start("blue"), Checked::start("green"));
        let proxy = before(&blue, &green, "down.close = \"always\"");
        let mut clients = tunnels(&proxy);
        blue.checks(Does::Fails);
        is(&proxy, &blue, crate::health::DEGRADED);
        std::thread::sleep(Duration::from_millis(300));
        for client in &mut clients {
            client.send(ws::Frame::masked(ws::TEXT, "on").bytes());
        }
        assert!(clients.iter_mut().all(|client| client.has_at_least(4)), "somebody is not answered");
    }
}
