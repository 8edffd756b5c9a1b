//! Commands of the `stickyd-app` binary: arguments, help, exit codes.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::demo::{self, StartProxy, Wanted};
use super::instance::{Instance, Running};
use super::secrets::{self, SecretError};
use super::settings::Settings;
use super::shared::Shared;
use super::token::{Key, Secret};
use super::{clock, duration, limits};

const DIFFERENCES: &str = "\
Where it differs from Node's server, and cannot be set:
  The public id of a socket is its session's id. So it is a secret of its client: no event and no page of this
  application shows the id of one client to another.
  The first ping comes with the handshake, not an interval later.
  fetchSockets() sees the sockets of stickyd-app instances; ids of Node's sockets do not fit its type.
  No serverSideEmit, no connection state recovery, no compression, no WebTransport.";

/// The bundled Socket.IO server with a Redis adapter
///
/// Speaks the format of Node's @socket.io/redis-adapter and @socket.io/redis-emitter: instances of both share one Redis
/// and hear each other.
#[derive(Debug, Parser)]
#[command(name = "stickyd-app", version, arg_required_else_help = true, after_help = DIFFERENCES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArgs),
    Serve(ServeArgs),
    Token(TokenArgs),
}

/// Show a whole set-up: the proxy, instances behind it, and a page; nothing else needs to be installed
///
/// Prints one address. On the page: chat with rooms, who is online, which instance serves you and how; instances can be
/// killed and revived, and a timeline tells what became of you. Ctrl-C ends all of it.
#[derive(Debug, Args)]
struct DemoArgs {
    /// How many instances
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=26))]
    instances: u8,
    /// Where to listen [default: 127.0.0.1:8080, or the next free port]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The Redis that the instances share, as `redis://user:password@127.0.0.1:6379/0`. Without it they share a bus in this process
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Print a script that runs the pieces as separate processes, and do nothing
    #[arg(long)]
    external: bool,
}

/// Print a signed token for a user
///
/// Clients say it at the handshake (`auth: { token }`), and in requests (`Authorization: Bearer TOKEN`).
#[derive(Debug, Args)]
struct TokenArgs {
    /// Whom the token lets in
    user: String,
    /// For how long: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = duration::parse)]
    ttl: Duration,
    /// The file with the secret that the instances have: openssl rand -hex 32
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

/// Serve as one instance
#[derive(Debug, Args)]
struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
    /// The instance's name, for its answers and logs
    #[arg(long, default_value = "a")]
    name: String,
    /// The Redis that instances share; user:password@ before the host, /0 behind the port are possible. Without it this
    /// instance is alone
    #[arg(long, value_name = "redis://HOST:PORT", env = "REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
    /// A namespace beside /; may be repeated
    #[arg(long, value_name = "/NAME")]
    namespace: Vec<String>,
    /// An origin that browsers may call from, or *; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Between two pings, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 25_000)]
    ping_interval: u64,
    /// Until a ping must be answered, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20_000)]
    ping_timeout: u64,
    /// On SIGTERM sockets are closed over this time, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    spread: u64,
    /// The file with the secret that tokens of users are signed with; the same at all instances
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The file with the token of whoever may POST to /notify and /emit, and keep /webhooks
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,
    /// Let webhooks go to loopback, private and other addresses that are not of the internet
    #[arg(long)]
    allow_private_webhooks: bool,
    /// Believe `auth: { userId }`: anybody can be anybody
    #[arg(long)]
    insecure_demo: bool,
}

impl Cli {
    /// Does what the arguments say, and returns when it is done. `start_proxy`: for the demonstration.
    pub fn run(self, start_proxy: StartProxy) -> ExitCode {
        let done = match self.command {
            Command::Demo(args) => args.run(start_proxy),
            Command::Serve(args) => args.run(),
            Command::Token(args) => args.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log();
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Logs to standard error; `RUST_LOG` says what, otherwise what is of interest to whoever runs it.
pub fn log() {
    log_from("info");
}

fn log_from(usual: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| usual.into());
    let is_seen = std::io::stderr().is_terminal();
    // An error: somebody logs already, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_seen)
        .try_init();
}

impl DemoArgs {
    fn run(self, start_proxy: StartProxy) -> Result<(), Box<dyn std::error::Error>> {
        let Self { instances, listen, redis, external } = self;
        let wanted = Wanted { listen, instances, redis };
        if external {
            return demo::external(&wanted);
        }
        // What it does is on the page.
        log_from("warn");
        limits::raise_open_files();
        demo::run(&wanted, start_proxy)
    }
}

impl ServeArgs {
    fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        log();
        limits::raise_open_files();
        let shared = match &self.redis {
            Some(url) => Shared::redis(url)?,
            None => Shared::in_process(),
        };
        let running = Instance::start(self.settings()?, &shared)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(until_told(&running))?;
        running.join();
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Box<dyn std::error::Error>> {
        if let Some(wrong) = self.namespace.iter().find(|name| !name.starts_with('/') || *name == "/") {
            return Err(format!("--namespace {wrong}: a namespace beside / begins with /").into());
        }
        let secret = |file: &Option<PathBuf>| file.as_deref().map(secret_of).transpose();
        if self.secret_file.is_none() && !self.insecure_demo {
            tracing::warn!("no --secret-file: no token is believed, so nobody is let in");
        }
        Ok(Settings {
            listen: self.listen,
            name: self.name.clone(),
            namespaces: self.namespace.clone(),
            cors: self.cors.clone(),
            insecure_demo: self.insecure_demo,
            allow_private_webhooks: self.allow_private_webhooks,
            token_secret: secret(&self.secret_file)?,
            operator_token: secret(&self.operator_token_file)?,
            ping_interval: Duration::from_millis(self.ping_interval),
            ping_timeout: Duration::from_millis(self.ping_timeout),
            spread: Duration::from_millis(self.spread),
            ..Settings::default()
        })
    }
}

impl TokenArgs {
    fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        let key = Key::of(&secret_of(&self.secret_file)?);
        if self.user.is_empty() || self.user.len() > Settings::default().name_bytes_max {
            return Err("a user has a name, and a short one".into());
        }
        let now = clock::epoch_millis() / 1000;
        let mut out = std::io::stdout();
        writeln!(out, "{}", key.sign(&self.user, now + self.ttl.as_secs()))?;
        Ok(())
    }
}

fn secret_of(path: &Path) -> Result<Secret, SecretError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    secrets::read(path, credentials.as_deref())
}

/// Stops the instance at the first SIGTERM or SIGINT, kills it at the second; returns when it has ended.
async fn until_told(running: &Running) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut ended = std::pin::pin!(running.ended());
    let mut is_second = false;
    loop {
        tokio::select! {
            () = &mut ended => return Ok(()),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if is_second {
            running.kill();
        } else {
            running.stop();
        }
        is_second = true;
    }
}
