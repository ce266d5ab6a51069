//! Incidents.

use bincode::{Decode, Encode};

use crate::domain::id::{IncidentId, RunId};
use crate::domain::incident::Incident;
use crate::domain::time::UtcMillis;

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct IncidentRecord {
    id: [u8; 16],
    at: u64,
    severity: String,
    what: String,
    why: String,
    action: String,
    run: Option<[u8; 16]>,
}

impl From<&Incident> for IncidentRecord {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_bytes(),
            at: incident.at.0,
            severity: incident.severity.to_string(),
            what: incident.what.to_string(),
            why: incident.why.to_string(),
            action: incident.action.to_string(),
            run: incident.run.map(RunId::to_bytes),
        }
    }
}

impl From<IncidentRecord> for Incident {
    fn from(record: IncidentRecord) -> Self {
        Self {
            id: IncidentId::from_bytes(record.id),
            at: UtcMillis(record.at),
            severity: record.severity.into(),
            what: record.what.into(),
            why: record.why.into(),
            action: record.action.into(),
            run: record.run.map(RunId::from_bytes),
        }
    }
}
