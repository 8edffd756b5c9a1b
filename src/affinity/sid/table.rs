//! stub
use crate::affinity::ClientKey;
use std::sync::Arc;
use std::time::Duration;
#[derive(Debug, Clone, Copy)]
pub struct SidKey(u64);
#[derive(Debug)]
pub struct Table<H>(H);
#[derive(Debug)]
pub struct Held<H>(Arc<Table<H>>, SidKey);
#[derive(Debug)]
pub struct Learned<H> {
    pub evicted: Option<H>,
    pub kept: bool,
}
impl<H> Held<H> {
    pub fn release(self, _n: Duration) {}
}
impl<H> Table<H> {
    pub fn new(_c: usize) -> Self {
        todo!()
    }
    pub fn key(&self, _u: &str, _s: &[u8]) -> SidKey {
        todo!()
    }
    pub fn learn(
        &self,
        _k: SidKey,
        _c: ClientKey,
        _h: H,
        _cors: Option<&[u8]>,
        _l: Duration,
        _n: Duration,
    ) -> Learned<H> {
        todo!()
    }
    pub fn hold<R>(
        self: &Arc<Self>,
        _k: SidKey,
        _n: Duration,
        _r: impl FnOnce(&H, Option<&Arc<[u8]>>) -> R,
    ) -> Option<(Held<H>, R)> {
        todo!()
    }
    pub fn with<R>(&self, _k: SidKey, _e: impl FnOnce(&mut H) -> R) -> Option<R> {
        todo!()
    }
    pub fn forget(&self, _k: SidKey) -> Option<H> {
        todo!()
    }
    pub fn sweep(&self, _n: Duration, _m: usize) -> usize {
        todo!()
    }
}
