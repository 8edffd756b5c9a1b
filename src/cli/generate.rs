//! `stickyd generate WHAT`: files that go with the program, embedded as they lie in `systemd/`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::reach::{exit, print};

const EXAMPLES: &str = "\
Examples:
  stickyd generate unit > /etc/systemd/system/stickyd.service
  stickyd generate socket > /etc/systemd/system/stickyd.socket
  stickyd generate sysusers > /etc/sysusers.d/stickyd.conf && systemd-sysusers
  stickyd generate sysctl > /etc/sysctl.d/60-stickyd.conf && sysctl --system
  stickyd generate logrotate > /etc/logrotate.d/stickyd

Writes to standard output only.";

/// Where the units have the program.
const USUAL: &str = "/usr/bin/stickyd";

/// Print a file that goes with the program: a unit, a drop-in
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GenerateArgs {
    /// Which
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The service of systemd, for the program as it is installed
    Unit,
    /// The socket unit, by which a restart refuses no connect
    Socket,
    /// The user of the service
    Sysusers,
    /// Settings of the kernel for many clients
    Sysctl,
    /// Rotation of the access log
    Logrotate,
}

pub(super) fn run(args: &GenerateArgs) -> ExitCode {
    let text = match args.what {
        What::Unit => unit(),
        What::Socket => include_str!("../../systemd/stickyd.socket").to_owned(),
        What::Sysusers => include_str!("../../systemd/stickyd.sysusers.conf").to_owned(),
        What::Sysctl => include_str!("../../systemd/stickyd.sysctl.conf").to_owned(),
        What::Logrotate => include_str!("../../systemd/stickyd.logrotate").to_owned(),
    };
    exit(print(&text))
}

fn unit() -> String {
    let unit = include_str!("../../systemd/stickyd.service");
    let own = std::env::current_exe().ok();
    // What systemd would take apart, it cannot be told so simply.
    let own = own
        .as_deref()
        .and_then(|own| own.to_str())
        .filter(|own| !own.contains([' ', '%', '$', '"', '\'', '\\']));
    unit.replace(USUAL, own.unwrap_or(USUAL))
}
