//! A socket becomes a connection.

pub mod client_address;
