//! Stops with tunnels open: when they are closed, and what is remembered of them.

use std::time::Instant;

use super::{start, toml};
use crate::support::process::{Home, Process};
use crate::support::{Instance, Socket, ws};

/// The client's end of a tunnel, and the instance's.
fn tunnel(process: &mut Process, instance: &Instance) -> (Socket, Socket) {
    let mut client = process.connect();
    client.send(ws::handshake("/ws", ""));
    let mut far = instance.accept();
    far.request();
    far.send(ws::switch(""));
    assert_eq!(client.answer().status(), 101);
    (client, far)
}

/// The regression: every Close was a little late, and what it was late by was added to all that came behind it.
#[test]
fn a_spread_lasts_no_longer_with_many_tunnels() {
    let (home, instance) = (Home::new(), Instance::start());
    let shutdown = "[shutdown]\nspread = \"1s\"\ndeadline = \"15s\"\n";
    let mut process = start(&home, &toml("workers = 1", &instance, shutdown));
    let mut tunnels: Vec<_> = (0..200).map(|_| tunnel(&mut process, &instance)).collect();
    process.terminate();
    // They come in the order in which the tunnels were opened.
    let mut first = None;
    for (client, far) in &mut tunnels {
        ws::expect_close(client, 1012, false);
        first.get_or_insert_with(Instant::now);
        client.half_close();
        far.half_close();
    }
    let spread = first.unwrap().elapsed();
    assert!((900..1400).contains(&spread.as_millis()), "{spread:?} from the first to the last");
    assert!(process.end().success());
}

/// The regression: a tunnel whose task ended with its worker had been opened and was never closed.
#[test]
fn tunnels_that_are_cut_at_the_deadline_are_recorded() {
    let (home, instance) = (Home::new(), Instance::start());
    let sections = format!(
        "[shutdown]\nspread = \"0s\"\ndeadline = \"200ms\"\n[log]\naccess = \"{}\"\n",
        home.path("access.log")
    );
    let mut process = start(&home, &toml("workers = 2", &instance, &sections));
    let mut tunnels: Vec<_> = (0..5).map(|_| tunnel(&mut process, &instance)).collect();
    process.terminate();
    for (client, far) in &mut tunnels {
        // Both hear of it, and neither answers.
        ws::expect_close(client, 1012, false);
        ws::expect_close(far, 1012, true);
    }
    process.says(&["deadline of the stop has passed"]);
    assert!(process.end().success());
    let text = std::fs::read_to_string(home.path("access.log")).unwrap();
    let mut ends = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["event"] == "ws_close" {
            let told = ["reason", "closed_by", "close_code"].map(|field| line[field].clone());
            assert_eq!(told, [serde_json::json!("shutdown"), "proxy".into(), 1012.into()], "{line}");
            ends += 1;
        }
    }
    assert_eq!(ends, tunnels.len(), "{text}");
    for (client, far) in &mut tunnels {
        client.is_gone();
        far.is_gone();
    }
}
