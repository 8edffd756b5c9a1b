//! Clients whose tunnel or poll was closed so that they go elsewhere: they do not come back until they have rested.

use stickyd::tunnel::Reason;

use super::Stage;
use crate::support::engine_io::{UNKNOWN, answer, get, open_packet, poll, start};
use crate::support::ws::{self, Frame};
use crate::support::{Instance, Message, Proxy, Socket, eventually};

const COOKIE: &str = "stickyd-app";

/// `rest` of the upstream, and nothing else that is not the default.
fn stage(rest: &str) -> Stage {
    Stage::with("", "", &format!("[upstream.app.rebalance]\nrest = \"{rest}\"\n"))
}

/// Fields of a client at an address of its own, with this cookie.
fn client(number: u8, cookie: &str) -> String {
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    format!("X-Forwarded-For: 203.0.113.{number}\r\n{cookie}")
}

/// A client opens a tunnel: its end, the instance's, which instance, and what it was answered.
fn tunnel(stage: &Stage, fields: &str) -> (Socket, Socket, usize, Message) {
    let mut client = stage.proxy.connect();
    client.send(ws::handshake("/ws", fields));
    let (mut far, at) = stage.accept();
    far.request();
    far.send(ws::switch(""));
    let got = client.answer();
    assert_eq!(got.status(), 101);
    (client, far, at, got)
}

/// A plain request: which instance answered, and what.
fn plain(stage: &Stage, fields: &str) -> (usize, Message) {
    let mut client = stage.proxy.connect();
    client.send(get("/", fields));
    let (mut far, at) = stage.accept();
    far.request();
    far.send(answer("Connection: close\r\n", "plain"));
    (at, client.answer())
}

/// Closes all tunnels, and says goodbye from both ends.
fn close(stage: &Stage, reason: Reason, client: &mut Socket, far: &mut Socket) {
    stage.proxy.close_tunnels(reason);
    for (end, is_client) in [(&mut *client, true), (&mut *far, false)] {
        ws::expect_close(end, 1012, !is_client);
        end.send(Frame::of(is_client, ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    }
    client.ends();
    far.ends();
    stage.proxy.counts("stickyd_tunnels_open", &[], 0);
}

#[test]
fn a_client_with_a_cookie_comes_to_another_instance() {
    let stage = stage("10m");
    for (times, reason) in (1..).zip([Reason::Command, Reason::Rebalanced, Reason::Drained]) {
        let (mut one, mut far, at, got) = tunnel(&stage, &client(1, ""));
        let (cookie, _) = got.cookie(COOKIE).unwrap();
        close(&stage, Reason::Shutdown, &mut one, &mut far);
        // That was no sending away: it comes back, with its cookie, from wherever.
        let (mut one, mut far, again, _) = tunnel(&stage, &client(2, &cookie));
        assert_eq!(again, at);
        close(&stage, reason, &mut one, &mut far);
        // What it asks beside is answered where it was, and does not bind it anew.
        let (beside, got) = plain(&stage, &client(2, &cookie));
        assert_eq!((beside, got.values("set-cookie").len()), (at, 0));
        let (mut one, mut far, elsewhere, got) = tunnel(&stage, &client(2, &cookie));
        assert_ne!(elsewhere, at, "{reason:?}");
        stage.proxy.counts("stickyd_sticky_rebinds_total", &[("reason", "moved")], times);
        let (new, _) = got.cookie(COOKIE).expect("bound anew");
        let (beside, got) = plain(&stage, &client(2, &new));
        assert_eq!((beside, got.values("set-cookie").len()), (elsewhere, 0));
        close(&stage, Reason::Shutdown, &mut one, &mut far);
        // By its address nobody was sent away: it had shown its cookie.
        let (mut one, mut far, by_address, _) = tunnel(&stage, &client(1, ""));
        assert_eq!(by_address, at);
        close(&stage, Reason::Shutdown, &mut one, &mut far);
    }
}

#[test]
fn a_client_without_a_cookie_is_known_by_its_address() {
    let stage = stage("10m");
    let (mut one, mut far, at, got) = tunnel(&stage, &client(1, ""));
    let (cookie, _) = got.cookie(COOKIE).unwrap();
    close(&stage, Reason::Command, &mut one, &mut far);
    let elsewhere = 1 - at;
    // Nobody knows whether it keeps the cookie that it got with the tunnel.
    for fields in [client(1, ""), client(2, &cookie)] {
        let (mut one, mut far, to, _) = tunnel(&stage, &fields);
        assert_eq!(to, elsewhere, "{fields}");
        close(&stage, Reason::Shutdown, &mut one, &mut far);
    }
    // Whatever it asks beside does not bring it back.
    assert_eq!(plain(&stage, &client(1, "")).0, elsewhere);
    // Others at that instance are not meant.
    let neighbour = (2..100).find(|number| plain(&stage, &client(*number, "")).0 == at).unwrap();
    let (_one, _far, to, _) = tunnel(&stage, &client(neighbour, ""));
    assert_eq!(to, at);
}

/// The regression: it was on record only when the tunnel's other end, too, had said goodbye.
#[test]
fn a_client_that_comes_again_as_soon_as_it_hears_of_it_comes_to_another_instance() {
    let stage = stage("10m");
    let (mut one, _far, at, _) = tunnel(&stage, &client(1, ""));
    stage.proxy.close_tunnels(Reason::Command);
    ws::expect_close(&mut one, 1012, false);
    let (_again, _there, to, _) = tunnel(&stage, &client(1, ""));
    assert_ne!(to, at);
}

/// The ends had parted already when the order came.
#[test]
fn who_was_leaving_by_itself_is_not_sent_away() {
    let stage = stage("10m");
    let (mut one, mut far, at, _) = tunnel(&stage, &client(1, ""));
    one.send(Frame::masked(ws::CLOSE, 1000_u16.to_be_bytes()).bytes());
    assert_eq!(Frame::read(&mut far).code(), Some(1000));
    stage.proxy.close_tunnels(Reason::Command);
    assert_eq!(Frame::read(&mut one).code(), Some(1012));
    far.send(Frame::close(1000).bytes());
    one.close();
    stage.proxy.counts("stickyd_tunnels_closed_total", &[("reason", "client_closed")], 1);
    let (_one, _far, again, _) = tunnel(&stage, &client(1, ""));
    assert_eq!(again, at);
}

#[test]
fn a_poll_that_is_closed_sends_its_client_away_too() {
    let stage = stage("10m");
    let fields = client(1, "");
    let mut one = stage.proxy.connect();
    one.send(start(&fields));
    let (mut far, at) = stage.accept();
    far.request();
    far.send(answer("", &open_packet("abc")));
    one.answer();
    one.send(poll("abc", &fields));
    far.request();
    stage.proxy.close_tunnels(Reason::Command);
    assert_eq!(one.answer().text(), UNKNOWN);
    one.send(start(&fields));
    let (mut far, to) = stage.accept();
    assert_ne!(to, at);
    far.request();
    far.send(answer("", &open_packet("def")));
    one.answer();
    // Its sessions are kept, wherever they are.
    one.send(poll("def", &fields));
    far.request();
}

#[test]
fn after_its_rest_a_client_may_come_back() {
    let stage = stage("1s");
    let (mut one, mut far, at, got) = tunnel(&stage, &client(1, ""));
    let (cookie, _) = got.cookie(COOKIE).unwrap();
    close(&stage, Reason::Command, &mut one, &mut far);
    for fields in [client(1, ""), client(2, &cookie)] {
        eventually("it comes back", || {
            let (mut one, mut far, to, _) = tunnel(&stage, &fields);
            close(&stage, Reason::Shutdown, &mut one, &mut far);
            (to == at).then_some(())
        });
    }
}

/// Better there than nowhere.
#[test]
fn with_one_instance_a_client_comes_back_to_it() {
    let instance = Instance::start();
    let proxy = Proxy::start(&format!("[upstream.app]\ninstances = [\"{instance}\"]\n"));
    let (mut one, mut far) = ws::open(&proxy, &instance);
    proxy.close_tunnels(Reason::Command);
    for (end, is_client) in [(&mut one, true), (&mut far, false)] {
        Frame::read(end);
        end.send(Frame::of(is_client, ws::CLOSE, 1012_u16.to_be_bytes()).bytes());
    }
    proxy.counts("stickyd_tunnels_open", &[], 0);
    ws::open(&proxy, &instance);
    proxy.counts("stickyd_sticky_rebinds_total", &[], 0);
}
