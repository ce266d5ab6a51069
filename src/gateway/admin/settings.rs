//! The configuration, the log's level, and new work: `/admin/v1/config`, `/admin/v1/log-level`, `/admin/v1/drain`.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::text::preview;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;

use super::audit::noted;

/// Bytes of a value in the audit log.
const SHOWN_BYTES: usize = 200;

/// `GET /admin/v1/config`: by the files as they are now, which a running daemon may not have taken yet.
pub async fn config(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("config:read")?;
    Ok(Json(parts.desk.settings()?))
}

/// Body of `PUT /admin/v1/config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWire {
    key: String,
    value: String,
}

/// `PUT /admin/v1/config`: one value into the operator's file. The row in the audit log comes before the edit: an edit
/// without a row is worse than a row whose edit failed, which a second row then says.
pub async fn set(State(parts): State<GatewayParts>, key: Authenticated, body: Body) -> Result<Json<Value>, ApiError> {
    key.needs("config:write")?;
    let wire: SetWire = body.read()?;
    let name = parts.desk.check(&wire.key, &wire.value)?;
    noted(&parts, &key, "config.set", &name, &preview(&wire.value, SHOWN_BYTES)).await?;
    match parts.desk.set(&wire.key, &wire.value) {
        Ok(edited) => Ok(Json(json!({
            "key": edited.key,
            "old": edited.old,
            "new": edited.new,
            "file": edited.file,
            "live": edited.live,
        }))),
        Err(error) => {
            noted(&parts, &key, "config.not-set", &name, error.message()).await?;
            Err(error)
        }
    }
}

/// `POST /admin/v1/config/reload`: the files are read again, and what a running daemon can take is in force.
pub async fn reload(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("config:write")?;
    let reloaded = parts.desk.reload(key.0.actor().into()).await?;
    Ok(Json(
        json!({ "applied": reloaded.applied, "at_restart": reloaded.at_restart }),
    ))
}

/// `GET /admin/v1/log-level`.
pub async fn log_level(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    Ok(Json(json!({ "level": parts.desk.log_level() })))
}

/// Body of `PUT /admin/v1/log-level`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelWire {
    level: String,
}

/// `PUT /admin/v1/log-level`: until the next start.
pub async fn set_log_level(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("config:write")?;
    let wire: LevelWire = body.read()?;
    let before = parts.desk.log_level();
    parts.desk.set_log_level(&wire.level)?;
    let level = parts.desk.log_level();
    noted(&parts, &key, "log-level.set", &level, &format!("before: {before}")).await?;
    Ok(Json(json!({ "level": level })))
}

fn standing(parts: &GatewayParts) -> Json<Value> {
    Json(json!({
        "draining": parts.draining.load(Ordering::Relaxed),
        "active": parts.runs.active(),
        "sessions": parts.agents.sessions_active(),
    }))
}

/// `GET /admin/v1/drain`: whether new work is taken, and how much is under way.
pub async fn drain_state(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    Ok(standing(&parts))
}

/// Body of `POST /admin/v1/drain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWire {
    /// False takes new work again.
    on: Option<bool>,
}

/// `POST /admin/v1/drain`: takes no new runs, and schedules start none; those that are under way go on. Ends with the
/// process.
pub async fn drain(State(parts): State<GatewayParts>, key: Authenticated, body: Body) -> Result<Json<Value>, ApiError> {
    key.needs("daemon:stop")?;
    let wire: DrainWire = body.read_or_empty()?;
    let on = wire.on.unwrap_or(true);
    let action = if on { "drain.begun" } else { "drain.ended" };
    noted(&parts, &key, action, "this daemon", "").await?;
    parts.draining.store(on, Ordering::Relaxed);
    parts.automation.hold(on);
    Ok(standing(&parts))
}
