//! What nginx and HAProxy make of the corpus, beside stickyd: a program that prints a table.
//!
//! ```text
//! cargo test --test it smuggling::peers -- --ignored --nocapture
//! ```
//!
//! It judges nobody: much of what they pass on is legal to pass on, and they may stand in front of an instance that reads it as they do.

use std::collections::BTreeMap;

use super::instance::Scripted;
use super::{answers, ask, got, refused_bodies, refused_elsewhere, requests, second};
use crate::support::peer::{Peer, find, free, start};
use crate::support::{Answering, Proxy, Socket};

/// Who is asked.
enum Who {
    Stickyd(Box<Proxy>),
    Peer(Peer),
}

impl Who {
    fn connect(&self) -> Socket {
        match self {
            Who::Stickyd(proxy) => proxy.connect(),
            Who::Peer(peer) => peer.connect(),
        }
    }
}

fn haproxy(to: &str) -> Option<Who> {
    let (program, address) = (find("haproxy")?, free());
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 1s\n timeout http-request 1s\n timeout server 2s\n\
         listen web\n bind {address}\n server one {to}\n"
    );
    Some(Who::Peer(start(&program, address, &config, &["-db", "-f"])))
}

fn nginx(to: &str) -> Option<Who> {
    let (program, address) = (find("nginx")?, free());
    let config = format!(
        "daemon off;\nmaster_process off;\npid DIRECTORY/pid;\nerror_log stderr emerg;\nevents {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path DIRECTORY/b; proxy_temp_path DIRECTORY/p; fastcgi_temp_path DIRECTORY/f;\n\
         uwsgi_temp_path DIRECTORY/u; scgi_temp_path DIRECTORY/s; client_header_timeout 1s; client_body_timeout 1s;\n\
         upstream app {{ server {to}; keepalive 8; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection '';\n\
         proxy_request_buffering off; proxy_buffering off; proxy_read_timeout 2s; }} }} }}"
    );
    Some(Who::Peer(start(&program, address, &config, &["-e", "stderr", "-c"])))
}

/// All that there are, in front of `to`.
fn all(to: &str) -> Vec<(&'static str, Who)> {
    let stickyd = Proxy::configured(
        &to,
        "[timeouts]\nrequest_head = \"1s\"\nrequest_body = \"1s\"\nkeep_alive = \"1s\"\n",
    );
    let peers =
        [("stickyd", Some(Who::Stickyd(Box::new(stickyd)))), ("nginx", nginx(to)), ("HAProxy", haproxy(to))];
    peers.into_iter().filter_map(|(name, who)| Some((name, who?))).collect()
}

/// A row: what each made of a case.
fn print(title: &str, rows: &BTreeMap<String, Vec<(&'static str, String)>>) {
    let mut sums: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    println!("\n{title}: where they differ");
    let names: Vec<&str> = rows.values().next().into_iter().flatten().map(|(name, _)| *name).collect();
    println!("| case | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(names.len()));
    for (case, made) in rows {
        for (name, what) in made {
            *sums.entry((name, what.starts_with("refused"))).or_default() += 1;
        }
        if made.iter().any(|(_, what)| *what != made[0].1) {
            let cells: Vec<String> = made.iter().map(|(_, what)| what.replace('|', "\\|")).collect();
            println!("| {case} | {} |", cells.join(" | "));
        }
    }
    for ((name, refused), count) in sums {
        println!("{name}: {count} of {} {}", rows.len(), if refused { "refused" } else { "passed on" });
    }
}

#[test]
#[ignore = "a program that prints a table, for people"]
fn requests_beside_others() {
    let instance = Answering::start("blue");
    let cases = requests::CASES.iter().map(|requests::Case(name, bytes, ..)| (*name, bytes.to_vec()));
    let mut rows = BTreeMap::new();
    let all = all(&instance.to_string());
    let both = refused_elsewhere().chain(refused_bodies());
    for (number, (name, bytes)) in cases.chain(both).enumerate() {
        let made = all.iter().map(|(who, peer)| {
            let (answers, seen) = ask(peer.connect(), &bytes, &instance);
            let status =
                String::from_utf8_lossy(&answers).split(' ').nth(1).unwrap_or("no answer").to_owned();
            let what = match &*seen {
                [] => format!("refused, {status}"),
                seen => format!("{status}; {}", seen.join(", ").replace("\\r\\n", " ")),
            };
            (*who, what)
        });
        rows.insert(format!("{number:03} {name}"), made.collect());
    }
    print("requests", &rows);
}

#[test]
#[ignore = "a program that prints a table, for people"]
fn answers_beside_others() {
    let instance = Scripted::start();
    instance.is_impatient();
    let mut rows = BTreeMap::new();
    let all = all(&instance.to_string());
    for (number, answers::Case(name, method, answer, _)) in answers::CASES.iter().enumerate() {
        let made = all.iter().map(|(who, peer)| {
            instance.answers(answer, false);
            let got = got(peer.connect(), method);
            let next = second(peer.connect());
            let what = match got {
                Ok((status @ 500..=599, _)) => format!("refused, {status}"),
                Ok((status, body)) => format!("{status} {body:?}"),
                Err(why) => format!("cut ({why})").replace(['\r', '\n'], " "),
            };
            (*who, if next == "second" { what } else { format!("{what}; the next client got {next}") })
        });
        rows.insert(format!("{number:03} {name}"), made.collect());
    }
    print("answers", &rows);
}
