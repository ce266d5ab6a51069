//! All routes of the gateway.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::domain::code;
use crate::gateway::attribution::attribute;
use crate::gateway::error::ApiError;
use crate::gateway::face::scribe::Scribes;
use crate::gateway::face::vendor::{of_route, shaped};
use crate::gateway::lapse::{Leases, end_with_key};
use crate::gateway::metrics::RequestMeter;
use crate::gateway::parts::GatewayParts;

use super::{
    agents, answers, chat, health, incidents, memory, memory_upkeep, messages, models, responses, runs, schedule,
    skills, status, usage,
};

async fn no_method() -> ApiError {
    ApiError::new(code::METHOD_NOT_ALLOWED, "this address does not take this method").hint("GET /openapi.json")
}

/// What is asked to find out how the daemon is, which is most wanted when it has much to do.
const PROBES: &[&str] = &["/livez", "/readyz", "/healthz"];

/// What every request passes on its way to its route. One layer and not one for each: a layer copies those within it for
/// every request.
#[derive(Clone)]
struct Threshold(Arc<Inside>);

struct Inside {
    parts: GatewayParts,
    meter: RequestMeter,
    leases: Leases,
}

async fn pass(State(threshold): State<Threshold>, request: Request, next: Next) -> Response {
    let counted = threshold.0.meter.begin(&request);
    let route = request.extensions().get::<MatchedPath>();
    let vendor = route.and_then(|route| of_route(route.as_str(), request.headers()));
    let response = threshold.admit(request, next).await;
    let response = response.unwrap_or_else(ApiError::into_response);
    // Also what is refused here: a vendor's clients know no other shape, and wait and try again by its status.
    let response = match vendor {
        Some(vendor) => shaped(vendor, &threshold.0.parts.requests.next(), response),
        None => response,
    };
    threshold.0.meter.end(&counted, &response);
    response
}

impl Threshold {
    /// **Errors**: it is too much for the whole gateway, which is told before anything of it is read; or a web page
    /// sent it; or it says of its origin what does not count.
    async fn admit(&self, mut request: Request, next: Next) -> Result<Response, ApiError> {
        let Inside { parts, leases, .. } = &*self.0;
        let is_probe = PROBES.contains(&request.uri().path());
        let _place = (!is_probe).then(|| parts.limits.begin()).transpose()?;
        if let Some(refused) = parts.hosts.refuse_pages(&request) {
            return Err(refused);
        }
        attribute(parts, &mut request)?;
        Ok(end_with_key(leases, request, next).await)
    }
}

/// The router.
pub fn router(parts: GatewayParts, scribes: Scribes) -> Router {
    let threshold = Threshold(Arc::new(Inside {
        meter: RequestMeter::new(parts.telemetry.clone()),
        leases: Leases {
            keyring: parts.keyring.clone(),
            is_limited: true,
        },
        parts: parts.clone(),
    }));
    // What is a layer here is copied for each request of its routes.
    let responses = Router::new()
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/input_tokens", post(responses::input_tokens))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::items))
        .layer(Extension(scribes));
    Router::new()
        .merge(responses)
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
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
        .route("/v1/memory/stats", get(memory_upkeep::stats))
        .route("/v1/memory/prune", post(memory_upkeep::prune))
        .route("/v1/memory/restore", post(memory_upkeep::restore))
        .route("/v1/memory/promote", post(memory_upkeep::promote))
        .route("/v1/memory/verify", post(memory_upkeep::verify))
        .route("/v1/memory/import", post(memory_upkeep::import))
        .route(
            "/v1/memory/{scope}",
            get(memory::list).post(memory::add).delete(memory::forget_number),
        )
        .route(
            "/v1/memory/{scope}/{key}",
            get(memory::get).put(memory::put).delete(memory::forget),
        )
        .route("/v1/schedules", get(schedule::list).post(schedule::add))
        .route("/v1/schedules/{name}", get(schedule::show).delete(schedule::remove))
        .route("/v1/schedules/{name}/slots", get(schedule::slots))
        .route("/v1/schedules/{name}/run", post(schedule::run))
        .route("/v1/schedules/{name}/pause", post(schedule::pause))
        .route("/v1/schedules/{name}/resume", post(schedule::resume))
        .route("/v1/schedules/{name}/backfill", post(schedule::backfill))
        .route("/v1/incidents", get(incidents::list))
        .route("/v1/incidents/ack", post(incidents::acknowledge))
        .route("/v1/incidents/{id}", get(incidents::show))
        .route("/v1/health", get(incidents::health).post(incidents::round))
        .route("/v1/status", get(status::status))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(incidents::healthz))
        .route("/openapi.json", get(status::openapi))
        .fallback(async || ApiError::new(code::ROUTE_NOT_FOUND, "nothing is at this address").hint("GET /openapi.json"))
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(threshold, pass))
        .with_state(parts)
}
