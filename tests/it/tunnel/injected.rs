//! A Close of the proxy at every possible split of a frame stream, in both directions: the receiver sees only whole frames,
//! then exactly one Close, then the end.

use stickyd::tunnel::Reason;

use crate::support::ws::{self, Frame, PING, TEXT};
use crate::support::{Instance, Proxy, Socket, noise};

/// Headers of all three sizes that are short enough, an empty frame, a control frame, an unfinished message.
fn stream(masked: bool) -> Vec<Frame> {
    let frame = |first, payload: &[u8]| Frame::of(masked, first, payload);
    vec![
        frame(TEXT, b"hi"),
        frame(TEXT, b""),
        frame(PING, b"p"),
        frame(0x02, &noise(126)),
        frame(0x80, b"end"),
    ]
}

struct Stage {
    proxy: Proxy,
    instance: Instance,
    /// A connection on which the proxy answers by itself.
    health: Socket,
}

impl Stage {
    fn new() -> Self {
        let instance = Instance::start();
        let proxy = Proxy::start(&format!(
            "health_path = \"/-/ready\"\n[upstream.app]\ninstances = [\"{instance}\"]\n[upstream.app.sticky]\nby = []\n\
             [timeouts]\nclose_wait = \"20s\"\n"
        ));
        let health = proxy.connect();
        Stage { proxy, instance, health }
    }

    /// The one worker has seen all that was sent to it before: it takes events in their order.
    fn barrier(&mut self) {
        self.health.send("GET /-/ready HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(self.health.answer().status(), 200);
    }

    /// Sends the stream, with an order to close behind its first `cut` bytes.
    fn check(&mut self, up: bool, cut: usize) {
        let (mut client, mut far) = ws::open(&self.proxy, &self.instance);
        let frames = stream(up);
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        from.send(&bytes[..cut]);
        self.barrier();
        self.proxy.close_tunnels(Reason::Shutdown);
        // The direction in which nothing is said has its Close at once.
        ws::expect_close(from, 1012, !up);
        from.send(&bytes[cut..]);
        from.half_close();

        let mut got = vec![Frame::read(to)];
        while got[got.len() - 1].first != ws::CLOSE {
            got.push(Frame::read(to));
        }
        let close = got.pop().unwrap();
        assert_eq!((close.code(), close.mask.is_some()), (Some(1012), up), "{up} {cut}: {close:?}");
        assert!(frames.starts_with(&got), "{up} {cut}: {got:?}");
        // A frame whose header was complete goes through whole; one whose header was not, not at all.
        assert_eq!(got.len(), begun(&frames, cut), "{up} {cut}");
        to.half_close();
        // Exactly one, and nothing behind it.
        to.ends();
        from.is_gone();
    }
}

/// How many frames have a complete header within the first `cut` bytes.
fn begun(frames: &[Frame], cut: usize) -> usize {
    let mut start = 0;
    let header_ends = frames.iter().map(|frame| {
        let len = frame.bytes().len();
        let header_end = start + len - frame.payload.len();
        start += len;
        header_end
    });
    header_ends.filter(|end| *end <= cut).count()
}

fn check_every_split(up: bool) {
    let mut stage = Stage::new();
    let length: usize = stream(up).iter().map(|frame| frame.bytes().len()).sum();
    for cut in 0..=length {
        stage.check(up, cut);
    }
    let splits = length as u64 + 1;
    stage.proxy.counts("stickyd_tunnels_closed_total", &[("reason", "shutdown"), ("code", "1012")], splits);
    stage.proxy.counts("stickyd_tunnels_opened_total", &[], splits);
    stage.proxy.counts("stickyd_tunnels_open", &[], 0);
}

#[test]
fn at_every_split_towards_the_instance() {
    check_every_split(true);
}

#[test]
fn at_every_split_towards_the_client() {
    check_every_split(false);
}

#[test]
fn behind_everything_that_is_queued() {
    let stage = Stage::new();
    for up in [true, false] {
        let (mut client, mut far) = ws::open(&stage.proxy, &stage.instance);
        let frame = Frame::of(up, 0x82, noise(100_000));
        let (from, to) = if up { (&mut client, &mut far) } else { (&mut far, &mut client) };
        let mut writer = from.writer();
        std::thread::scope(|scope| {
            let bytes = frame.bytes();
            // Until the tunnel is gone: the reader does not read yet, so that much waits in the proxy.
            scope.spawn(move || while writer.try_send(&bytes).is_ok() {});
            let way = [("direction", if up { "up" } else { "down" })];
            stage.proxy.counts_at_least("stickyd_tunnel_bytes_total", &way, 200_000);
            stage.proxy.close_tunnels(Reason::Shutdown);
            ws::expect_close(from, 1012, !up);
            // The sender has not stopped: all that was taken over arrives, then the Close, then the end.
            let mut last = Frame::read(to);
            while last.first != ws::CLOSE {
                assert!(last == frame, "a frame was damaged");
                last = Frame::read(to);
            }
            assert_eq!(last.code(), Some(1012));
            to.half_close();
            from.half_close();
            to.is_gone();
            from.is_gone();
        });
    }
}
