//! TOML to a configuration that the program can run on, or every reason why not.
//!
//! ```text
//! raw (private: the spanned tree, walked by hand) -> validate (collects every problem) -> model
//!                            availability (what comes later)  report (line, column, caret, did-you-mean)
//! ```
//!
//! This folder imports nothing of the crate; nobody else can name a raw type.

mod arguments;
mod availability;
pub mod diff;
pub mod locate;
pub mod model;
mod raw;
mod report;
mod validate;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use rustix::fs::OFlags;
use toml::de::DeTable;

pub use arguments::from_arguments;
pub use model::Config;
pub use report::{Report, Severity, Style};

use raw::{Damage, Table, Walk};
use report::Problem;

/// Largest file, in bytes: 4 MiB hold some 100 000 instances. More is another file, named by mistake.
pub const LARGEST: u64 = 4 << 20;

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the program runs on.
    pub config: Config,
    /// What somebody should look at; often empty.
    pub warnings: Report,
}

/// Reads and validates the file at `path`, which may be a pipe (`/dev/stdin`). Writes nothing, resolves nothing, opens nothing else.
///
/// # Errors
/// A report of everything that is wrong; also when the file cannot be read, is not text, or is over 4 MiB.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    parse_bytes(read_any(path)?, &path.display().to_string())
}

/// What is in the regular file at `path`: whoever opens a pipe waits for its other end, and a running process must not.
///
/// # Errors
/// Why it cannot be read, or that it is over 4 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, Report> {
    read_at_most(path, true).map_err(|problem| whole(path, problem))
}

/// The same of any file: for commands, which may wait.
///
/// # Errors
/// Why it cannot be read, or that it is over 4 MiB.
pub fn read_any(path: &Path) -> Result<Vec<u8>, Report> {
    read_at_most(path, false).map_err(|problem| whole(path, problem))
}

fn whole(path: &Path, problem: Problem) -> Report {
    Report::new(&path.display().to_string(), "", vec![problem])
}

/// As [`parse`], of what need not be text.
///
/// # Errors
/// A report of everything that is wrong.
pub fn parse_bytes(bytes: Vec<u8>, file_name: &str) -> Result<Loaded, Report> {
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, file_name),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // Replacing the bad bytes leaves everything before them in its place.
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let problem = Problem::error(at..at + 1, "not UTF-8", "save the file as UTF-8");
            Err(Report::new(file_name, &text, vec![problem]))
        }
    }
}

/// Validates `text`; `file_name` is what reports call it. Pure, and total: any text at all gives one or the other.
///
/// # Errors
/// A report of everything that is wrong.
pub fn parse(text: &str, file_name: &str) -> Result<Loaded, Report> {
    if text.len() as u64 > LARGEST {
        return Err(Report::new(file_name, "", vec![too_large()]));
    }
    let (tree, damage) = raw::parse(text);
    conclude(file_name, text, &tree, damage, true)
}

/// The one way from a tree to a configuration.
fn conclude(
    file_name: &str,
    text: &str,
    tree: &DeTable<'_>,
    damage: Damage,
    refuse_later: bool,
) -> Result<Loaded, Report> {
    let walk = Walk::new(text, damage, refuse_later);
    let config = validate::config(Table::top(&walk, tree));
    let report = Report::new(file_name, text, walk.into_problems(schema));
    if report.errors() > 0 { Err(report) } else { Ok(Loaded { config, warnings: report }) }
}

/// What is wrong with a file that `text` names, where it names it. `why`: in the words `PATH: what is wrong`. As it is if there is no
/// such place.
pub fn blame(file_name: &str, text: &str, why: &str) -> String {
    match locate::file_named_in(text, why) {
        None => why.to_owned(),
        Some(span) => {
            let problem = Problem::error(span, why, "this file cannot be used");
            Report::new(file_name, text, vec![problem]).to_string()
        }
    }
}

/// Every key that there is: those that a document with one table of each kind is asked for.
fn schema() -> BTreeSet<String> {
    let text = "[[listen]]\ntls = {}\n[upstream.x]\ninstances = [{}]\ntls = {}\n[[route]]\n";
    let (tree, damage) = raw::parse(text);
    let walk = Walk::new(text, damage, false);
    validate::config(Table::top(&walk, &tree));
    walk.into_known()
}

/// A network or one address, as the file has them: `"10.0.0.0/16"`, `"10.1.2.3"`.
///
/// # Errors
/// What is wrong, and what to type.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    validate::parse_network(text).map_err(|wrong| format!("{}: {}", wrong.what, wrong.write))
}

/// A duration as the file has them: `"90s"`, `"1h30m"`.
///
/// # Errors
/// What is wrong, and what to type.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    raw::parse_duration(text).map_err(|wrong| format!("{}: {}", wrong.what, wrong.write))
}

/// The same, written.
pub fn show_duration(duration: Duration) -> String {
    raw::show_duration(duration)
}

fn read_at_most(path: &Path, regular: bool) -> Result<Vec<u8>, Problem> {
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "write the file (config.example.toml shows how), name another one, or serve without a file: \
                 stickyd run --listen :8080 --instances a:3000,b:3000"
            }
            std::io::ErrorKind::PermissionDenied => {
                "let the user that runs stickyd read it: chmod 0640, and the group of that user"
            }
            _ => "the path must name a readable file",
        };
        Problem::whole(format!("cannot read the file: {}", reason(&error)), help)
    };
    let wait = if regular { OFlags::NONBLOCK } else { OFlags::empty() };
    let file = OpenOptions::new().read(true).custom_flags(wait.bits().cast_signed()).open(path);
    let file = file.map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if meta.is_dir() {
        return Err(Problem::whole("this is a directory", "name the file in it, for example config.toml"));
    }
    if regular && !meta.is_file() {
        let help =
            "write the configuration to a file and name that; `stickyd validate` and `diff` read pipes too";
        return Err(Problem::whole("this is no regular file", help));
    }
    let mut bytes = Vec::new();
    // The size that the system names may be wrong (pipes, /proc), so what is read is what counts.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Problem {
    Problem::whole("the file is larger than 4 MiB", "is this the right file?")
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
