//! All routes for operators.

use axum::Router;
use axum::routing::{get, post};

use crate::gateway::parts::GatewayParts;

use super::{audit, keys};

/// The routes.
pub fn routes() -> Router<GatewayParts> {
    Router::new()
        .route("/admin/v1/keys", get(keys::list).post(keys::create))
        .route("/admin/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/admin/v1/keys/{id}/revoke", post(keys::revoke))
        .route("/admin/v1/audit", get(audit::list))
        .route("/admin/v1/audit/verify", post(audit::verify))
}
