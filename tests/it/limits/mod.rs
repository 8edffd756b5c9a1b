//! Limits by address, who is let in at all, sizes of messages, and the PROXY protocol.

mod addresses;
mod messages;
mod proxy_protocol;
