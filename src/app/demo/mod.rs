//! `stickyd-app demo`: proxy, instances and page in one process, with one address.
//!
//! The proxy is given by the binary ([`StartProxy`]), for the application knows nothing of it. Behind it: the instances
//! ([`stage`]), and the page with its buttons ([`site`]).

mod site;
mod stage;
mod text;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use self::site::Site;
use self::stage::Stage;
use super::shared::Shared;

/// Where it listens where nobody says otherwise; if that is taken, at one of the next ports.
const PORTS: std::ops::RangeInclusive<u16> = 8080..=8099;

/// A proxy that serves.
pub struct Proxy {
    /// Where its status page is.
    pub status: Option<SocketAddr>,
    /// Ends it; returns when it has ended.
    pub stop: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Starts a proxy with this configuration, or says why not.
pub type StartProxy = fn(&str) -> Result<Proxy, String>;

/// What the demonstration is told.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) listen: Option<SocketAddr>,
    pub(super) instances: u8,
    pub(super) redis: Option<String>,
}

/// Runs it until a signal ends it.
pub(super) fn run(wanted: &Wanted, start_proxy: StartProxy) -> Result<(), Box<dyn std::error::Error>> {
    let shared = match &wanted.redis {
        Some(url) => Shared::redis(url)?,
        None => Shared::in_process(),
    };
    let listen = address(wanted.listen)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // From here on a signal ends the demonstration, not the process in the middle of it.
    let signals = runtime.block_on(async {
        Ok::<_, io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    })?;
    let directory = Directory::make()?;
    let stage = Arc::new(Stage::start(wanted.instances, shared)?);
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let instances = runtime.block_on(stage.look());
    let socket = directory.0.join("admin.sock");
    let file = text::configuration(listen, &instances, Some(listener.local_addr()?), Some(&socket));
    let proxy = start_proxy(&file)?;
    let status = proxy.status.map(|address| format!("http://{address}/"));
    let greeting =
        text::greeting(listen, instances.len(), status.as_deref(), wanted.redis.is_some(), &socket);
    let site = Arc::new(Site { stage: stage.clone(), status });
    print(&greeting)?;
    runtime.block_on(async {
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, site::router(site)).await });
        let (mut term, mut int) = signals;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    });
    print("\nends: the proxy tells its clients, then the instances go\n")?;
    (proxy.stop)();
    runtime.block_on(stage.end());
    print("ended\n")?;
    Ok(())
}

/// What to write and to run for the same out of separate processes.
pub(super) fn external(wanted: &Wanted) -> Result<(), Box<dyn std::error::Error>> {
    let listen = wanted.listen.unwrap_or_else(|| at(*PORTS.start()));
    print(&text::external(listen, wanted.instances, wanted.redis.as_deref()))?;
    Ok(())
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The address that was asked for, or a free one.
fn address(wanted: Option<SocketAddr>) -> Result<SocketAddr, String> {
    let try_it = |address: SocketAddr| {
        let bound = std::net::TcpListener::bind(address)?;
        bound.local_addr()
    };
    if let Some(address) = wanted {
        return try_it(address).map_err(|error| {
            format!("cannot listen on {address}: {error} (--listen names another address)")
        });
    }
    PORTS.map(at).find_map(|address| try_it(address).ok()).ok_or_else(|| {
        format!("none of the ports {} to {} is free (--listen names an address)", PORTS.start(), PORTS.end())
    })
}

/// Where the proxy takes commands; nobody else may, and it is gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn make() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("stickyd-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The proxy's socket has gone with the proxy.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
