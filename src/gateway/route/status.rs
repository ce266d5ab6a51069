//! The daemon itself.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::gateway::attribution::Client;
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::wire::run::time;
use crate::llm::gate::state::GateView;
use crate::runtime::own_process::{open_files, resident_bytes};

/// `GET /v1/status`.
pub async fn status(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    client: Option<Extension<Client>>,
) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    let client = client.map(
        |Extension(client)| json!({ "address": client.address.to_string(), "identity": client.identity.as_deref() }),
    );
    let now = parts.clock.now();
    let figures = parts.committer.figures();
    let gates = parts.models.gates(now);
    let models: Vec<Value> = parts
        .models
        .describe()
        .into_iter()
        .map(|model| {
            let mut shown = json!({ "alias": model.alias.as_str(), "provider": model.provider, "id": &*model.id });
            if let Some(view) = gates.get(&model.alias) {
                shown["gate"] = gate(view);
            }
            shown
        })
        .collect();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "boot": parts.boot.to_string(),
        "started_at": time(parts.started_at),
        "uptime_ms": now.since(parts.started_at),
        "ready": parts.runs.is_recovered() && !*parts.stop.borrow(),
        "home": &*parts.home,
        "gateway": &*parts.address,
        "metrics": parts.metrics.as_ref().map(|address| format!("http://{address}/metrics")),
        "runs": { "active": parts.runs.active(), "parked": parts.runs.parked_count()?, "sessions": parts.agents.sessions_active() },
        "store": {
            "path": parts.store.path().display().to_string(),
            "bytes": parts.store.file_bytes(),
            "commits": figures.commits.load(Ordering::Relaxed),
            "batches": figures.batches.load(Ordering::Relaxed),
            "last_commit_us": figures.last_micros.load(Ordering::Relaxed),
            "queue": parts.committer.depth(),
        },
        "process": { "resident_bytes": resident_bytes(), "open_files": open_files() },
        "disk": { "free": parts.room.state().disk.free, "total": parts.room.state().disk.total, "full": parts.room.is_low() },
        "models": models,
        "sandbox": parts.sandbox.to_json(),
        "client": client,
    })))
}

/// Whether a model may be asked, and since and until when not. Models that are asked over no network have no gate.
fn gate(view: &GateView) -> Value {
    json!({
        "state": view.state,
        // A gate that never changed has been well since the start.
        "since": (view.since.0 > 0).then(|| time(view.since)),
        "until": view.until.map(time),
        "requests_left": view.requests_left,
        "tokens_left": view.tokens_left,
        "asking": view.asking,
        "at_once": view.window,
        "per_minute": view.per_minute,
        "limited": view.limited,
        "opened": view.opened,
    })
}

/// `GET /openapi.json`.
pub async fn openapi(State(parts): State<GatewayParts>) -> Json<Value> {
    Json((*parts.openapi).clone())
}
