//! What people are told: one message for all that is told at once.

use serde_json::{Value, json};

use crate::domain::incident::{Incident, IncidentState};
use crate::domain::time::UtcMillis;
use crate::runtime::clock::rfc3339;

use super::decision::Telling;

/// Incidents that a message tells in full; the rest is counted.
const TOLD_MAX: usize = 50;

/// Subject and body of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One line for people.
    pub subject: String,
    /// JSON for programs.
    pub body: String,
}

fn view(incident: &Incident, state: &IncidentState, telling: Telling) -> Value {
    json!({
        "incident": incident.id.to_string(),
        "state": telling.as_str(),
        "severity": &*incident.severity,
        "what": &*incident.what,
        "why": if state.evidence.is_empty() { &*incident.why } else { &*state.evidence },
        "action": &*incident.action,
        "run": incident.run.map(|run| run.to_string()),
        "since": rfc3339(incident.at),
        "times": state.again + 1,
        "ended": state.resolved.as_ref().map(|(_, how)| how.to_string()),
    })
}

/// The message of what is told at once; there is at least one.
pub fn compose(told: &[(&Incident, &IncidentState, Telling)], host: &str, now: UtcMillis) -> Message {
    let is_over = told.iter().all(|(_, _, telling)| *telling == Telling::Ended);
    let begun = told.iter().filter(|(_, _, telling)| *telling != Telling::Ended).count();
    let first = told.first().map_or("", |(incident, _, _)| &*incident.what);
    let subject = match (is_over, begun.max(told.len().min(1))) {
        (true, _) if told.len() == 1 => format!("[openclaw {host}] ended: {first}"),
        (true, _) => format!("[openclaw {host}] {} incidents ended", told.len()),
        (false, 1) if told.len() == 1 => format!("[openclaw {host}] {first}"),
        (false, count) => format!("[openclaw {host}] {count} incidents: {first}"),
    };
    let incidents: Vec<Value> = told
        .iter()
        .take(TOLD_MAX)
        .map(|(incident, state, telling)| view(incident, state, *telling))
        .collect();
    let body = json!({
        "type": if is_over { "incidents.ended" } else { "incidents.open" },
        "timestamp": rfc3339(now),
        "data": { "host": host, "incidents": incidents, "more": told.len().saturating_sub(TOLD_MAX) },
    });
    Message {
        subject: crate::domain::text::preview(&subject, 200),
        body: body.to_string(),
    }
}

/// The body of a message as a text for people.
pub fn for_people(body: &str) -> String {
    use std::fmt::Write as _;
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let mut text = String::new();
    for incident in value["data"]["incidents"].as_array().into_iter().flatten() {
        let word = |name: &str| incident[name].as_str().unwrap_or("-").to_owned();
        let _ = writeln!(text, "{} ({}): {}", word("state"), word("severity"), word("what"));
        let _ = writeln!(text, "  why: {}", word("why"));
        let _ = writeln!(text, "  action: {}", word("action"));
        let _ = writeln!(text, "  since: {}, seen {} times", word("since"), incident["times"]);
        if let Some(ended) = incident["ended"].as_str() {
            let _ = writeln!(text, "  ended: {ended}");
        }
        let _ = writeln!(text, "  openclaw incident show {}\n", word("incident"));
    }
    if value["data"]["more"].as_u64() > Some(0) {
        let _ = writeln!(text, "and {} more: openclaw incident list", value["data"]["more"]);
    }
    text
}
