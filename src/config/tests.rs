use std::time::Duration;

use super::model::*;
use super::*;

/// The smallest file, with `top` above the first section and `rest` below the instances.
fn file(top: &str, rest: &str) -> Result<Loaded, Report> {
    parse(
        &format!("listen = \":80\"\n{top}\n[upstream.socketio]\ninstances = [\"a:3000\"]\n{rest}"),
        "file.toml",
    )
}

fn good(top: &str, rest: &str) -> Config {
    file(top, rest).unwrap_or_else(|report| panic!("{report}")).config
}

/// What is said about a file that must not load.
fn bad(top: &str, rest: &str) -> String {
    file(top, rest).map_or_else(|report| report.to_string(), |loaded| panic!("loaded: {loaded:?}"))
}

#[test]
fn the_defaults_are_those_of_the_schema() {
    let text = "listen = \":80\"\n[upstream.socketio]\ninstances = [\"instance-1:3000\", \"[::1]:3001\"]\n";
    let config = parse(text, "file.toml").unwrap();
    assert!(config.warnings.is_empty());
    let s = Duration::from_secs;
    let usual = |address| Some(Page { address, named: false });
    let (socket, page) = (AdminSocket::Auto, usual(Page::STATUS));
    let admin = Admin { socket, mode: 0o660, group: "stickyd".into(), page };
    let timeouts = Timeouts {
        first_byte: s(10),
        request_head: s(10),
        request_body: s(30),
        tls_handshake: s(10),
        connect: s(3),
        upgrade: s(10),
        response_head: s(60),
        body_idle: s(300),
        send: s(60),
        keep_alive: s(75),
        upstream_idle: s(4),
        tunnel_idle: s(3600),
        half_close: s(30),
        close_wait: s(2),
        unacked: s(60),
        ping: None,
    };
    let instance = |name: &str, host: &str, port| Instance {
        name: name.into(),
        host: host.into(),
        port,
        weight: 1,
        max_tunnels: None,
        backup: false,
        state: InstanceState::Ready,
    };
    let upstream = Upstream {
        name: "socketio".into(),
        instances: vec![instance("instance-1:3000", "instance-1", 3000), instance("[::1]:3001", "::1", 3001)],
        balance: Balance::LeastTunnels,
        tls: None,
        resolve: Resolve { every: s(30), forget: s(600) },
        send_proxy_protocol: SendProxyProtocol::Off,
        expand: false,
        source: vec![],
        engine_io_paths: vec!["/socket.io/".into()],
        max_handshakes: Some(64),
        sticky: Sticky {
            by: vec![StickyKey::Sid, StickyKey::Cookie, StickyKey::IpHash],
            cookie: Cookie {
                name: "stickyd-socketio".into(),
                ttl: s(86_400),
                session: false,
                path: "/".into(),
                domain: None,
                same_site: SameSite::Lax,
                secure: Secure::Auto,
                http_only: true,
                partitioned: false,
            },
            ip_hash: IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: None },
            on_down: OnDown::Rebind,
            secret: SecretSource::Auto,
        },
        health: default_health(),
        down: Down { close: WhenDown::Silent, per_second: 1000, close_code: 1012, deadline: s(5) },
        drain: Drain { grace: s(0), spread: s(60), close_code: 1012, deadline: s(300) },
        rebalance: Rebalance { max_skew: None, rate: Rate { events: 10, per: s(1) }, rest: s(600) },
        timeouts,
    };
    let expected = Config {
        workers: std::thread::available_parallelism().unwrap(),
        trusted_proxies: vec![],
        client_ip_header: ClientIpHeader::XForwardedFor,
        health_path: None,
        upgrade_protocols: vec![],
        listeners: vec![default_listener()],
        upstreams: vec![upstream],
        routes: vec![default_route()],
        limits: default_limits(),
        admin,
        metrics: usual(Page::METRICS),
        log: Log {
            level: "info".into(),
            format: LogFormat::Auto,
            access: AccessTarget::Auto,
            access_format: AccessFormat::Json,
        },
        reload: Reload { watch: true, max_removed: 50 },
        shutdown: Shutdown { ready_delay: s(0), spread: s(5), deadline: s(10) },
        upgrade: Upgrade { linger: s(12 * 3600), spread: s(600) },
        timeouts,
    };
    assert_eq!(config.config, expected);
}

fn default_route() -> Route {
    Route { host: HostPattern::Any, path: PathPattern::Any, upstream: 0, body: Some(10 << 20) }
}

fn default_listener() -> Listener {
    Listener {
        address: ListenAddress::Any(80),
        backlog: 4096,
        proxy_protocol: ProxyProtocol::Off,
        tls: None,
        redirect: false,
    }
}

fn default_limits() -> Limits {
    Limits {
        sids: 1_000_000,
        max_connections: None,
        header: 32 << 10,
        headers: 128,
        body: Some(10 << 20),
        connections_per_ip: None,
        tunnels_per_ip: None,
        upgrades_per_ip: None,
        exempt: vec![],
        deny: vec![],
        enforce: true,
        message: None,
        origins: vec![],
        prefixes: Prefixes { ipv4: 32, ipv6: 64 },
    }
}

fn default_health() -> Health {
    let s = Duration::from_secs;
    Health {
        check: Check::Speaks { path: "/socket.io/".into() },
        interval: s(1),
        fast_interval: Duration::from_millis(500),
        timeout: s(1),
        rise: 2,
        fall: 3,
        slow_start: s(10),
        panic_below: 50,
    }
}

#[test]
fn what_is_written_is_what_runs() {
    let s = Duration::from_secs;
    let config = good(
        "workers = 3\ntrusted_proxies = [\"10.0.0.0/16\", \"::1\"]\nclient_ip_header = \"forwarded\"\n\
         health_path = \"/-/ready\"\nupgrade_protocols = [\"My-Proto\"]",
        "balance = \"round_robin\"\nresolve = \"1s\"\nresolve_forget = \"7d\"\nexpand = true\nsource = [\"10.0.0.5\"]\nengine_io_path = [\"/a\", \"/b/\"]\n\
         [upstream.socketio.sticky]\nby = [\"cookie\"]\ncookie = \"c\"\nttl = \"1h30m\"\npath = \"/app\"\n\
         domain = \"Example.com\"\nsame_site = \"strict\"\nsecure = true\nhttp_only = false\npartitioned = true\n\
         secret_file = \"/etc/stickyd/secret\"\n\
         [upstream.socketio.health]\ncheck = \"http\"\npath = \"/healthz\"\nexpect = \"200, 3xx\"\ninterval = \"5s\"\n\
         fast_interval = \"1s\"\ntimeout = \"250ms\"\nrise = 1\nfall = 4\nslow_start = \"0s\"\npanic_below = \"0%\"\n\
         [upstream.socketio.timeouts]\nconnect = \"500ms\"\n\
         [timeouts]\nconnect = \"1s\"\nupgrade = \"7s\"\nkeep_alive = \"2m\"\ntunnel_idle = \"2d\"\n\
         [limits]\nsids = 5000\nmax_connections = 500\nheader = \"64k\"\nheaders = 64\nbody = \"off\"\n\
         connections_per_ip = 9\ntunnels_per_ip = 8\nupgrades_per_ip = \"20/m\"\nexempt = [\"10.0.0.1\"]\n\
         deny = [\"192.0.2.0/24\"]\nmode = \"observe\"\nmessage = \"1m\"\norigins = [\"HTTPS://A.example\"]\n\
         [admin]\nsocket = \"/run/s/a.sock\"\nmode = \"0600\"\ngroup = \"ops\"\naddress = \"[::1]:7000\"\n[metrics]\naddress = \"[::1]:9000\"\n\
         [log]\nlevel = \"info,stickyd::tunnel=debug\"\nformat = \"json\"\naccess = \"/var/log/a.log\"\n\
         access_format = \"combined\"\n\
         [reload]\nwatch = false\nmax_removed = \"0%\"\n\
         [shutdown]\nready_delay = \"3s\"\nspread = \"4s\"\ndeadline = \"5s\"\n\
         [upgrade]\nlinger = \"6s\"\nspread = \"7s\"\n",
    );
    assert_eq!(config.workers.get(), 3);
    assert_eq!(config.trusted_proxies, ["10.0.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.client_ip_header, ClientIpHeader::Forwarded);
    assert_eq!(config.health_path.as_deref(), Some("/-/ready"));
    assert_eq!(config.upgrade_protocols, ["my-proto"]);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.balance, Balance::RoundRobin);
    assert_eq!(upstream.resolve, Resolve { every: s(1), forget: s(7 * 86_400) });
    assert!(upstream.expand);
    assert_eq!(upstream.source, ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(upstream.engine_io_paths, ["/a", "/b/"]);
    assert_eq!(upstream.sticky.by, [StickyKey::Cookie]);
    let cookie = Cookie {
        name: "c".into(),
        ttl: s(5400),
        session: false,
        path: "/app".into(),
        domain: Some("example.com".into()),
        same_site: SameSite::Strict,
        secure: Secure::Fixed(true),
        http_only: false,
        partitioned: true,
    };
    assert_eq!(upstream.sticky.cookie, cookie);
    assert_eq!(upstream.sticky.secret, SecretSource::File("/etc/stickyd/secret".into()));
    let health = Health {
        check: Check::Http { path: "/healthz".into(), expect: vec![200..=200, 300..=399] },
        interval: s(5),
        fast_interval: s(1),
        timeout: Duration::from_millis(250),
        rise: 1,
        fall: 4,
        slow_start: s(0),
        panic_below: 0,
    };
    assert_eq!(upstream.health, health);
    // An upstream's own time-out, then the document's, then the default.
    assert_eq!(upstream.timeouts.connect, Duration::from_millis(500));
    assert_eq!((upstream.timeouts.upgrade, upstream.timeouts.keep_alive), (s(7), s(120)));
    assert_eq!((config.timeouts.connect, config.timeouts.tunnel_idle), (s(1), s(172_800)));
    assert_eq!(upstream.timeouts.send, s(60));
    let limits = Limits {
        sids: 5000,
        max_connections: Some(500),
        header: 64 << 10,
        headers: 64,
        body: None,
        connections_per_ip: Some(9),
        tunnels_per_ip: Some(8),
        upgrades_per_ip: Some(RateLimit { events: 20, per: s(60), burst: 20 }),
        exempt: vec!["10.0.0.1/32".parse().unwrap()],
        deny: vec!["192.0.2.0/24".parse().unwrap()],
        enforce: false,
        message: Some(1 << 20),
        origins: vec!["https://a.example".into()],
        prefixes: Prefixes { ipv4: 32, ipv6: 64 },
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.routes[0].body, None);
    let named = |address: &str| Some(Page { address: address.parse().unwrap(), named: true });
    let admin = Admin {
        socket: AdminSocket::Path("/run/s/a.sock".into()),
        mode: 0o600,
        group: "ops".into(),
        page: named("[::1]:7000"),
    };
    assert_eq!(config.admin, admin);
    assert_eq!(config.metrics, named("[::1]:9000"));
    let log = Log {
        level: "info,stickyd::tunnel=debug".into(),
        format: LogFormat::Json,
        access: AccessTarget::File("/var/log/a.log".into()),
        access_format: AccessFormat::Combined,
    };
    assert_eq!(config.log, log);
    assert_eq!(config.reload, Reload { watch: false, max_removed: 0 });
    assert_eq!(config.shutdown, Shutdown { ready_delay: s(3), spread: s(4), deadline: s(5) });
    assert_eq!(config.upgrade, Upgrade { linger: s(6), spread: s(6) }, "no longer than all of it");
}

#[test]
fn a_session_cookie_still_ends_inside() {
    let config = good("", "sticky = { ttl = \"session\" }\n");
    let cookie = &config.upstreams[0].sticky.cookie;
    assert_eq!((cookie.session, cookie.ttl), (true, Duration::from_hours(24)));
}

#[test]
fn what_is_asked_of_an_instance() {
    let path = |path: &str| path.to_owned();
    let table = [
        ("", "", Check::Speaks { path: path("/socket.io/") }),
        ("auto", "engine_io_path = [\"/a/\", \"/b/\"]", Check::Speaks { path: path("/a/") }),
        ("auto", "engine_io_path = \"off\"", Check::Tcp),
        ("off", "", Check::Off),
        ("tcp", "", Check::Tcp),
        ("http", "", Check::Http { path: path("/"), expect: vec![200..=299] }),
        ("websocket", "health.path = \"/ws\"", Check::WebSocket { path: path("/ws") }),
        ("engine_io", "", Check::EngineIo { path: path("/socket.io/") }),
    ];
    for (word, rest, expected) in table {
        let word = if word.is_empty() { String::new() } else { format!("health.check = \"{word}\"\n") };
        assert_eq!(good("", &format!("{word}{rest}\n")).upstreams[0].health.check, expected, "{word}{rest}");
    }
    let report = bad("", "engine_io_path = \"off\"\nhealth.check = \"engine_io\"\n");
    assert!(report.contains("asks for Engine.IO, and `engine_io_path` is \"off\""), "{report}");
}

#[test]
fn not_sticky_and_nginx() {
    assert_eq!(good("", "sticky = { by = [] }\n").upstreams[0].sticky.by, []);
    let nginx = good("", "sticky = { ip_hash = { algorithm = \"nginx\" } }\n");
    assert_eq!(nginx.upstreams[0].sticky.ip_hash, IpHash::Nginx);
    let coarse = good("", "sticky = { ip_hash = { ipv4_prefix = 24, ipv6_prefix = 48 } }\n");
    let expected = IpHash::Rendezvous { ipv4_prefix: 24, ipv6_prefix: 48, bound: None };
    assert_eq!(coarse.upstreams[0].sticky.ip_hash, expected);
}

#[test]
fn keys_keep_their_order_and_headers_lose_their_case() {
    let config = good(
        "",
        "sticky = { by = [\"query:User\", \"header:X-User\", \"cookie\", \"sid\"], on_down = \"fail\" }",
    );
    let sticky = &config.upstreams[0].sticky;
    let query = StickyKey::Query("User".into());
    assert_eq!(sticky.by, [query, StickyKey::Header("x-user".into()), StickyKey::Cookie, StickyKey::Sid]);
    assert_eq!(sticky.on_down, OnDown::Fail);
}

#[test]
fn a_bound_is_hundredths() {
    let table = [
        ("1.01", Some(101)),
        ("1.25", Some(125)),
        ("1.014", Some(101)),
        ("1.016", Some(102)),
        ("2", Some(200)),
        ("100", Some(10_000)),
        ("\"off\"", None),
    ];
    for (written, expected) in table {
        let config = good("", &format!("sticky.ip_hash.bound = {written}\n"));
        let expected = IpHash::Rendezvous { ipv4_prefix: 32, ipv6_prefix: 64, bound: expected };
        assert_eq!(config.upstreams[0].sticky.ip_hash, expected, "{written}");
    }
    for bad in ["1.005", "1", "1.009", "100.1", "nan", "-1.25"] {
        assert!(
            bad_bound(bad).contains("`upstream.socketio.sticky.ip_hash.bound` must be from 1.01 to 100"),
            "{bad}"
        );
    }
}

fn bad_bound(written: &str) -> String {
    bad("", &format!("sticky.ip_hash.bound = {written}\n"))
}

#[test]
fn rebalance_is_off_unless_it_is_asked_for() {
    let read = |written: &str| good("", written).upstreams[0].rebalance.clone();
    let rate = |events, per| Rate { events, per: Duration::from_secs(per) };
    let check = |written: &str, max_skew, rate: Rate, rest| {
        let expected = Rebalance { max_skew, rate, rest: Duration::from_secs(rest) };
        assert_eq!(read(written), expected, "{written}");
    };
    check("", None, rate(10, 1), 600);
    check("rebalance.max_skew = 1.25\nsticky.by = [\"sid\"]", Some(125), rate(10, 1), 600);
    check("rebalance = { max_skew = \"off\", rate = \"30/m\", rest = \"1h\" }", None, rate(30, 60), 3600);
    assert_eq!(rate(30, 60).pause(), Duration::from_secs(2));
    assert_eq!(rate(1_000_000_000, 1).pause(), Duration::from_nanos(1));
}

#[test]
fn instances_and_what_they_take() {
    let config = parse(
        "listen = \":80\"\nlimits.sids = 1000\n[upstream.a]\nmax_handshakes = \"off\"\nrebalance.rest = \"0s\"\n\
         instances = [\"a:1\", { address = \"b:1\", max_tunnels = 7, backup = true, state = \"cordon\" }, \
         { address = \"c:1\", state = \"drain\" }, { address = \"d:1\", state = \"maintain\", max_tunnels = \"off\" }]\n",
        "file.toml",
    )
    .unwrap()
    .config;
    let upstream = &config.upstreams[0];
    let plain = |host: &str| Instance::plain(format!("{host}:1"), host.to_owned(), 1);
    let expected = [
        plain("a"),
        Instance { max_tunnels: Some(7), backup: true, state: InstanceState::Cordon, ..plain("b") },
        Instance { state: InstanceState::Drain, ..plain("c") },
        Instance { state: InstanceState::Maintain, ..plain("d") },
    ];
    assert_eq!(upstream.instances, expected);
    assert_eq!(
        (upstream.max_handshakes, upstream.rebalance.rest, config.limits.sids),
        (None, Duration::ZERO, 1000)
    );
}

#[test]
fn routes_keep_their_order_and_name_their_upstream() {
    let config = parse(
        "listen = \":80\"\n[upstream.b]\ninstances = [\"b:1\"]\nsticky = { cookie = \"x\" }\n\
         [upstream.a]\ninstances = [{ address = \"a:1\", name = \"one\", weight = 7 }]\n\
         [[route]]\nhost = \"*.Example.com\"\npath = \"/api/*\"\nupstream = \"a\"\nbody = \"1m\"\n\
         [[route]]\nhost = \"example.com\"\npath = \"/x\"\nupstream = \"b\"\nbody = \"off\"\n\
         [[route]]\nupstream = \"b\"\n[limits]\nbody = \"2m\"\n",
        "file.toml",
    )
    .unwrap()
    .config;
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["b", "a"], "the order of the document");
    let one = Instance { weight: 7, ..Instance::plain("one".into(), "a".into(), 1) };
    assert_eq!(config.upstreams[1].instances, [one]);
    let route = |host, path, upstream, body| Route { host, path, upstream, body };
    let expected = [
        route(
            HostPattern::Suffix(".example.com".into()),
            PathPattern::Prefix("/api".into()),
            1,
            Some(1 << 20),
        ),
        route(HostPattern::Exact("example.com".into()), PathPattern::Exact("/x".into()), 0, None),
        route(HostPattern::Any, PathPattern::Any, 0, Some(2 << 20)),
    ];
    assert_eq!(config.routes, expected);
}

#[test]
fn every_table_refuses_a_key_that_it_does_not_have() {
    let tables: std::collections::BTreeSet<String> =
        schema().iter().filter_map(|path| Some(path.rsplit_once('.')?.0.to_owned())).collect();
    let mut seen = 0;
    for table in tables {
        let report = match table.as_str() {
            "listen" => parse("[[listen]]\nzzz = 1\n", "x").unwrap_err().to_string(),
            "listen.tls" => parse("[[listen]]\ntls.zzz = 1\n", "x").unwrap_err().to_string(),
            "route" => bad("", "[[route]]\nupstream = \"socketio\"\nzzz = 1\n"),
            "upstream.NAME.instances" => {
                parse("[upstream.x]\ninstances = [{ zzz = 1 }]\n", "x").unwrap_err().to_string()
            }
            "upstream.NAME" => bad("", "zzz = 1\n"),
            "upstream" => continue,
            _ => bad("", &format!("[{}]\nzzz = 1\n", table.replace("NAME", "socketio"))),
        };
        assert!(report.contains("unknown key `"), "{table}: {report}");
        seen += 1;
    }
    assert_eq!(seen, 21, "tables of the schema");
    assert!(bad("zzz = 1", "").contains("unknown key `zzz`"));
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let report = |path: &Path| load(path).unwrap_err().to_string();
    assert!(report(&at("none.toml")).contains("cannot read the file: no such file"));
    assert!(report(folder.path()).contains("this is a directory"));
    assert!(report(&at("none.toml").join("x")).contains("cannot read the file"));

    let large = at("large.toml");
    std::fs::write(&large, "#".repeat(4 << 20)).unwrap();
    assert!(report(&large).contains("`listen` is missing"), "4 MiB are read");
    std::fs::write(&large, "#".repeat((4 << 20) + 1)).unwrap();
    assert!(report(&large).contains("larger than 4 MiB"));
    assert!(parse(&"#".repeat((4 << 20) + 1), "x").unwrap_err().to_string().contains("larger than 4 MiB"));
    assert!(report(Path::new("/dev/zero")).contains("larger than 4 MiB"), "endless");

    let binary = at("binary.toml");
    std::fs::write(&binary, b"listen = \":80\"\nx = \"\xff\xfe\"\n").unwrap();
    let shown = report(&binary);
    assert!(shown.contains("not UTF-8") && shown.contains(":2:6"), "{shown}");
}

#[test]
fn two_flags_are_a_configuration() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let config = from_arguments(&words(":8080 [::1]:8081"), &words("a:3000 b:3000")).unwrap().config;
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.upstreams[0].name, "default");
    assert_eq!(config.upstreams[0].instances[1].host, "b");
    assert_eq!(config.routes.len(), 1);

    let report = from_arguments(&words("8080"), &words("a b:3000 b:3000")).unwrap_err().to_string();
    let expected = [
        "error: `listen` needs a port\n --> the command line:1:10\n",
        "1 | --listen 8080 --instances a,b:3000,b:3000\n",
        "  |          ^^^^ write \":8080\"\n",
        "^ write \"a:3000\", with the port that it listens on",
        "error: b:3000 is listed twice",
        "3 errors in the command line\n",
    ];
    for part in expected {
        assert!(report.contains(part), "{part}\nis not in\n{report}");
    }
    assert!(from_arguments(&[], &[]).unwrap_err().to_string().contains("nowhere to accept clients"));
    assert!(from_arguments(&words(":80"), &[String::new()]).is_err());
}

#[test]
fn what_follows_a_broken_header_is_not_believed() {
    // `bdy` would be an unknown key of another table, `limits` would be missing nothing: neither is said.
    let report = parse("listen = \"x\"\n[upstream.a\nbdy = 1\n", "x").unwrap_err();
    assert_eq!(report.errors(), 2, "{report}");
    // A slip inside a line is no reason to be silent about other lines.
    let report = parse("listen = :80\nworkers = 0\n[upstream.a]\ninstances = [\"a\"]\n", "x").unwrap_err();
    assert_eq!(report.errors(), 3, "{report}");
}

#[test]
fn warnings_wait_until_there_are_no_errors() {
    let report = bad("trusted_proxies = [\"x\"]\nclient_ip_header = \"forwarded\"", "");
    assert!(!report.contains("warning"), "{report}");
    let loaded = file("client_ip_header = \"forwarded\"", "").unwrap();
    assert_eq!((loaded.warnings.errors(), loaded.warnings.warnings()), (0, 1));
}

#[test]
fn long_lists_are_refused_not_compared() {
    let many = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<Vec<_>>().join("\n");
    let instances = many(1001, &|n| format!("\"a:{},\"", n + 1)).replace(",\"", "\",");
    let report = parse(&format!("listen = \":80\"\n[upstream.a]\ninstances = [{instances}]\n"), "x");
    assert!(report.unwrap_err().to_string().contains("more than 1000 instances"));
    let upstreams = many(1001, &|n| format!("[upstream.u{n}]\ninstances = [\"a:1\"]"));
    assert!(parse(&upstreams, "x").unwrap_err().to_string().contains("more than 1000 upstreams"));
    let routes = many(1001, &|n| format!("[[route]]\nhost = \"h{n}\"\nupstream = \"socketio\""));
    assert!(bad("", &routes).contains("more than 1000 entries"));
}
