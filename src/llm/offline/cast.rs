//! Which of the agents that exist does which part of a plan.
//!
//! Refuses to know: the plan.

use serde_json::{Map, Value};

/// Who does what.
pub(super) struct Cast {
    /// Gathers.
    pub(super) executor: String,
    /// Writes.
    pub(super) coder: String,
    /// Judges.
    pub(super) reviewer: String,
    /// Finds causes; none when there is no such agent.
    pub(super) debugger: Option<String>,
}

impl Cast {
    /// Chooses from the agents in the context; without any, the agents that every installation begins with.
    pub(super) fn read(context: &Map<String, Value>) -> Self {
        let empty = Vec::new();
        let agents = context.get("agents").and_then(Value::as_array).unwrap_or(&empty);
        let first = |role: &str| {
            agents
                .iter()
                .find(|agent| agent["role"] == role)
                .and_then(|agent| agent["name"].as_str())
                .map(str::to_owned)
        };
        let other = || {
            let mut others = agents.iter().filter(|agent| agent["role"] != "planner").chain(agents);
            others.find_map(|agent| agent["name"].as_str()).map(str::to_owned)
        };
        let of = |roles: [&str; 3]| {
            let found = roles.iter().find_map(|role| first(role)).or_else(other);
            found.unwrap_or_else(|| roles[0].to_owned())
        };
        Self {
            executor: of(["executor", "coder", "debugger"]),
            coder: of(["coder", "executor", "debugger"]),
            reviewer: of(["reviewer", "debugger", "executor"]),
            debugger: first("debugger"),
        }
    }
}
