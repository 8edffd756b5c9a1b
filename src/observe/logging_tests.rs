use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn levels() {
    fn check(level: &str, is_good: bool) {
        assert_eq!(parse_level(level).is_ok(), is_good, "{level:?}");
    }
    check("info", true);
    check("INFO", true);
    check("off", true);
    check("warn,stickyd::tunnel=debug", true);
    check("stickyd=trace", true);
    check("", false);
    check("inof", false);
    check("info,", false);
    check("stickyd=loud", false);
    check("info,stickyd::tunnel", false);
}

#[test]
fn auto_looks_around() {
    fn check(format: LogFormat, [terminal, no_color, journal]: [bool; 3], expected: Shape) {
        let around = Surroundings { is_terminal: terminal, no_color, is_journal: journal };
        assert_eq!(around.shape(format), expected, "{format:?} {around:?}");
    }
    use LogFormat::{Auto, Journald, Json, Text};
    check(Auto, [true, false, false], Shape::Text { colour: true });
    check(Auto, [true, true, false], Shape::Text { colour: false });
    check(Auto, [true, false, true], Shape::Text { colour: true });
    check(Auto, [false, false, true], Shape::Journald);
    check(Auto, [false, false, false], Shape::Json);
    check(Text, [false, false, true], Shape::Text { colour: false });
    check(Json, [true, false, true], Shape::Json);
    check(Journald, [true, false, false], Shape::Journald);
}

#[test]
fn the_journal_is_told_apart_from_a_file() {
    fn check(stream: &str, expected: bool) {
        assert_eq!(is_journal(stream, 9, 12_345), expected, "{stream:?}");
    }
    check("9:12345", true);
    check("9:12346", false);
    check("8:12345", false);
    check("9", false);
    check("", false);
    check("9:x", false);
}

/// A place that remembers.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(shape: Shape, level: &str, log: impl FnOnce()) -> String {
    let memory = Memory::default();
    let layer = {
        let memory = memory.clone();
        shape.layer(move || memory.clone())
    };
    let subscriber = tracing_subscriber::registry().with(layer).with(parse_level(level).unwrap());
    tracing::subscriber::with_default(subscriber, log);
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn journald_lines_carry_their_priority() {
    let text = logged(Shape::Journald, "trace", || {
        tracing::error!(code = 7, "broken");
        tracing::warn!("odd\n\nin two lines");
        tracing::info!("plain");
        tracing::debug!("detail");
        tracing::trace!("more");
    });
    assert_eq!(text, "<3>broken code=7\n<4>odd\n<4>in two lines\n<6>plain\n<7>detail\n<7>more\n");
}

#[test]
fn json_lines_are_flat() {
    let text = logged(Shape::Json, "info", || {
        tracing::info!(listener = ":80", "listening");
        tracing::debug!("not shown");
    });
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["level"], "INFO");
    assert_eq!(value["message"], "listening");
    assert_eq!(value["listener"], ":80");
    assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(value["target"].as_str().unwrap().contains("logging"));
}

#[test]
fn text_has_colour_only_when_asked() {
    let log = || tracing::info!(listener = ":80", "listening");
    assert!(logged(Shape::Text { colour: true }, "info", log).contains('\u{1b}'));
    let plain = logged(Shape::Text { colour: false }, "info", log);
    assert!(plain.ends_with("  INFO listening listener=\":80\"\n"), "{plain:?}");
    assert_eq!(logged(Shape::Text { colour: false }, "warn", log), "");
}

#[test]
fn repeated_lines_are_thinned_out() {
    let start = crate::local::clock::instant();
    let line = Occasionally::new(Duration::from_secs(10));
    let check = |milliseconds, expected| {
        assert_eq!(line.pass(start + Duration::from_millis(milliseconds)), expected, "{milliseconds}");
    };
    check(0, Some(0));
    check(0, None);
    check(9_999, None);
    check(10_000, Some(2));
    check(10_001, None);
    check(35_000, Some(1));
    check(60_000, Some(0));
    // Time that stands still or goes back is no reason to talk.
    check(59_000, None);
}
