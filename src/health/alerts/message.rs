//! What people are told: one message for all that is told at once.

use serde_json::{Value, json};

use crate::domain::incident::{Incident, IncidentState};
use crate::domain::time::UtcMillis;
use crate::runtime::clock::rfc3339;

use super::decision::Telling;

/// Incidents that a message tells in full; the rest is counted.
const TOLD_MAX: usize = 50;

/// The word for a message of incidents that go on.
const OPEN: &str = "incidents.open";
/// The word for a message of incidents that have ended.
const ENDED: &str = "incidents.ended";

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
pub fn compose(told: &[(Incident, IncidentState, Telling)], host: &str, now: UtcMillis) -> Message {
    let begun = told.iter().filter(|(_, _, telling)| *telling != Telling::Ended).count();
    let incidents = told
        .iter()
        .take(TOLD_MAX)
        .map(|(incident, state, telling)| view(incident, state, *telling));
    let incidents = incidents.collect();
    message(incidents, told.len().saturating_sub(TOLD_MAX), begun, host, now)
}

/// One message instead of several, oldest first: of an incident that stands in more than one of them the last word is
/// kept, of more than a message tells in full the newest.
pub fn merge(bodies: &[&str], host: &str, now: UtcMillis) -> Message {
    let mut incidents: Vec<Value> = Vec::new();
    let (mut more, mut more_begun) = (0, 0);
    for body in bodies {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        for incident in body["data"]["incidents"].as_array().into_iter().flatten() {
            incidents.retain(|known| known["incident"] != incident["incident"]);
            incidents.push(incident.clone());
        }
        let uncounted = body["data"]["more"].as_u64().unwrap_or_default() as usize;
        more += uncounted;
        more_begun += if body["type"] == OPEN { uncounted } else { 0 };
    }
    let has_begun = |incident: &Value| incident["state"] != Telling::Ended.as_str();
    let begun = more_begun + incidents.iter().filter(|incident| has_begun(incident)).count();
    let over = incidents.len().saturating_sub(TOLD_MAX);
    incidents.drain(..over);
    // What goes on first, as everywhere.
    incidents.sort_by_key(|incident| !has_begun(incident));
    message(incidents, more + over, begun, host, now)
}

/// The message of these incidents, of so many that are not shown, and of so many in all that have begun or go on.
fn message(incidents: Vec<Value>, more: usize, begun: usize, host: &str, now: UtcMillis) -> Message {
    let all = incidents.len() + more;
    let first = incidents
        .first()
        .and_then(|incident| incident["what"].as_str())
        .unwrap_or_default();
    let subject = match (begun, all) {
        (0, 1) => format!("[openclaw {host}] ended: {first}"),
        (0, _) => format!("[openclaw {host}] {all} incidents ended"),
        (1, 1) => format!("[openclaw {host}] {first}"),
        (count, _) => format!("[openclaw {host}] {count} incidents: {first}"),
    };
    let subject = crate::domain::text::preview(&subject, 200);
    let body = json!({
        "type": if begun == 0 { ENDED } else { OPEN },
        "timestamp": rfc3339(now),
        "data": { "host": host, "incidents": incidents, "more": more },
    });
    Message {
        subject,
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
