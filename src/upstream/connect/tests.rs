use std::net::TcpListener;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::config;
use crate::local::clock;

/// Patience that only a failing test needs.
const LONG: Duration = Duration::from_secs(3);

/// The answer is asked for again after 30 s: not while a test runs.
const RULES: Resolve = Resolve { every: Duration::from_secs(30), forget: Duration::from_mins(10) };
/// It is asked for again at once.
const ALWAYS: Resolve = Resolve { every: Duration::ZERO, ..RULES };

/// The addresses that are known, and whether there is a lookup to make.
fn known(endpoint: &Endpoint, rules: Resolve) -> (Vec<SocketAddr>, bool) {
    let found = endpoint.find(rules);
    (found.addresses, found.ask)
}

fn named(addresses: &[SocketAddr]) -> Arc<Endpoint> {
    Endpoint::named("name.invalid", addresses, RULES)
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
async fn reach(
    endpoint: &Arc<Endpoint>,
    patience: Duration,
    rules: Resolve,
) -> Result<SocketAddr, ConnectError> {
    match stream(endpoint, patience, rules).await {
        Ok(stream) => Ok(stream.peer().expect("a name is of the network")),
        Err(failed) => Err(failed.kind),
    }
}

async fn stream(endpoint: &Arc<Endpoint>, patience: Duration, rules: Resolve) -> Result<Stream, Failed> {
    let text = "listen = \"127.0.0.1:80\"\n[upstream.app]\ninstances = [\"127.0.0.1:81\"]\n";
    let defaults = config::parse(text, "test.toml").unwrap().config.timeouts;
    connect(endpoint, &[], 0, &Timeouts { connect: patience, ..defaults }, rules, &[]).await
}

/// Runs `test` on a runtime like a worker's.
fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        tokio::task::spawn_local(timer::drive());
        test.await;
    });
}

/// The same, with a resolver that gives no answer before it is told to by the sender, or the test is over.
#[expect(clippy::disallowed_methods, reason = "to take the thread that the resolver would use")]
fn without_a_resolver<F: Future<Output = ()>>(test: impl FnOnce(SyncSender<()>) -> F) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).build_local(LocalOptions::default()).unwrap();
    let (over, wait) = sync_channel::<()>(1);
    let tell = over.clone();
    runtime.block_on(async {
        // Names are asked for on blocking threads, of which the only one is taken.
        tokio::task::spawn_blocking(move || wait.recv());
        tokio::task::spawn_local(timer::drive());
        test(tell).await;
    });
    // In this order, what was asked meanwhile is never asked in earnest.
    runtime.shutdown_background();
    drop(over);
}

#[test]
fn a_literal_is_never_asked_for() {
    on_a_worker(async {
        let endpoint = Arc::new(Endpoint::new("::1", 80, None));
        assert_eq!(endpoint.addresses(ALWAYS).await, ["[::1]:80".parse().unwrap()]);
        assert_eq!(endpoint.dns_failures(), 0);
    });
}

#[test]
fn a_name_whose_first_address_refuses_is_reached_at_its_next() {
    on_a_worker(async {
        let ((_refuses, bad), (_accepts, good)) = refusing_and_accepting();
        let endpoint = named(&[bad, good]);
        assert_eq!(reach(&endpoint, LONG, RULES).await, Ok(good));
        assert_eq!(known(&endpoint, RULES).0, [good, bad], "what works is tried first from now on");
        assert_eq!(reach(&endpoint, LONG, RULES).await, Ok(good));
        assert_eq!(reach(&named(&[bad]), LONG, RULES).await, Err(ConnectError::Refused));
    });
}

#[test]
fn connections_to_an_old_address_lead_nowhere() {
    on_a_worker(async {
        let (_, (_old, old)) = refusing_and_accepting();
        let (_, (_new, new)) = refusing_and_accepting();
        let endpoint = named(&[old, new]);
        let first = stream(&endpoint, LONG, RULES).await.unwrap();
        endpoint.hears(&[new, old], RULES);
        assert!(endpoint.still_leads(&first));
        endpoint.hears(&[new], RULES);
        let second = stream(&endpoint, LONG, RULES).await.unwrap();
        assert_eq!((endpoint.still_leads(&first), endpoint.still_leads(&second)), (false, true));
    });
}

#[test]
fn a_resolver_that_hangs_does_not_keep_from_a_known_address() {
    without_a_resolver(|_| async {
        let (_, (_accepts, good)) = refusing_and_accepting();
        let endpoint = named(&[good]);
        for _ in 0..3 {
            assert_eq!(reach(&endpoint, LONG, ALWAYS).await, Ok(good));
        }
        assert_eq!(known(&endpoint, ALWAYS), (vec![good], false), "there is one lookup, and no second one");
    });
}

#[test]
fn a_name_without_an_address_is_waited_for_but_not_for_ever() {
    without_a_resolver(|_| async {
        let endpoint = named(&[]);
        for _ in 0..3 {
            // It is the resolver that is slow, not an instance.
            let patience = Duration::from_millis(50);
            assert_eq!(reach(&endpoint, patience, ALWAYS).await, Err(ConnectError::Dns));
            assert!(!known(&endpoint, ALWAYS).1, "who gives up leaves the lookup to the next one");
        }
    });
}

#[test]
fn many_that_wait_are_one_lookup_and_have_its_answer() {
    without_a_resolver(|resolver| async move {
        let endpoint = Endpoint::named("localhost", &[], RULES);
        let mut waiting = Vec::new();
        for _ in 0..5 {
            let endpoint = endpoint.clone();
            waiting.push(tokio::task::spawn_local(async move { endpoint.addresses(RULES).await }));
        }
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        resolver.send(()).unwrap();
        for task in waiting {
            let addresses = timer::within(LONG, task).await.expect("somebody waits for ever").unwrap();
            assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
        }
        assert_eq!(endpoint.dns_failures(), 0);
    });
}

#[test]
fn a_name_that_does_not_exist_is_counted_and_has_no_address() {
    on_a_worker(async {
        let endpoint = named(&[]);
        assert_eq!(reach(&endpoint, LONG, RULES).await, Err(ConnectError::Dns));
        assert_eq!(endpoint.dns_failures(), 1);
        // Not within a second of the last time.
        assert_eq!(reach(&endpoint, LONG, RULES).await, Err(ConnectError::Dns));
        assert_eq!(endpoint.dns_failures(), 1);
    });
}

#[test]
fn a_failing_resolver_takes_no_address_away_and_an_answer_does() {
    /// Connects until something was heard of the lookup behind it.
    async fn settle(endpoint: &Arc<Endpoint>, until: impl Fn() -> bool) {
        let began = clock::coarse();
        endpoint.addresses(ALWAYS).await;
        while !until() {
            assert!(clock::coarse().since(began) < LONG, "nothing was heard of {endpoint:?}");
            timer::sleep(Duration::from_millis(1)).await;
        }
    }
    let [a, b] = ["192.0.2.1:80", "192.0.2.2:80"].map(|address| address.parse().unwrap());
    on_a_worker(async {
        // Neither gets as far as a resolver: no name has a NUL, and a literal is its own address.
        let endpoint = Endpoint::named("na\0me.invalid", &[a, b], ALWAYS);
        settle(&endpoint, || endpoint.dns_failures() == 1).await;
        assert_eq!(known(&endpoint, RULES).0, [a, b]);
        let endpoint = Endpoint::named("192.0.2.2", &[a, b], ALWAYS);
        settle(&endpoint, || known(&endpoint, RULES).0 == [b]).await;
        assert_eq!(endpoint.dns_failures(), 0);
    });
}

#[test]
fn a_lookup_that_is_late_has_failed_and_may_still_succeed() {
    without_a_resolver(|resolver| async move {
        let endpoint = Endpoint::named("localhost", &[], RULES);
        assert!(known(&endpoint, RULES).1);
        let lookup = endpoint::look_up(endpoint.clone(), RULES, Duration::from_millis(20));
        let lookup = tokio::task::spawn_local(lookup);
        // Whoever waits is told, and whoever comes then does not wait.
        for _ in 0..2 {
            let addresses = timer::within(LONG, endpoint.addresses(ALWAYS)).await;
            assert_eq!(addresses.expect("it is waited for"), []);
        }
        assert_eq!((endpoint.dns_failures(), lookup.is_finished()), (1, false));
        resolver.send(()).unwrap();
        timer::within(LONG, lookup).await.expect("it does not end").unwrap();
        assert_eq!(endpoint.dns_failures(), 1);
        assert!(!known(&endpoint, RULES).0.is_empty());
    });
}

#[test]
fn a_lookup_that_ends_with_its_thread_is_made_by_another() {
    let endpoint = named(&[]);
    without_a_resolver(|_| async {
        assert_eq!(reach(&endpoint, Duration::from_millis(20), RULES).await, Err(ConnectError::Dns));
        assert!(!known(&endpoint, RULES).1);
    });
    assert!(known(&endpoint, RULES).1);
}
