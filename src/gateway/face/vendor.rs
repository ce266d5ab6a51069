//! Errors as the vendors write them.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::domain::code;
use crate::gateway::error::{ApiError, run_address};

/// Whose protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Chat Completions and Responses.
    OpenAi,
    /// Messages.
    Anthropic,
}

/// Anthropic's status for a part that has too much to do.
const OVERLOADED: u16 = 529;

impl Vendor {
    /// The status of an error.
    pub fn status(self, error: &ApiError) -> StatusCode {
        match (self, error.status()) {
            (Self::Anthropic, StatusCode::SERVICE_UNAVAILABLE) => {
                StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            (_, status) => status,
        }
    }

    /// The body of an error.
    pub fn error_body(self, error: &ApiError) -> Value {
        let status = self.status(error);
        let id = error.code().id;
        match self {
            Self::OpenAi => {
                let kind = match status.as_u16() {
                    429 if id == code::BUDGET_EXHAUSTED.id => "insufficient_quota",
                    429 => "rate_limit_error",
                    500.. => "server_error",
                    _ => "invalid_request_error",
                };
                let word = match id {
                    _ if id == code::KEY_MISSING.id || id == code::KEY_INVALID.id => "invalid_api_key",
                    _ if id == code::MODEL_NOT_SERVED.id => "model_not_found",
                    _ if id == code::PARAMETER_UNSUPPORTED.id => "unsupported_parameter",
                    _ if id == code::BUDGET_EXHAUSTED.id => "insufficient_quota",
                    _ => error.code().kind,
                };
                json!({ "error": { "message": error.message(), "type": kind, "param": error.param(), "code": word,
                                   "openclaw": error.rest() } })
            }
            Self::Anthropic => {
                let kind = match status.as_u16() {
                    401 => "authentication_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    408 => "timeout_error",
                    413 => "request_too_large",
                    429 => "rate_limit_error",
                    OVERLOADED => "overloaded_error",
                    500.. => "api_error",
                    _ => "invalid_request_error",
                };
                let message = match error.param() {
                    Some(param) => format!("{param}: {}", error.message()),
                    None => error.message().to_owned(),
                };
                json!({ "type": "error", "error": { "type": kind, "message": message, "openclaw": error.rest() } })
            }
        }
    }

    /// The header in which the vendor's clients look for the number of a request.
    fn request_id_header(self) -> &'static str {
        match self {
            Self::OpenAi => "x-request-id",
            Self::Anthropic => "request-id",
        }
    }

    fn answer(self, response: Response) -> Response {
        let Some(error) = response.extensions().get::<ApiError>() else {
            return response;
        };
        let mut shaped = (self.status(error), Json(self.error_body(error))).into_response();
        let headers = shaped.headers_mut();
        // The vendors' clients send again by themselves what was answered 408, 409, 429 or 5xx. Not where a run was
        // accepted: that one goes on or has spent its own repeats, and the next would be another one.
        if let Some(run) = error.run() {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
            let address = HeaderValue::from_str(&run_address(run)).expect("an id is ASCII");
            headers.insert(header::LOCATION, address);
        }
        for (name, value) in response.headers() {
            let is_limit = name.as_str().contains("ratelimit-");
            let is_passed_on = [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::CONNECTION].contains(name);
            if is_limit || is_passed_on {
                headers.insert(name.clone(), value.clone());
            }
        }
        shaped
    }
}

/// Whether a client of Anthropic's protocol asks: every one sends the version that it speaks.
pub fn is_of_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// Whose protocol a route speaks; none for a native one. The list of models is of both: the request says whose.
pub fn of_route(route: &str, headers: &HeaderMap) -> Option<Vendor> {
    let is = |face: &str| {
        route
            .strip_prefix(face)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is("/v1/chat/completions") || is("/v1/responses") {
        Some(Vendor::OpenAi)
    } else if is("/v1/messages") {
        Some(Vendor::Anthropic)
    } else if is("/v1/models") {
        Some(if is_of_anthropic(headers) {
            Vendor::Anthropic
        } else {
            Vendor::OpenAi
        })
    } else {
        None
    }
}

/// Gives an answer the number of its request, and an error the vendor's shape.
pub fn shaped(vendor: Vendor, id: &str, response: Response) -> Response {
    let mut response = vendor.answer(response);
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(vendor.request_id_header(), value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_of_the_vendor_whose_protocol_it_speaks() {
        let check = |route: &str, plain: Option<Vendor>, with_version: Option<Vendor>| {
            let mut headers = HeaderMap::new();
            assert_eq!(of_route(route, &headers), plain, "{route}");
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
            assert_eq!(of_route(route, &headers), with_version, "{route} with a version");
        };
        let (openai, anthropic) = (Some(Vendor::OpenAi), Some(Vendor::Anthropic));
        check("/v1/chat/completions", openai, openai);
        check("/v1/responses", openai, openai);
        check("/v1/responses/{id}/cancel", openai, openai);
        check("/v1/messages", anthropic, anthropic);
        check("/v1/messages/count_tokens", anthropic, anthropic);
        check("/v1/models", openai, anthropic);
        check("/v1/models/{id}", openai, anthropic);
        check("/v1/runs", None, None);
        check("/v1/messages2", None, None);
    }

    #[test]
    fn an_error_has_the_vendors_status_and_type() {
        let check = |code, openai: (u16, &str, &str), anthropic: (u16, &str)| {
            let error = ApiError::new(code, "why").at("model");
            let body = Vendor::OpenAi.error_body(&error);
            let found = (
                Vendor::OpenAi.status(&error).as_u16(),
                body["error"]["type"].as_str().unwrap_or(""),
                body["error"]["code"].as_str().unwrap_or(""),
            );
            assert_eq!(found, openai, "{}", code.id);
            assert_eq!(
                (&body["error"]["param"], &body["error"]["message"]),
                (&json!("model"), &json!("why"))
            );
            let body = Vendor::Anthropic.error_body(&error);
            let kind = body["error"]["type"].as_str().unwrap_or("");
            assert_eq!(
                (Vendor::Anthropic.status(&error).as_u16(), kind),
                anthropic,
                "{}",
                code.id
            );
            assert_eq!(body["type"], "error");
            assert_eq!(body["error"]["openclaw"]["code"], code.id);
        };
        let invalid = "invalid_request_error";
        check(
            code::KEY_INVALID,
            (401, invalid, "invalid_api_key"),
            (401, "authentication_error"),
        );
        check(
            code::SCOPE_MISSING,
            (403, invalid, "scope_missing"),
            (403, "permission_error"),
        );
        check(
            code::MODEL_NOT_SERVED,
            (404, invalid, "model_not_found"),
            (404, "not_found_error"),
        );
        check(
            code::BODY_TOO_LARGE,
            (413, invalid, "body_too_large"),
            (413, "request_too_large"),
        );
        check(code::INVALID_REQUEST, (400, invalid, "invalid_request"), (400, invalid));
        check(
            code::BUDGET_EXHAUSTED,
            (429, "insufficient_quota", "insufficient_quota"),
            (429, "rate_limit_error"),
        );
        check(
            code::TOO_MANY_RUNS,
            (503, "server_error", "too_many_runs"),
            (529, "overloaded_error"),
        );
        check(
            code::ANSWER_NOT_READY,
            (408, invalid, "answer_not_ready"),
            (408, "timeout_error"),
        );
        check(code::BUG, (500, "server_error", "bug"), (500, "api_error"));
    }
}
