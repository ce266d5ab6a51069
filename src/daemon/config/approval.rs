//! Who has to agree to which calls, as configured.

use super::error::{BadValue, Place};
use super::setting::Settings;
use crate::domain::agent::AgentDefinition;
use crate::domain::approval::{Approval, ApprovalRules, ApprovalTable, is_pattern};

/// The table under a path. A pattern that can match nothing goes to `bad`.
pub fn table(settings: &Settings, under: &[&str], bad: &mut Vec<BadValue>) -> ApprovalTable {
    let mut table = ApprovalTable::new();
    for (pattern, place) in settings.names(under) {
        if !is_pattern(&pattern) {
            bad.push(wrong(under, &pattern, place));
            continue;
        }
        let path: Vec<&str> = under.iter().copied().chain([pattern.as_str()]).collect();
        if let Some(policy) = settings.text(&path).and_then(Approval::from_word) {
            table.insert(pattern.into(), policy);
        }
    }
    table
}

fn wrong(under: &[&str], pattern: &str, place: Place) -> BadValue {
    BadValue {
        place,
        key: under.join("."),
        found: format!("{pattern:?}"),
        allowed: "the name of a skill, a group such as \"fs.*\", or \"*\"".into(),
    }
}

/// All rules.
pub fn rules(settings: &Settings, agents: &[AgentDefinition], bad: &mut Vec<BadValue>) -> ApprovalRules {
    let own = agents.iter().filter(|agent| !agent.approvals.is_empty());
    ApprovalRules {
        all: table(settings, &["agent", "approvals"], bad),
        agents: own.map(|agent| (agent.name.clone(), agent.approvals.clone())).collect(),
        timeout_ms: settings.number(&["agent", "approvalTimeout"]).unwrap_or(3_600_000),
    }
}
