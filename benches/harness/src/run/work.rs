//! The table of workloads: what each runs, which figure counts, and what stickyd has to reach.

use std::net::SocketAddr;

use anyhow::{Result, bail};

/// What a workload's figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU of the proxy per operation, in microseconds.
    Cpu,
    /// User memory of the proxy per connection, in bytes.
    Memory,
}

impl Figure {
    /// The key of the raw line.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Figure::Cpu => "cpu_us",
            Figure::Memory => "anon_bytes",
        }
    }

    /// For the table.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Figure::Cpu => "us CPU",
            Figure::Memory => "B",
        }
    }
}

/// What stickyd's figure may be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Times the figure of a peer in the same round.
    Ratio(&'static str, f64),
    /// In the figure's own unit.
    Absolute(f64),
}

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Seconds of the window.
    pub(crate) seconds: f64,
    /// Seconds before it.
    pub(crate) warmup: f64,
    /// Connections of the memory workloads.
    pub(crate) held: usize,
    /// An instance that can be asked what it holds.
    pub(crate) instance_at: SocketAddr,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// For the summary.
    pub(crate) what: &'static str,
    /// Subcommand of the harness and its options.
    load: &'static [&'static str],
    /// Which figure counts.
    pub(crate) figure: Figure,
    /// From `performance.md`'s table.
    pub(crate) targets: &'static [Target],
    /// Not part of a run unless it is named.
    extra: bool,
}

use Target::{Absolute, Ratio};

/// In the order in which they run.
const WORKS: &[Work] = &[
    Work {
        name: "echo64",
        what: "WebSocket echo, 64 B, 100 tunnels",
        load: &["echo", "--conns", "100", "--size", "64"],
        figure: Figure::Cpu,
        targets: &[Ratio("nginx", 1.03), Ratio("haproxy", 0.88)],
        extra: false,
    },
    Work {
        name: "echo1k",
        what: "WebSocket echo, 1 KiB, 100 tunnels",
        load: &["echo", "--conns", "100", "--size", "1024"],
        figure: Figure::Cpu,
        targets: &[],
        extra: true,
    },
    Work {
        name: "echo64k",
        what: "WebSocket echo, 64 KiB, 16 tunnels",
        load: &["echo", "--conns", "16", "--size", "65536"],
        figure: Figure::Cpu,
        targets: &[Ratio("haproxy", 0.70)],
        extra: false,
    },
    Work {
        name: "echo1m",
        what: "WebSocket echo, 1 MiB, 4 tunnels",
        load: &["echo", "--conns", "4", "--size", "1048576"],
        figure: Figure::Cpu,
        targets: &[Ratio("haproxy", 0.75)],
        extra: false,
    },
    Work {
        name: "upgrade",
        what: "upgrade + echo + close, 32 at a time",
        load: &["upgrade", "--inflight", "32"],
        figure: Figure::Cpu,
        targets: &[Ratio("nginx", 1.00)],
        extra: false,
    },
    Work {
        name: "get",
        what: "keep-alive GET, 128 B, 32 connections",
        load: &["http", "--conns", "32"],
        figure: Figure::Cpu,
        targets: &[Ratio("nginx", 0.90)],
        extra: false,
    },
    Work {
        name: "get-browser",
        what: "the same with a browser's 500 B heads",
        load: &["http", "--conns", "32", "--head", "browser"],
        figure: Figure::Cpu,
        targets: &[],
        extra: true,
    },
    Work {
        name: "idle",
        what: "idle tunnel",
        load: &["idle"],
        figure: Figure::Memory,
        targets: &[Absolute(1200.0)],
        extra: false,
    },
    Work {
        name: "idle-used",
        what: "idle tunnel after a 16 KiB echo",
        load: &["idle", "--touch", "16384"],
        figure: Figure::Memory,
        targets: &[],
        extra: true,
    },
    Work {
        name: "keepalive",
        what: "idle keep-alive connection",
        load: &["keepalive"],
        figure: Figure::Memory,
        targets: &[Absolute(1000.0)],
        extra: false,
    },
    Work {
        name: "longpoll",
        what: "pending long-poll",
        load: &["longpoll"],
        figure: Figure::Memory,
        targets: &[Absolute(2000.0)],
        extra: false,
    },
];

impl Work {
    /// Without a proxy there is no memory to take.
    pub(crate) fn measures(&self, peer: &str) -> bool {
        self.figure == Figure::Cpu || peer != "direct"
    }

    /// Arguments of the harness, but for whom to load.
    pub(crate) fn arguments(&self, sizes: &Sizes) -> Vec<String> {
        let mut arguments: Vec<String> = self.load.iter().map(ToString::to_string).collect();
        let more = match self.figure {
            Figure::Cpu => [("--seconds", sizes.seconds.to_string()), ("--warmup", sizes.warmup.to_string())],
            Figure::Memory => {
                [("--conns", sizes.held.to_string()), ("--instance-at", sizes.instance_at.to_string())]
            }
        };
        arguments.extend(more.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        arguments
    }
}

/// The named workloads, or the standard set.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Work>> {
    if let Some(unknown) = names.iter().find(|name| WORKS.iter().all(|work| work.name != **name)) {
        let known: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
        bail!("no workload {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = |work: &Work| match names {
        [] => !work.extra,
        _ => names.iter().any(|name| name == work.name),
    };
    Ok(WORKS.iter().copied().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_command_line_of_the_harness() {
        use clap::Parser as _;
        let instance_at = SocketAddr::from(([127, 0, 0, 1], 1));
        let sizes = Sizes { seconds: 0.5, warmup: 0.5, held: 10, instance_at };
        for work in WORKS {
            let mut line = vec!["harness".to_owned()];
            line.extend(work.arguments(&sizes));
            line.extend([
                "--to".to_owned(),
                "127.0.0.1:1".to_owned(),
                "--instance".to_owned(),
                "1".to_owned(),
            ]);
            let parsed = crate::Command::try_parse_from(&line);
            assert!(
                parsed.is_ok(),
                "{}: {}",
                work.name,
                parsed.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }

    #[test]
    fn a_misspelt_workload_is_refused_and_extras_have_to_be_named() {
        assert!(chosen(&["eco64".to_owned()]).is_err());
        let standard = chosen(&[]).expect("the standard set");
        assert!(standard.len() == 8 && standard.iter().all(|work| !work.targets.is_empty()));
        assert_eq!(chosen(&["idle-used".to_owned()]).expect("an extra").len(), 1);
    }
}
