//! Care of the store: `/admin/v1/store/…`.

use std::path::Path;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::wire::run::time;
use crate::storage::backup::error::BackupError;
use crate::storage::backup::keep;
use crate::storage::backup::making::{Terms, make};
use crate::storage::backup::manifest::Manifest;
use crate::storage::compaction::{COMPACT_BYTES_MAX, CompactError};
use crate::storage::error::StoreError;
use crate::storage::review::StoreReview;

use super::audit::noted;

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        Self::new(error.code(), in_one_line(&error))
    }
}

impl From<CompactError> for ApiError {
    fn from(error: CompactError) -> Self {
        let message = in_one_line(&error);
        match error {
            CompactError::TooLarge { .. } | CompactError::Busy => Self::new(code::STORE_BUSY, message)
                .hint("`openclaw stop`, then `openclaw store compact`: without a daemon there is no limit"),
            CompactError::Store(_) => Self::new(code::STORE_FAILED, message),
        }
    }
}

/// Runs what blocks on a thread that nobody waits for.
async fn aside<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| ApiError::new(code::BUG, "the work on the store crashed"))?;
    done.map_err(Into::into)
}

/// A backup as clients see it.
pub fn backup_view(path: &Path, manifest: &Manifest) -> Value {
    json!({
        "name": path.file_name().map(|name| name.to_string_lossy().into_owned()),
        "path": path.display().to_string(),
        "made_at": time(manifest.made_at),
        "program": manifest.program,
        "keys": manifest.keys,
        "bytes": manifest.bytes(),
        "files": manifest.files.len(),
        "rows": manifest.rows,
    })
}

/// Body of `POST /admin/v1/store/backup`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupBody {
    /// Whether the private keys are in it.
    #[serde(default = "yes")]
    keys: bool,
}

fn yes() -> bool {
    true
}

/// `GET /admin/v1/store/backup`: oldest first.
pub async fn backups(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("store:read")?;
    let folder = parts.care.places.backups.clone();
    let found = aside(move || keep::list(&folder)).await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|(path, manifest)| backup_view(path, manifest))
        .collect();
    Ok(Json(json!({ "backups": shown })))
}

/// `POST /admin/v1/store/backup`: makes one, then removes the oldest over the limit.
pub async fn backup(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    key.needs("store:write")?;
    let body: BackupBody = body.read_or_empty()?;
    let (store, care, now) = (parts.store.clone(), parts.care.clone(), parts.clock.now());
    let terms = Terms {
        keys: body.keys,
        keep: care.backup_keep.load(Ordering::Relaxed),
        free_min: care.free_min,
    };
    let (made, gone) = aside(move || make(&store, &care.places, terms, now)).await?;
    let mut shown = backup_view(&made.path, &made.manifest);
    noted(
        &parts,
        &key,
        "store.backed_up",
        shown["name"].as_str().unwrap_or_default(),
        "",
    )
    .await?;
    shown["removed"] = gone.iter().map(|path| path.display().to_string()).collect();
    Ok((StatusCode::CREATED, Json(shown)))
}

/// What a review found, as clients see it.
pub fn review_view(review: &StoreReview) -> Value {
    json!({
        "sound": review.is_sound(), "rows": review.rows, "blobs_unused": review.blobs_unused,
        "findings": review.findings, "findings_more": review.findings_more,
    })
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Corrupt { .. } => code::STORE_CORRUPT,
            StoreError::Locked { .. } => code::STORE_LOCKED,
            error if error.is_disk_full() => code::DISK_FULL,
            _ => code::STORE_FAILED,
        };
        Self::new(code, in_one_line(&error))
    }
}

/// `POST /admin/v1/store/verify`: reads every row. What redb keeps of its pages is checked without a daemon alone.
pub async fn verify(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("store:read")?;
    let store = parts.store.clone();
    let review = aside(move || store.review()).await?;
    Ok(Json(review_view(&review)))
}

/// `POST /admin/v1/store/compact`: everybody who reads or writes waits meanwhile.
pub async fn compact(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("store:write")?;
    noted(&parts, &key, "store.compacted", "the store", "").await?;
    let store = parts.store.clone();
    let done = aside(move || store.compact(COMPACT_BYTES_MAX)).await?;
    Ok(Json(json!({ "bytes_before": done.before, "bytes_after": done.after })))
}
