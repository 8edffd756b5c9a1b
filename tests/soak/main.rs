//! The soak: a real proxy and real instances, each a process of its own, under load, while everything happens that happens to
//! instances and to the file; and every byte of every stream is checked at both ends.
//!
//! `cargo test --test soak -- run --seconds 600`, `cargo test --test soak -- reloads`, `-- upgrades`; `-- help` says the rest. What happens when is a
//! pure function of the seed, which is printed. Exit 1 and the logs are kept when anything was not as promised.
//!
//! | file | what |
//! | --- | --- |
//! | `dice` | numbers that a seed decides |
//! | `stream` | an endless stream of WebSocket frames, and the checker that knows what comes next |
//! | `conversation` | one end of a tunnel, the same code for clients and instances |
//! | `http` | just enough HTTP/1.1 for both ends |
//! | `instance` | the instance, a process of its own |
//! | `clients` | who keeps tunnels, polls, reads event streams, asks |
//! | `schedule` | what happens when: the pure function |
//! | `file` | the configuration as it changes, and the ways of writing it |
//! | `site` | the processes |
//! | `scrape` | what the proxy says of itself |
//! | `tally` | what was seen, and what should not have been |
//! | `run`, `reloads`, `upgrades` | the programs |
//!
//! Must not use the crate: what checks it should not share its mistakes.

#![expect(clippy::unwrap_used, reason = "a program of the tests: what cannot go on ends with a message")]
#![expect(
    clippy::disallowed_methods,
    reason = "it waits, measures and starts processes outside the proxy's rules"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "figures for people and small numbers"
)]

mod clients;
mod conversation;
mod dice;
mod file;
mod http;
mod instance;
mod reloads;
mod run;
mod schedule;
mod scrape;
mod site;
mod stream;
mod tally;
mod upgrades;

use std::process::ExitCode;

use clap::Parser;

/// What to do.
#[derive(Debug, Parser)]
#[command(about = "Runs stickyd under load and faults, and checks every byte at both ends")]
enum Command {
    /// Kills, stops, drains, reloads at random under load
    Run(run::Options),
    /// Many reloads under busy tunnels of instances that stay
    Reloads(reloads::Options),
    /// Many upgrades under busy tunnels and a flood of connections
    Upgrades(upgrades::Options),
    /// Prints what `run` does when with this seed
    Schedule(run::Options),
    /// An instance
    #[command(hide = true)]
    Instance(instance::Options),
    /// Becomes another program, which ends when its parent does
    #[command(hide = true)]
    Become {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    site::raise_file_limit();
    match command {
        Command::Run(options) => run::run(&options),
        Command::Reloads(options) => reloads::run(&options),
        Command::Upgrades(options) => upgrades::run(&options),
        Command::Schedule(options) => run::print_schedule(&options),
        Command::Instance(options) => instance::run(&options),
        Command::Become { program } => site::become_program(&program),
    }
}
