//! Agents.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::domain::agent::AgentDefinition;
use crate::domain::budget::{Account, Balance};
use crate::domain::code;
use crate::domain::name::AgentName;
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::Path;
use crate::gateway::wire::money::usd;

/// `GET /v1/agents`.
pub async fn list(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("agents:read")?;
    let agents: Vec<Value> = parts
        .agents
        .definitions()
        .values()
        .map(|agent| view(&parts, agent))
        .collect();
    Ok(Json(json!({ "agents": agents })))
}

/// `GET /v1/agents/{name}`.
pub async fn show(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("agents:read")?;
    let found = AgentName::new(&name)
        .ok()
        .and_then(|name| parts.agents.definitions().get(&name).cloned());
    let agent = found.ok_or_else(|| {
        let name = crate::domain::text::preview(&name, 80);
        ApiError::new(code::AGENT_NOT_FOUND, format!("there is no agent `{name}`")).hint("GET /v1/agents lists them")
    })?;
    let mut view = view(&parts, &agent);
    view["prompt"] = (&*agent.prompt).into();
    Ok(Json(view))
}

fn view(parts: &GatewayParts, agent: &AgentDefinition) -> Value {
    let today = parts.clock.now().day();
    let account = Account::AgentDay(agent.name.clone(), today);
    let used = parts.agents.treasury().balance(&account).map(Balance::used).ok();
    let skills: Vec<&str> = agent.skills.iter().map(AsRef::as_ref).collect();
    json!({
        "name": agent.name.as_str(),
        "role": agent.role.as_str(),
        "model": agent.model.as_str(),
        "skills": skills,
        "concurrency": agent.concurrency,
        "active": parts.agents.active_of(&agent.name),
        "prompt_version": &*agent.prompt_version,
        "max_retries": agent.retries_max,
        "max_turns": agent.turns_max,
        "timeout_ms": agent.timeout_ms,
        "tokens_today": used.map(|used| used.tokens),
        "tokens_daily_max": agent.daily_max.tokens,
        "tokens_per_run_max": agent.per_run_max.tokens,
        "cost_today_usd": used.map(|used| usd(used.cost)),
        "cost_daily_max_usd": agent.daily_max.cost.map(usd),
        "cost_per_run_max_usd": agent.per_run_max.cost.map(usd),
    })
}
