//! One connection as the instance sees it: bytes in, bytes out, no I/O. HTTP first, WebSocket after an upgrade.

use crate::http;
use crate::websocket::{self, Header};

/// Longest request head that is waited for, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Longest frame that is waited for, in bytes.
const FRAME_MAX: usize = 64 << 20;

/// What the instance holds open at the moment; `/held` tells it, so that a load can check that its long-polls and
/// tunnels really are at the instance and not queued in the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Requests for `/hang`.
    pub(crate) polls: usize,
    /// Upgraded connections.
    pub(crate) tunnels: usize,
}

impl Held {
    /// A connection is gone.
    pub(crate) fn forget(&mut self, conversation: &Conversation) {
        match conversation.state {
            State::Http => {}
            State::Hang => self.polls -= 1,
            State::WebSocket => self.tunnels -= 1,
        }
    }
}

/// What becomes of the connection once the output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It goes on.
    Continue,
    /// It is closed.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Http,
    Hang,
    WebSocket,
}

/// The state of one connection.
pub(crate) struct Conversation {
    number: usize,
    state: State,
    /// The start of a head or frame that is not complete.
    partial: Vec<u8>,
}

/// One step: how many bytes it used; `None` needs more of them.
type Step = Option<(usize, Then)>;

impl Conversation {
    /// With instance `number`, which the answers name.
    pub(crate) fn new(number: usize) -> Conversation {
        Conversation { number, state: State::Http, partial: Vec::new() }
    }

    /// Takes what was read and appends the answers. A frame is unmasked where it lies.
    pub(crate) fn take(&mut self, input: &mut [u8], output: &mut Vec<u8>, held: &mut Held) -> Then {
        if self.partial.is_empty() {
            // The usual case: whole heads and frames, no copy.
            let (used, then) = self.steps(input, output, held);
            self.partial.extend_from_slice(&input[used..]);
            return then;
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(input);
        let (used, then) = self.steps(&mut bytes, output, held);
        if used > 0 {
            bytes.drain(..used);
        }
        // The capacity stays: a connection that sends large messages sends the next one too.
        self.partial = bytes;
        then
    }

    fn steps(&mut self, bytes: &mut [u8], output: &mut Vec<u8>, held: &mut Held) -> (usize, Then) {
        let mut used = 0;
        while used < bytes.len() {
            let step = match self.state {
                State::Http => self.request(&bytes[used..], output, held),
                State::WebSocket => echo(&mut bytes[used..], output),
                State::Hang => return (bytes.len(), Then::Continue),
            };
            match step {
                None => break,
                Some((count, Then::Continue)) => used += count,
                Some((_, Then::End)) => return (bytes.len(), Then::End),
            }
        }
        (used, Then::Continue)
    }

    fn request(&mut self, bytes: &[u8], output: &mut Vec<u8>, held: &mut Held) -> Step {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let head_len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(head_len)) => head_len,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return None,
            _ => return Some((0, Then::End)),
        };
        let field = |name: &str| {
            request
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name))
                .map(|field| field.value)
        };
        let path = request.path.unwrap_or("/");
        if let (Some(_), Some(key)) = (field("upgrade"), field("sec-websocket-key")) {
            output.extend_from_slice(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            );
            output.extend_from_slice(websocket::accept(key).as_bytes());
            output.extend_from_slice(b"\r\n\r\n");
            self.state = State::WebSocket;
            held.tunnels += 1;
        } else if path.starts_with("/hang") {
            self.state = State::Hang;
            held.polls += 1;
        } else if path == "/held" {
            let body = format!("{} {}", held.polls, held.tunnels);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            output.extend_from_slice(head.as_bytes());
            output.extend_from_slice(body.as_bytes());
        } else {
            output.extend_from_slice(&http::ordinary(self.number));
        }
        let close = request.version == Some(0)
            || field("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        Some((head_len, if close { Then::End } else { Then::Continue }))
    }
}

/// Answers one complete frame, as a WebSocket library would: whole messages, not pieces as they arrive.
fn echo(bytes: &mut [u8], output: &mut Vec<u8>) -> Step {
    let header = Header::parse(bytes)?;
    if header.frame_len() > FRAME_MAX {
        return Some((0, Then::End));
    }
    let payload = bytes.get_mut(header.start..header.frame_len())?;
    // A client's frame has to be masked (section 5.1).
    let Some(mask) = header.mask else { return Some((0, Then::End)) };
    let opcode = if header.opcode == websocket::PING { websocket::PONG } else { header.opcode };
    if opcode != websocket::PONG || header.opcode == websocket::PING {
        websocket::push_header(output, opcode, payload.len(), None);
        websocket::apply_mask(payload, mask);
        output.extend_from_slice(payload);
    }
    // The side that accepted the connection closes it, after its own Close (section 7.1.1).
    let then = if opcode == websocket::CLOSE { Then::End } else { Then::Continue };
    Some((header.frame_len(), then))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(input: &[u8], split: usize) -> (Vec<u8>, Then, Held) {
        let (mut conversation, mut output, mut held) = (Conversation::new(1), Vec::new(), Held::default());
        let mut then = Then::Continue;
        for piece in [&input[..split], &input[split..]] {
            if !piece.is_empty() && then == Then::Continue {
                then = conversation.take(&mut piece.to_vec(), &mut output, &mut held);
            }
        }
        (output, then, held)
    }

    #[test]
    fn an_upgrade_an_echo_and_a_close_at_every_split() {
        let mask = Some([9, 8, 7, 6]);
        let payload = vec![b'x'; 300];
        let close = 1000_u16.to_be_bytes();
        let mut input = http::upgrade();
        input.extend(websocket::frame(websocket::BINARY, &payload, mask));
        input.extend(websocket::frame(websocket::PING, b"p", mask));
        input.extend(websocket::frame(websocket::CLOSE, &close, mask));
        let mut expected = Vec::new();
        expected.extend(websocket::frame(websocket::BINARY, &payload, None));
        expected.extend(websocket::frame(websocket::PONG, b"p", None));
        expected.extend(websocket::frame(websocket::CLOSE, &close, None));
        for split in 0..input.len() {
            let (output, then, held) = talk(&input, split);
            assert_eq!(then, Then::End, "split at {split}");
            assert_eq!(held, Held { polls: 0, tunnels: 1 });
            let answer = http::answer(&output).expect("valid").expect("complete");
            assert_eq!(answer.accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            assert_eq!(output[answer.head_len..], expected[..], "split at {split}");
        }
    }

    #[test]
    fn pipelined_gets_then_one_that_hangs() {
        let mut input = http::get("/a", http::Head::Small, None);
        input.extend(http::get("/b", http::Head::Browser, Some("a=b")));
        input.extend(http::get("/hang?x", http::Head::Small, None));
        let (output, then, held) = talk(&input, 10);
        assert_eq!((output, then), ([http::ordinary(1), http::ordinary(1)].concat(), Then::Continue));
        assert_eq!(held, Held { polls: 1, tunnels: 0 });
    }

    #[test]
    fn what_no_client_may_send_ends_the_connection() {
        let unmasked = [http::upgrade(), websocket::frame(websocket::BINARY, b"x", None)].concat();
        for input in [b"nonsense\r\n\r\n".to_vec(), unmasked] {
            assert_eq!(talk(&input, 0).1, Then::End);
        }
    }
}
