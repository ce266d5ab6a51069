//! All routes for operators.

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use supervisors::Tasks;

use crate::domain::code;
use crate::gateway::error::ApiError;
use crate::gateway::hosts::Hosts;
use crate::gateway::lapse::{Leases, leased};
use crate::gateway::metrics::{RequestMeter, meter};
use crate::gateway::parts::GatewayParts;

use super::changes::to_its_end;
use super::{audit, keys, openapi, process, secrets, settings, store, tls};

/// The router; what is to be changed is changed in one of `changes`.
pub fn router(parts: GatewayParts, changes: Tasks) -> Router {
    let leases = Leases {
        keyring: parts.keyring.clone(),
        is_limited: false,
    };
    Router::new()
        .route("/admin/v1/tree", get(process::tree))
        .route("/admin/v1/stop", post(process::stop))
        .route("/admin/v1/actors/{path}/kill", post(process::kill))
        .route("/admin/v1/actors/{path}/restart", post(process::restart))
        .route("/admin/v1/actors/{path}/suspend", post(process::suspend))
        .route("/admin/v1/actors/{path}/resume", post(process::resume))
        .route("/admin/v1/chaos/stall", post(process::stall))
        .route("/admin/v1/keys", get(keys::list).post(keys::create))
        .route("/admin/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/admin/v1/keys/{id}/revoke", post(keys::revoke))
        .route("/admin/v1/tls", get(tls::show))
        .route("/admin/v1/tls/show", get(tls::show))
        .route("/admin/v1/tls/issue", post(tls::issue))
        .route("/admin/v1/tls/renew", post(tls::renew))
        .route("/admin/v1/tls/revoke", post(tls::revoke))
        .route("/admin/v1/tls/rotate", post(tls::rotate))
        .route("/admin/v1/secrets", get(secrets::list))
        .route("/admin/v1/secrets/{name}", put(secrets::set).delete(secrets::remove))
        .route("/admin/v1/config", get(settings::config).put(settings::set))
        .route("/admin/v1/config/reload", post(settings::reload))
        .route(
            "/admin/v1/log-level",
            get(settings::log_level).put(settings::set_log_level),
        )
        .route("/admin/v1/drain", get(settings::drain_state).post(settings::drain))
        .route("/admin/v1/audit", get(audit::list))
        .route("/admin/v1/audit/verify", post(audit::verify))
        .route("/admin/v1/store/backup", get(store::backups).post(store::backup))
        .route("/admin/v1/store/verify", post(store::verify))
        .route("/admin/v1/store/compact", post(store::compact))
        .route("/openapi.json", get(async || Json(openapi::document())))
        .fallback(async || ApiError::new(code::ROUTE_NOT_FOUND, "nothing is at this address").hint("GET /openapi.json"))
        .method_not_allowed_fallback(async || {
            ApiError::new(code::METHOD_NOT_ALLOWED, "this address does not take this method").hint("GET /openapi.json")
        })
        .layer(from_fn_with_state(changes, to_its_end))
        .layer(from_fn_with_state(leases, leased))
        .layer(from_fn_with_state(parts.hosts.clone(), check_names))
        .layer(from_fn_with_state(RequestMeter::new(parts.telemetry.clone()), meter))
        .with_state(parts)
}

async fn check_names(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.refuse_pages(&request) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}
