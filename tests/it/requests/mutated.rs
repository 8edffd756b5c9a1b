//! Streams of requests with random damage: whatever a client sends, an instance sees whole requests that the proxy has written,
//! and nothing else.

use std::thread;

use crate::support::{Answering, End, Proxy};

const THREADS: u32 = 4;
const STREAMS: u32 = 150;

/// What is damaged. The bodies look like requests: whoever gets lengths wrong serves them.
const PARTS: [&str; 8] = [
    "GET /a HTTP/1.1\r\nHost: app\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: app\r\nContent-Length: 38\r\n\r\nGET /body HTTP/1.1\r\nHost: app\r\nX: y\r\n\r\n",
    "POST /c HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nGET /body HTTP/1.1\r\nHost: app\r\n\r\n\r\n0\r\n\r\n",
    "PUT /d HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "GET /e HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "GET http://app/f HTTP/1.1\r\nHost: app\r\nConnection: X-Y\r\nX-Y: z\r\n\r\n",
    "HEAD /g HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\n\r\n",
    "GET /h HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
];

/// Damage that readers disagree about.
const TRICKS: [&str; 16] = [
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    "0",
    "\r\n\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: x\r\n",
    "\x0b",
    ";",
    "\r\nHost: b\r\n",
];

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn damaged(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=dice.roll(3)).flat_map(|_| PARTS[dice.roll(PARTS.len())].bytes()).collect();
    for _ in 0..dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(4) {
            0 => drop(bytes.remove(at)),
            1 => bytes[at] = dice.roll(256) as u8,
            2 => bytes[at] ^= 0x20,
            _ => drop(bytes.splice(at..at, TRICKS[dice.roll(TRICKS.len())].bytes())),
        }
    }
    bytes
}

#[test]
fn an_instance_sees_whole_requests_of_the_proxy_only() {
    let instance = Answering::start("blue");
    let proxy = Proxy::configured(
        &instance,
        "[timeouts]\nrequest_head = \"60ms\"\nrequest_body = \"60ms\"\nkeep_alive = \"60ms\"\nfirst_byte = \"60ms\"\n",
    );
    let damage = |seed: u32| {
        let mut dice = Dice(0x9e37_79b9 + u64::from(seed));
        for _ in 0..STREAMS {
            let bytes = damaged(&mut dice);
            let mut client = proxy.connect();
            let _ = client.try_send(&bytes);
            let (answers, end) = client.rest();
            // The instance answers whatever it can read: a 502 means that it could not.
            let bad = answers.windows(13).any(|text| text == b"HTTP/1.1 502 ");
            assert!(!bad, "{}\n{}", bytes.escape_ascii(), answers.escape_ascii());
            assert!(end == End::Fin || answers.is_empty(), "{}", bytes.escape_ascii());
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|seed| drop(scope.spawn(move || damage(seed))));
    });
    let requests = instance.requests();
    assert!(requests.len() as u32 > THREADS * STREAMS / 2, "only {} came through", requests.len());
    for request in requests {
        let head = &request.head;
        for name in ["host", "x-forwarded-for", "x-real-ip", "x-request-id"] {
            assert_eq!(request.values(name).len(), 1, "{name} of {head}");
        }
        let framed = request.values("content-length").len() + request.values("transfer-encoding").len();
        assert!(framed <= 1, "{head}");
        assert!(request.line().ends_with(" HTTP/1.1"), "{head}");
        for name in ["connection", "upgrade", "te", "keep-alive"] {
            assert_eq!(request.values(name), [""; 0], "{name} of {head}");
        }
    }
}
