//! How incidents went on. Incidents of earlier programs have no such record: they stand for themselves.

use bincode::{Decode, Encode};

use crate::domain::incident::IncidentState;
use crate::domain::time::UtcMillis;

/// The state of one incident.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct IncidentStateRecord {
    fingerprint: Option<String>,
    evidence: String,
    again: u64,
    seen_at: Option<u64>,
    quiet_ms: Option<u64>,
    resolved: Option<(u64, String)>,
    acknowledged: Option<(u64, String)>,
    alerts: u32,
    alerted_at: Option<u64>,
    end_told: bool,
}

impl From<&IncidentState> for IncidentStateRecord {
    fn from(state: &IncidentState) -> Self {
        let text = |(at, text): &(UtcMillis, std::sync::Arc<str>)| (at.0, text.to_string());
        Self {
            fingerprint: state.fingerprint.as_ref().map(ToString::to_string),
            evidence: state.evidence.to_string(),
            again: state.again,
            seen_at: state.seen_at.map(|at| at.0),
            quiet_ms: state.quiet_ms,
            resolved: state.resolved.as_ref().map(text),
            acknowledged: state.acknowledged.as_ref().map(text),
            alerts: state.alerts,
            alerted_at: state.alerted_at.map(|at| at.0),
            end_told: state.end_told,
        }
    }
}

impl From<IncidentStateRecord> for IncidentState {
    fn from(record: IncidentStateRecord) -> Self {
        let text = |(at, text): (u64, String)| (UtcMillis(at), text.into());
        Self {
            fingerprint: record.fingerprint.map(Into::into),
            evidence: record.evidence.into(),
            again: record.again,
            seen_at: record.seen_at.map(UtcMillis),
            quiet_ms: record.quiet_ms,
            resolved: record.resolved.map(text),
            acknowledged: record.acknowledged.map(text),
            alerts: record.alerts,
            alerted_at: record.alerted_at.map(UtcMillis),
            end_told: record.end_told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn the_bytes_of_an_incidents_state_are_as_they_were() {
        let state = IncidentState {
            fingerprint: Some("a".into()),
            evidence: "b".into(),
            again: 3,
            seen_at: Some(UtcMillis(4)),
            quiet_ms: None,
            resolved: Some((UtcMillis(5), "c".into())),
            acknowledged: None,
            alerts: 6,
            alerted_at: Some(UtcMillis(7)),
            end_told: true,
        };
        let golden = [1, 1, 1, b'a', 1, b'b', 3, 1, 4, 0, 1, 5, 1, b'c', 0, 6, 1, 7, 1];
        assert_eq!(codec::encode(&IncidentStateRecord::from(&state)), golden);
        let read: IncidentStateRecord = codec::decode(|| "a state".into(), &golden).expect("reads");
        assert_eq!(IncidentState::from(read), state);
    }
}
