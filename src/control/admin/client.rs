//! The other end of the admin socket: one question, one answer.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::api::Problem;
use super::socket;
use crate::control::Surroundings;
use crate::control::surroundings::trust_runtime;

/// A reload waits for its certificates and secrets, and for others before it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A question is answered at once.
const PATIENCE_OF_QUESTIONS: Duration = Duration::from_secs(5);

/// Bytes of an answer: 100 000 instances fit.
const ANSWER_MAX: usize = 128 << 20;

/// Where it is when nobody says so, and the process runs as a service.
const OF_THE_SERVICE: &str = "/run/stickyd";

/// A way to a running process.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answers; what to do.
    Unreachable(String),
    /// The configuration is refused: what runs stays.
    Configuration(String),
    /// It does not obey; nothing has changed.
    Refused(String),
}

impl Client {
    /// To the process that serves commands at `path`; without one, where such a process usually is.
    ///
    /// # Errors
    /// When the system gives no runtime, or somebody else may have made the directory where it usually is.
    pub fn new(path: Option<PathBuf>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Client { runtime, path: path.map_or_else(usual, Ok)? })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks. `within`: when the answer must be there; `None`, and at most: 5 s; at least 1 s.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn get<A: DeserializeOwned>(&self, path: &str, within: Option<Duration>) -> Result<A, Failure> {
        self.ask(Method::GET, path, Bytes::new(), patience(within, PATIENCE_OF_QUESTIONS))
    }

    /// Commands. `within`: when the answer must be there; `None`, and at most: a minute; at least 1 s.
    ///
    /// # Errors
    /// Why not.
    pub fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
        within: Option<Duration>,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(question).map_err(|error| Failure::Refused(error.to_string()))?;
        self.ask(Method::POST, path, body.into(), patience(within, PATIENCE))
    }

    fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<A, Failure> {
        let commands = method == Method::POST;
        let asking = async {
            timeout(patience, async {
                exchange(UnixStream::connect(&self.path).await?, method, path, body).await
            })
            .await
        };
        let answered = match self.runtime.block_on(asking) {
            Ok(answered) => answered,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let (status, body) = answered.map_err(|error| {
            let late = commands && error.kind() == io::ErrorKind::TimedOut;
            let rest = if late { "; it may still be obeyed" } else { "" };
            Failure::Unreachable(format!("{}{rest}", self.unreachable(&error)))
        })?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::Refused(format!("the running stickyd is of another version: {error}"))
            });
        }
        let problem = serde_json::from_slice::<Problem>(&body).map(|problem| problem.error);
        let text = problem.unwrap_or_else(|_| format!("it answered {status}"));
        Err(match status {
            StatusCode::UNPROCESSABLE_ENTITY => Failure::Configuration(text),
            StatusCode::SERVICE_UNAVAILABLE => Failure::Unreachable(text),
            _ => Failure::Refused(text),
        })
    }

    fn unreachable(&self, error: &io::Error) -> String {
        let advice = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "does it run (systemctl status stickyd), and is this its [admin] socket? --socket or --config names another"
            }
            io::ErrorKind::PermissionDenied => {
                "only root and the members of the socket's group may: sudo, or usermod -aG stickyd"
            }
            io::ErrorKind::TimedOut => "it accepts, and does not answer: see its log",
            _ => "see its log",
        };
        format!("cannot reach stickyd at {}: {error}\n  {advice}", self.path.display())
    }
}

/// Who wants an answer at once gives it the time that it needs all the same.
fn patience(within: Option<Duration>, most: Duration) -> Duration {
    within.unwrap_or(most).clamp(Duration::from_secs(1), most)
}

/// Whether a process that has no admin socket is ready, by its metrics listener.
///
/// # Errors
/// Nobody answers within this time; what to do.
pub fn is_ready_at(address: SocketAddr, within: Duration) -> Result<bool, Failure> {
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        exchange(stream, Method::GET, "/-/ready", Bytes::new()).await
    };
    let answered = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        runtime.block_on(async { timeout(within, asking).await }).map_err(late).flatten()
    });
    let unreachable = |error| {
        let text = format!(
            "cannot reach stickyd by http://{address}/-/ready: {error}; does it run, with this [metrics] address?"
        );
        Failure::Unreachable(text)
    };
    match answered.map_err(unreachable)? {
        (StatusCode::OK, _) => Ok(true),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Ok(false),
        (status, _) => {
            Err(Failure::Unreachable(format!("http://{address}/-/ready answers {status}: is this stickyd?")))
        }
    }
}

async fn exchange<S>(stream: S, method: Method, path: &str, body: Bytes) -> io::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder().method(method).uri(path).header("host", "stickyd");
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(io::Error::other)?;
        Ok((head.status, body.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        biased;
        answered = &mut asking => answered,
        ended = &mut connection => match ended {
            // The answer may be there already.
            Ok(()) => asking.await,
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Where a process of this user, or else the service, listens.
fn usual() -> io::Result<PathBuf> {
    let service = socket::usual(Path::new(OF_THE_SERVICE));
    let Some(runtime) = Surroundings::from_environment().runtime else { return Ok(service) };
    let own = socket::usual(&runtime);
    // Whoever may not look into its directory is told so, and not of a place where nothing is.
    if !own.exists() && service.try_exists().unwrap_or(true) {
        return Ok(service);
    }
    trust_runtime(&runtime).map(|()| own)
}
