//! One instance: a thread with a runtime of its own, so that it can be killed like a process, with nothing said.
//!
//! One thread, as with Node: an instance takes one core, and who has more starts more instances.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Router, middleware};
use socketioxide::{ParserConfig, SocketIo};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::timeout;

use super::adapter::RoomAdapter;
use super::context::Context;
use super::metrics::Metrics;
use super::settings::Settings;
use super::shared::Shared;
use super::tasks::Tasks;
use super::{accept, edge, events, feed, leave, presence, routes, webhooks};

/// Binary parts of one message at most, as their bytes are bounded by the payload's.
const BINARIES_MAX: usize = 100;

/// For the connection to what is shared. Without it an instance serves its own clients.
const BEGIN_MAX: Duration = Duration::from_secs(2);

/// What an instance was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Stop,
    Kill,
}

/// Namespace for [`Instance::start`].
#[derive(Debug)]
pub enum Instance {}

impl Instance {
    /// Binds the address, and serves it on a thread of its own.
    ///
    /// # Errors
    /// The address cannot be bound, or there is no thread for it.
    pub fn start(settings: Settings, shared: &Shared) -> io::Result<Running> {
        Self::start_with(settings, shared, |_| {})
    }

    /// As [`Instance::start`], for an application of somebody else: `attach` adds namespaces and events of its own to
    /// [`Context::io`], on the instance's thread and before it accepts anybody.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(
        settings: Settings,
        shared: &Shared,
        attach: impl FnOnce(&Arc<Context>) + Send + 'static,
    ) -> io::Result<Running> {
        let listener = TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let name = settings.name.clone();
        let (order, orders) = watch::channel(Order::Run);
        let (ended, has_ended) = watch::channel(false);
        let shared = shared.clone();
        let metrics = Arc::new(Metrics::default());
        let counted = metrics.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("app-{name}")).spawn(move || {
            let served = runtime.block_on(serve(listener, settings, counted, &shared, orders, attach));
            if let Err(error) = served {
                tracing::error!(%error, "an instance ended");
            }
            // With it goes every task that is left, and its sockets with them.
            drop(runtime);
            ended.send_replace(true);
        })?;
        tracing::info!(instance = name, %address, "started");
        Ok(Running { address, name, metrics, order, has_ended, thread: Some(thread) })
    }
}

/// An instance that serves. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    name: String,
    metrics: Arc<Metrics>,
    order: watch::Sender<Order>,
    has_ended: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Stops it gently: not ready any more, sockets closed over [`Settings::spread`], end. Does not wait: [`Running::ended`].
    pub fn stop(&self) {
        self.tell(Order::Stop);
    }

    /// Ends it as a crash would: connections break, nothing is said to anybody. Does not wait: [`Running::ended`].
    pub fn kill(&self) {
        self.tell(Order::Kill);
    }

    /// Whether it has ended, by itself or because it was told to.
    pub fn has_ended(&self) -> bool {
        *self.has_ended.borrow()
    }

    /// Returns when it has ended. Independent of the borrow, so that somebody can wait while another one stops it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut has_ended = self.has_ended.clone();
        async move {
            // An error: the thread is gone without a word, which is an end too.
            let _ = has_ended.wait_for(|ended| *ended).await;
        }
    }

    /// Waits, without a runtime, until it has ended.
    pub fn join(mut self) {
        self.wait();
    }

    fn tell(&self, order: Order) {
        self.order.send_if_modified(|last| {
            // Killed is killed.
            let is_new = *last != Order::Kill && *last != order;
            if is_new {
                *last = order;
            }
            is_new
        });
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(instance = self.name, "an instance panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// The life of an instance. Ends in the middle of everything when it is killed.
async fn serve(
    listener: TcpListener,
    settings: Settings,
    metrics: Arc<Metrics>,
    shared: &Shared,
    orders: watch::Receiver<Order>,
    attach: impl FnOnce(&Arc<Context>),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tasks = Tasks::default();
    let link = shared.connect(&settings.name, &tasks);
    let context = Arc::new(Context::new(settings, metrics, link, tasks));
    let (layer, io) = socket_io(&context);
    context.set_io(io.clone());
    events::attach(&io, &context);
    attach(&context);
    presence::start(&context);
    feed::start(&context);
    webhooks::start(&context);
    let router = routes::router(&context)
        .layer(layer)
        .layer(middleware::from_fn_with_state(context.clone(), edge::around));
    let (mut to_stop, mut to_kill) = (orders.clone(), orders);
    tokio::select! {
        () = live(listener, router, &context, &mut to_stop) => {}
        () = is_told(&mut to_kill, |order| order == Order::Kill) => leave::forget(&context).await,
    }
    context.end();
    Ok(())
}

/// The life of an instance that is not killed.
async fn live(
    listener: tokio::net::TcpListener,
    router: Router,
    context: &Arc<Context>,
    orders: &mut watch::Receiver<Order>,
) {
    // Whoever asks for nothing is told when everything that was asked for before has begun.
    let mut begun = context.link.bus().subscribe(Vec::new());
    if timeout(BEGIN_MAX, begun.is_active()).await.is_err() {
        tracing::warn!(instance = context.settings.name, "serves without the other instances");
    }
    let (last, is_last) = watch::channel(false);
    let accepting = accept::serve(listener, router.clone(), context.clone(), is_last);
    let leaving = async {
        is_told(orders, |order| order != Order::Run).await;
        tokio::join!(leave::leave(context, router), context.feed.end(&context.settings));
        context.presence.end().await;
        last.send_replace(true);
    };
    tokio::join!(accepting, leaving);
    context.tasks.end().await;
}

/// Returns when such an order came, or nobody is left who could give one.
async fn is_told(orders: &mut watch::Receiver<Order>, is_it: impl Fn(Order) -> bool) {
    let _ = orders.wait_for(|order| is_it(*order)).await;
}

/// Socket.IO with what socketioxide leaves open or sets otherwise than Node.
fn socket_io(
    context: &Arc<Context>,
) -> (socketioxide::layer::SocketIoLayer<RoomAdapter>, super::adapter::Io) {
    let settings = &context.settings;
    let payload = usize::try_from(settings.payload_bytes_max).unwrap_or(usize::MAX);
    let parser =
        ParserConfig::common().max_incoming_binaries(BINARIES_MAX).max_incoming_binary_buf_size(payload);
    SocketIo::builder()
        .req_path(edge::PATH)
        .ping_interval(settings.ping_interval)
        .ping_timeout(settings.ping_timeout)
        .max_payload(settings.payload_bytes_max)
        .ws_max_message_size(payload)
        .ws_max_frame_size(payload)
        .max_buffer_size(settings.waiting_messages_max)
        .ack_timeout(settings.requests_timeout)
        .with_parser(parser)
        .with_adapter::<RoomAdapter>(context.clone())
        .build_layer()
}
