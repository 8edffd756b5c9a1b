//! The process's own log: `tracing` events as lines on standard error. Decides their shape; nobody else writes there.
//!
//! A line may wait for who reads standard error. So nothing is logged per request; what a client can repeat goes
//! through [`Occasionally`].

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;

use super::events::Keep;
use crate::config::model::{Log, LogFormat};

/// Why logging could not begin.
#[derive(Debug)]
pub enum InitError {
    /// `log.level` is no filter; what is wrong with it.
    Level(String),
    /// Somebody set a subscriber before.
    Twice,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(why) => write!(f, "log.level: {why}"),
            Self::Twice => f.write_str("logging was set up before"),
        }
    }
}

impl std::error::Error for InitError {}

/// Sends `tracing` events to standard error as `[log]` says, and keeps those that are [events](super::events) with the time that
/// `now` tells. Call it once, before any thread starts.
///
/// # Errors
/// [`InitError`]
pub fn init(log: &Log, now: fn() -> SystemTime) -> Result<(), InitError> {
    let filter = parse_level(&log.level).map_err(InitError::Level)?;
    let shape = Surroundings::look().shape(log.format);
    // Each has its own filter: an event is kept also where the log shows no line of its level.
    let subscriber = tracing_subscriber::registry()
        .with(shape.layer(io::stderr).with_filter(filter))
        .with(Keep::layer(now));
    subscriber.try_init().map_err(|_| InitError::Twice)
}

/// Reads `log.level`: a level (`info`), or levels for parts of the program (`warn,stickyd::tunnel=debug`).
///
/// # Errors
/// What is wrong with it, for a person.
pub fn parse_level(level: &str) -> Result<Targets, String> {
    for part in level.split(',') {
        // A lone word that is no level would be taken for a part of the program, and everything else be silent.
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if !part.contains('=') && !is_level {
            return Err(format!("\"{part}\" is none of error, warn, info, debug, trace, off"));
        }
    }
    level.parse::<Targets>().map_err(|error| format!("\"{level}\": {error}"))
}

/// What decides over [`LogFormat::Auto`].
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    /// Standard error is a terminal.
    is_terminal: bool,
    /// `NO_COLOR` is set and not empty (no-color.org).
    no_color: bool,
    /// Standard error goes to the journal.
    is_journal: bool,
}

impl Surroundings {
    fn look() -> Self {
        let stderr = io::stderr();
        let file = stderr.as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
        let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
        Self {
            is_terminal: stderr.is_terminal(),
            no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            is_journal: file.is_ok_and(|file| is_journal(&stream, file.dev(), file.ino())),
        }
    }

    fn shape(self, format: LogFormat) -> Shape {
        let text = Shape::Text { colour: self.is_terminal && !self.no_color };
        match format {
            LogFormat::Text => text,
            LogFormat::Auto if self.is_terminal => text,
            LogFormat::Auto if self.is_journal => Shape::Journald,
            LogFormat::Journald => Shape::Journald,
            LogFormat::Json | LogFormat::Auto => Shape::Json,
        }
    }
}

/// Whether `JOURNAL_STREAM` (systemd.exec(5)) names this very file: it is inherited also by those whose standard error
/// was led elsewhere.
fn is_journal(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text { colour: bool },
    Json,
    Journald,
}

impl Shape {
    fn layer<W>(self, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
    where
        W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
    {
        // Whoever closed standard error must not be told so on standard error: that would panic.
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
        match self {
            Self::Text { colour } => layer.with_ansi(colour).with_target(false).boxed(),
            Self::Json => {
                layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
            }
            Self::Journald => layer.with_ansi(false).event_format(Prioritised::new()).boxed(),
        }
    }
}

/// Lines as the journal wants them: their priority in front (sd-daemon(3)); it adds the time itself.
struct Prioritised(Format<Full, ()>);

impl Prioritised {
    fn new() -> Self {
        Self(format::format().without_time().with_level(false).with_target(false))
    }
}

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        // The journal makes an entry of each line, and each has its own priority.
        let mut lines = text.lines().filter(|line| !line.is_empty());
        lines.try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

/// Lets a repeated line through once in a while: the first at once, then at most one in `every`, which says how many
/// were kept back. May be a `static`.
#[derive(Debug)]
pub struct Occasionally {
    every: Duration,
    state: Mutex<KeptBack>,
}

#[derive(Debug)]
struct KeptBack {
    /// Nothing passes before; `None`: nothing has passed yet.
    until: Option<Instant>,
    lines: u64,
}

impl Occasionally {
    /// One line in `every` at most.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(KeptBack { until: None, lines: 0 }) }
    }

    /// Whether to log now: `Some` with the number of lines kept back since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.until.is_some_and(|until| now < until) {
            state.lines = state.lines.saturating_add(1);
            return None;
        }
        state.until = now.checked_add(self.every);
        Some(mem::take(&mut state.lines))
    }
}

#[cfg(test)]
#[path = "logging_tests.rs"]
mod tests;
