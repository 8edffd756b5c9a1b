//! The same with the HAProxy and the nginx of Debian at the other end. `tests/run` installs both; without one its tests say
//! that they were skipped.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

use super::{GET, listens};
use crate::support::peer::{Peer, find, free, start};
use crate::support::ws::{ACCEPT, Frame, TEXT, handshake};
use crate::support::{Answering, Proxy};

/// HAProxy at `address`, which passes HTTP on to `to` with these options of its `server` and `bind` lines.
fn haproxy(bind: &str, to: &impl Display, server: &str) -> Option<Peer> {
    let program = find("haproxy")?;
    let address = free();
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n timeout tunnel 20s\n\
         listen web\n bind {address} {bind}\n http-request set-header X-Seen %[src]:%[src_port]\n\
         server one {to} {server}\n"
    );
    Some(start(&program, address, &config, &["-db", "-f"]))
}

/// nginx as a proxy of HTTP (`http`) or of connections (`stream`).
fn nginx(section: impl Fn(SocketAddr) -> String) -> Option<Peer> {
    let program = find("nginx")?;
    let address = free();
    let stream = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    let load = if stream.exists() { format!("load_module {};\n", stream.display()) } else { String::new() };
    let section = section(address);
    let load = if section.starts_with("stream") { load.as_str() } else { "" };
    let config = format!(
        "{load}daemon off;\nmaster_process off;\npid DIRECTORY/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 64; }}\n{section}\n"
    );
    let config = config.replace(
        "PATHS",
        "access_log off;\nclient_body_temp_path DIRECTORY/b;\nproxy_temp_path DIRECTORY/p;\n\
         fastcgi_temp_path DIRECTORY/f;\nuwsgi_temp_path DIRECTORY/u;\nscgi_temp_path DIRECTORY/s;\n",
    );
    Some(start(&program, address, &config, &["-e", "stderr", "-c"]))
}

/// What `through` has our instance know of the client is the client's own address.
#[track_caller]
fn knows_its_client(through: &Peer, instance: &Answering) {
    let mut client = through.connect();
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(client.answer().text(), "blue");
        let request = instance.requests().pop().unwrap();
        assert_eq!(request.field("x-real-ip").as_deref(), Some("127.0.0.1"));
    }
}

/// Clients behind HAProxy and nginx: as they would be 127.0.0.1 in any case, the peer is not, but what is bound to another address
/// of this machine.
#[test]
fn from_haproxy() {
    let instance = Answering::start("blue");
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let proxy = listens("required", "\"127.0.0.9\"", "", &instance);
        let Some(peer) = haproxy("", &proxy.address(), &format!("{version} source 127.0.0.9")) else {
            return;
        };
        knows_its_client(&peer, &instance);
        assert_eq!(proxy.count("stickyd_refused_total", &[]), 0);
    }
    // Its own checks say LOCAL.
    let health = "health_path = \"/-/ready\"\n";
    let proxy = Proxy::start(&format!(
        "{health}trusted_proxies = [\"127.0.0.9\"]\n\
         listen = [{{ address = \"127.0.0.1:0\", proxy_protocol = \"required\" }}]\n\
         [upstream.app]\ninstances = [\"{instance}\"]\nsticky.by = []\n"
    ));
    let checks = "send-proxy-v2 source 127.0.0.9 check inter 100ms rise 1 fall 1";
    let Some(peer) = haproxy("\n option httpchk GET /-/ready", &proxy.address(), checks) else { return };
    proxy.counts_at_least("stickyd_connections_total", &[], 5);
    knows_its_client(&peer, &instance);
    assert_eq!(proxy.count("stickyd_refused_total", &[]), 0);
}

#[test]
fn from_nginx() {
    let instance = Answering::start("blue");
    let proxy = listens("required", "\"127.0.0.9\"", "", &instance);
    let stream = |address| {
        format!(
            "stream {{ server {{ listen {address}; proxy_pass {}; proxy_bind 127.0.0.9; proxy_protocol on; }} }}",
            proxy.address()
        )
    };
    if !Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists() {
        eprintln!("SKIPPED: nginx has no stream module (libnginx-mod-stream; tests/run installs it)");
        return;
    }
    let Some(peer) = nginx(stream) else { return };
    knows_its_client(&peer, &instance);
    assert_eq!(proxy.count("stickyd_refused_total", &[]), 0);
}

/// HAProxy as the instance: it believes only who sends the header, and shows whom it saw.
#[test]
fn to_haproxy() {
    let instance = Answering::start("blue");
    for version in ["v1", "v2"] {
        let Some(peer) = haproxy("accept-proxy", &instance, "") else { return };
        tells(&peer, version, &instance);
    }
}

#[test]
fn to_nginx() {
    let instance = Answering::start("blue");
    let http = |address| {
        format!(
            "http {{ PATHS server {{ listen {address} proxy_protocol; location / {{ proxy_pass http://{instance};\n\
             proxy_set_header X-Seen $proxy_protocol_addr:$proxy_protocol_port; }} }} }}"
        )
    };
    for version in ["v1", "v2"] {
        let Some(peer) = nginx(http) else { return };
        tells(&peer, version, &instance);
    }
}

/// A peer in the instance's place knows the address and port of each of several clients, whose requests take turns.
#[track_caller]
fn tells(peer: &Peer, version: &str, instance: &Answering) {
    let proxy = Proxy::start(&format!(
        "[upstream.app]\ninstances = [\"{}\"]\nsticky.by = []\nsend_proxy_protocol = \"{version}\"\n",
        peer.address
    ));
    let mut clients = [proxy.connect(), proxy.connect(), proxy.connect()];
    for _ in 0..2 {
        for client in &mut clients {
            client.send(GET);
            assert_eq!(client.answer().text(), "blue");
            let request = instance.requests().pop().unwrap();
            assert_eq!(request.field("x-seen"), Some(client.local().to_string()), "{version}");
        }
    }
}

/// A tunnel through both: HAProxy, stickyd, HAProxy, and the header on each way.
#[test]
fn a_tunnel_between_two_haproxies() {
    let instance = crate::support::Instance::start();
    let Some(inner) = haproxy("accept-proxy", &instance, "") else { return };
    let proxy = Proxy::start(&format!(
        "trusted_proxies = [\"127.0.0.9\"]\nlisten = [{{ address = \"127.0.0.1:0\", proxy_protocol = \"required\" }}]\n\
         [upstream.app]\ninstances = [\"{}\"]\nsticky.by = []\nsend_proxy_protocol = \"v2\"\n",
        inner.address
    ));
    let Some(outer) = haproxy("", &proxy.address(), "send-proxy-v2 source 127.0.0.9") else { return };
    let mut client = outer.connect();
    client.send(handshake("/ws", ""));
    let mut far = instance.accept();
    let head = far.head();
    assert!(head.contains(&client.local().to_string()), "{head}");
    far.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    ));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let hello = Frame::masked(TEXT, "hello").bytes();
    client.send(&hello);
    far.expect(&hello);
}
