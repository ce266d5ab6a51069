//! The key by which a client that repeats itself gets the same run.

use axum::http::HeaderMap;

use crate::domain::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::runs::accepting::Idempotency;

use super::auth::Authenticated;
use super::error::ApiError;

/// What `Idempotency-Key` says, for a request that means `body`: the same text with another body is another request.
///
/// **Errors**: it is empty or longer than [`IDEMPOTENCY_KEY_BYTES_MAX`].
pub fn idempotency(key: &Authenticated, headers: &HeaderMap, body: &[u8]) -> Result<Option<Idempotency>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    if value.is_empty() || value.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let message = format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(ApiError::invalid(message));
    }
    // Two clients may choose the same text; the key that they authenticate with keeps them apart.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.key.to_bytes());
    hasher.update(value.as_bytes());
    Ok(Some(Idempotency {
        key: *hasher.finalize().as_bytes(),
        body: *blake3::hash(body).as_bytes(),
    }))
}
