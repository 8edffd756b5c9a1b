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

/// Which message is read, as far as that decides whether it has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Request,
    Answer,
    AnswerToHead,
}

impl Message {
    /// The next message; otherwise what came instead.
    pub(super) fn read(from: &mut Socket, which: Which) -> Result<Self, String> {
        let mut message = Message { head: from.try_head()?, body: Vec::new(), trailers: Vec::new() };
        let has_body = match which {
            Which::Request => true,
            Which::Answer => message.status() >= 200 && ![204, 304].contains(&message.status()),
            Which::AnswerToHead => false,
        };
        if has_body {
            message.read_body(from, which)?;
        }
        Ok(message)
    }

    fn read_body(&mut self, from: &mut Socket, which: Which) -> Result<(), String> {
        if self.field("transfer-encoding").is_some() {
            self.read_chunks(from)?;
        } else if let Some(length) = self.field("content-length") {
            self.body = from.try_exactly(length.parse().map_err(|_| length)?)?;
        } else if which == Which::Answer {
            self.body = from.rest().0;
        }
        Ok(())
    }

    fn read_chunks(&mut self, from: &mut Socket) -> Result<(), String> {
        loop {
            let line = from.try_line()?;
            let size = line.split(';').next().unwrap_or_default().trim_end();
            match usize::from_str_radix(size, 16).map_err(|error| format!("{error}: {line}"))? {
                0 => break,
                size => self.body.extend(from.try_exactly(size)?),
            }
            if from.try_line()? != "\r\n" {
                return Err("no end of a chunk".to_owned());
            }
        }
        loop {
            match from.try_line()?.trim_end() {
                "" => return Ok(()),
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
