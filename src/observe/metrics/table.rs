//! Every metric: name, kind, labels, help. Base units, counters end in `_total`, labels are bounded.
//!
//! Up is from the client to the instance, down from the instance to the client. `instance=""`: the proxy itself
//! answered without an instance; `upstream=""` besides: also without a route.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    /// In the order in which their values are given.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $constant: &Family = &Family {
            name: $name,
            kind: Type::$kind,
            labels: &[$($label),*],
            help: $help,
        };)+
        /// All of them, in the order of the exposition.
        #[cfg(test)]
        pub(super) const ALL: &[&Family] = &[$($constant),+];
    };
}

families! {
    CONNECTIONS = Counter "stickyd_connections_total" ["listener", "protocol"]
        "Client connections accepted.";
    CONNECTIONS_OPEN = Gauge "stickyd_connections_open" ["listener", "protocol"]
        "Client connections open now, tunnels included.";
    CONNECTIONS_LIMIT = Gauge "stickyd_connections_limit" []
        "Most client connections at a time (limits.max_connections).";
    REFUSED = Counter "stickyd_refused_total" ["reason"]
        "Clients turned away before their request had a route.";
    LIMIT_HITS = Counter "stickyd_limit_hits_total" ["limit"]
        "How often a limit was reached, also when it is only observed.";
    TLS_HANDSHAKES = Counter "stickyd_tls_handshakes_total" ["listener", "result"]
        "TLS handshakes of clients by what they came to.";
    TLS_CERTIFICATE_EXPIRY = Gauge "stickyd_tls_certificate_expiry_timestamp_seconds" ["listener", "subject"]
        "When the certificate ceases to be valid.";
    TLS_CERTIFICATE_RELOADS = Counter "stickyd_tls_certificate_reloads_total" ["listener", "result"]
        "Certificates whose files changed, by whether they were put in force.";
    REQUESTS = Counter "stickyd_requests_total" ["upstream", "instance", "code", "origin"]
        "Exchanges that ended, by class of the status and by who made the answer; an upgrade counts with its 101.";
    REQUEST_SECONDS = Histogram "stickyd_request_seconds" ["upstream"]
        "From the end of a request's head to the end of its answer, without upgrades and streams.";
    CONNECT_SECONDS = Histogram "stickyd_connect_seconds" ["upstream"]
        "Time that a successful connect to an instance took.";
    UPGRADE_SECONDS = Histogram "stickyd_upgrade_seconds" ["upstream"]
        "From the end of an upgrade's head to the 101 of the instance.";
    REQUESTS_OPEN = Gauge "stickyd_requests_open" ["upstream", "instance", "kind"]
        "Exchanges open now, without tunnels.";
    TUNNELS_OPEN = Gauge "stickyd_tunnels_open" ["upstream", "instance"]
        "Tunnels open now: opened less closed.";
    TUNNELS_OPENED = Counter "stickyd_tunnels_opened_total" ["upstream", "instance"]
        "Tunnels opened.";
    TUNNELS_CLOSED = Counter "stickyd_tunnels_closed_total" ["upstream", "instance", "reason", "code"]
        "Tunnels closed, by reason and by the WebSocket close code that was seen first.";
    TUNNEL_SECONDS = Histogram "stickyd_tunnel_seconds" ["upstream"]
        "How long tunnels lived.";
    TUNNEL_BYTES = Counter "stickyd_tunnel_bytes_total" ["upstream", "instance", "direction"]
        "Bytes through tunnels, counted live; up is from client to instance.";
    TUNNEL_FRAMES = Counter "stickyd_tunnel_frames_total" ["upstream", "instance", "direction"]
        "WebSocket frames through tunnels, counted live; up is from client to instance.";
    STICKY_DECISIONS = Counter "stickyd_sticky_decisions_total" ["upstream", "by"]
        "Placements by what chose the instance.";
    STICKY_REBINDS = Counter "stickyd_sticky_rebinds_total" ["upstream", "reason"]
        "Bound clients that were given another instance.";
    STICKY_COOKIES_REJECTED = Counter "stickyd_sticky_cookies_rejected_total" ["upstream", "reason"]
        "Affinity cookies that were ignored.";
    SIDS = Gauge "stickyd_sids" ["upstream"]
        "Engine.IO sessions that are remembered.";
    SIDS_EVICTED = Counter "stickyd_sids_evicted_total" ["upstream"]
        "Engine.IO sessions that were forgotten because limits.sids was reached.";
    SIDS_UNREADABLE = Counter "stickyd_sids_unreadable_total" ["upstream"]
        "Answers to new Engine.IO sessions in which no sid could be read; they are passed on.";
    UNKNOWN_SESSIONS = Counter "stickyd_engine_io_unknown_sessions_total" ["upstream", "answered_by"]
        "Requests of Engine.IO sessions that are not known: by the proxy because their instance is gone, or by the instance (400).";
    UPGRADES_QUEUED = Gauge "stickyd_upgrades_queued" ["upstream", "instance"]
        "Upgrades and new Engine.IO sessions that wait for their turn (max_handshakes).";
    UPGRADES_IN_FLIGHT = Gauge "stickyd_upgrades_in_flight" ["upstream", "instance"]
        "Upgrades and new Engine.IO sessions that the instance has not answered yet.";
    UPGRADES_SHED = Counter "stickyd_upgrades_shed_total" ["upstream", "instance"]
        "Upgrades and new Engine.IO sessions turned away: the queue was full, or the wait too long.";
    INSTANCE_UP = Gauge "stickyd_instance_up" ["upstream", "instance"]
        "1 while its checks pass, or it is not checked; 0 with stickyd_instance_degraded 0 is down.";
    INSTANCE_DEGRADED = Gauge "stickyd_instance_degraded" ["upstream", "instance"]
        "1 while it answers its checks, but not as it should, or late: no new clients.";
    INSTANCE_STATE = Gauge "stickyd_instance_state" ["upstream", "instance", "state"]
        "1 for what the administrator wants of it: ready, cordon, drain, maintain.";
    UPSTREAM_PANIC = Gauge "stickyd_upstream_panic" ["upstream"]
        "1 while fewer instances pass than health.panic_below, so that checks are not believed.";
    HEALTH_CHECKS = Counter "stickyd_health_checks_total" ["upstream", "instance", "result"]
        "Checks of an instance by what they came to.";
    HEALTH_CHECK_SECONDS = Histogram "stickyd_health_check_seconds" ["upstream", "instance", "result"]
        "Time from the begin of a check to what it came to; only of results that there were.";
    CONNECT_ERRORS = Counter "stickyd_connect_errors_total" ["upstream", "instance", "kind"]
        "Connections to an instance that could not be made.";
    DNS_FAILURES = Counter "stickyd_dns_failures_total" ["upstream"]
        "Lookups of instances' names that failed or had no address; the last address is kept.";
    LOG_LINES_DROPPED = Counter "stickyd_log_lines_dropped_total" []
        "Access lines lost: queue full or not written.";
    PANICS = Counter "stickyd_panics_total" []
        "Panics of the program, each a bug to report.";
    CONFIG_RELOADS = Counter "stickyd_config_reloads_total" ["result"]
        "Reloads of the configuration, by whether they were put in force.";
    CONFIG_LAST_SUCCESSFUL = Gauge "stickyd_config_last_reload_successful" []
        "1 when the last reload was put in force, or there was none yet.";
    CONFIG_LAST_TIMESTAMP = Gauge "stickyd_config_last_reload_timestamp_seconds" []
        "When the last reload was, or else the start.";
    PROCESSES = Gauge "stickyd_processes" []
        "Processes of this proxy, with those that linger after an upgrade.";
    BUILD_INFO = Gauge "stickyd_build_info" ["version"]
        "1; the version is in the label.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "User and system CPU time.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" []
        "Most open file descriptors.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" []
        "Resident memory.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Virtual memory.";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "Start of the process, seconds since the epoch.";
}
