//! An entry as one line. Pure.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::entry::{Entry, Event};
use super::escape::Escape;
use super::mask;
use super::time::{Stamp, digits};
use crate::config::model::AccessFormat;

// Most bytes that are shown of what a client sends; what is longer is cut and marked. So a line is never longer than
// some 16 kB (every byte escaped); a usual one has 500 bytes.
const METHOD_MAX: usize = 32;
const HOST_MAX: usize = 255;
const TARGET_MAX: usize = 2048;
const REQUEST_ID_MAX: usize = 128;
const REFERER_MAX: usize = 1024;
const USER_AGENT_MAX: usize = 512;

/// Appends the line of `entry` with its end of line; nothing when the format has none for its event.
pub(super) fn line(out: &mut Vec<u8>, format: AccessFormat, stamp: &mut Stamp, entry: &Entry<'_>) {
    match format {
        AccessFormat::Json => json(out, stamp, entry),
        // Other programs count these lines as requests, and a tunnel is one.
        AccessFormat::Combined if entry.event == Event::WsOpen => {}
        AccessFormat::Combined => combined(out, stamp, entry),
    }
}

/// A member's name with all that stands around it.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

fn json(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp.iso(entry.time, out);
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(entry.event.as_str().as_bytes());
    out.push(b'"');
    let mut line = Json { out };
    line.bytes(key!("request_id"), entry.request_id, REQUEST_ID_MAX);
    line.quoted(key!("client"), entry.client, push_address);
    line.quoted(key!("peer"), entry.peer, push_socket_address);
    line.text(key!("listener"), entry.listener);
    line.bytes(key!("method"), entry.method, METHOD_MAX);
    line.bytes(key!("host"), entry.host, HOST_MAX);
    line.quoted(key!("path"), entry.target, |out, target| push_target(out, Escape::Json, target, TARGET_MAX));
    line.quoted(key!("sid_hash"), entry.sid_hash, |out, hash| {
        write!(out, "{hash:016x}").expect("a Vec takes everything");
    });
    line.number(key!("status"), entry.status);
    line.number(key!("upstream_status"), entry.upstream_status);
    line.text(key!("upstream"), entry.upstream);
    line.text(key!("instance"), entry.instance);
    line.text(key!("left"), entry.left);
    line.text(key!("sticky_key"), entry.sticky_key);
    line.text(key!("rebind_reason"), entry.rebind_reason);
    line.text(key!("origin"), entry.origin);
    line.text(key!("reason"), entry.reason);
    line.number(key!("close_code"), entry.close_code);
    line.text(key!("closed_by"), entry.closed_by);
    line.bare(key!("duration"), entry.duration, push_seconds);
    line.number(key!("bytes_up"), entry.bytes_up);
    line.number(key!("bytes_down"), entry.bytes_down);
    line.number(key!("frames_up"), entry.frames_up);
    line.number(key!("frames_down"), entry.frames_down);
    line.text(key!("tls"), entry.tls);
    line.text(key!("protocol"), entry.protocol);
    out.extend_from_slice(b"}\n");
}

/// The members of an object, each behind another; `key` is one of [`key!`].
struct Json<'o> {
    out: &'o mut Vec<u8>,
}

impl Json<'_> {
    fn bare<T>(&mut self, key: &str, value: Option<T>, push: impl FnOnce(&mut Vec<u8>, T)) {
        let Some(value) = value else { return };
        self.out.extend_from_slice(key.as_bytes());
        push(self.out, value);
    }

    fn quoted<T>(&mut self, key: &str, value: Option<T>, push: impl FnOnce(&mut Vec<u8>, T)) {
        self.bare(key, value, |out, value| {
            out.push(b'"');
            push(out, value);
            out.push(b'"');
        });
    }

    fn bytes(&mut self, key: &str, value: Option<&[u8]>, most: usize) {
        self.quoted(key, value, |out, value| Escape::Json.push_cut(out, value, most));
    }

    /// A word of the program or of the configuration: not cut.
    fn text(&mut self, key: &str, value: Option<&str>) {
        self.quoted(key, value, |out, value| Escape::Json.push(out, value.as_bytes()));
    }

    fn number(&mut self, key: &str, value: Option<impl itoa::Integer>) {
        self.bare(key, value, push_number);
    }
}

/// `client - - [time] "request" status bytes "referer" "user agent"`, of a tunnel when it ended.
fn combined(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>) {
    match entry.client {
        Some(client) => push_address(out, client),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - - [");
    stamp.combined(entry.time, out);
    out.extend_from_slice(b"] \"");
    match entry.method {
        None => out.push(b'-'),
        Some(method) => {
            Escape::Combined.push_cut(out, method, METHOD_MAX);
            out.push(b' ');
            push_target(out, Escape::Combined, entry.target.unwrap_or_default(), TARGET_MAX);
            if let Some(protocol) = entry.protocol {
                out.push(b' ');
                out.extend_from_slice(protocol.as_bytes());
            }
        }
    }
    out.extend_from_slice(b"\" ");
    // As nginx: 000 when there was no answer.
    let status = entry.status.or((entry.event == Event::WsClose).then_some(101)).unwrap_or(0);
    let mut code = [0; 3];
    digits(&mut code, u32::from(status));
    out.extend_from_slice(&code);
    out.push(b' ');
    push_number(out, entry.bytes_down.unwrap_or(0));
    out.extend_from_slice(b" \"");
    match entry.referer {
        Some(referer) => push_target(out, Escape::Combined, referer, REFERER_MAX),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" \"");
    Escape::Combined.push_cut(out, entry.user_agent.unwrap_or(b"-"), USER_AGENT_MAX);
    out.extend_from_slice(b"\"\n");
}

/// A target or URL, its query masked.
fn push_target(out: &mut Vec<u8>, escape: Escape, target: &[u8], most: usize) {
    mask::pieces(&target[..target.len().min(most)], |piece| escape.push(out, piece));
    if target.len() > most {
        escape.push_mark(out);
    }
}

fn push_number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds to the microsecond.
fn push_seconds(out: &mut Vec<u8>, duration: Duration) {
    push_number(out, duration.as_secs());
    let mut fraction = *b".000000";
    digits(&mut fraction[1..], duration.subsec_micros());
    out.extend_from_slice(&fraction);
}

/// IPv4 also where a dual-stack socket says it in IPv6.
fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, octet);
            }
        }
        IpAddr::V6(address) => write!(out, "{address}").expect("a Vec takes everything"),
    }
}

fn push_socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    let is_v6 = address.ip().to_canonical().is_ipv6();
    if is_v6 {
        out.push(b'[');
    }
    push_address(out, address.ip());
    if is_v6 {
        out.push(b']');
    }
    out.push(b':');
    push_number(out, address.port());
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
