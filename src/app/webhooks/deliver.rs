//! One delivery: resolve, check, connect to what was checked, send, look at the status.
//!
//! The name is resolved once, all its addresses are checked, and the connection goes to one of exactly those, so what the name
//! resolves to a moment later is of no matter. A redirect is an answer like any other: nobody follows it. Of the answer only the
//! head is read, and not much of that.
//!
//! Must not: resolve twice, or know how often something is tried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderValue, Request, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::{Target, is_of_the_internet};
use crate::app::bus::Pending;

/// For everything together.
const WHOLE_MAX: Duration = Duration::from_secs(10);

/// For connecting to one of several addresses.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// Addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 8;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The name resolves to an address that is not of the internet.
    Refused(IpAddr),
    /// The name does not resolve.
    Name,
    /// Nobody listens there.
    Connect,
    /// No TLS, or nobody vouches for it.
    Tls,
    /// It takes too long.
    Time,
    /// The connection broke, or what came is no HTTP.
    Broken,
    /// It was answered, but not with success.
    Status(StatusCode),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(address) => {
                write!(f, "its name resolves to {address}, which is not of the internet")
            }
            Self::Name => f.write_str("its name does not resolve"),
            Self::Connect => f.write_str("it does not accept connections"),
            Self::Tls => f.write_str("no TLS, or a certificate that nobody here knows"),
            Self::Time => f.write_str("no answer in time"),
            Self::Broken => f.write_str("the connection broke"),
            Self::Status(status) => write!(f, "it answered {status}"),
        }
    }
}

/// Names to addresses. A trait, so that a test can have a name change its mind.
pub trait Resolve: Send + Sync + 'static {
    /// What a name resolves to at the moment.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect()) },
        )
    }
}

/// Delivers.
pub struct Courier {
    resolver: Box<dyn Resolve>,
    allow_private: bool,
    tls: OnceLock<Option<Arc<ClientConfig>>>,
}

/// What is sent.
pub struct Parcel {
    /// The body, JSON.
    pub body: Bytes,
    /// Fields beside the usual ones.
    pub fields: Vec<(&'static str, String)>,
}

impl Courier {
    /// One that asks `resolver`.
    pub fn new(resolver: impl Resolve, allow_private: bool) -> Self {
        Self { resolver: Box::new(resolver), allow_private, tls: OnceLock::new() }
    }

    /// Delivers once.
    ///
    /// # Errors
    /// It was not delivered, or nobody knows.
    pub async fn deliver(&self, target: &Target, parcel: Parcel) -> Result<(), Failed> {
        timeout(WHOLE_MAX, self.attempt(target, parcel)).await.unwrap_or(Err(Failed::Time))
    }

    async fn attempt(&self, target: &Target, parcel: Parcel) -> Result<(), Failed> {
        let stream = connect(&self.addresses(target).await?).await?;
        let request = request(target, parcel).ok_or(Failed::Broken)?;
        let status = if target.is_https {
            let config = self.tls().ok_or(Failed::Tls)?;
            let name = ServerName::try_from(target.host.clone()).map_err(|_| Failed::Tls)?;
            let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|_| Failed::Tls)?;
            exchange(stream, request).await?
        } else {
            exchange(stream, request).await?
        };
        if status.is_success() { Ok(()) } else { Err(Failed::Status(status)) }
    }

    /// The addresses that may be connected to. One that may not spoils all: who gives such a name is up to something.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Failed> {
        let found = self.resolver.resolve(&target.host, target.port).await.map_err(|_| Failed::Name)?;
        let wrong = found.iter().find(|address| !is_of_the_internet(address.ip()));
        match wrong {
            Some(wrong) if !self.allow_private => Err(Failed::Refused(wrong.ip())),
            _ if found.is_empty() => Err(Failed::Name),
            _ => Ok(found),
        }
    }

    /// Whom the system trusts, read when it is needed first.
    fn tls(&self) -> Option<Arc<ClientConfig>> {
        let config = self.tls.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            Some(Arc::new(config.ok()?.with_root_certificates(roots).with_no_client_auth()))
        });
        config.clone()
    }
}

/// The first of these that accepts.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failed> {
    for address in addresses {
        if let Ok(Ok(stream)) = timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(Failed::Connect)
}

fn request(target: &Target, parcel: Parcel) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::post(&*target.path)
        .header(HOST, &*target.authority)
        .header(USER_AGENT, concat!("stickyd-app/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close");
    for (name, value) in parcel.fields {
        request = request.header(name, HeaderValue::try_from(value).ok()?);
    }
    request.body(Full::new(parcel.body)).ok()
}

/// Sends, and returns the status of the answer. The rest of it goes with the connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Failed> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failed::Broken)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => answer.map(|answer| answer.status()).map_err(|_| Failed::Broken),
        // It ends with the answer: then that is there.
        _ = &mut connection => match timeout(Duration::ZERO, answer).await {
            Ok(Ok(answer)) => Ok(answer.status()),
            _ => Err(Failed::Broken),
        },
    }
}

#[cfg(test)]
mod tests;
