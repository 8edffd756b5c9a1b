//! Which upstream, which instance. Pure: no socket, no clock.

pub mod explain;
pub mod pick;
pub mod route;
