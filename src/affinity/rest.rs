//! stub
use std::time::Duration; use crate::affinity::ClientKey;
#[derive(Debug)] pub struct Rest;
#[derive(Debug)] pub enum Who { Binding([u8;8]), Address(ClientKey) }
impl Rest { pub fn new() -> Self { Rest } pub fn send_away(&self, _w: Who, _i: u32, _u: Duration) {} pub fn away(&self, _w: &Who, _n: Duration) -> Vec<u32> { vec![] } }
