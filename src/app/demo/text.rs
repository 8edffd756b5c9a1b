//! What the demonstration prints: the proxy's configuration, the greeting, and how to run the pieces one by one.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::stage::Seen;

/// Where the first of instances that run by themselves listens.
const FIRST_PORT: u16 = 3001;

/// The Redis of instances that run by themselves, where none is named.
const REDIS: &str = "redis://127.0.0.1:6379";

/// The proxy's file. `page`: where the page is, if not at the instances. `socket`: where it takes commands; without it metrics and
/// the status page are where they usually are, too.
pub(super) fn configuration(
    listen: SocketAddr,
    instances: &[Seen],
    page: Option<SocketAddr>,
    socket: Option<&Path>,
) -> String {
    let members = instances.iter().fold(String::new(), |mut members, Seen { name, address, .. }| {
        let _ = writeln!(members, "  {{ address = \"{address}\", name = \"{name}\" }},");
        members
    });
    let mut file = format!(
        "listen = \"{listen}\"\n\n\
         [upstream.socketio]\n\
         instances = [\n{members}]\n\n\
         [upstream.socketio.sticky]\n\
         by = [\"sid\"]                # no cookie: each tab is a client of its own, and goes where the fewest are\n\n\
         [upstream.socketio.health]\n\
         interval   = \"500ms\"\n\
         slow_start = \"0s\"\n\n"
    );
    if let Some(page) = page {
        let _ = write!(
            file,
            "[upstream.page]\n\
             instances = [\"{page}\"]\n\n\
             [upstream.page.sticky]\n\
             by = []\n\n\
             [upstream.page.health]\n\
             check = \"off\"\n\n\
             [[route]]\n\
             path     = \"/\"\n\
             upstream = \"page\"\n\n\
             [[route]]\n\
             path     = \"/demo/*\"\n\
             upstream = \"page\"\n\n\
             [[route]]\n\
             upstream = \"socketio\"\n\n"
        );
    }
    if let Some(socket) = socket {
        let _ = write!(
            file,
            "[admin]\n\
             socket  = \"{}\"\n\
             address = \"127.0.0.1:0\"\n\n\
             [metrics]\n\
             address = \"off\"\n\n\
             [shutdown]\n\
             spread   = \"0s\"\n\
             deadline = \"1s\"\n",
            socket.display()
        );
    }
    file
}

/// What a person reads first.
pub(super) fn greeting(
    listen: SocketAddr,
    instances: usize,
    status: Option<&str>,
    redis: bool,
    socket: &Path,
) -> String {
    let bus = if redis { "over Redis" } else { "inside this process (--redis URL: over a real Redis)" };
    let status = status.map_or(String::new(), |status| format!("  The proxy's status page   {status}\n"));
    format!(
        "\n  stickyd, {instances} instances of stickyd-app behind it, and a page:\n\n\
         \x20     http://{listen}/\n\n\
         \x20 Open it in two tabs: each is a client, at an instance of its own, and they talk to each other.\n\
         \x20 Kill an instance: its clients are elsewhere within seconds, and the timeline tells how. The others notice nothing.\n\
         \x20 Choose polling only: every request of a session finds its instance, without a cookie.\n\n\
         {status}\
         \x20 The proxy's commands      stickyd status --socket {}\n\
         \x20 Instances talk            {bus}\n\n\
         \x20 Ctrl-C ends all of it.\n\n",
        socket.display()
    )
}

/// What to write and to run for the same out of separate processes.
pub(super) fn external(listen: SocketAddr, instances: u8, redis: Option<&str>) -> String {
    let seen: Vec<Seen> = (0..instances)
        .map(|at| Seen {
            name: char::from(b'a' + at).to_string(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + u16::from(at))),
            up: true,
            sockets: 0,
            events: 0,
        })
        .collect();
    let (url, server) = match redis {
        Some(url) => (url, String::new()),
        None => (REDIS, "redis-server --bind 127.0.0.1 --save '' --appendonly no &\n".to_owned()),
    };
    let mut text = format!(
        "# The pieces of `stickyd-app demo`, each a process of its own. This text is a script: save it, or pipe it to sh.\n\
         # It ends everything when it is interrupted.\n\
         trap 'kill $(jobs -p)' EXIT INT TERM\n\n\
         cat > stickyd-demo.toml <<'FILE'\n{}FILE\n\n{server}",
        configuration(listen, &seen, None, None)
    );
    for Seen { name, address, .. } in &seen {
        let _ = writeln!(
            text,
            "stickyd-app serve --listen {address} --name {name} --redis {url} --insecure-demo &"
        );
    }
    let _ = write!(
        text,
        "stickyd run --config stickyd-demo.toml &\n\n\
         echo 'The page: http://{listen}/   Kill an instance, and look at it; `stickyd status` shows what the proxy sees.'\n\
         wait\n"
    );
    text
}
