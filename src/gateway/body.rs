//! Request bodies: read whole, within a size and a time, before anything is done with them.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::code;
use crate::llm::wire::strict;

use super::error::ApiError;
use super::parts::GatewayParts;

/// The body of a request.
pub struct Body(pub Bytes);

impl Body {
    /// The body as JSON that means one thing: nothing in it is chosen, rounded or replaced silently.
    ///
    /// **Errors**: not UTF-8, not JSON, half of a character in an escape, a member twice, too deep, a number that 64
    /// bits do not hold; each with its place and a hint.
    pub fn json(&self) -> Result<Value, ApiError> {
        let refuse = |reason: &dyn Display, hint: &'static str| {
            let error = ApiError::invalid(format!("the body is not JSON that can be taken: {reason}"));
            if hint.is_empty() { error } else { error.hint(hint) }
        };
        let text = strict::check_bytes(&self.0).map_err(|error| refuse(&error, error.kind.hint()))?;
        serde_json::from_str(text).map_err(|error| refuse(&error, ""))
    }

    /// The body as what a route takes.
    ///
    /// **Errors**: those of [`Self::json`], and [`take`]'s.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        take(self.json()?)
    }

    /// The same where nothing needs to be said: no body is an empty object.
    pub fn read_or_empty<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.0.is_empty() {
            take(Value::Object(Map::new()))
        } else {
            self.read()
        }
    }
}

/// JSON of a body as what a route takes.
///
/// **Errors**: a member that is missing, unknown or of another type is named.
pub fn take<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::invalid(format!("the body cannot be used: {error}")))
}

impl FromRequest<GatewayParts> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, parts: &GatewayParts) -> Result<Self, ApiError> {
        let limit = parts.settings.load().body_bytes_max;
        let reading = Limited::new(request.into_body(), limit).collect();
        let deadline = parts.settings.load().body_deadline;
        match tokio::time::timeout(deadline, reading).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("the body has more than {limit} bytes");
                Err(ApiError::new(code::BODY_TOO_LARGE, message).hint("raise gateway.maxBodyBytes, or send less"))
            }
            Ok(Err(_)) => Err(ApiError::invalid("the body ended early; nothing was accepted")),
            Err(_) => {
                let message = format!("the body did not arrive within {deadline:?}; nothing was accepted");
                Err(ApiError::new(code::BODY_TOO_SLOW, message).hint("send it in one go, or raise gateway.bodyTimeout"))
            }
        }
    }
}
