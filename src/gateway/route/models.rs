//! What clients of vendors' protocols may name as a model: each agent, and each configured model.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::face::order;
use crate::gateway::face::vendor::is_of_anthropic;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::wire::run::time;

/// Names of one page, when the client does not say and at most.
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 1000;

/// Query of the list; only Anthropic's has pages.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

/// Names with whether they are agents, in the order in which they are listed.
fn all(parts: &GatewayParts) -> Vec<(String, bool)> {
    let definitions = parts.agents.definitions();
    let mut names: Vec<(String, bool)> = definitions.keys().map(|name| (name.to_string(), true)).collect();
    for alias in parts.models.aliases() {
        // An agent of the name comes first.
        if !names.iter().any(|(name, _)| name == alias.as_str()) {
            names.push((alias.to_string(), false));
        }
    }
    names
}

fn view(parts: &GatewayParts, name: &str, is_agent: bool, of_anthropic: bool) -> Value {
    if of_anthropic {
        json!({ "type": "model", "id": name, "display_name": name, "created_at": time(parts.started_at),
                "lifecycle": "active" })
    } else {
        let owner = if is_agent { "openclaw-agent" } else { "openclaw-model" };
        json!({ "id": name, "object": "model", "created": parts.started_at.0 / 1000, "owned_by": owner })
    }
}

/// `GET /v1/models`.
pub async fn list(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("agents:read")?;
    let names = all(&parts);
    let of_anthropic = is_of_anthropic(&headers);
    let views = |names: &[(String, bool)]| -> Vec<Value> {
        let views = names.iter();
        views
            .map(|(name, is_agent)| view(&parts, name, *is_agent, of_anthropic))
            .collect()
    };
    if !of_anthropic {
        return Ok(Json(json!({ "object": "list", "data": views(&names) })));
    }
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let place = |id: &str| names.iter().position(|(name, _)| name == id);
    let unknown = || ApiError::invalid("names no model of the list").at("after_id");
    let (from, to) = match (&query.after_id, &query.before_id) {
        (Some(id), _) => {
            let from = place(id).ok_or_else(unknown)? + 1;
            (from, (from + limit).min(names.len()))
        }
        (None, Some(id)) => {
            let to = place(id).ok_or_else(unknown)?;
            (to.saturating_sub(limit), to)
        }
        (None, None) => (0, limit.min(names.len())),
    };
    let page = &names[from..to];
    let has_more = if query.after_id.is_none() && query.before_id.is_some() {
        from > 0
    } else {
        to < names.len()
    };
    let id = |named: Option<&(String, bool)>| named.map(|(name, _)| name.clone());
    Ok(Json(json!({ "data": views(page), "has_more": has_more,
                    "first_id": id(page.first()), "last_id": id(page.last()) })))
}

/// `GET /v1/models/{id}`.
pub async fn show(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("agents:read")?;
    // Every name that a request may have as its model.
    let is_agent = order::served(&parts, &id)?.bare.is_none();
    Ok(Json(view(&parts, &id, is_agent, is_of_anthropic(&headers))))
}
