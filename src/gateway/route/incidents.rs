//! Incidents and health: `/v1/incidents`, `/v1/health`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, IncidentState};
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::wire::run::time;
use crate::health::check::Verdict;
use crate::health::round::{CheckView, RoundView};
use crate::storage::incidents::IncidentView;

/// Incidents in one answer.
const INCIDENTS_MAX: usize = 500;
const INCIDENTS_DEFAULT: usize = 100;

fn view((incident, state): &(Incident, IncidentState)) -> Value {
    json!({
        "id": incident.id.to_string(), "at": time(incident.at), "severity": &*incident.severity,
        "what": &*incident.what, "why": &*incident.why, "action": &*incident.action,
        "run": incident.run.map(|run| run.to_string()),
        "open": state.is_open(),
        "of": state.fingerprint.as_deref(),
        "evidence": &*state.evidence,
        "times": state.again + 1,
        "seen_at": state.seen_at.map(time),
        "resolved": state.resolved.as_ref().map(|(at, how)| json!({ "at": time(*at), "how": &**how })),
        "acknowledged": state.acknowledged.as_ref().map(|(at, by)| json!({ "at": time(*at), "by": &**by })),
        "alerts": state.alerts,
        "alerted_at": state.alerted_at.map(time),
    })
}

/// Query of `GET /v1/incidents`.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    limit: Option<usize>,
    before: Option<String>,
    open: Option<bool>,
}

fn id_of(text: &str) -> Result<IncidentId, ApiError> {
    text.parse().map_err(|_| missing(text))
}

fn missing(id: &str) -> ApiError {
    let shown = crate::domain::text::preview(id, 64);
    ApiError::new(code::INCIDENT_NOT_FOUND, format!("there is no incident `{shown}`"))
        .hint("GET /v1/incidents lists them")
}

/// `GET /v1/incidents`: newest first.
pub async fn list(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("incidents:read")?;
    let before = query.before.as_deref().map(id_of).transpose()?;
    let limit = query.limit.unwrap_or(INCIDENTS_DEFAULT).clamp(1, INCIDENTS_MAX);
    let wanted = query.open;
    let found = parts.store.incident_views(before, limit, &|(_, state)| {
        wanted.is_none_or(|open| open == state.is_open())
    })?;
    let next = found
        .last()
        .filter(|_| found.len() == limit)
        .map(|(incident, _)| incident.id.to_string());
    let incidents: Vec<Value> = found.iter().map(view).collect();
    Ok(Json(json!({ "incidents": incidents, "next": next })))
}

/// `GET /v1/incidents/{id}`.
pub async fn show(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("incidents:read")?;
    let found = parts.store.incident(id_of(&id)?)?;
    Ok(Json(view(&found.ok_or_else(|| missing(&id))?)))
}

/// Body of `POST /v1/incidents/ack`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    /// Which; all that are open when not given.
    ids: Option<Vec<String>>,
}

/// `POST /v1/incidents/ack`: a person has seen them. Those that stand for themselves end with it.
pub async fn acknowledge(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("incidents:write")?;
    let body: AckBody = body.read_or_empty()?;
    let ids: Vec<IncidentId> = if let Some(ids) = body.ids {
        let mut known = Vec::new();
        for id in ids {
            let parsed = id_of(&id)?;
            parts.store.incident(parsed)?.ok_or_else(|| missing(&id))?;
            known.push(parsed);
        }
        known
    } else {
        let unseen = |(_, state): &IncidentView| state.acknowledged.is_none();
        let open = parts.store.unsettled_incidents(INCIDENTS_MAX, &unseen)?;
        open.iter().map(|(incident, _)| incident.id).collect()
    };
    let done = parts.health.acknowledge(&ids, key.0.actor().into()).await;
    done.map_err(|error| ApiError::new(code::STORE_FAILED, in_one_line(&error)))?;
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "acknowledged": ids })))
}

fn check_view(check: &CheckView) -> Value {
    let (good, seen, action) = match &check.verdict {
        Verdict::Good(seen) => (true, &**seen, None),
        Verdict::Failed(finding) => (false, &*finding.why, Some(&*finding.action)),
    };
    json!({
        "good": good, "seen": seen, "action": action, "severity": check.severity,
        "since": check.since.map(time), "at": time(check.at), "took_ms": check.took_ms,
        "incident": check.incident.map(|id| id.to_string()),
    })
}

fn round_view(round: &RoundView) -> Value {
    let checks = round
        .checks
        .iter()
        .map(|(name, check)| (name.to_string(), check_view(check)));
    json!({ "good": round.is_good(), "at": round.at.map(time), "checks": checks.collect::<serde_json::Map<_, _>>() })
}

/// `GET /v1/health`: what the last round of checks said.
pub async fn health(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    Ok(Json(round_view(&parts.health.last())))
}

/// `POST /v1/health`: makes a round of checks now.
pub async fn round(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("status:read")?;
    let round = parts.health.round().await;
    let round = round.map_err(|error| ApiError::new(code::HEALTH_UNANSWERED, error.to_string()))?;
    Ok(Json(round_view(&round)))
}

/// `GET /healthz`: whether no check fails that matters. Needs no key and says nothing but yes or no.
pub async fn healthz(State(parts): State<GatewayParts>) -> Response {
    let good = parts.health.last().is_good() && !*parts.stop.borrow();
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({ "status": if good { "ok" } else { "failing" } }))).into_response()
}
