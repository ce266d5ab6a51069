//! The audit log: `/admin/v1/audit`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::audit::AuditEntry;
use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Query;
use crate::gateway::wire::run::time;
use crate::identity::audit::AuditError;

/// Rows of one page.
const PAGE_MAX: usize = 500;
const PAGE_DEFAULT: usize = 100;

fn view(row: &AuditEntry) -> Value {
    json!({
        "seq": row.seq,
        "at": time(row.note.at),
        "actor": &*row.note.actor,
        "action": &*row.note.action,
        "object": &*row.note.object,
        "detail": &*row.note.detail,
        "hash": blake3::Hash::from_bytes(row.hash).to_hex().to_string(),
    })
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        Self::new(error.code(), in_one_line(&error))
    }
}

/// Writes a row of what an operator is about to do, or has done.
///
/// **Errors**: it is not on disk.
pub async fn noted(
    parts: &GatewayParts,
    key: &Authenticated,
    action: &'static str,
    object: &str,
    detail: &str,
) -> Result<(), ApiError> {
    let note = parts.audit.note(&key.0.actor(), action, object, detail);
    let written = parts.audit.commit(Vec::new(), note).await;
    written.map_err(|error| ApiError::new(code::STORE_FAILED, in_one_line(&error)))
}

/// Query of `GET /admin/v1/audit`.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    limit: Option<usize>,
    /// Only rows before this one.
    before: Option<u64>,
}

/// `GET /admin/v1/audit`: newest first.
pub async fn list(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("audit:read")?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let rows = parts.audit.rows(query.before, limit)?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.seq);
    let rows: Vec<Value> = rows.iter().map(view).collect();
    Ok(Json(json!({ "rows": rows, "next": next })))
}

/// `POST /admin/v1/audit/verify`: holds every row against the chain and the checkpoints.
pub async fn verify(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("audit:read")?;
    let audit = parts.audit.clone();
    // Reads the whole log: not on a thread that others wait for.
    let checked = tokio::task::spawn_blocking(move || audit.verify()).await;
    let report = checked.map_err(|_| ApiError::new(code::BUG, "the check of the audit log crashed"))??;
    let broken = report.head.as_ref().err();
    let head = report.head.as_ref().ok().copied().flatten();
    Ok(Json(json!({
        "sound": report.is_sound(),
        "rows": head.map(|(seq, _)| seq),
        "hash": head.map(|(_, hash)| blake3::Hash::from_bytes(hash).to_hex().to_string()),
        "broken": broken.map(|broken| json!({ "seq": broken.seq, "what": &*broken.what })),
        "checkpoints": report.checkpoints,
        "forged_checkpoints": report.forged,
    })))
}
