//! Probes. They need no key and say nothing but yes or no.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::gateway::parts::GatewayParts;

/// `GET /livez`: the process answers.
pub async fn live() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: the store commits, and the runs of an earlier life have been taken up.
pub async fn ready(State(parts): State<GatewayParts>) -> Response {
    let stopping = *parts.stop.borrow();
    let commits = parts.committer.commits().await.is_ok();
    let recovered = parts.runs.is_recovered();
    let draining = parts.draining.load(Ordering::Relaxed);
    let good = commits && recovered && !stopping && !draining;
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if good { "ok" } else { "not ready" };
    (
        status,
        Json(json!({ "status": word, "store": commits, "recovered": recovered, "stopping": stopping, "draining": draining })),
    )
        .into_response()
}
