//! Sockets of the service manager (`sd_listen_fds(3)`): taken over once, before anything else happens, and the variables that tell of
//! them are gone then, so that no child takes them for its own.

use std::env;

use listenfd::ListenFd;

use crate::listener::inherited::Inherited;

/// What the service manager handed over; often nothing. Call it once, before any descriptor is opened or thread started.
///
/// # Errors
/// What of it cannot be used, and what to do.
pub(super) fn from_environment() -> Result<Vec<Inherited>, String> {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut handed_over = ListenFd::from_env();
    if !is_ours {
        return Ok(Vec::new());
    }
    let mut inherited = Vec::new();
    for number in 0..handed_over.len() {
        let name = names.get(number).copied().unwrap_or_default();
        let wrong = || {
            format!(
                "what the service manager hands over as \"{name}\" (LISTEN_FDS, number {number}) is no listening TCP or unix \
                 stream socket: take it out of the socket unit"
            )
        };
        let tcp = handed_over.take_tcp_listener(number).ok().flatten().map(Into::into);
        let unix = || handed_over.take_unix_listener(number).ok().flatten().map(Into::into);
        let Some(socket) = tcp.or_else(unix) else { return Err(wrong()) };
        let one = Inherited { name: name.to_owned(), socket, kept: true };
        if !one.listens() {
            return Err(wrong());
        }
        inherited.push(one);
    }
    Ok(inherited)
}
