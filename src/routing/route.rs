//! Host and path to a route.

use crate::config::model::Route;

/// The index of the first of `routes` that takes this request. `host` as the client sent it (any case, with or without port,
/// IPv6 in brackets, a trailing dot); `path` raw, without query.
pub fn find(_routes: &[Route], _host: &str, _path: &str) -> Option<usize> {
    todo!()
}
