//! `[log]`: what is written where, and how.

use std::path::Path;

use super::super::model::{AccessFormat, AccessTarget, Log, LogFormat};
use super::super::raw::{Table, Wrong, choice, nearest, text};
use super::names;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn read(top: &mut Table<'_>) -> Log {
    let mut table = top.table("log");
    let log = Log {
        level: table.get("level", "info".to_owned(), text(level)),
        format: table.get(
            "format",
            LogFormat::Auto,
            choice(&[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
                ("journald", LogFormat::Journald),
            ]),
        ),
        access: table.get("access", AccessTarget::Auto, text(access)),
        access_format: table.get(
            "access_format",
            AccessFormat::Json,
            choice(&[("json", AccessFormat::Json), ("combined", AccessFormat::Combined)]),
        ),
    };
    table.finish();
    log
}

/// A filter: `info`, or parts of the program by name: `info,stickyd::tunnel=debug`.
fn level(filter: &str) -> Result<String, Wrong> {
    for directive in filter.split(',') {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (target, level),
            None => ("stickyd", directive),
        };
        let target_good =
            !target.is_empty() && target.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b':');
        if !LEVELS.contains(&level) {
            let all = "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
            let write = match nearest(level, LEVELS.iter().copied()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write {all}; or for example \"info,stickyd::tunnel=debug\""),
            };
            return Err(Wrong::new(format!("must be {all}"), write));
        }
        if !target_good {
            return Err(Wrong::new(
                "must name parts of the program before =",
                "write for example \"info,stickyd::tunnel=debug\"",
            ));
        }
    }
    Ok(filter.to_owned())
}

fn access(text: &str) -> Result<AccessTarget, Wrong> {
    match text {
        "auto" => Ok(AccessTarget::Auto),
        "off" => Ok(AccessTarget::Off),
        "stdout" => Ok(AccessTarget::Stdout),
        _ if text.starts_with('/') => names::file(text).map(AccessTarget::File),
        _ => {
            let file = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or("access.log");
            let write = match nearest(text, ["auto", "off", "stdout"].into_iter()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write \"/var/log/stickyd/{file}\" for a file"),
            };
            Err(Wrong::new("must be \"auto\", \"off\", \"stdout\" or an absolute path", write))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for good in ["info", "off", "stickyd=debug", "info,stickyd::tunnel=trace", "info,hyper=warn"] {
            assert!(level(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "INFO",
            "5",
            "info,",
            "=info",
            "a b=info",
            "stickyd=",
            "info;debug",
            "[x]=info",
            "info, hyper=warn",
        ] {
            assert!(level(bad).is_err(), "{bad}");
        }
    }
}
