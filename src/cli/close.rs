//! `stickyd close`: ends what clients have open.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;

use super::family;
use super::lists::{WITHIN, grouped, heard_of_all, network};
use super::reach::{Reach, exit, print, print_json, time};
use crate::control::admin::{Client, Failure, api};

const EXAMPLES: &str = "\
Examples:
  stickyd close 3k7q2m 8p0d1x
      These tunnels, by the ids of `stickyd tunnels`, at once.
  stickyd close --client 203.0.113.9
      All tunnels of a client, and its polls and streams.
  stickyd close --instance socketio/blue-1 --yes --reason 'memory leak'
      The same of an instance; `stickyd drain` also keeps new clients away.
  stickyd close --client 203.0.113.0/24 --instance socketio/blue-1 --code 4001

This is no ban: a client may come back at once, and is placed at another instance for `rebalance.rest` if there is one.

A tunnel is closed by a Close frame (1012 unless --code says otherwise; 1000 and 4000 to 4999 may mean to the \
application that the client shall not come back); the access log and the metrics say `command`. A poll ends with \
Engine.IO's 400, upon which its client begins anew; a session between two polls has nothing to close.

Many are closed at the pace of `down.rate` of the upstream, and more than 100 only with --yes; the command returns when \
that has begun.
Exit codes: 0 closed, 1 an id is gone or it is refused, 2 wrong usage, 69 not running.";

/// Close tunnels: by id, of a client, or at an instance
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CloseArgs {
    /// Tunnels
    #[arg(value_name = "ID", required_unless_present_any = ["client", "instance"], conflicts_with_all = ["client", "instance"])]
    ids: Vec<String>,
    /// What this client has open, or all of a network
    #[arg(long, value_name = "CIDR", value_parser = network)]
    client: Option<String>,
    /// What is open at this instance; with one upstream its name may be left out
    #[arg(long, value_name = "UPSTREAM/INSTANCE")]
    instance: Option<String>,
    /// The code of the Close frame
    #[arg(long, value_parser = clap::value_parser!(u16).range(1000..=4999))]
    code: Option<u16>,
    /// Why, for the log of stickyd; clients are not told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also more than 100
    #[arg(long)]
    yes: bool,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &CloseArgs) -> ExitCode {
    let question = api::Close {
        ids: args.ids.clone(),
        client: args.client.clone(),
        instance: args.instance.clone(),
        code: args.code,
        reason: args.reason.clone(),
        yes: args.yes,
        count: false,
    };
    let close = || {
        let client = args.reach.client()?;
        if !args.yes && args.ids.is_empty() {
            not_a_lot(&client, &question)?;
        }
        let closed = tell_all(&client, &question)?;
        if args.json {
            print_json(&closed)?;
        } else {
            print(&format!("{}\n", said(&closed)))?;
        }
        heard_of_all(&closed.silent_workers, closed.unheard, "nothing of theirs is closed")?;
        match closed.gone.as_slice() {
            [] => Ok(()),
            gone => Err(Failure::Refused(format!("no open tunnel is called {}", gone.join(", ")))),
        }
    };
    exit(close())
}

/// Tells the process that serves, and those that linger.
fn tell_all(client: &Client, question: &api::Close) -> Result<api::Closed, Failure> {
    let mut closed: api::Closed = client.post("/v1/close", question, Some(WITHIN))?;
    let those: Vec<api::Closed> = family::tell(client, "/v1/close", question)?;
    closed.unheard += those.iter().map(|other| other.unheard).sum::<u64>();
    family::add_closed(&mut closed, those);
    Ok(closed)
}

/// What all of them together would close is no lot. Each would refuse a lot of its own, when the others had closed theirs.
fn not_a_lot(client: &Client, question: &api::Close) -> Result<(), Failure> {
    let count = tell_all(client, &api::Close { count: true, ..question.clone() })?;
    match api::Close::is_a_lot(count.tunnels, count.requests, count.over) {
        Some(why) => Err(Failure::Refused(why)),
        None => Ok(()),
    }
}

/// `312 tunnels, 4 polls and streams closed (1012), the last in 3s`.
fn said(closed: &api::Closed) -> String {
    let mut text = match (closed.tunnels, closed.requests) {
        (0, 0) => return "nothing is closed: nothing of that is open".to_owned(),
        (0, _) => String::new(),
        (1, _) => "1 tunnel".to_owned(),
        (tunnels, _) => format!("{} tunnels", grouped(tunnels)),
    };
    if closed.requests > 0 {
        let comma = if text.is_empty() { "" } else { ", " };
        let things = if closed.requests == 1 { "poll or stream" } else { "polls and streams" };
        let _ = write!(text, "{comma}{} {things}", grouped(closed.requests));
    }
    let _ = write!(text, " closed ({})", closed.code);
    if closed.over > 0 {
        let _ = write!(text, ", the last in {}", time(closed.over.div_ceil(1000)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_closed() {
        let check = |tunnels, requests, over, text| {
            let closed = api::Closed {
                tunnels,
                requests,
                over,
                code: 1012,
                gone: vec![],
                silent_workers: vec![],
                unheard: 0,
            };
            assert_eq!(said(&closed), text);
        };
        check(0, 0, 0, "nothing is closed: nothing of that is open");
        check(1, 0, 0, "1 tunnel closed (1012)");
        check(2000, 1, 2500, "2 000 tunnels, 1 poll or stream closed (1012), the last in 3s");
        check(0, 4, 0, "4 polls and streams closed (1012)");
    }
}
