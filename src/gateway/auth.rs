//! Who may: the key of a request, and which Host names this daemon answers to.

use axum::extract::{FromRequestParts, Request};
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

/// The refusal of a request that a web page of another origin made. Only browsers say whose page it was, and they say
/// it always; a page of this daemon's own has the address that is asked as its origin.
fn refuse_other_origins(request: &Request) -> Option<ApiError> {
    let text = |name: header::HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or(""));
    let own = text(header::HOST).or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    let site = request.headers().get("sec-fetch-site");
    let is_foreign_site = site.is_some_and(|site| site != "same-origin" && site != "none");
    let is_foreign = text(header::ORIGIN).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none() || authority != own
    });
    (is_foreign || is_foreign_site).then(|| {
        ApiError::new(
            code::ORIGIN_REFUSED,
            "the request was made by a web page of another origin",
        )
        .hint("ask from a program, or from a page of this address")
    })
}

/// The refusal of a request that a web page made a browser send to this address: under another name (DNS rebinding), or
/// from another origin.
pub fn refuse_pages(request: &Request, own: &str) -> Option<ApiError> {
    refuse_other_hosts(request, own).or_else(|| refuse_other_origins(request))
}

/// The refusal of a request whose host is neither this machine nor the address that is listened on.
pub fn refuse_other_hosts(request: &Request, own: &str) -> Option<ApiError> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let host = host.or_else(|| request.uri().host()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.chars().all(|digit| digit.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let own = own.rsplit_once(':').map_or(own, |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "::1") || name == own {
        return None;
    }
    let message = format!(
        "this daemon does not answer to the host `{}`",
        crate::domain::text::preview(name, 80)
    );
    Some(ApiError::new(code::HOST_REFUSED, message).hint("use localhost or the address that is listened on"))
}
