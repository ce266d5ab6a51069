//! Answers of persons: calls that need a yes, calls of which nobody knows whether they happened.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::domain::approval::Given;
use crate::domain::code;
use crate::domain::id::RunId;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::name::StepId;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Path;
use crate::gateway::wire::question::{ApproveWire, ResolveWire, view};
use crate::runs::answering::Which;
use crate::runs::question::QuestionKind;

/// Bytes of a reason or of an answer in words.
const REASON_BYTES_MAX: usize = 16 * 1024;
/// The scope of those who may answer. A key that submits runs need not have it.
const SCOPE: &str = "runs:approve";

fn run_id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| {
        let text = crate::domain::text::preview(text, 64);
        ApiError::new(code::RUN_NOT_FOUND, format!("`{text}` is not the id of a run"))
            .hint("GET /v1/runs lists the runs")
    })
}

fn who(key: &Authenticated) -> String {
    format!("{} ({})", key.0.name, key.0.key)
}

/// `GET /v1/approvals`: the calls of all runs that wait for a yes.
pub async fn list(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let mut open = Vec::new();
    for run in parts.runs.asking() {
        let (_, questions) = parts.runs.look(run)?;
        let asked = questions
            .iter()
            .filter(|question| matches!(question.kind, QuestionKind::Approval { .. }));
        open.extend(asked.map(|question| view(run, question)));
    }
    Ok(Json(json!({ "approvals": open })))
}

/// `POST /v1/runs/{id}/approve`: answers the question of a hash; when this answers, the answer is on disk.
pub async fn approve(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs(SCOPE)?;
    let run = run_id(&id)?;
    let wire: ApproveWire = body.read()?;
    let reason = wire.reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "`reason` has at most {REASON_BYTES_MAX} bytes"
        )));
    }
    let given = Given {
        hash: wire.hash.into(),
        granted: wire.granted,
        by: who(&key).into(),
        reason: reason.into(),
    };
    parts.runs.approve(run, given).await?;
    parts.run_now(run).map(Json)
}

/// `POST /v1/runs/{id}/resolve`: says what became of an unknown call; when this answers, it is on disk.
pub async fn resolve(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs(SCOPE)?;
    let run = run_id(&id)?;
    let wire: ResolveWire = body.read()?;
    let resolution = wire
        .resolution()
        .ok_or_else(|| ApiError::invalid("`resolution` is one of happened, not_happened, abandoned"))?;
    if wire
        .output
        .as_ref()
        .is_some_and(|output| output.len() > RESULT_BYTES_MAX)
    {
        return Err(ApiError::invalid(format!(
            "`output` has at most {RESULT_BYTES_MAX} bytes"
        )));
    }
    let step = wire.step.as_deref().map(StepId::new).transpose();
    let which = Which {
        step: step.map_err(|error| ApiError::invalid(format!("`step`: {error}")))?,
        call: wire.call,
        seq: wire.seq,
    };
    parts.runs.resolve(run, &which, resolution, who(&key).into()).await?;
    parts.run_now(run).map(Json)
}
