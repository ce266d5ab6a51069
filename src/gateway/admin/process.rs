//! The process itself: its tree of actors, its end.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use supervisors::SnapshotStrategy;

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::{GatewayParts, Placed};
use crate::gateway::query::Path;
use crate::gateway::wire::tree::node;

use super::audit::noted;

/// Longest search for an actor in the tree.
const SEARCH_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a part to end or to start.
const SUSPEND_MAX: Duration = Duration::from_secs(30);

/// `GET /admin/v1/tree`.
pub async fn tree(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    match (parts.tree)().await {
        Some(snapshot) => Ok(Json(node(&snapshot))),
        None => Err(ApiError::new(code::STOPPING, "the supervision tree does not answer")),
    }
}

/// `POST /admin/v1/stop`: an orderly end, as on SIGTERM.
pub async fn stop(
    State(parts): State<GatewayParts>,
    key: Authenticated,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    key.needs("daemon:stop")?;
    let note = parts.audit.note(&key.0.actor(), "daemon.stopped", "this daemon", "");
    // A stop must work also when the disk does not.
    if let Err(error) = parts.audit.commit(Vec::new(), note).await {
        tracing::error!(%error, "the stop was not written to the audit log");
    }
    parts.stop.send_replace(true);
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({ "status": "stopping", "pid": std::process::id() })),
    ))
}

/// How an actor is ended.
#[derive(Clone, Copy)]
enum End {
    /// At once, whatever it does.
    Kill,
    /// After the message that it handles.
    Restart,
}

/// What stands at a path, running or not.
async fn part(parts: &GatewayParts, path: &str) -> Result<Placed, ApiError> {
    let searched = tokio::time::timeout(SEARCH_MAX, (parts.part)(path.into())).await;
    let found = searched.map_err(|_| ApiError::new(code::STOPPING, "the supervision tree does not answer"))?;
    found.ok_or_else(|| no_actor(path))
}

fn no_actor(path: &str) -> ApiError {
    let shown = crate::domain::text::preview(path, 128);
    ApiError::new(code::ACTOR_NOT_FOUND, format!("no actor runs at `{shown}`")).hint("`openclaw tree` shows the actors")
}

/// The actor at a path of the tree.
async fn find(parts: &GatewayParts, path: &str) -> Result<ractor::ActorCell, ApiError> {
    let (supervisor, id) = part(parts, path).await?;
    let children = tokio::time::timeout(SEARCH_MAX, supervisor.which_children()).await;
    let children = children.ok().and_then(Result::ok).unwrap_or_default();
    let cell = children
        .into_iter()
        .find(|child| child.id == id)
        .and_then(|child| child.cell);
    cell.ok_or_else(|| no_actor(path))
}

async fn end(parts: &GatewayParts, key: &Authenticated, path: &str, how: End) -> Result<Json<Value>, ApiError> {
    key.needs("actors:write")?;
    let cell = find(parts, path).await?;
    let action = match how {
        End::Kill => "actor.killed",
        End::Restart => "actor.restarted",
    };
    noted(parts, key, action, path, "").await?;
    match how {
        End::Kill => cell.kill(),
        End::Restart => cell.stop(Some("an operator asked for a restart".into())),
    }
    Ok(Json(json!({ "path": path, "done": action })))
}

/// `POST /admin/v1/actors/{path}/kill`, the path with `%2F` for its slashes: ends an actor as a crash would; its supervisor does what it does then.
pub async fn kill(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(path): Path<String>,
) -> Result<Json<Value>, ApiError> {
    end(&parts, &key, &path, End::Kill).await
}

/// `POST /admin/v1/actors/{path}/restart`: lets an actor end its message, then ends it.
pub async fn restart(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(path): Path<String>,
) -> Result<Json<Value>, ApiError> {
    end(&parts, &key, &path, End::Restart).await
}

/// Parts that nobody could bring back: without the store nothing is acknowledged, and without the others no operator is
/// heard.
const NEVER_SUSPENDED: &[&str] = &[
    "root/storage",
    "root/gateway/changes",
    "root/gateway/operators",
    "root/gateway/admin",
];

/// The part that is to be stopped for a while.
///
/// **Errors**: it is needed, or its supervisor keeps nothing that is stopped.
async fn suspendable(parts: &GatewayParts, path: &str) -> Result<Placed, ApiError> {
    let refused = |why: &str| ApiError::new(code::NOT_SUSPENDED, why.to_owned());
    let is_needed = NEVER_SUSPENDED.iter().any(|needed| {
        let (inner, outer) = (format!("{needed}/"), format!("{path}/"));
        path == *needed || path.starts_with(&inner) || needed.starts_with(&outer)
    });
    if is_needed {
        return Err(refused("this part is needed to bring any other one back")
            .hint("`openclaw stop` ends the daemon; `openclaw drain` takes no new work"));
    }
    let (supervisor, id) = part(parts, path).await?;
    let drawn = tokio::time::timeout(SEARCH_MAX, supervisor.snapshot()).await;
    match drawn {
        Ok(Ok(drawn)) if drawn.strategy != Some(SnapshotStrategy::Dynamic) => Ok((supervisor, id)),
        Ok(Ok(_)) => Err(
            refused("it is one of a crowd whose supervisor keeps nothing that is stopped")
                .hint("pause the schedule, or cancel the run, that it works for"),
        ),
        Ok(Err(_)) | Err(_) => Err(ApiError::new(code::STOPPING, "the supervision tree does not answer")),
    }
}

/// `POST /admin/v1/actors/{path}/suspend`: stops a part with everything below it, in order, until it is resumed or its
/// supervisor starts anew. What it had accepted stays on disk.
pub async fn suspend(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(path): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("actors:write")?;
    let (supervisor, id) = suspendable(&parts, &path).await?;
    noted(&parts, &key, "actor.suspended", &path, "").await?;
    let stopped = tokio::time::timeout(SUSPEND_MAX, supervisor.terminate_child(&id)).await;
    let stopped = stopped.map_err(|_| ApiError::new(code::STOPPING, "it did not end in time; it is ending still"))?;
    stopped.map_err(|error| ApiError::new(code::NOT_SUSPENDED, in_one_line(&error)))?;
    Ok(Json(json!({ "path": path, "done": "actor.suspended" })))
}

/// `POST /admin/v1/actors/{path}/resume`: starts what was suspended.
pub async fn resume(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(path): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("actors:write")?;
    let (supervisor, id) = part(&parts, &path).await?;
    noted(&parts, &key, "actor.resumed", &path, "").await?;
    let started = tokio::time::timeout(SUSPEND_MAX, supervisor.restart_child(&id)).await;
    let started =
        started.map_err(|_| ApiError::new(code::STOPPING, "it did not start in time; it is starting still"))?;
    started.map_err(|error| {
        ApiError::new(code::NOT_SUSPENDED, in_one_line(&error)).hint("only what was suspended is resumed")
    })?;
    Ok(Json(json!({ "path": path, "done": "actor.resumed" })))
}

/// Longest stall that may be asked for.
const STALL_SECONDS_MAX: u64 = 3_600;

/// Body of `POST /admin/v1/chaos/stall`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StallWire {
    path: String,
    seconds: u64,
}

/// `POST /admin/v1/chaos/stall`: the next message of an actor takes so much longer. Only in a home for tests.
pub async fn stall(State(parts): State<GatewayParts>, key: Authenticated, body: Body) -> Result<Json<Value>, ApiError> {
    key.needs("actors:write")?;
    if !parts.chaos {
        let message = "this home is not for tests: faults on purpose are not taken";
        return Err(ApiError::new(code::CHAOS_OFF, message)
            .hint("`openclaw config set admin.chaos true` and a restart make it one"));
    }
    let wire: StallWire = body.read()?;
    if wire.seconds == 0 || wire.seconds > STALL_SECONDS_MAX {
        let message = format!("`seconds` is from 1 to {STALL_SECONDS_MAX}");
        return Err(ApiError::invalid(message));
    }
    let cell = find(&parts, &wire.path).await?;
    let detail = format!("{} s", wire.seconds);
    let note = parts.audit.note(&key.0.actor(), "actor.stalled", &wire.path, &detail);
    let told = parts.audit.commit(Vec::new(), note).await;
    told.map_err(|error| ApiError::new(code::STORE_FAILED, error.to_string()))?;
    if !supervisors::stall(&cell, Duration::from_secs(wire.seconds)) {
        return Err(ApiError::new(
            code::OVERLOADED,
            "too many actors are to stall already; nothing was done",
        ));
    }
    Ok(Json(json!({ "path": wire.path, "done": "actor.stalled" })))
}
