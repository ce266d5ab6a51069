//! The actor of one server: it keeps a connection, and ends when the connection does; its supervisor starts it again.
//!
//! The work is one task: connect, list, serve until the end. What a crash loses: the calls under way, which end as
//! unknown or failed by their class. Invariants: before a program is started, nothing of its earlier lives runs;
//! when the actor has stopped, nothing of this one does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rmcp::RoleClient;
use rmcp::model::{ProtocolVersion, SubscriptionFilter};
use rmcp::service::Peer;
use supervisors::{TaskExit, TaskRef, Tasks};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::domain::effect::EffectKey;
use crate::domain::fault::in_one_line;
use crate::domain::text;
use crate::skills::catalogue::Catalogue;
use crate::skills::exhaustion::is_exhausted;
use crate::skills::process::runner::ProcessRunner;

use super::config::Way;
use super::link::{Launcher, Link, LinkError, link, list};
use super::memo::Memo;
use super::shared::{ServerState, Shared};
use super::tool::family;
use super::tool_skill::skills;

/// Pause before tools are asked for again, so that many changes are one look.
const CHANGE_PAUSE: Duration = Duration::from_millis(100);
/// Waits between attempts to reach an address, which is not ours to restart, and to start a program for which the
/// machine has too little just now, which is no fault of the program's.
const AGAIN_WAIT_MIN: Duration = Duration::from_millis(500);
const AGAIN_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the actors of all servers stand on.
#[derive(Clone)]
pub struct ServerParts {
    /// Where the work runs.
    pub tasks: Tasks,
    /// Confines programs, and ends what an earlier life left.
    pub runner: Arc<ProcessRunner>,
    /// The binary that answers to `__keep`.
    pub keeper: PathBuf,
    /// Names the processes of this home's servers.
    pub home: String,
    /// Where the tools become skills.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// Keeps the list of tools over a restart.
    pub memo: Memo,
}

/// What the actor is told.
#[derive(Debug)]
pub enum ServerMessage {
    /// Its work has ended.
    Ended(String),
}

/// The actor.
pub struct ServerActor {
    /// What it stands on.
    pub parts: ServerParts,
    /// Its server.
    pub shared: Arc<Shared>,
}

/// Its work; dropping it ends it.
pub struct Work(TaskRef);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Actor for ServerActor {
    type Msg = ServerMessage;
    type State = Work;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ServerMessage>, (): ()) -> Result<Work, ActorProcessingErr> {
        self.shared.set(ServerState::Starting);
        let work = serve(self.parts.clone(), Arc::clone(&self.shared));
        let name = format!("mcp {}", self.shared.config.name);
        let task = self.parts.tasks.spawn(name, work, move |exit| {
            let reason = match exit {
                TaskExit::Done(reason) => reason,
                TaskExit::Panicked(text) => format!("its client crashed: {text}"),
                TaskExit::Cancelled => "it was stopped".to_owned(),
            };
            myself.cast(ServerMessage::Ended(reason)).ok();
        });
        Ok(Work(task?))
    }

    async fn handle(
        &self,
        _: ActorRef<ServerMessage>,
        message: ServerMessage,
        _: &mut Work,
    ) -> Result<(), ActorProcessingErr> {
        let ServerMessage::Ended(reason) = message;
        self.shared.set(ServerState::Failed { reason: reason.clone() });
        // The supervisor waits, counts, and starts the next life.
        Err(reason.into())
    }

    async fn post_stop(&self, _: ActorRef<ServerMessage>, work: &mut Work) -> Result<(), ActorProcessingErr> {
        self.shared.set(ServerState::Stopped);
        work.0.cancel();
        self.shared.settled().await;
        Ok(())
    }
}

/// The name of a server's processes in their environment: the same in every life of the daemon on one home.
pub fn key_of(home: &str, shared: &Shared) -> EffectKey {
    let name = format!("mcp server {} of {home}", shared.config.name);
    EffectKey(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name.as_bytes()))
}

/// Serves until the connection ends, and says why it did.
async fn serve(parts: ServerParts, shared: Arc<Shared>) -> String {
    let key = key_of(&parts.home, &shared);
    let is_program = matches!(shared.config.way, Way::Program { .. });
    let mut wait = AGAIN_WAIT_MIN;
    let mut tries = 0_u32;
    loop {
        if is_program {
            shared.settled().await;
            parts.runner.end_leftovers(vec![key]).await;
        }
        let launcher = Launcher {
            keeper: &parts.keeper,
            runner: &parts.runner,
        };
        let mut comes_again = !is_program;
        let ended = match link(&shared, launcher, key, &parts.tasks).await {
            Ok(link) => {
                wait = AGAIN_WAIT_MIN;
                tries = 0;
                keep(&parts, &shared, link).await
            }
            Err(error) => {
                comes_again |= is_exhausted(&error);
                in_one_line(&error)
            }
        };
        let reason = explain(&shared, &ended).await;
        if !comes_again {
            return reason;
        }
        tries = tries.saturating_add(1);
        let next = wait.as_secs_f32();
        let reason = format!("{reason} (tried {tries} times in a row, again in {next} s)");
        tracing::warn!(server = %shared.config.name, %reason, "a server is not reached; it is tried again");
        shared.set(ServerState::Failed { reason });
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_WAIT_MAX);
    }
}

/// The reason with what the program's end and its last words add to it.
async fn explain(shared: &Shared, ended: &str) -> String {
    let code = shared.settled().await.code;
    let ended = text::preview(ended, 400);
    let code = code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
    let words = text::preview(&shared.last_words(), 400);
    let words = if words.is_empty() {
        words
    } else {
        format!("; its last words: {words}")
    };
    format!("{ended}{code}{words}")
}

/// Lists, publishes and waits until the connection is closed.
async fn keep(parts: &ServerParts, shared: &Arc<Shared>, link: Link) -> String {
    let Link { running, changed } = link;
    let peer = running.peer().clone();
    // Another process may hold the program's output open after its end.
    let ended = shared.ended();
    tokio::pin!(ended);
    let closed = running.waiting();
    tokio::pin!(closed);
    let info = peer.peer_info();
    let revision = info
        .as_ref()
        .map(|info| info.protocol_version.to_string())
        .unwrap_or_default();
    let first = async { refresh(parts, shared, &peer).await };
    tokio::select! {
        listed = first => if let Err(error) = listed {
            return in_one_line(&error);
        },
        _ = &mut closed => return "it closed the connection".to_owned(),
        _ = &mut ended => return "its program ended".to_owned(),
    }
    shared.lives.fetch_add(1, Ordering::Relaxed);
    tracing::info!(server = %shared.config.name, %revision, tools = shared.tools().len(), "a server is ready");
    let ready = ServerState::Ready {
        peer: peer.clone(),
        revision,
    };
    shared.set(ready.clone());
    let listens = info.is_some_and(|info| {
        let tools = info.capabilities.tools.as_ref();
        info.protocol_version >= ProtocolVersion::V_2026_07_28
            && tools.and_then(|tools| tools.list_changed).unwrap_or(false)
    });
    let is_address = matches!(shared.config.way, Way::Http { .. });
    let following = follow(&peer, &changed, listens);
    tokio::pin!(following);
    let mut again_at = None;
    loop {
        tokio::select! {
            _ = &mut closed => return "it closed the connection".to_owned(),
            _ = &mut ended => return "its program ended".to_owned(),
            () = &mut following => {}
            () = shared.doubted(), if is_address => {
                // Calls that are under way go on if it answers; if not, the next connection is a new one.
                if let Err(error) = refresh(parts, shared, &peer).await {
                    return in_one_line(&error);
                }
                shared.set(ready.clone());
            }
            () = to_be_asked(&changed, again_at) => {
                tokio::time::sleep(CHANGE_PAUSE).await;
                again_at = match refresh(parts, shared, &peer).await {
                    Ok(()) => None,
                    // It may be at work on a call that has longer than this: what it had stays, and nothing is lost.
                    Err(error @ LinkError::Late { .. }) => {
                        let (server, error) = (&shared.config.name, in_one_line(&error));
                        tracing::warn!(%server, %error, "the tools stay as they were; they are asked for again later");
                        Some(Instant::now() + shared.config.start_timeout)
                    }
                    Err(error) => return in_one_line(&error),
                };
            }
        }
    }
}

/// Comes back when the server says that its tools have changed, or when it is time to ask once more.
async fn to_be_asked(changed: &Notify, again_at: Option<Instant>) {
    match again_at {
        None => changed.notified().await,
        Some(at) => tokio::select! {
            () = changed.notified() => {}
            () = sleep_until(at) => {}
        },
    }
}

/// Asks for the tools and puts them into the catalogue.
async fn refresh(parts: &ServerParts, shared: &Arc<Shared>, peer: &Peer<RoleClient>) -> Result<(), LinkError> {
    let server = &shared.config.name;
    let tools = list(shared, peer, |tool, reason| {
        tracing::warn!(%server, tool = %text::preview(tool, 80), %reason, "a tool is left out");
    })
    .await?;
    let is_first = shared.lives() == 0;
    if !shared.set_tools(tools) && !is_first {
        return Ok(());
    }
    publish(&parts.catalogue, shared);
    let (memo, name, tools) = (parts.memo.clone(), server.clone(), shared.tools());
    let written = tokio::task::spawn_blocking(move || memo.write(&name, &tools)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%server, %error, "the list of tools cannot be kept; after a restart it is asked for again");
    }
    Ok(())
}

/// Puts the tools as they are known now into the catalogue, in place of those of before.
pub fn publish(catalogue: &ArcSwap<Catalogue>, shared: &Arc<Shared>) {
    let (family, skills) = (family(&shared.config.name), skills(shared));
    catalogue.rcu(|now| {
        now.with_family(&family, skills.iter().cloned(), |error| {
            tracing::warn!(server = %shared.config.name, error = %in_one_line(&error), "a tool is left out");
        })
    });
}

/// Asks a server of the newer revision to tell of changes, and passes them on; then never comes back.
async fn follow(peer: &Peer<RoleClient>, changed: &Notify, listens: bool) {
    if listens {
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        match peer.listen(filter).await {
            Ok(mut subscription) => {
                while let Ok(Some(_)) = subscription.next().await {
                    changed.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "a server does not tell of changes"),
        }
    }
    std::future::pending::<()>().await;
}
