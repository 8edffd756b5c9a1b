use std::net::TcpListener;
use std::sync::mpsc::sync_channel;

use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::config;

/// Patience that only a failing test needs.
const LONG: Duration = Duration::from_secs(3);

fn known(endpoint: &Endpoint) -> Vec<SocketAddr> {
    endpoint.look(false).0
}

/// A name with these addresses. `due`: it is time to ask the resolver again.
fn named(host: &str, addresses: &[SocketAddr], due: bool) -> Arc<Endpoint> {
    let endpoint = Endpoint::new("name.invalid", 80);
    let asked = (!due).then(clock::coarse);
    *endpoint.known() = Known::Name { addresses: addresses.to_vec(), asked };
    Arc::new(Endpoint { host: host.to_owned(), ..endpoint })
}

fn documentation() -> [SocketAddr; 3] {
    ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"].map(|address| address.parse().unwrap())
}

/// An address that refuses and one that accepts, for as long as their sockets live.
fn refusing_and_accepting() -> ((TcpSocket, SocketAddr), (TcpListener, SocketAddr)) {
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
    let (bad, good) = (refusing.local_addr().unwrap(), accepting.local_addr().unwrap());
    ((refusing, bad), (accepting, good))
}

/// Connects as an exchange does; `patience` is `timeouts.connect`.
async fn reach(endpoint: &Arc<Endpoint>, patience: Duration) -> Result<SocketAddr, ConnectError> {
    let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"127.0.0.1:81\"]\n";
    let defaults = config::parse(text, "test.toml").unwrap().config.timeouts;
    match connect(endpoint, &[], 0, &Timeouts { connect: patience, ..defaults }).await {
        Ok(Stream::Tcp(stream)) => Ok(stream.peer_addr().unwrap()),
        Ok(Stream::Unix(_)) => panic!("a name is of the network"),
        Err(failed) => Err(failed.kind),
    }
}

/// Runs `test` on a runtime like a worker's, whose resolver gives no answer before the test is over.
#[expect(clippy::disallowed_methods, reason = "to take the thread that the resolver would use")]
fn without_a_resolver(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).build_local(LocalOptions::default()).unwrap();
    let (over, wait) = sync_channel::<()>(0);
    runtime.block_on(async {
        // Names are asked for on blocking threads, of which the only one is taken.
        tokio::task::spawn_blocking(move || wait.recv());
        tokio::task::spawn_local(timer::drive());
        test.await;
    });
    // In this order, what was asked meanwhile is never asked in earnest.
    runtime.shutdown_background();
    drop(over);
}

#[test]
fn a_name_keeps_the_address_that_works_in_front() {
    let [a, b, c] = documentation();
    let endpoint = named("name.invalid", &[a, b, c], false);
    endpoint.prefer(c);
    assert_eq!(known(&endpoint), [c, a, b]);
    endpoint.prefer("198.51.100.1:80".parse().unwrap());
    assert_eq!(known(&endpoint), [c, a, b]);
}

#[test]
fn a_literal_is_never_asked_for() {
    let endpoint = Endpoint::new("::1", 80);
    assert_eq!(endpoint.look(true), (vec!["[::1]:80".parse().unwrap()], false));
}

#[test]
fn one_asks_and_the_others_use_what_is_known() {
    let [address, ..] = documentation();
    let endpoint = named("name.invalid", &[address], true);
    assert_eq!(endpoint.look(true), (vec![address], true));
    assert_eq!(endpoint.look(true), (vec![address], false));
}

#[test]
fn a_name_whose_first_address_refuses_is_reached_at_its_next() {
    without_a_resolver(async {
        let ((_refuses, bad), (_accepts, good)) = refusing_and_accepting();
        let endpoint = named("name.invalid", &[bad, good], false);
        assert_eq!(reach(&endpoint, LONG).await, Ok(good));
        assert_eq!(known(&endpoint), [good, bad], "what works is tried first from now on");
        assert_eq!(reach(&endpoint, LONG).await, Ok(good));
        assert_eq!(reach(&named("name.invalid", &[bad], false), LONG).await, Err(ConnectError::Refused));
    });
}

#[test]
fn a_resolver_that_hangs_does_not_keep_from_a_known_address() {
    without_a_resolver(async {
        let (_, (_accepts, good)) = refusing_and_accepting();
        let endpoint = named("name.invalid", &[good], true);
        for _ in 0..3 {
            assert_eq!(reach(&endpoint, LONG).await, Ok(good));
        }
        assert_eq!(endpoint.look(true), (vec![good], false), "it was asked once");
    });
}

#[test]
fn a_name_without_an_address_is_waited_for_but_not_for_ever() {
    without_a_resolver(async {
        let endpoint = named("name.invalid", &[], true);
        // It is the resolver that is slow, not an instance.
        assert_eq!(reach(&endpoint, Duration::from_millis(50)).await, Err(ConnectError::Dns));
    });
}

#[tokio::test(flavor = "current_thread")]
async fn a_failing_resolver_takes_no_address_away_and_an_answer_does() {
    let [a, b, _] = documentation();
    // Neither gets as far as a resolver: no name has a NUL, and a literal is its own address.
    let endpoint = named("na\0me.invalid", &[a, b], true);
    endpoint.ask().await;
    assert_eq!(endpoint.look(true), (vec![a, b], false));
    let endpoint = named("192.0.2.2", &[a, b], true);
    endpoint.ask().await;
    assert_eq!(known(&endpoint), [b]);
}
