//! The configuration's file as it changes, and the ways in which people and programs write it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

/// What the file wants of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Cordon,
    Drain,
    Maintain,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Cordon => "cordon",
            State::Drain => "drain",
            State::Maintain => "maintain",
        }
    }
}

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    InPlace,
    /// Under another name, then over the old one.
    Rename,
    /// In place, half of it at first.
    Pieces,
}

/// Who notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// SIGHUP, at once.
    HangUp,
    /// The watcher, once the file is still.
    Watch,
}

/// How a change comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    pub(crate) manner: Manner,
    pub(crate) ask: Ask,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Syntax,
    UnknownKey,
    NoInstances,
    CutOff,
    NoSecret,
    NotText,
    Empty,
    /// Valid, and without most instances.
    Shortened,
}

impl Bad {
    pub(crate) const ALL: [Bad; 8] = [
        Bad::Syntax,
        Bad::UnknownKey,
        Bad::NoInstances,
        Bad::CutOff,
        Bad::NoSecret,
        Bad::NotText,
        Bad::Empty,
        Bad::Shortened,
    ];
}

/// An instance in the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) address: SocketAddr,
    pub(crate) present: bool,
    /// How often it was renamed.
    renamed: u32,
    pub(crate) weight: u32,
    pub(crate) state: State,
}

/// The whole file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// What stands before `[upstream.app]`.
    pub(crate) top: String,
    /// What belongs to it, but for the instances.
    pub(crate) upstream: String,
    /// What follows.
    pub(crate) rest: String,
    pub(crate) entries: Vec<Entry>,
}

impl File {
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let entry = |&address| Entry { address, present: true, renamed: 0, weight: 1, state: State::Ready };
        File {
            top: String::new(),
            upstream: String::new(),
            rest: String::new(),
            entries: addresses.iter().map(entry).collect(),
        }
    }

    /// The name of an instance now: its number can be read from it whatever it is called.
    pub(crate) fn name(&self, slot: usize) -> String {
        format!("i{slot}-{}", self.entries[slot].renamed)
    }

    /// The number of an instance of this name.
    pub(crate) fn slot(name: &str) -> Option<usize> {
        name.strip_prefix('i')?.split('-').next()?.parse().ok()
    }

    pub(crate) fn rename(&mut self, slot: usize) {
        self.entries[slot].renamed += 1;
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n[upstream.app]\ninstances = [\n", self.top);
        for (slot, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.present) {
            let (address, name, weight, state) =
                (entry.address, self.name(slot), entry.weight, entry.state.word());
            writeln!(
                text,
                "  {{ address = \"{address}\", name = \"{name}\", weight = {weight}, state = \"{state}\" }},"
            )
            .unwrap();
        }
        write!(text, "]\n{}\n{}", self.upstream, self.rest).unwrap();
        text
    }

    /// The same with something wrong.
    pub(crate) fn spoilt(&self, bad: Bad) -> Vec<u8> {
        let text = self.text();
        let begin = text.find("instances = [").unwrap();
        let end = begin + text[begin..].find(']').unwrap() + 1;
        let with_instances =
            |instances: &str| format!("{}instances = [{instances}]{}", &text[..begin], &text[end..]);
        match bad {
            Bad::Syntax => text.replacen("instances = [", "instances = [[", 1),
            Bad::UnknownKey => text.replacen("[upstream.app]", "[upstream.app]\nbalence = \"random\"", 1),
            Bad::NoInstances => with_instances(""),
            Bad::CutOff => text[..begin + (end - begin) / 2].to_owned(),
            Bad::NoSecret => text.replacen(
                "[upstream.app]",
                "[upstream.app]\nsticky.secret_file = \"/nonexistent/secret\"",
                1,
            ),
            Bad::NotText => return [text.as_bytes(), b"\n# \xff\n"].concat(),
            Bad::Empty => String::new(),
            Bad::Shortened => {
                let kept = self.entries[0].address;
                with_instances(&format!("{{ address = \"{kept}\", name = \"{}\" }}", self.name(0)))
            }
        }
        .into_bytes()
    }
}

/// Writes `content`.
pub(crate) async fn write(path: &Path, content: &[u8], manner: Manner) -> io::Result<()> {
    match manner {
        Manner::InPlace => fs::write(path, content),
        Manner::Rename => {
            let next = path.with_extension("next");
            fs::write(&next, content)?;
            fs::rename(&next, path)
        }
        Manner::Pieces => {
            fs::write(path, &content[..content.len() / 2])?;
            sleep(Duration::from_millis(300)).await;
            fs::write(path, content)
        }
    }
}
