//! The process itself: its tree of actors, its end.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Path;
use crate::gateway::wire::tree::node;

/// Longest search for an actor in the tree.
const SEARCH_MAX: Duration = Duration::from_secs(10);

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

/// The actor at a path of the tree.
async fn find(parts: &GatewayParts, path: &str) -> Result<ractor::ActorCell, ApiError> {
    let searched = tokio::time::timeout(SEARCH_MAX, (parts.actor)(path.into())).await;
    let found = searched.map_err(|_| ApiError::new(code::STOPPING, "the supervision tree does not answer"))?;
    let shown = crate::domain::text::preview(path, 128);
    found.ok_or_else(|| {
        ApiError::new(code::ACTOR_NOT_FOUND, format!("no actor runs at `{shown}`"))
            .hint("`openclaw tree` shows the actors")
    })
}

async fn end(parts: &GatewayParts, key: &Authenticated, path: &str, how: End) -> Result<Json<Value>, ApiError> {
    key.needs("actors:write")?;
    let cell = find(parts, path).await?;
    let action = match how {
        End::Kill => "actor.killed",
        End::Restart => "actor.restarted",
    };
    let note = parts.audit.note(&key.0.actor(), action, path, "");
    let told = parts.audit.commit(Vec::new(), note).await;
    told.map_err(|error| ApiError::new(code::STORE_FAILED, error.to_string()))?;
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
