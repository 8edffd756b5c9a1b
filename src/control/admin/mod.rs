//! The admin socket: whoever may open it asks how things are, and commands.
//!
//! Questions are answered at once (lists ask the workers, and wait for them for a moment), commands one after the other on a thread of their own, so that a reload that takes its time
//! keeps nobody from seeing how things are. Must not: decide anything (that is `control::lifecycle` and `control::reload`).

pub mod api;
mod client;
mod oncall;
pub(super) mod page;
mod socket;
mod status;
mod upgrade;

use std::fmt::{Debug, Display};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::by::By;
use super::follow::{Followed, Understood};
use super::handover::{Estate, Started};
use super::lifecycle::{Administrator, Refusal};
use super::lists::{self, Lists};
use super::local_http::{self, Answer, Bounds, Peer, page};
use super::notify::Manager;
use super::pages::Pages;
use super::reload::Caution;
use super::scrape::Scrape;
use crate::affinity::rest::Rest;
use crate::affinity::sid::table::Table;
use crate::config;
use crate::observe::metrics;
use crate::upstream::load::Home;
use crate::worker::Command;

pub use client::{Client, Failure, is_ready_at};
pub(super) use socket::{Place, Socket, bind};
pub(super) use status::View;

const BOUNDS: Bounds = Bounds {
    connections_max: 16,
    head: Duration::from_secs(5),
    life: Duration::from_mins(5),
    rest: Duration::from_secs(10),
};

/// Bytes of a body: a configuration of the largest size, as JSON may have it.
const BODY_MAX: usize = 8 << 20;
const _: () = assert!(BODY_MAX as u64 == 2 * config::LARGEST);

/// Bytes of the body of any other command.
const COMMAND_MAX: usize = 64 << 10;

/// For a body: less than the patience of whoever asks how things are, and waits for a connection.
const BODY: Duration = Duration::from_secs(3);

/// How long a connection is listened to before its command is obeyed: its end may be there already.
const LISTEN: Duration = Duration::from_millis(20);

/// Commands that wait; whoever comes then waits in front.
const WAITING: usize = 8;

/// The threads that answer and obey.
#[derive(Debug)]
pub(super) struct Admin {
    stop: oneshot::Sender<()>,
    threads: [JoinHandle<()>; 2],
}

impl Admin {
    /// Ends it.
    pub(super) fn stop(self) {
        // Whoever no longer listens has ended.
        let _ = self.stop.send(());
        let [admin, commands] = self.threads;
        let _ = admin.join();
        // A command that takes its time, or that waits for something, does not keep the process.
        for _ in 0..100 {
            if commands.is_finished() {
                let _ = commands.join();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        tracing::warn!("a command is not done: it is left");
    }
}

/// What commands are obeyed with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) view: View,
    pub(super) administrator: Administrator,
    /// `None`: there is no file.
    pub(super) followed: Option<Followed>,
    pub(super) lists: Lists,
    /// The process's Engine.IO sessions.
    pub(super) sids: Arc<Table<Home>>,
    /// The process's clients that rest from an instance.
    pub(super) rest: Arc<Rest>,
    /// What it would hand over.
    pub(super) estate: Arc<Estate>,
    /// How it was started.
    pub(super) how: Started,
    /// What it counts.
    pub(super) scrape: Scrape,
    /// Who shows metrics and the status page.
    pub(super) pages: Pages,
    /// Tells the service manager.
    pub(super) manager: Manager,
}

impl Desk {
    /// Another process has taken over.
    fn linger(&self, heir: std::process::Child) {
        let (orders, publisher) = (self.administrator.orders.clone(), self.view.publisher.clone());
        orders.send_blocking(Command::Linger);
        self.estate.give_up();
        self.pages.stop();
        self.view.lingering.begin(heir, publisher, orders, self.view.doors.clone());
    }
}

/// Something to do.
type Job = Box<dyn FnOnce(&Desk) + Send>;

/// Serves on `socket`.
///
/// # Errors
/// When a thread or a runtime cannot be made.
pub(super) fn serve(socket: Socket, desk: Desk) -> io::Result<Admin> {
    let desk = Arc::new(desk);
    let (stop, stopped) = oneshot::channel();
    let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
    let obeying = desk.clone();
    let obey = move || {
        while let Some(job) = waiting.blocking_recv() {
            job(&obeying);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Here: when the process says that it serves it has all its descriptors.
    let listener = socket.listener.try_clone()?;
    let serve = move || {
        runtime.block_on(async move {
            let listener = match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "commands cannot be taken"),
            };
            let answer = move |request| answer(desk.clone(), jobs.clone(), request);
            local_http::serve(BOUNDS, "admin", listener, answer, async { drop(stopped.await) }).await;
            drop(socket);
        });
    };
    let threads = [
        thread::Builder::new().name("admin".to_owned()).spawn(serve)?,
        thread::Builder::new().name("commands".to_owned()).spawn(obey)?,
    ];
    Ok(Admin { stop, threads })
}

/// What is understood, by one method or the other.
const PATHS: &[&str] = &[
    "/v1/close",
    "/v1/diff",
    "/v1/events",
    "/v1/explain",
    "/v1/farewell",
    "/v1/metrics",
    "/v1/ready",
    "/v1/reload",
    "/v1/reopen",
    "/v1/retire",
    "/v1/sessions",
    "/v1/state",
    "/v1/status",
    "/v1/tunnels",
    "/v1/upgrade",
];

/// What is wrong, and the status that says so.
type Wrong = (StatusCode, String);

async fn answer(desk: Arc<Desk>, jobs: mpsc::Sender<Job>, request: Request<Incoming>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = match (method, path.as_str()) {
        (Method::GET, "/v1/status") => Ok(json(StatusCode::OK, &desk.view.status())),
        (Method::GET, "/v1/metrics") => Ok(page(StatusCode::OK, metrics::CONTENT_TYPE, desk.scrape.own())),
        (Method::POST, "/v1/upgrade") => command(&jobs, request, COMMAND_MAX, upgrade::upgrade).await,
        (Method::POST, "/v1/reopen") => command(&jobs, request, COMMAND_MAX, upgrade::reopen).await,
        (Method::POST, "/v1/farewell") => command(&jobs, request, BODY_MAX, upgrade::farewell).await,
        (Method::POST, "/v1/reload") => command(&jobs, request, COMMAND_MAX, reload).await,
        (Method::POST, "/v1/diff") => command(&jobs, request, BODY_MAX, diff).await,
        (Method::POST, "/v1/state") => command(&jobs, request, COMMAND_MAX, want).await,
        (Method::POST, "/v1/close") => command(&jobs, request, COMMAND_MAX, close).await,
        (Method::POST, "/v1/tunnels") => match read(request, COMMAND_MAX).await {
            Ok(asked) => listed(&desk.lists, desk.lists.tunnels(&asked)).await,
            Err(wrong) => Err(wrong),
        },
        (Method::POST, "/v1/sessions") => match read(request, COMMAND_MAX).await {
            Ok(asked) => listed(&desk.lists, desk.lists.sessions(&asked)).await,
            Err(wrong) => Err(wrong),
        },
        (Method::GET, "/v1/events") => {
            oncall::events(request.uri().query()).map(|events| json(StatusCode::OK, &events))
        }
        (Method::GET, "/v1/ready") => Ok(json(StatusCode::OK, &oncall::ready(&desk))),
        (Method::GET, "/v1/retire") => Ok(json(StatusCode::OK, &oncall::retired(&desk))),
        (Method::POST, "/v1/retire") => command(&jobs, request, COMMAND_MAX, oncall::retire).await,
        // A question, though it has a body: it is answered at once, and no line of the log has it.
        (Method::POST, "/v1/explain") => match read(request, COMMAND_MAX).await {
            Ok(question) => oncall::explain(&desk, question).map(|answer| json(StatusCode::OK, &answer)),
            Err(wrong) => Err(wrong),
        },
        (_, path) if PATHS.contains(&path) => {
            Err((StatusCode::METHOD_NOT_ALLOWED, "GET asks, POST commands and lists".to_owned()))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("this version of stickyd does not know {path}"))),
    };
    answered.unwrap_or_else(|(status, error)| json(status, &api::Problem { error }))
}

/// Reads what is asked for.
async fn read<Q: DeserializeOwned>(request: Request<Incoming>, body_max: usize) -> Result<Q, Wrong> {
    let bad = |error: &dyn Display| (StatusCode::BAD_REQUEST, format!("not understood: {error}"));
    let body = timeout(BODY, Limited::new(request.into_body(), body_max).collect()).await;
    let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the command has not arrived".to_owned()))?;
    let body = body.map_err(|error| bad(&error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| bad(&error))
}

/// Reads what is asked for, and has it done when its turn has come.
async fn command<Q, A>(
    jobs: &mpsc::Sender<Job>,
    request: Request<Incoming>,
    body_max: usize,
    does: fn(&Desk, &Q, By) -> Result<A, Wrong>,
) -> Result<Answer, Wrong>
where
    Q: DeserializeOwned + Debug + Send + 'static,
    A: Serialize + Send + 'static,
{
    let peer = request.extensions().get::<Peer>().copied();
    let question: Q = read(request, body_max).await?;
    let (tell, told) = oneshot::channel();
    // While the process was stopped the asker may have left: the connection gets the time to see it. To yield is too short.
    tokio::time::sleep(LISTEN).await;
    let job = move |desk: &Desk| {
        if tell.is_closed() {
            return tracing::warn!(command = ?question, "whoever commanded this has left: it is not obeyed");
        }
        // An administrator's deeds are told with who did them.
        tracing::info!(command = ?question, uid = peer.map(|peer| peer.uid), pid = peer.and_then(|peer| peer.pid), "command");
        let answer = if desk.view.ready.load(Ordering::Relaxed) {
            guarded(|| does(desk, &question, By::Command(peer)))
        } else {
            Err((StatusCode::SERVICE_UNAVAILABLE, "the process is stopping".to_owned()))
        };
        // An error: whoever asked has left.
        let _ = tell.send(answer);
    };
    let ended = || (StatusCode::SERVICE_UNAVAILABLE, "the process is stopping".to_owned());
    jobs.send(Box::new(job)).await.map_err(|_| ended())?;
    let answer = told.await.map_err(|_| ended())??;
    Ok(json(StatusCode::OK, &answer))
}

/// A panic is a bug that must not end the thread that obeys: whoever commands is told, and the next one is obeyed.
fn guarded<A>(does: impl FnOnce() -> Result<A, Wrong>) -> Result<A, Wrong> {
    let bug = |_| Err((StatusCode::INTERNAL_SERVER_ERROR, "a bug of stickyd: see its log".to_owned()));
    // What a command leaves half done is what a panic of any other thread leaves: locks are taken all the same.
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(bug)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as all that is asked is passed")]
fn reload(desk: &Desk, question: &api::Reload, by: By) -> Result<api::Reloaded, Wrong> {
    let followed = followed(desk)?;
    let caution = if question.yes { Caution::Asked } else { Caution::Watched };
    let result =
        if question.dry_run { followed.rehearse(None, caution) } else { followed.reload(caution, by) };
    result.map(reloaded).map_err(refused)
}

fn diff(desk: &Desk, question: &api::Diff, _: By) -> Result<api::Reloaded, Wrong> {
    let other = Some((question.name.as_str(), question.text.clone().into_bytes()));
    followed(desk)?.rehearse(other, Caution::Asked).map(reloaded).map_err(refused)
}

fn followed(desk: &Desk) -> Result<&Followed, Wrong> {
    let none = "there is no file to load: the process was started with --listen and --instances";
    desk.followed.as_ref().ok_or_else(|| (StatusCode::CONFLICT, none.to_owned()))
}

fn refused(why: String) -> Wrong {
    (StatusCode::UNPROCESSABLE_ENTITY, why)
}

fn reloaded(understood: Understood) -> api::Reloaded {
    let difference = understood.plan.difference;
    api::Reloaded {
        at_next_start: difference.restarts().map(ToString::to_string).collect(),
        changes: difference.changes.iter().map(ToString::to_string).collect(),
        effects: understood.plan.effects,
        warnings: understood.warnings,
    }
}

fn want(desk: &Desk, question: &api::Want, by: By) -> Result<api::Wanted, Wrong> {
    let wanted = desk.administrator.want(&question.instances, question.state, question.force, by);
    let found = wanted.map_err(|refusal| explained(desk, question, refusal))?;
    let instances = found.iter().map(|(upstream, instance)| status::instance(upstream, instance)).collect();
    Ok(api::Wanted { instances })
}

/// Why not, and what to do.
fn explained(desk: &Desk, question: &api::Want, refusal: Refusal) -> Wrong {
    match refusal {
        Refusal::Unknown(why) => (StatusCode::NOT_FOUND, why),
        Refusal::Last(upstream) => {
            // Many of them nobody pastes.
            let named =
                if question.instances.len() > 8 { "...".to_owned() } else { question.instances.join(" ") };
            let text = format!(
                "upstream {upstream} would have no instance left for new clients; \
                 `stickyd {} --force {named}` does it all the same",
                question.state.as_str()
            );
            (StatusCode::CONFLICT, text)
        }
        Refusal::File { upstream, instance, state } => {
            let state = state.as_str();
            let place = desk.followed.as_ref().map(|followed| {
                let line = followed.line_of_state(&upstream, &instance);
                line.map_or_else(|| followed.name(), |line| format!("{}:{line}", followed.name()))
            });
            let place = place.unwrap_or_else(|| "the configuration".to_owned());
            let text = format!("{place} says state = \"{state}\" of {upstream}/{instance}: change it there");
            (StatusCode::CONFLICT, text)
        }
    }
}

fn close(desk: &Desk, question: &api::Close, _: By) -> Result<api::Closed, Wrong> {
    let no_runtime = |error| (StatusCode::INTERNAL_SERVER_ERROR, format!("it cannot be done now: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(no_runtime)?;
    runtime.block_on(desk.lists.close(question)).map_err(not_listed)
}

/// A list may be large: one is made at a time, and written down by a thread of its own, so that others are answered meanwhile.
async fn listed<L: Serialize + Send + 'static>(
    lists: &Lists,
    list: impl Future<Output = Result<L, lists::Refusal>>,
) -> Result<Answer, Wrong> {
    let _turn = lists.turn().await;
    let list = list.await.map_err(not_listed)?;
    let (tell, told) = oneshot::channel();
    // An error: whoever asked has left.
    let write = move || drop(tell.send(json(StatusCode::OK, &list)));
    let failed = |error: &dyn Display| (StatusCode::INTERNAL_SERVER_ERROR, format!("no list: {error}"));
    thread::Builder::new().name("list".to_owned()).spawn(write).map_err(|error| failed(&error))?;
    told.await.map_err(|error| failed(&error))
}

fn not_listed(refusal: lists::Refusal) -> Wrong {
    match refusal {
        lists::Refusal::Unknown(why) => (StatusCode::NOT_FOUND, why),
        lists::Refusal::Bad(why) => (StatusCode::BAD_REQUEST, why),
        lists::Refusal::Lot(why) => (StatusCode::CONFLICT, why),
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Answer {
    // An error would need a map whose keys are no texts.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    page(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        let answered: Result<(), Wrong> = guarded(|| panic!("a bug, on purpose"));
        assert_eq!(answered.unwrap_err().0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(guarded(|| Ok(7)), Ok(7));
    }
}
