//! All routes of the gateway.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::domain::code;
use crate::gateway::auth::check_host;
use crate::gateway::error::ApiError;
use crate::gateway::lapse::end_with_key;
use crate::gateway::metrics::{RequestMeter, meter};
use crate::gateway::parts::GatewayParts;

use super::{agents, answers, health, memory, runs, skills, status, usage};

/// The router.
pub fn router(parts: GatewayParts) -> Router {
    Router::new()
        .route("/v1/runs", post(runs::submit).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/events", get(runs::events))
        .route("/v1/runs/{id}/plan", get(runs::plan))
        .route("/v1/runs/{id}/timeline", get(runs::timeline))
        .route("/v1/runs/{id}/result", get(runs::result))
        .route("/v1/runs/{id}/cassette", get(runs::cassette))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/runs/{id}/retry", post(runs::retry))
        .route("/v1/runs/{id}/approve", post(answers::approve))
        .route("/v1/runs/{id}/resolve", post(answers::resolve))
        .route("/v1/approvals", get(answers::list))
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/{name}", get(agents::show))
        .route("/v1/agents/{name}/stats", get(usage::of_agent))
        .route("/v1/usage", get(usage::usage))
        .route("/v1/budgets", get(usage::budgets))
        .route("/v1/skills", get(skills::list))
        .route("/v1/skills/{name}", get(skills::show))
        .route("/v1/mcp", get(skills::servers))
        .route("/v1/mcp/{name}/restart", post(skills::restart))
        .route("/v1/memory/query", post(memory::query))
        .route("/v1/memory/{scope}", get(memory::list).post(memory::add))
        .route(
            "/v1/memory/{scope}/{key}",
            get(memory::get).put(memory::put).delete(memory::forget),
        )
        .route("/v1/incidents", get(status::incidents))
        .route("/v1/status", get(status::status))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(health::ready))
        .route("/openapi.json", get(status::openapi))
        .fallback(async || ApiError::new(code::ROUTE_NOT_FOUND, "nothing is at this address").hint("GET /openapi.json"))
        .method_not_allowed_fallback(async || {
            ApiError::new(code::ROUTE_NOT_FOUND, "this address does not take this method").hint("GET /openapi.json")
        })
        .layer(from_fn_with_state(parts.keyring.clone(), end_with_key))
        .layer(from_fn_with_state(parts.clone(), check_host))
        .layer(from_fn_with_state(RequestMeter::new(parts.telemetry.clone()), meter))
        .with_state(parts)
}
