//! Who may: the key of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::domain::code;
use crate::identity::keyring::{KeyError, Principal};

use super::attribution::address_of;
use super::error::ApiError;
use super::lapse::Caller;
use super::parts::GatewayParts;

/// A request with a valid key.
pub struct Authenticated(pub Principal);

impl Authenticated {
    /// Refuses unless the key carries the scope.
    pub fn needs(&self, scope: &str) -> Result<(), ApiError> {
        if self.0.may(scope) {
            return Ok(());
        }
        let message = format!("the key `{}` does not carry the scope `{scope}`", self.0.name);
        Err(ApiError::new(code::SCOPE_MISSING, message).hint("use a key that has it"))
    }
}

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    // The header that Anthropic's clients send.
    bearer
        .or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
        .map(str::trim)
}

impl FromRequestParts<GatewayParts> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut Parts, parts: &GatewayParts) -> Result<Self, ApiError> {
        let Some(key) = key_of(&request.headers) else {
            return Err(ApiError::new(code::KEY_MISSING, "the request has no key")
                .hint("send `Authorization: Bearer ocl_…`; `openclaw init` made one key"));
        };
        let principal = parts.keyring.check(key).map_err(|error| {
            let is_guess = matches!(error, KeyError::Text(_) | KeyError::NotValid);
            let from = address_of(&request.extensions).filter(|_| is_guess);
            let locked = from.and_then(|from| parts.limits.failed(from, parts.clock.now()));
            locked.unwrap_or_else(|| error.into())
        })?;
        if let Some(caller) = request.extensions.get::<Caller>() {
            caller.enter(&principal, &parts.limits)?;
        }
        Ok(Self(principal))
    }
}
