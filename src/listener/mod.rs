//! A socket becomes a connection: bind, accept, permit, and who the client is.

pub mod accept;
pub mod bind;
pub mod client_address;
mod handshake;
mod holder;
pub mod inherited;
mod introduction;
pub mod permit;
pub mod proxy_protocol;
pub mod tls;
