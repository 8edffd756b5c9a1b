//! Messages, good and odd, out of a seed.

/// `SplitMix64`: small, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let drawn = self.next() % bound as u64;
        usize::try_from(drawn).expect("below a usize")
    }

    pub(super) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Mostly out of `usual`.
    fn mostly<'t>(&mut self, usual: &[&'t str], odd: &[&'t str]) -> &'t str {
        if self.one_in(8) { self.pick(odd) } else { self.pick(usual) }
    }
}

/// One to three requests on one connection, with up to two edits.
pub(super) fn requests(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..=dice.below(3) {
        text += &request(dice);
    }
    edited(dice, text)
}

/// One answer, perhaps after interim ones, with up to two edits.
pub(super) fn answer(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    if dice.one_in(6) {
        text +=
            dice.pick(&["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"]);
    }
    let version =
        dice.mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], &["HTTP/1.2", "HTTP/2", "http/1.1", "ICY"]);
    let status = dice.mostly(
        &["200 OK", "200", "404 Not Found", "304 Not Modified", "204 ", "500 x"],
        &["101 x", "099 x", "20 x", "2000", "999 ?", "200  two", "200 \u{e9}", "205 x"],
    );
    text.extend([version, " ", status, "\r\n"]);
    message_end(dice, &mut text);
    edited(dice, text)
}

fn request(dice: &mut Dice) -> String {
    let method = dice.mostly(&["GET", "POST", "OPTIONS", "HEAD"], &["get", "CONNECT", "X-Y", "PRI"]);
    let target = dice.mostly(
        &["/", "/a/b?c=d", "/socket.io/?EIO=4&transport=polling", "/%41?/../x"],
        &[
            "*",
            "http://a/b",
            "http://a",
            "https://A:80/?x",
            "http://a?x",
            "a",
            "/..",
            "/a/%2e%2e/b",
            "/a#b",
            "/a b",
            "//x",
            "/\"<>\\^`{|}",
            "/\u{e9}",
            "http://u@a/",
            "a:80",
            "?x",
            "/?\"<>\\^`{|}",
            "/[x]",
        ],
    );
    let version =
        dice.mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], &["HTTP/1.2", "HTTP/2.0", "http/1.1", ""]);
    let empty_lines = dice.mostly(&[""], &["\r\n", "\r\n\r\n", "\n"]);
    let mut text = format!("{empty_lines}{method} {target} {version}\r\n");
    text += dice.mostly(
        &["Host: a\r\n"],
        &["", "Host: a\r\nHost: a\r\n", "Host: \r\n", "Host: b:80\r\n", "Host: a,b\r\n"],
    );
    message_end(dice, &mut text);
    text
}

/// Fields, the empty line and the body.
fn message_end(dice: &mut Dice, text: &mut String) {
    for _ in 0..dice.below(3) {
        *text += dice.mostly(
            &["X: y\r\n", "x: z \r\n", "Empty:\r\n", "Accept: */*\r\n", "Connection: keep-alive\r\n"],
            &[
                "Connection: close\r\n",
                "Connection: keep-alive, close\r\n",
                "Expect: 100-continue\r\n",
                "X : y\r\n",
                " X: y\r\n",
                "X\r\n",
                ": y\r\n",
                "X: \u{e9}\r\n",
                "X: a\n",
                "Upgrade: websocket\r\n",
                "X: a\u{1}\r\n",
                "X: a\rb\r\n",
                "Connection: upgrade\r\nConnection: close\r\n",
            ],
        );
    }
    match dice.below(10) {
        0..3 => *text += "\r\n",
        3..6 => {
            let length = dice.mostly(
                &["5", "0", "005"],
                &[
                    "+5",
                    "5 5",
                    "5,5",
                    "5, 5",
                    "",
                    "-1",
                    "0x5",
                    "18446744073709551616",
                    "6",
                    "4",
                    "00000000000000000005",
                ],
            );
            text.extend(["Content-Length: ", length, "\r\n"]);
            if dice.one_in(8) {
                *text += dice.pick(&[
                    "Content-Length: 5\r\n",
                    "Content-Length: 6\r\n",
                    "Transfer-Encoding: chunked\r\n",
                    "Transfer-Encoding: x\r\n",
                ]);
            }
            *text += "\r\n";
            *text += dice.pick(&["hello", "hello", "5\r\nhello\r\n0\r\n\r\n", ""]);
        }
        _ => {
            let coding = dice.mostly(
                &["chunked", "Chunked"],
                &[
                    "gzip, chunked",
                    "chunked, gzip",
                    "identity",
                    "chunked,",
                    "",
                    "chunked;x",
                    "\u{b}chunked",
                    "chunked, chunked",
                ],
            );
            text.extend(["Transfer-Encoding: ", coding, "\r\n"]);
            if dice.one_in(8) {
                *text += dice.pick(&[
                    "Transfer-Encoding: chunked\r\n",
                    "Content-Length: 5\r\n",
                    "Transfer-Encoding: x\r\n",
                ]);
            }
            *text += "\r\n";
            chunked(dice, text);
        }
    }
}

fn chunked(dice: &mut Dice, text: &mut String) {
    for _ in 0..dice.below(3) {
        *text += dice.mostly(
            &["5\r\nhello\r\n", "a\r\n0123456789\r\n", "1;x=y\r\nx\r\n"],
            &[
                "5 \r\nhello\r\n",
                "5\t;x\r\nhello\r\n",
                " 5\r\nhello\r\n",
                "+5\r\nhello\r\n",
                "0x5\r\nhello\r\n",
                "5\nhello\r\n",
                "5\r\nhello\n",
                "5\r\nhello",
                "6\r\nhello\r\n",
                "4\r\nhello\r\n",
                "00000000000000005\r\nhello\r\n",
                "10000000000000005\r\nhello\r\n",
                "5;\u{1}\r\nhello\r\n",
                "5;\u{e9}\r\nhello\r\n",
                "5;x\nhello\r\n",
                "5;x\ry\r\nhello\r\n",
                "05\r\nhello\r\n",
                "\r\n",
                "ffffffffffffffff\r\nhello\r\n",
                "fffffffffffffffff\r\nhello\r\n",
            ],
        );
        if dice.one_in(200) {
            text.extend(["5;", &"e".repeat(300), "\r\nhello\r\n"]);
        }
    }
    *text += dice.mostly(&["0\r\n", "00\r\n"], &["0;x\r\n", "0\n", "0 \r\n", "", "-0\r\n"]);
    if dice.one_in(4) {
        *text += dice.mostly(
            &["X-T: 1\r\n", "X-T: 1\r\nX-T:2 \r\n", "Age: 1\r\n", "X-T: 1\r\nX-Forwarded-For: 1\r\n"],
            &[
                "Content-Length: 5\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Host: a\r\n",
                "X-T : 1\r\n",
                " X-T: 1\r\n",
                "X-T: 1\n",
                "X-T\r\n",
                ": 1\r\n",
                "X-T: a\u{1}\r\n",
                "X-T: a\rb\r\n",
                "X-T: 1\r\n b\r\n",
            ],
        );
    }
    *text += "\r\n";
}

/// Half of them stay as they are.
fn edited(dice: &mut Dice, text: String) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"",
        b"",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b"\0",
        b"\x7f",
        b":",
        b",",
        b";",
        b"#",
        b"/",
        b"?",
        b"\xff",
        b"0",
        b"5",
        b"a",
        b"\r\n\r\n",
        b"\r\n ",
        b"HTTP/1.1",
    ];
    let mut bytes = text.into_bytes();
    let edits = [0, 0, 1, 2][dice.below(4)];
    for _ in 0..edits {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(3)).min(bytes.len());
        bytes.splice(at..end, dice.pick(PIECES).iter().copied());
    }
    bytes
}
