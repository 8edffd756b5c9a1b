//! HTTP messages as these tests read them: a reader of their own, lenient and simple, so that the proxy's codec does not
//! check itself.

use super::Socket;

/// A request or an answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The head as it came.
    pub(crate) head: String,
    /// The content, without chunks.
    pub(crate) body: Vec<u8>,
    /// Trailer lines, without the empty one.
    pub(crate) trailers: Vec<String>,
}

impl Message {
    pub(super) fn request(from: &mut Socket) -> Self {
        let mut message = Message { head: from.head(), body: Vec::new(), trailers: Vec::new() };
        message.read_body(from, false);
        message
    }

    pub(super) fn answer(from: &mut Socket, to_head: bool) -> Self {
        let mut message = Message { head: from.head(), body: Vec::new(), trailers: Vec::new() };
        let bodyless = to_head || message.status() < 200 || [204, 304].contains(&message.status());
        if !bodyless {
            message.read_body(from, true);
        }
        message
    }

    /// An answer, if a whole one comes.
    pub(crate) fn try_answer(from: &mut Socket) -> Option<Self> {
        let head = from.try_head()?;
        let mut message = Message { head, body: Vec::new(), trailers: Vec::new() };
        if message.field("transfer-encoding").is_none()
            && let Some(length) = message.field("content-length")
            && !from.has_at_least(length.parse().unwrap())
        {
            return None;
        }
        if message.status() >= 200 {
            message.read_body(from, true);
        }
        Some(message)
    }

    fn read_body(&mut self, from: &mut Socket, until_end: bool) {
        if self.field("transfer-encoding").is_some() {
            self.read_chunks(from);
        } else if let Some(length) = self.field("content-length") {
            self.body = from.exactly(length.parse().unwrap());
        } else if until_end {
            self.body = from.rest().0;
        }
    }

    fn read_chunks(&mut self, from: &mut Socket) {
        loop {
            let line = from.line();
            let digits = line.trim_ascii().split(|byte| *byte == b';').next().unwrap();
            match usize::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap() {
                0 => break,
                size => self.body.extend(from.exactly(size)),
            }
            from.expect(b"\r\n");
        }
        loop {
            match String::from_utf8(from.line()).unwrap().trim_end() {
                "" => return,
                line => self.trailers.push(line.to_owned()),
            }
        }
    }

    /// The first line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn status(&self) -> u16 {
        self.line().split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Names and values of all fields, in their order, names in lower case.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let lines = self.head.split("\r\n").skip(1).filter(|line| !line.is_empty());
        lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect()
    }

    /// All values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.fields().into_iter().filter(|field| field.0 == name).map(|field| field.1).collect()
    }

    /// The value of a field that occurs at most once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() <= 1, "{name} occurs {} times in {}", values.len(), self.head);
        values.pop()
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// The answer's `Set-Cookie` of this name, as a value to send back and its attributes.
    pub(crate) fn cookie(&self, name: &str) -> Option<(String, String)> {
        let cookies = self.values("set-cookie");
        let ours = cookies.iter().find(|cookie| cookie.starts_with(&format!("{name}=")))?;
        let (pair, attributes) = ours.split_once("; ").unwrap_or((ours, ""));
        Some((pair.to_owned(), attributes.to_owned()))
    }
}
