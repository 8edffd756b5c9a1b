//! `stickyd tunnels` and `stickyd sessions`: who is connected.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::family;
use super::reach::{Reach, exit, print, print_json};
use crate::config;
use crate::control::admin::{Failure, api};

const TUNNELS: &str = "\
Examples:
  stickyd tunnels
      The 100 oldest; up and down are bytes, `by` is the key that brought the client there.
  stickyd tunnels --sort idle --limit 20
  stickyd tunnels --client 203.0.113.0/24 --instance socketio/blue-1
  stickyd tunnels --limit 0
      Only how many there are.
  stickyd tunnels --json | jq -r '.tunnels[] | select(.idle > 600000) | .id' | xargs stickyd close

An id stays for the tunnel's life; `stickyd close ID` closes it. Host and path (in --json) are known where the access \
log is on. Sorted over all tunnels of all workers before it is cut.
Exit codes: 0 listed, 1 no such instance, or a worker did not answer, 2 wrong usage, 69 not running.";

const SESSIONS: &str = "\
Examples:
  stickyd sessions
      The 100 longest idle.
  stickyd sessions --client 203.0.113.9 --json

Sessions of Engine.IO whose sid was learned, by polling. A sid is a secret of its client: what is shown is its hash, as \
in the access log. What a session has open: tunnel (it went over to one), request (a poll, most often), left (its client \
dropped a poll), nothing (between two polls).
Exit codes: 0 listed, 1 no such instance, 2 wrong usage, 69 not running.";

/// How long the process has to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(15);

/// Which ones
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Of this upstream
    #[arg(long, value_name = "UPSTREAM")]
    upstream: Option<String>,
    /// At this instance; with one upstream its name may be left out
    #[arg(long, value_name = "UPSTREAM/INSTANCE")]
    instance: Option<String>,
    /// Of this client, or of all of a network
    #[arg(long, value_name = "CIDR", value_parser = network)]
    client: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: u32,
    /// For scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// List the open tunnels: client, instance, age, what they carried, what brought them
#[derive(Debug, Args)]
#[command(after_help = TUNNELS)]
pub(super) struct TunnelsArgs {
    #[command(flatten)]
    which: Which,
    /// Which first: the oldest, the longest idle, or those that carried most
    #[arg(long, default_value = "age", value_parser = PossibleValuesParser::new(["age", "idle", "bytes"]))]
    sort: String,
}

/// List the Engine.IO sessions that are known, the longest idle first
#[derive(Debug, Args)]
#[command(after_help = SESSIONS)]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    which: Which,
}

/// A network, as it was written.
pub(super) fn network(text: &str) -> Result<String, String> {
    config::parse_network(text).map(|_| text.to_owned())
}

pub(super) fn tunnels(args: &TunnelsArgs) -> ExitCode {
    let Which { upstream, instance, client, limit, json, reach } = &args.which;
    let (sort, first) = match args.sort.as_str() {
        "idle" => (api::Sort::Idle, "the longest idle first"),
        "bytes" => (api::Sort::Bytes, "those that carried most first"),
        _ => (api::Sort::Age, "the oldest first"),
    };
    let question = api::ListTunnels {
        upstream: upstream.clone(),
        instance: instance.clone(),
        client: client.clone(),
        limit: *limit,
        sort,
    };
    let list = || {
        let client = reach.client()?;
        let mut list: api::Tunnels = client.post("/v1/tunnels", &question, Some(WITHIN))?;
        let those: Vec<api::Tunnels> = family::tell(&client, "/v1/tunnels", &question)?;
        list.unheard += those.iter().map(|other| other.unheard).sum::<u64>();
        family::add_tunnels(&mut list, those, &question);
        if *json {
            print_json(&list)?;
        } else {
            let table = table_of_tunnels(&list.tunnels, list.upstreams);
            let end = summary(list.tunnels.len(), list.open, "tunnel", first);
            print(&format!("{table}{end}\n"))?;
        }
        heard_of_all(&list.silent_workers, list.unheard, "what they have is missing here")
    };
    exit(list())
}

pub(super) fn sessions(args: &SessionsArgs) -> ExitCode {
    let Which { upstream, instance, client, limit, json, reach } = &args.which;
    let question = api::ListSessions {
        upstream: upstream.clone(),
        instance: instance.clone(),
        client: client.clone(),
        limit: *limit,
    };
    let list = || {
        let list: api::Sessions = reach.client()?.post("/v1/sessions", &question, Some(WITHIN))?;
        if *json {
            return print_json(&list);
        }
        let table = table_of_sessions(&list.sessions, list.upstreams);
        let end = summary(list.sessions.len(), list.known, "session", "the longest idle first");
        print(&format!("{table}{end}\n"))
    };
    exit(list())
}

/// An error that names the workers that did not answer, or says how many of what is open, if there are any.
pub(super) fn heard_of_all(silent: &[usize], unheard: u64, so: &str) -> Result<(), Failure> {
    let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let whom = match (names.as_slice(), unheard) {
        ([], 0) => return Ok(()),
        ([], unheard) => format!("in time from {} that are open", grouped(unheard)),
        (names, _) => format!("within 3 s from worker {}", names.join(", ")),
    };
    Err(Failure::Refused(format!("no answer {whom}: {so}; see the log of stickyd")))
}

fn table_of_tunnels(tunnels: &[api::Tunnel], upstreams: usize) -> String {
    let row = |tunnel: &api::Tunnel| {
        let closing = if tunnel.closing { ", closing" } else { "" };
        [
            tunnel.id.clone(),
            tunnel.client.clone(),
            place(upstreams, &tunnel.upstream, &tunnel.instance),
            time(tunnel.age),
            time(tunnel.idle),
            amount(tunnel.bytes_up),
            amount(tunnel.bytes_down),
            format!("{}/{}", amount(tunnel.frames_up), amount(tunnel.frames_down)),
            format!("{}{closing}", tunnel.sticky_key),
        ]
    };
    let head = ["id", "client", "instance", "age", "idle", "up", "down", "frames", "by"];
    table(head, 3..8, tunnels.iter().map(row).collect())
}

fn table_of_sessions(sessions: &[api::Session], upstreams: usize) -> String {
    let row = |session: &api::Session| {
        let open = match session.open {
            api::Open::Tunnel => "tunnel",
            api::Open::Request => "request",
            api::Open::Left => "left",
            api::Open::Nothing => "nothing",
        };
        [
            session.sid_hash.clone(),
            session.client.clone(),
            place(upstreams, &session.upstream, &session.instance),
            time(session.idle),
            time(session.expires_in),
            open.to_owned(),
        ]
    };
    let head = ["sid_hash", "client", "instance", "idle", "expires", "open"];
    table(head, 3..5, sessions.iter().map(row).collect())
}

/// An instance, as commands take it; its upstream's name says nothing where there is one.
fn place(upstreams: usize, upstream: &str, instance: &str) -> String {
    if upstreams == 1 { instance.to_owned() } else { format!("{upstream}/{instance}") }
}

/// Columns as wide as they have to be; those of `numbers` end together. Nothing where there is no row.
fn table<const N: usize>(head: [&str; N], numbers: std::ops::Range<usize>, rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let wide = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(wide);
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let between = if column == 0 { "" } else { "  " };
            let _ = if numbers.contains(&column) {
                write!(written, "{between}{cell:>width$}")
            } else {
                write!(written, "{between}{cell:width$}")
            };
        }
        let _ = writeln!(text, "{}", written.trim_end());
    }
    text
}

/// `3 of 18 204 tunnels shown, the oldest first`.
fn summary(shown: usize, all: u64, what: &str, first: &str) -> String {
    let things = if all == 1 { what.to_owned() } else { format!("{what}s") };
    match (shown as u64, all) {
        (_, 0) => format!("no {things}"),
        (shown, all) if shown < all => {
            format!("{shown} of {} {things} shown, {first}; --limit shows more", grouped(all))
        }
        (_, all) => format!("{} {things}", grouped(all)),
    }
}

/// `18 204`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

/// How long, in four columns, of milliseconds: `34s`, `59m`, `23h`, `104d`.
fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, _) => format!("{hours}h"),
        (days, _, _) => format!("{days}d"),
    }
}

/// How much, in four columns: `999`, `1.2k`, `34k`, `5.6M`.
fn amount(number: u64) -> String {
    let (mut number, mut tenths) = (number, 0);
    for unit in ["", "k", "M", "G", "T", "P"] {
        if number < 1000 {
            let fraction = if unit.is_empty() || number > 9 { String::new() } else { format!(".{tenths}") };
            return format!("{number}{fraction}{unit}");
        }
        (number, tenths) = (number / 1000, number / 100 % 10);
    }
    format!("{number}E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_have_four_columns() {
        let check = |number, text| assert_eq!(amount(number), text);
        check(0, "0");
        check(999, "999");
        check(1000, "1.0k");
        check(9999, "9.9k");
        check(10_000, "10k");
        check(999_999, "999k");
        check(1_250_000, "1.2M");
        check(u64::MAX, "18E");
        let check = |seconds: u64, text| assert_eq!(time(seconds * 1000 + 999), text);
        check(0, "0s");
        check(59, "59s");
        check(3599, "59m");
        check(86_399, "23h");
        check(86_400 * 400, "400d");
    }

    #[test]
    fn what_is_not_shown_is_said() {
        let check = |shown, all, text| assert_eq!(summary(shown, all, "tunnel", "the oldest first"), text);
        check(0, 0, "no tunnels");
        check(1, 1, "1 tunnel");
        check(2, 2, "2 tunnels");
        check(3, 18_204, "3 of 18 204 tunnels shown, the oldest first; --limit shows more");
        check(0, 1_000_000, "0 of 1 000 000 tunnels shown, the oldest first; --limit shows more");
    }

    #[test]
    fn a_table_fits_a_terminal() {
        let tunnel = api::Tunnel {
            id: "c6m3brrae".to_owned(),
            client: "203.0.113.109".to_owned(),
            upstream: "socketio".to_owned(),
            instance: "instance-1".to_owned(),
            age: 400 * 86_400_000,
            idle: 59 * 60_000,
            bytes_up: 9_900_000,
            bytes_down: 999_000,
            frames_up: 9_900,
            frames_down: 9_900,
            sticky_key: "ip_hash".to_owned(),
            closing: false,
            host: None,
            path: None,
            sid_hash: None,
        };
        let text = table_of_tunnels(std::slice::from_ref(&tunnel), 1);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(
            text,
            "id         client         instance     age  idle    up  down     frames  by\n\
             c6m3brrae  203.0.113.109  instance-1  400d   59m  9.9M  999k  9.9k/9.9k  ip_hash\n"
        );
        let other = api::Tunnel { upstream: "chat".to_owned(), closing: true, ..tunnel.clone() };
        let text = table_of_tunnels(&[tunnel, other], 2);
        assert!(text.contains("socketio/instance-1") && text.ends_with("ip_hash, closing\n"), "{text}");
        assert_eq!(table_of_tunnels(&[], 1), "");
    }
}
