//! The configuration as people meet it: files on disk, and what is said about them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use stickyd::config;

/// Files of `tests/configs/NAME`, by name.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/configs").join(name);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

/// Compares `report` with the .txt beside `file`; `UPDATE_EXPECT=1` writes it instead. What differs, if anything does.
fn expect(file: &Path, report: &str) -> Option<String> {
    let expected = file.with_extension("txt");
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        if report.is_empty() {
            let _ = std::fs::remove_file(&expected);
        } else {
            std::fs::write(&expected, report).unwrap();
        }
    }
    let known = std::fs::read_to_string(&expected).unwrap_or_default();
    (known != report).then(|| format!("{}: expected\n{known}\nfound\n{report}", expected.display()))
}

#[test]
fn every_invalid_file_gets_its_report() {
    let files = corpus("invalid");
    let mut different = Vec::new();
    for file in &files {
        match config::load(file) {
            Ok(_) => different.push(format!("{} is taken for valid", file.display())),
            Err(report) => {
                assert!(report.errors() > 0, "{}", file.display());
                different.extend(expect(file, &report.to_string()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert_eq!(files.len(), INVALID, "a corpus that shrinks tests less");
}

#[test]
fn every_valid_file_loads_with_its_warnings() {
    let files = corpus("valid");
    let mut different = Vec::new();
    for file in &files {
        match config::load(file) {
            Ok(loaded) => different.extend(expect(file, &loaded.warnings.to_string())),
            Err(report) => different.push(report.to_string()),
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert_eq!(files.len(), VALID, "a corpus that shrinks tests less");
}

const INVALID: usize = 107;
const VALID: usize = 15;
