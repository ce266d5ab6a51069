//! API keys: `/admin/v1/keys`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::id::KeyId;
use crate::domain::time::UtcMillis;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Path;
use crate::gateway::wire::run::time;
use crate::identity::api_key::ApiKey;
use crate::identity::keyring::{KeyView, NewKey, OVERLAP_MAX};

/// Longest life that can be asked for, in seconds: ten years.
const LIFE_S_MAX: u64 = 10 * 366 * 24 * 3600;

fn view(key: &KeyView) -> Value {
    let at = |at: Option<u64>| at.map(|at| time(UtcMillis(at)));
    json!({
        "id": key.id.to_string(),
        "name": key.row.key.name,
        "scopes": key.row.key.scopes,
        "state": key.state.as_str(),
        "made_at": at(Some(key.row.key.made_at)),
        "made_by": key.row.terms.made_by,
        "expires_at": at(key.row.terms.expires_at),
        "rotated_at": at(key.row.terms.rotated_at),
        "overlap_until": at(key.row.terms.previous.map(|(_, until)| until)),
        "last_used_at": at(key.row.used_at),
        "revoked_at": at(key.row.key.revoked_at),
    })
}

/// A key with its text, which is shown this once and must not be kept on the way.
fn with_text(status: StatusCode, key: &ApiKey, row: &KeyView) -> Response {
    let mut body = view(row);
    body["key"] = key.to_text().into();
    let mut response = (status, Json(body)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| {
        let text = crate::domain::text::preview(text, 64);
        ApiError::new(code::KEY_NOT_FOUND, format!("`{text}` is not the id of a key"))
            .hint("GET /admin/v1/keys lists the keys")
    })
}

/// `GET /admin/v1/keys`: never a secret, nor its hash.
pub async fn list(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("keys:read")?;
    let keys: Vec<Value> = parts.keyring.list().iter().map(view).collect();
    Ok(Json(json!({ "keys": keys })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateWire {
    name: String,
    scopes: Vec<String>,
    /// Seconds until it ends by itself.
    expires_in: Option<u64>,
}

/// `POST /admin/v1/keys`: a key that carries no more than the one that asks.
pub async fn create(State(parts): State<GatewayParts>, key: Authenticated, body: Body) -> Result<Response, ApiError> {
    key.needs("keys:write")?;
    let wire: CreateWire = body.read()?;
    if wire.expires_in.is_some_and(|seconds| seconds > LIFE_S_MAX) {
        return Err(ApiError::invalid(format!(
            "`expires_in` is at most {LIFE_S_MAX} seconds"
        )));
    }
    let now = parts.clock.now();
    let wanted = NewKey {
        name: wire.name,
        scopes: wire.scopes,
        expires_at: wire.expires_in.map(|seconds| now.plus_ms(seconds * 1000)),
    };
    let (made, row) = parts.keyring.mint(&key.0, wanted).await?;
    Ok(with_text(StatusCode::CREATED, &made, &row))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateWire {
    /// Seconds for which the old secret stays valid.
    #[serde(default)]
    overlap: u64,
}

/// `POST /admin/v1/keys/{id}/rotate`.
pub async fn rotate(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    key.needs("keys:write")?;
    let wire: RotateWire = body.read_or_empty()?;
    if wire.overlap > OVERLAP_MAX.as_secs() {
        let message = format!("`overlap` is at most {} seconds", OVERLAP_MAX.as_secs());
        return Err(ApiError::invalid(message));
    }
    let overlap = Duration::from_secs(wire.overlap);
    let (made, row) = parts.keyring.rotate(&key.0, key_id(&id)?, overlap).await?;
    Ok(with_text(StatusCode::OK, &made, &row))
}

/// `POST /admin/v1/keys/{id}/revoke`: its requests are refused from now on, and its streams end.
pub async fn revoke(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("keys:write")?;
    let row = parts.keyring.revoke(&key.0, key_id(&id)?).await?;
    Ok(Json(view(&row)))
}
