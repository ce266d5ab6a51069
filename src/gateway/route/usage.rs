//! What was used: by agents, models and days, and what budgets leave.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::budget::{Account, Amount, Limit};
use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::statistics::{Figures, StatisticsKey};
use crate::domain::time::UtcMillis;
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::wire::money::usd;
use crate::gateway::wire::run::time;
use crate::gateway::wire::statistics::figures;
use crate::storage::error::StoreError;

/// Days of one answer.
const DAYS_MAX: u32 = 366;
const DAYS_DEFAULT: u32 = 30;
const DAY_MS: u64 = 86_400_000;

/// The query of the usage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    days: Option<u32>,
}

fn failed(error: StoreError) -> ApiError {
    let code = match error {
        StoreError::Corrupt { .. } => code::STORE_CORRUPT,
        _ => code::STORE_FAILED,
    };
    ApiError::new(code, in_one_line(&error))
}

fn word(model: Option<&ModelAlias>) -> Value {
    model.map_or(Value::Null, |model| model.as_str().into())
}

/// `2026-11-22` of a day since 1970.
fn date(day: u32) -> Value {
    match time(UtcMillis(u64::from(day) * DAY_MS)) {
        Value::String(text) => text.split('T').next().unwrap_or_default().into(),
        other => other,
    }
}

/// Rows with a member that says what each is of.
fn rows<K>(name: &str, sums: &BTreeMap<K, Figures>, word: impl Fn(&K) -> Value) -> Value {
    let rows = sums.iter().map(|(key, sum)| {
        let mut row = figures(sum);
        row[name] = word(key);
        row
    });
    rows.collect()
}

/// `GET /v1/agents/{name}/stats`: an agent over all time, with its prompts and models. Also of agents that are no
/// longer configured.
pub async fn of_agent(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("agents:read")?;
    let unknown = || {
        let name = crate::domain::text::preview(&name, 80);
        ApiError::new(code::AGENT_NOT_FOUND, format!("there is no agent `{name}`")).hint("GET /v1/agents lists them")
    };
    let agent = AgentName::new(&name).map_err(|_| unknown())?;
    let found = parts.store.statistics_of_agents(Some(&agent)).map_err(failed)?;
    if found.is_empty() && !parts.agents.definitions().contains_key(&agent) {
        return Err(unknown());
    }
    let mut whole = Figures::default();
    let mut prompts: BTreeMap<_, Figures> = BTreeMap::new();
    let mut models: BTreeMap<_, Figures> = BTreeMap::new();
    for (key, part) in found {
        let StatisticsKey::Agent { prompt, model, .. } = key else {
            continue;
        };
        whole.merge(&part);
        prompts.entry(prompt).or_default().merge(&part);
        models.entry(model).or_default().merge(&part);
    }
    let mut answer = figures(&whole);
    answer["agent"] = agent.as_str().into();
    answer["prompts"] = rows("prompt_version", &prompts, |prompt| (&**prompt).into());
    answer["models"] = rows("model", &models, |model| word(model.as_ref()));
    Ok(Json(answer))
}

/// `GET /v1/usage`: the last days, in all and by agent, model and day.
pub async fn usage(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<UsageQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("usage:read")?;
    let days = query.days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(ApiError::invalid(format!("days is a number from 1 to {DAYS_MAX}")));
    }
    let last = parts.clock.now().day();
    let first = last.saturating_sub(days - 1);
    let mut whole = Figures::default();
    let mut agents: BTreeMap<_, Figures> = BTreeMap::new();
    let mut models: BTreeMap<_, Figures> = BTreeMap::new();
    let mut by_day: BTreeMap<_, Figures> = BTreeMap::new();
    for (key, part) in parts.store.statistics_of_days(first, last).map_err(failed)? {
        let StatisticsKey::Day { day, agent, model } = key else {
            continue;
        };
        whole.merge(&part);
        agents.entry(agent).or_default().merge(&part);
        models.entry(model).or_default().merge(&part);
        by_day.entry(day).or_default().merge(&part);
    }
    let mut answer = figures(&whole);
    answer["from"] = date(first);
    answer["to"] = date(last);
    answer["agents"] = rows("agent", &agents, |agent| agent.as_str().into());
    answer["models"] = rows("model", &models, |model| word(model.as_ref()));
    answer["days"] = rows("day", &by_day, |day| date(*day));
    Ok(Json(answer))
}

/// `GET /v1/budgets`: the limits of all agents, and what is left of this UTC day.
pub async fn budgets(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("budgets:read")?;
    let today = parts.clock.now().day();
    let mut budgets = Vec::new();
    for agent in parts.agents.definitions().values() {
        let account = Account::AgentDay(agent.name.clone(), today);
        let balance = parts.agents.treasury().balance(&account);
        let balance = balance.map_err(|error| ApiError::new(code::STORE_FAILED, in_one_line(&error)))?;
        budgets.push(json!({
            "agent": agent.name.as_str(),
            "daily": limits(agent.daily_max, Some(balance.used())),
            "per_run": limits(agent.per_run_max, None),
        }));
    }
    Ok(Json(json!({ "day": date(today), "budgets": budgets })))
}

/// Limits that are not set are null; what is left of them too.
fn limits(limit: Limit, used: Option<Amount>) -> Value {
    let mut tokens = Map::new();
    let mut cost = Map::new();
    tokens.insert("limit".into(), limit.tokens.into());
    cost.insert("limit".into(), limit.cost.map_or(Value::Null, usd));
    if let Some(used) = used {
        tokens.insert("used".into(), used.tokens.into());
        cost.insert("used".into(), usd(used.cost));
        let left = limit.tokens.map(|limit| limit.saturating_sub(used.tokens));
        tokens.insert("remaining".into(), left.into());
        let left = limit.cost.map(|limit| usd(limit.minus(used.cost)));
        cost.insert("remaining".into(), left.unwrap_or(Value::Null));
    }
    json!({ "tokens": tokens, "cost_usd": cost })
}
