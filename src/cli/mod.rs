//! The command line: one file for each command.
//!
//! Owns arguments, help, exit codes and what is printed. What commands do is elsewhere.

mod close;
mod events;
mod explain;
mod family;
mod generate;
mod healthcheck;
mod lists;
mod reach;
mod reload;
mod retire;
mod run;
mod state;
mod status;
mod upgrade;
mod validate;

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::model::InstanceState;
use crate::config::{Report, Style};
use crate::control::explain::{Field, Url};
use close::CloseArgs;
use events::EventsArgs;
use generate::GenerateArgs;
use healthcheck::HealthcheckArgs;
use lists::{SessionsArgs, TunnelsArgs};
use reload::{DiffArgs, ReloadArgs};
use retire::RetireArgs;
use state::{CordonArgs, EmptyArgs, ResumeArgs};
use status::StatusArgs;
use upgrade::UpgradeArgs;

/// Where the configuration is when nobody names another file.
pub const CONFIG_FILE: &str = "/etc/stickyd/config.toml";

/// The configuration cannot be used (`EX_CONFIG` of sysexits.h); a service manager must not restart on it.
pub const BAD_CONFIGURATION: u8 = 78;

const EXAMPLES: &str = "\
Examples:
  stickyd run --listen :8080 --instances instance-1:3000,instance-2:3000
      Serve at once, without a file.
  stickyd validate ./config.toml
      Find every mistake of a file before it is used; `stickyd -t` checks /etc/stickyd/config.toml.
  stickyd run
      Serve as /etc/stickyd/config.toml says.
  stickyd explain --ip 203.0.113.9
      Say where this client goes, and why.
  stickyd status
      Say how the running process and its instances are.
  stickyd reload --dry-run
      Say what the changed file would do; without --dry-run do it.
  stickyd upgrade
      Hand over to the new binary; nothing is dropped.
  stickyd drain socketio/blue-1 --wait
      Empty an instance at a pace, before it is replaced.
  stickyd tunnels --client 203.0.113.9
      Say what this client has open; `stickyd close` closes it.

The smallest file:
  listen = \":80\"

  [upstream.socketio]
  instances = [\"instance-1:3000\", \"instance-2:3000\"]

Every key, with its default: config.example.toml.";

#[derive(Debug, Parser)]
#[command(name = "stickyd", version, arg_required_else_help = true, after_help = EXAMPLES)]
/// Sticky-session, WebSocket-aware reverse proxy for Socket.IO and WebSocket instances
///
/// Clients stay at their instance by cookie and address. Replaces nginx's `upstream { ip_hash; ... }` or a balancer's
/// cookie stickiness.
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    #[command(short_flag = 't')]
    Validate(ValidateArgs),
    Explain(ExplainArgs),
    Status(StatusArgs),
    Reload(ReloadArgs),
    Diff(DiffArgs),
    Upgrade(UpgradeArgs),
    /// No new clients at these instances; nothing is closed
    #[command(after_help = state::CORDON)]
    Cordon(CordonArgs),
    /// Empty these instances: no new clients, and what is open is closed at a pace
    #[command(after_help = state::DRAIN)]
    Drain(EmptyArgs),
    /// Drain these instances, and leave them unchecked
    #[command(after_help = state::MAINTAIN)]
    Maintain(EmptyArgs),
    /// New clients at these instances again
    #[command(after_help = state::RESUME)]
    Resume(ResumeArgs),
    Tunnels(TunnelsArgs),
    Sessions(SessionsArgs),
    Close(CloseArgs),
    Retire(RetireArgs),
    Events(EventsArgs),
    Healthcheck(HealthcheckArgs),
    Generate(GenerateArgs),
}

const LISTEN: &str =
    "Where to accept clients, instead of a file: :8080, 127.0.0.1:8080, [::1]:8080 or unix:/path";

const RUN_EXAMPLES: &str = "\
Examples:
  stickyd run
  stickyd run --config ./config.toml
  stickyd run --listen :8080 --instances instance-1:3000,instance-2:3000
  stickyd run --listen :80 --listen unix:/run/stickyd.sock --instances 10.0.0.1:3000

Exit codes: 0 stopped as asked, 1 cannot bind, 2 wrong usage, 78 the configuration cannot be used.";

/// Serve until stopped (SIGTERM or Ctrl-C)
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    #[arg(long, value_name = "ADDRESS", requires = "instances", conflicts_with = "config", help = LISTEN)]
    listen: Vec<String>,
    /// The Socket.IO or WebSocket processes behind, as host:port, with commas or by repeating the flag
    #[arg(
        long,
        value_name = "ADDRESS,...",
        value_delimiter = ',',
        requires = "listen",
        conflicts_with = "config"
    )]
    instances: Vec<String>,
}

const VALIDATE_EXAMPLES: &str = "\
Examples:
  stickyd validate
  stickyd validate ./config.toml
  stickyd -t ./config.toml && systemctl restart stickyd

Writes nothing, resolves no name. Exit codes: 0 it can be used (warnings included), 78 it cannot.";

/// Check a configuration: every mistake at once, with its line and what to type
#[derive(Debug, Args)]
#[command(after_help = VALIDATE_EXAMPLES)]
pub struct ValidateArgs {
    /// The configuration
    #[arg(value_name = "FILE", default_value = CONFIG_FILE)]
    file: PathBuf,
    /// The same, as other commands take it
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Understood for the sake of `nginx -t` habits: it changes nothing
    #[arg(short = 't', hide = true)]
    test: bool,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  stickyd explain --ip 203.0.113.9
      A new Socket.IO client of the first upstream.
  stickyd explain --ip 203.0.113.9 --cookie AWPt5PNBUXC... --url https://app.example.com/orders
  stickyd explain --ip 2001:db8::7 --sid lv_VI97HAXpY6yYWAAAB --json
  stickyd explain --ip 203.0.113.9 --header 'X-User: anna'

Asks the running process, which knows health, sessions and who rests; nothing is changed by it. With --config it asks that file, by the
same code: the instances are taken to be up, no session is known. Shows neither secrets nor what was given.
Exit codes: 0 explained, 2 wrong usage, 69 not running, 78 the configuration cannot be used.";

/// Show where a client goes, and why: what each key of `sticky.by` says of it
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub struct ExplainArgs {
    /// Explain by this configuration alone, and ask no process
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The admin socket of the process
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// The affinity cookie: its value, or a whole Cookie field
    #[arg(long, value_name = "VALUE or NAME=VALUE;...")]
    cookie: Option<String>,
    /// An Engine.IO session id
    #[arg(long)]
    sid: Option<String>,
    /// What is asked for: a path or a URL (ws: and wss: are upgrades); without it a Socket.IO session start
    #[arg(long, value_parser = Url::parse)]
    url: Option<Url>,
    /// A header of the request; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = Field::parse)]
    header: Vec<Field>,
    /// For scripts
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Validate(args) => validate::run(&args),
            Command::Explain(args) => explain::run(args),
            Command::Status(args) => status::run(&args),
            Command::Reload(args) => reload::reload(&args),
            Command::Diff(args) => reload::diff(&args),
            Command::Upgrade(args) => upgrade::run(&args),
            Command::Cordon(args) => state::cordon(&args),
            Command::Drain(args) => state::empty(InstanceState::Drain, &args),
            Command::Maintain(args) => state::empty(InstanceState::Maintain, &args),
            Command::Resume(args) => state::resume(&args),
            Command::Tunnels(args) => lists::tunnels(&args),
            Command::Sessions(args) => lists::sessions(&args),
            Command::Close(args) => close::run(&args),
            Command::Retire(args) => retire::run(&args),
            Command::Events(args) => events::run(&args),
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::Generate(args) => generate::run(&args),
        }
    }
}

/// Prints `report` to standard error, in colour where somebody looks at it.
fn print(report: &Report) {
    let stderr = std::io::stderr();
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let style = if stderr.is_terminal() && !unwanted { Style::Colour } else { Style::Plain };
    // Nobody is left to tell when standard error is closed; the exit code still says it.
    let _ = stderr.lock().write_all(report.render(style).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_understood() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        for good in [
            "stickyd run",
            "stickyd run -c x.toml",
            "stickyd run --listen :80 --instances a:1,b:2",
            "stickyd run --listen :80 --listen :81 --instances a:1 --instances b:2",
            "stickyd validate",
            "stickyd validate x.toml",
            "stickyd validate -t x.toml",
            "stickyd -t",
            "stickyd -t x.toml",
            "stickyd explain --ip 192.0.2.1",
            "stickyd explain -c x.toml --ip ::1 --cookie AWPt --sid a --url /socket.io/?EIO=4 --json",
            "stickyd explain --ip 192.0.2.1 --url wss://app.example.com --header X-User:anna --header a:",
            "stickyd status --json --socket /run/x.sock",
            "stickyd reload --dry-run --yes -c x.toml",
            "stickyd diff",
            "stickyd generate unit",
            "stickyd diff x.toml --json",
            "stickyd upgrade",
            "stickyd upgrade --binary ./stickyd --timeout 10s --json",
            "stickyd drain a/b --wait --timeout 90s --force",
            "stickyd cordon a/b c/d",
            "stickyd resume blue-1 --json",
            "stickyd tunnels",
            "stickyd tunnels --upstream a --instance a/b --client 192.0.2.0/24 --limit 0 --sort bytes --json",
            "stickyd sessions --client ::1 --limit 100000 -c x.toml",
            "stickyd close 3k7q2m 8p0d1x --code 4001",
            "stickyd close --client 192.0.2.1 --instance a/b --reason x --yes --json",
            "stickyd retire --wait --timeout 30s",
            "stickyd retire --undo --json",
            "stickyd events --since 1h -f --upstream app --json",
            "stickyd healthcheck --timeout 2s -c x.toml",
            "stickyd explain --ip ::1 --socket /run/x.sock",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        for bad in [
            "stickyd",
            "stickyd serve",
            "stickyd run --listen :80",
            "stickyd run --instances a:1",
            "stickyd run -c x.toml --listen :80 --instances a:1",
            "stickyd validate a b",
            "stickyd explain",
            "stickyd explain --ip app.example.com",
            "stickyd explain --ip 192.0.2.1 --url app.example.com/x",
            "stickyd explain --ip 192.0.2.1 --url ftp://a/",
            "stickyd explain --ip 192.0.2.1 --header anna",
            "stickyd explain --ip 192.0.2.1 --header :anna",
            "stickyd drain",
            "stickyd generate",
            "stickyd generate nginx",
            "stickyd drain a/b --timeout 90s",
            "stickyd cordon a/b --wait",
            "stickyd resume a/b --force",
            "stickyd drain a/b --wait --timeout 90",
            "stickyd status --socket /run/x.sock --config x.toml",
            "stickyd tunnels --sort name",
            "stickyd tunnels --limit 100001",
            "stickyd tunnels --client app.example.com",
            "stickyd tunnels --client 192.0.2.1/24",
            "stickyd close",
            "stickyd close --code 1012",
            "stickyd close 3k7q2m --client 192.0.2.1",
            "stickyd close 3k7q2m --code 99",
            "stickyd retire --undo --wait",
            "stickyd retire --timeout 3s",
            "stickyd events --since 1",
            "stickyd explain --ip ::1 --socket /run/x.sock -c x.toml",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let Ok(Command::Run(args)) = parse("stickyd run --listen :80 --instances a:1,b:2 --instances c:3")
        else {
            panic!("not understood");
        };
        assert_eq!(args.instances, ["a:1", "b:2", "c:3"]);
    }
}
