//! Secrets: `/admin/v1/secrets`. A value comes in and never goes out.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::domain::fault::in_one_line;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Path;
use crate::gateway::wire::run::time;
use crate::identity::secrets::SecretStoreError;

impl From<SecretStoreError> for ApiError {
    fn from(error: SecretStoreError) -> Self {
        let answer = Self::new(error.code(), in_one_line(&error));
        match error {
            SecretStoreError::NotFound(_) => answer.hint("`openclaw secret list` lists the names"),
            _ => answer,
        }
    }
}

/// `GET /admin/v1/secrets`: names alone.
pub async fn list(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("secrets:read")?;
    let secrets = parts.secrets.list()?;
    let secrets: Vec<Value> = secrets
        .into_iter()
        .map(|(name, at)| json!({ "name": name, "set_at": time(at) }))
        .collect();
    Ok(Json(json!({ "secrets": secrets })))
}

/// `PUT /admin/v1/secrets/{name}`: the body is the value, byte for byte.
pub async fn set(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("secrets:write")?;
    if std::str::from_utf8(&body.0).is_err() {
        return Err(ApiError::invalid("a secret is a text in UTF-8"));
    }
    parts.secrets.set(&key.0.actor(), &name, &body.0).await?;
    Ok(Json(json!({ "name": name })))
}

/// `DELETE /admin/v1/secrets/{name}`.
pub async fn remove(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("secrets:write")?;
    parts.secrets.remove(&key.0.actor(), &name).await?;
    Ok(Json(json!({ "name": name })))
}
