use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A name that resolves to each of these in turn, and to nothing afterwards.
struct Scripted(Mutex<Vec<Vec<SocketAddr>>>);

impl Resolve for Arc<Scripted> {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Pending<'a, io::Result<Vec<SocketAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.is_empty() { Vec::new() } else { answers.remove(0) };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

fn courier(answers: &[&[SocketAddr]], allow_private: bool) -> (Courier, Arc<Scripted>) {
    let answers = answers.iter().map(|addresses| addresses.to_vec()).collect();
    let scripted = Arc::new(Scripted(Mutex::new(answers)));
    (Courier::new(scripted.clone(), allow_private), scripted)
}

fn target() -> Target {
    Target::parse("http://hook.example/path?x=1", false).unwrap()
}

fn parcel() -> Parcel {
    Parcel { body: Bytes::from_static(b"{}"), fields: vec![("stickyd-signature", "t=1,v1=00".to_owned())] }
}

/// Accepts one connection, and answers it so; returns what was asked.
async fn answering(listener: TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"{}") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        asked.extend(&bytes[..count]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(asked).unwrap()
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn what_a_name_resolves_to_is_refused_where_it_is_not_of_the_internet() {
    let (listener, here) = listening().await;
    let check = async |addresses: &[SocketAddr], expected: Failed| {
        let (courier, _) = courier(&[addresses], false);
        assert_eq!(courier.deliver(&target(), parcel()).await, Err(expected), "{addresses:?}");
    };
    check(&[here], Failed::Refused(here.ip())).await;
    for private in ["10.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "[fe80::1]:80"]
    {
        let private: SocketAddr = private.parse().unwrap();
        check(&[private], Failed::Refused(private.ip())).await;
        // Beside one that is allowed, too.
        check(&["1.1.1.1:80".parse().unwrap(), private], Failed::Refused(private.ip())).await;
    }
    check(&[], Failed::Name).await;
    // Nobody came.
    let accepted = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn forms_that_only_the_resolver_understands_are_refused() {
    let (listener, here) = listening().await;
    let courier = Courier::new(System, false);
    for host in ["localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0"] {
        let target = Target::parse(&format!("http://{host}:{}/", here.port()), false).unwrap();
        let found = courier.deliver(&target, parcel()).await;
        assert!(matches!(found, Err(Failed::Refused(_) | Failed::Name)), "{host}: {found:?}");
    }
    let accepted = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_called() {
    let ((listener, checked), (other, later)) = (listening().await, listening().await);
    let (courier, resolver) = courier(&[&[checked], &[later]], true);
    let target = target();
    let (delivered, asked) = tokio::join!(
        courier.deliver(&target, parcel()),
        answering(listener, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    );
    assert_eq!(delivered, Ok(()));
    assert!(asked.starts_with("POST /path?x=1 HTTP/1.1\r\nhost: hook.example\r\n"), "{asked}");
    assert!(asked.contains("stickyd-signature: t=1,v1=00\r\n"), "{asked}");
    // It was asked once, and nobody called what it would have said next.
    assert_eq!(resolver.0.lock().unwrap().len(), 1);
    assert!(timeout(Duration::from_millis(50), other.accept()).await.is_err());
}

#[tokio::test]
async fn only_success_is_success() {
    let check = async |answer: &str, expected: Result<(), Failed>| {
        let (listener, address) = listening().await;
        let (courier, _) = courier(&[&[address]], true);
        let target = target();
        let (delivered, _) = tokio::join!(courier.deliver(&target, parcel()), answering(listener, answer));
        assert_eq!(delivered, expected, "{answer:.60}");
    };
    check("HTTP/1.1 204 No Content\r\n\r\n", Ok(())).await;
    check("HTTP/1.1 200 OK\r\n\r\nwithout an end", Ok(())).await;
    check(
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        Err(Failed::Status(StatusCode::INTERNAL_SERVER_ERROR)),
    )
    .await;
    check("no HTTP\r\n\r\n", Err(Failed::Broken)).await;
    check("", Err(Failed::Broken)).await;
    check(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)), Err(Failed::Broken)).await;
    // Not followed, wherever it leads.
    let (elsewhere, address) = listening().await;
    let redirect =
        format!("HTTP/1.1 307 Elsewhere\r\nLocation: http://{address}/\r\nContent-Length: 0\r\n\r\n");
    check(&redirect, Err(Failed::Status(StatusCode::TEMPORARY_REDIRECT))).await;
    assert!(timeout(Duration::from_millis(50), elsewhere.accept()).await.is_err());
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_does_not_accept() {
    let (listener, address) = listening().await;
    let (closed, gone) = listening().await;
    drop(closed);
    let (courier, _) = courier(&[&[gone, address]], true);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let target = target();
    let (delivered, _) = tokio::join!(courier.deliver(&target, parcel()), answering(listener, answer));
    assert_eq!(delivered, Ok(()));
}

#[tokio::test]
async fn a_certificate_that_nobody_knows_is_refused() {
    // Whoever does not speak TLS at all.
    let (listener, address) = listening().await;
    let (courier, _) = courier(&[&[address]], true);
    let target = Target::parse("https://hook.example/", false).unwrap();
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello[..2], [22, 3], "a client of TLS says hello");
    };
    let (delivered, ()) = tokio::join!(courier.deliver(&target, parcel()), other);
    assert_eq!(delivered, Err(Failed::Tls));
}

/// A certificate for `hook.example` that nobody has signed but itself, and what a server needs of it.
fn certificate(
    folder: &std::path::Path,
) -> (rustls::pki_types::CertificateDer<'static>, rustls::ServerConfig) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let [key, cert] = ["key.pem", "cert.pem"].map(|name| folder.join(name));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=hook.example", "-addext", "subjectAltName=DNS:hook.example"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let cert = CertificateDer::from_pem_file(cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
    (cert, config)
}

#[tokio::test]
async fn a_certificate_is_for_the_name_in_the_url_and_known() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, config) = certificate(folder.path());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let check = async |host: &str, is_known: bool, expected: Result<(), Failed>| {
        let (listener, address) = listening().await;
        let (courier, _) = courier(&[&[address]], true);
        if is_known {
            let mut roots = RootCertStore::empty();
            roots.add(cert.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
            courier.tls.set(Some(Arc::new(config))).unwrap();
        }
        let target = Target::parse(&format!("https://{host}/"), false).unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut asked = Vec::new();
            while !asked.ends_with(b"{}") {
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes).await {
                    Ok(count @ 1..) => asked.extend(&bytes[..count]),
                    _ => return,
                }
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        let (delivered, ()) = tokio::join!(courier.deliver(&target, parcel()), server);
        assert_eq!(delivered, expected, "{host}, known: {is_known}");
    };
    check("hook.example", true, Ok(())).await;
    check("other.example", true, Err(Failed::Tls)).await;
    check("hook.example", false, Err(Failed::Tls)).await;
}
