//! A slow reader slows its writer, costs no memory, and is left alone as long as it reads at all.

use std::thread;
use std::time::Duration;

use super::tunnel_with;
use crate::support::process::Home;
use crate::support::ws::{self, BINARY, Frame};
use crate::support::{Instance, noise};

/// What the proxy may need for itself while 20 MB wait for a reader, in kB: a buffer of 64 KiB for each direction, and
/// what the allocator rounds up.
const ALLOWED: u64 = 600;

#[test]
fn a_reader_that_stops_costs_no_memory() {
    let home = Home::new();
    let instance = Instance::start();
    let file = home.write(
        "config.toml",
        &format!(
            "listen = \"127.0.0.1:0\"\nworkers = 1\n[upstream.app]\ninstances = [\"{instance}\"]\nhealth.check = \"off\"\n\
             [metrics]\naddress = \"127.0.0.1:0\"\n[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n"
        ),
    );
    let mut proxy = home.start(&["run", "--config", &file]);
    for up in [true, false] {
        let mut client = proxy.connect();
        client.send(ws::handshake("/ws", ""));
        let mut far = instance.accept();
        far.head();
        far.send(ws::switch(""));
        client.head();
        // Warm: the buffers of both directions have been used once.
        let warm = Frame::new(BINARY, noise(60_000)).bytes();
        client.send(&warm);
        far.expect(&warm);
        far.send(&warm);
        client.expect(&warm);
        let before = proxy.memory();
        let (from, to) = if up { (client, &mut far) } else { (far, &mut client) };
        let frame = Frame::new(BINARY, noise(20 << 20)).bytes();
        let mut writer = from.writer();
        thread::scope(|scope| {
            let sending = scope.spawn(|| writer.send(&frame));
            // The sender gets stuck before its end: that is what back-pressure is.
            let way = [("direction", if up { "up" } else { "down" })];
            let passed = |proxy: &mut crate::support::process::Process| {
                proxy.scrape().sum("stickyd_tunnel_bytes_total", &way) as u64
            };
            let mut last = 0;
            let stuck = crate::support::eventually("the sender is stuck", || {
                thread::sleep(Duration::from_millis(50));
                let now = passed(&mut proxy);
                let still = now == last && now > 100_000;
                last = now;
                still.then_some(now)
            });
            assert!(!sending.is_finished(), "20 MB disappeared somewhere ({stuck} bytes passed)");
            let grown = proxy.memory().saturating_sub(before);
            assert!(grown <= ALLOWED, "{grown} kB more while a reader stands still");
            to.expect(&frame);
            sending.join().unwrap();
        });
    }
}

#[test]
fn a_reader_that_takes_nothing_is_stalled() {
    for up in [true, false] {
        let (proxy, _instance, client, far) =
            tunnel_with("[timeouts]\nsend = \"200ms\"\nclose_wait = \"100ms\"\n");
        let (mut from, to) = if up { (client, far) } else { (far, client) };
        let mut writer = from.writer();
        thread::scope(|scope| {
            let bytes = Frame::new(BINARY, noise(100_000)).bytes();
            scope.spawn(move || while writer.try_send(&bytes).is_ok() {});
            // Who writes is told; who does not read cannot be.
            ws::expect_close(&mut from, 1001, !up);
            from.is_gone();
            proxy.closed_one("stalled", "1001");
            drop(to);
        });
    }
}

#[test]
fn a_slow_reader_is_not_stalled() {
    let (proxy, _instance, mut client, far) = tunnel_with("[timeouts]\nsend = \"300ms\"\n");
    let frame = Frame::new(BINARY, noise(8 << 20)).bytes();
    let mut writer = far.writer();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&frame));
        // In all far longer than `send`, but never that long without a byte.
        for piece in frame.chunks(400_000) {
            client.expect(piece);
            thread::sleep(Duration::from_millis(50));
        }
    });
    proxy.counts("stickyd_tunnels_closed_total", &[], 0);
}

#[test]
fn one_direction_waits_while_the_other_flows() {
    let (_proxy, _instance, mut client, mut far) = tunnel_with("");
    let stuck = Frame::new(BINARY, noise(20 << 20)).bytes();
    let mut writer = far.writer();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&stuck));
        for number in 0..200_u32 {
            let frame = Frame::masked(BINARY, number.to_be_bytes().repeat(2000)).bytes();
            client.send(&frame);
            far.expect(&frame);
        }
        client.expect(&stuck);
    });
}
