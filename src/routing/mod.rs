//! Which upstream, which instance. Pure: no socket, no clock.

pub mod pick;
pub mod route;
