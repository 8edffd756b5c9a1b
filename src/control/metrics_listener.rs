//! Answers `/metrics`, `/-/healthy`, `/-/ready` on `[metrics] address`.

use std::future::Future;

use tokio::net::TcpListener;

/// Serves until `shutdown` is ready; then returns at once, open connections are cut. Call it on the control thread's
/// runtime. `render` is the text of a scrape, `ready` whether traffic is served.
pub async fn serve(
    _listener: TcpListener,
    _render: impl Fn() -> String + Send + Sync + 'static,
    _ready: impl Fn() -> bool + Send + Sync + 'static,
    _shutdown: impl Future<Output = ()>,
) {
    todo!()
}
