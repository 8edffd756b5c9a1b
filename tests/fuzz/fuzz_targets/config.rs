//! Any text as a configuration: nothing panics, and what comes out is a configuration that can be run on or a report with errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickyd::config::model::IpHash;
use stickyd::config::{Style, parse};

fuzz_target!(|text: &str| {
    match parse(text, "file.toml") {
        Ok(loaded) => {
            let config = &loaded.config;
            assert_eq!(loaded.warnings.errors(), 0);
            assert!(!config.listeners.is_empty() && !config.routes.is_empty());
            assert!(config.upstreams.iter().all(|upstream| !upstream.instances.is_empty()));
            assert!(config.routes.iter().all(|route| route.upstream < config.upstreams.len()));
            for upstream in &config.upstreams {
                let by = &upstream.sticky.by;
                assert!(
                    by.len() <= 16 && by.iter().enumerate().all(|(index, key)| !by[..index].contains(key))
                );
                if let IpHash::Rendezvous { bound, .. } = upstream.sticky.ip_hash {
                    assert!(bound.is_none_or(|bound| (101..=10_000).contains(&bound)));
                }
            }
        }
        Err(report) => {
            assert!(report.errors() > 0);
            let plain = report.render(Style::Plain);
            assert!(plain.ends_with("in file.toml\n") && !plain.contains('\u{1b}'));
        }
    }
});
