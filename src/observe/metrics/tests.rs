mod validator;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use self::validator::validate;
use super::*;

/// What one worker counts.
#[derive(Default)]
struct Worker {
    listener: ListenerCounters,
    upstream: UpstreamCounters,
    instance: InstanceCounters,
    health: HealthCounters,
}

/// One that saw everything once.
fn busy() -> Worker {
    let Worker { listener, upstream, instance, health } = Worker::default();
    listener.connections.add(5);
    listener.connections_open.inc();
    for reason in Refused::ALL {
        listener.refused(*reason);
    }
    for limit in Limit::ALL {
        listener.limit_hit(*limit);
    }
    listener.request_unrouted(400);

    for by in DecisionBy::ALL {
        upstream.decision(*by);
    }
    for reason in RebindReason::ALL {
        upstream.rebind(*reason);
    }
    for reason in CookieRejection::ALL {
        upstream.cookie_rejected(*reason);
    }
    for by in AnsweredBy::ALL {
        upstream.unknown_session(*by);
    }
    upstream.sids_unreadable.one();
    upstream.request_unplaced(503);
    upstream.request_seconds.observe(0.002);
    upstream.connect_seconds.observe(0.0002);
    upstream.upgrade_seconds.observe(0.2);
    upstream.tunnel_seconds.observe(400_000.0);

    for origin in Origin::ALL {
        for code in [101, 200, 304, 404, 502, 999] {
            instance.request(code, *origin);
        }
    }
    for kind in Kind::ALL {
        instance.requests_open(*kind).inc();
    }
    for kind in ConnectError::ALL {
        instance.connect_error(*kind);
    }
    instance.tunnels_opened.add(4);
    instance.tunnel_closed("idle", None);
    instance.tunnel_closed("client_closed", Some(1001));
    instance.bytes_up.add(10);
    instance.bytes_down.add(20);
    instance.frames_up.add(1);
    instance.frames_down.add(2);
    for result in CheckResult::ALL {
        health.check(*result, 0.2);
    }
    Worker { listener, upstream, instance, health }
}

/// The first worker's is the one thread that checks.
fn scrape(workers: &[Worker], [listener, upstream, instance]: [&str; 3]) -> String {
    let unchecked = HealthCounters::default();
    let checks = workers.first().map_or(&unchecked, |worker| &worker.health);
    render(&Exposition {
        listeners: vec![(listener.to_owned(), workers.iter().map(|worker| &worker.listener).collect())],
        certificates: vec![CertificatesView {
            listener: listener.to_owned(),
            expiry: vec![
                ("app.example.com".to_owned(), 1_795_521_999),
                ("app.example.com".to_owned(), 1_795_521_000),
            ],
            renewals: 1,
            refusals: 2,
        }],
        upstreams: vec![
            UpstreamView {
                name: upstream.to_owned(),
                shards: workers.iter().map(|worker| &worker.upstream).collect(),
                panic: true,
                dns_failures: 6,
                instances: vec![InstanceView {
                    name: instance.to_owned(),
                    shards: workers.iter().map(|worker| &worker.instance).collect(),
                    up: false,
                    degraded: true,
                    checks,
                    state: State::Cordon,
                    queued: 1,
                    in_flight: 2,
                    shed: 3,
                    sids: 4,
                    sids_evicted: 5,
                }],
            },
            UpstreamView {
                name: "empty".to_owned(),
                dns_failures: 0,
                shards: Vec::new(),
                panic: false,
                instances: Vec::new(),
            },
        ],
        process: ProcessView {
            connections_limit: 9_900,
            log_lines_dropped: 1,
            panics: 2,
            processes: 1,
            reloads: ReloadsView { done: 3, refused: 1, last_successful: true, last_at: 1_795_521_999 },
            started: UNIX_EPOCH + Duration::from_millis(1_795_521_961_123),
            stats: ProcessStats {
                cpu_seconds: Some(1.5),
                open_fds: Some(12),
                max_fds: Some(20_000),
                resident_bytes: Some(1 << 20),
                virtual_bytes: Some(1 << 30),
            },
        },
    })
}

const NAMES: [&str; 3] = [":80", "socketio", "instance-1:3000"];

#[test]
fn the_text_is_valid() {
    let families = validate(&scrape(&[busy(), busy()], NAMES)).unwrap();
    let table: BTreeSet<String> = table::ALL.iter().map(|family| family.name.to_owned()).collect();
    assert_eq!(
        families.iter().cloned().collect::<BTreeSet<_>>(),
        table,
        "every metric of the table is shown"
    );
    assert_eq!(families.len(), table.len());
}

#[test]
fn without_workers_or_traffic_the_text_is_valid() {
    validate(&scrape(&[], NAMES)).unwrap();
    validate(&scrape(&[Worker::default()], NAMES)).unwrap();
    let nothing = Exposition {
        listeners: Vec::new(),
        certificates: Vec::new(),
        upstreams: Vec::new(),
        process: ProcessView {
            connections_limit: 0,
            log_lines_dropped: 0,
            panics: 0,
            processes: 1,
            reloads: ReloadsView { done: 3, refused: 1, last_successful: true, last_at: 1_795_521_999 },
            started: UNIX_EPOCH,
            stats: ProcessStats::default(),
        },
    };
    let text = render(&nothing);
    validate(&text).unwrap();
    assert!(!text.contains("process_open_fds"), "what is not known is left out");
}

#[test]
fn workers_are_summed() {
    let workers = [busy(), busy()];
    workers[0].instance.requests_open(Kind::Poll).dec();
    workers[0].instance.requests_open(Kind::Stream).dec();
    workers[1].instance.requests_open(Kind::Stream).dec();
    workers[1].instance.requests_open(Kind::Stream).dec();
    workers[0].instance.tunnel_closed("idle", None);
    let text = scrape(&workers, NAMES);
    let mut seen = 0;
    let mut check = |line: &str| {
        seen += 1;
        assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
    };
    check(r#"stickyd_connections_total{listener=":80",protocol="http1"} 10"#);
    check(r#"stickyd_connections_open{listener=":80",protocol="http1"} 2"#);
    check("stickyd_connections_limit 9900");
    check(r#"stickyd_refused_total{reason="bad_request"} 2"#);
    check(r#"stickyd_limit_hits_total{limit="max_connections"} 2"#);
    check(r#"stickyd_requests_total{upstream="",instance="",code="4xx",origin="proxy"} 2"#);
    check(r#"stickyd_requests_total{upstream="socketio",instance="",code="5xx",origin="proxy"} 2"#);
    check(
        r#"stickyd_requests_total{upstream="socketio",instance="instance-1:3000",code="1xx",origin="instance"} 2"#,
    );
    check(
        r#"stickyd_requests_total{upstream="socketio",instance="instance-1:3000",code="other",origin="proxy"} 2"#,
    );
    check(r#"stickyd_requests_total{upstream="empty",instance="",code="5xx",origin="proxy"} 0"#);
    check(r#"stickyd_request_seconds_bucket{upstream="socketio",le="0.001"} 0"#);
    check(r#"stickyd_request_seconds_bucket{upstream="socketio",le="0.0025"} 2"#);
    check(r#"stickyd_request_seconds_sum{upstream="socketio"} 0.004"#);
    check(r#"stickyd_request_seconds_count{upstream="socketio"} 2"#);
    check(r#"stickyd_tunnel_seconds_bucket{upstream="socketio",le="259200"} 0"#);
    check(r#"stickyd_tunnel_seconds_bucket{upstream="socketio",le="+Inf"} 2"#);
    check(r#"stickyd_requests_open{upstream="socketio",instance="instance-1:3000",kind="request"} 2"#);
    check(r#"stickyd_requests_open{upstream="socketio",instance="instance-1:3000",kind="poll"} 1"#);
    // Seen in part: never below zero.
    check(r#"stickyd_requests_open{upstream="socketio",instance="instance-1:3000",kind="stream"} 0"#);
    check(r#"stickyd_tunnels_opened_total{upstream="socketio",instance="instance-1:3000"} 8"#);
    check(r#"stickyd_tunnels_open{upstream="socketio",instance="instance-1:3000"} 3"#);
    check(
        r#"stickyd_tunnels_closed_total{upstream="socketio",instance="instance-1:3000",reason="idle",code="none"} 3"#,
    );
    check(
        r#"stickyd_tunnels_closed_total{upstream="socketio",instance="instance-1:3000",reason="client_closed",code="1001"} 2"#,
    );
    check(r#"stickyd_tunnel_bytes_total{upstream="socketio",instance="instance-1:3000",direction="up"} 20"#);
    check(
        r#"stickyd_tunnel_frames_total{upstream="socketio",instance="instance-1:3000",direction="down"} 4"#,
    );
    check(r#"stickyd_sticky_decisions_total{upstream="socketio",by="cookie"} 2"#);
    check(r#"stickyd_sticky_rebinds_total{upstream="socketio",reason="down"} 2"#);
    check(r#"stickyd_sticky_cookies_rejected_total{upstream="socketio",reason="forged"} 2"#);
    check(
        r#"stickyd_connect_errors_total{upstream="socketio",instance="instance-1:3000",kind="no_local_port"} 2"#,
    );
    check(r#"stickyd_instance_up{upstream="socketio",instance="instance-1:3000"} 0"#);
    check(r#"stickyd_instance_degraded{upstream="socketio",instance="instance-1:3000"} 1"#);
    check(r#"stickyd_upstream_panic{upstream="socketio"} 1"#);
    check(r#"stickyd_upstream_panic{upstream="empty"} 0"#);
    check(
        r#"stickyd_health_checks_total{upstream="socketio",instance="instance-1:3000",result="timeout"} 1"#,
    );
    check(
        r#"stickyd_health_check_seconds_sum{upstream="socketio",instance="instance-1:3000",result="passed"} 0.2"#,
    );
    check(r#"stickyd_dns_failures_total{upstream="socketio"} 6"#);
    check(r#"stickyd_dns_failures_total{upstream="empty"} 0"#);
    check("stickyd_log_lines_dropped_total 1");
    check("stickyd_panics_total 2");
    check("stickyd_processes 1");
    check(concat!("stickyd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"));
    check("process_cpu_seconds_total 1.5");
    check("process_open_fds 12");
    check("process_start_time_seconds 1795521961.123");
    assert_eq!(seen, 44);
}

#[test]
fn names_cannot_leave_their_label() {
    let text = scrape(&[busy()], ["unix:/run/\"x\".sock", "a\\", "b\nstickyd_fake 1 für"]);
    validate(&text).unwrap();
    assert!(
        text.contains(r#"stickyd_connections_total{listener="unix:/run/\"x\".sock",protocol="http1"} 5"#)
    );
    assert!(
        text.contains(r#"stickyd_tunnels_opened_total{upstream="a\\",instance="b\nstickyd_fake 1 für"} 4"#)
    );
}

/// A scrape in the midst of work: whatever it catches, the sums agree.
#[test]
fn sums_agree_while_workers_count() {
    let workers = [Worker::default(), Worker::default()];
    let value = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    std::thread::scope(|scope| {
        let threads = workers.each_ref().map(|worker| {
            scope.spawn(move || {
                for _ in 0..100_000 {
                    worker.instance.tunnels_opened.one();
                    worker.upstream.request_seconds.observe(0.01);
                    worker.instance.tunnel_closed("idle", None);
                }
            })
        });
        while threads.iter().any(|thread| !thread.is_finished()) {
            let text = scrape(&workers, NAMES);
            validate(&text).unwrap();
            let opened = value(&text, "stickyd_tunnels_opened_total{");
            let open = value(&text, "stickyd_tunnels_open{");
            let closed = value(&text, "stickyd_tunnels_closed_total{");
            assert_eq!(opened, open + closed);
            assert!(closed <= 200_000 && open <= 200_000, "{open} {closed}");
        }
    });
    assert!(scrape(&workers, NAMES).contains("stickyd_tunnels_closed_total{upstream=\"socketio\",instance=\"instance-1:3000\",reason=\"idle\",code=\"none\"} 200000\n"));
}
