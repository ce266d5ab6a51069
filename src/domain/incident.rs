//! An incident: one record of a fault or a repair, for a person.

use std::sync::Arc;

use super::id::{IncidentId, RunId};
use super::time::UtcMillis;

/// One record of a fault or a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// When.
    pub at: UtcMillis,
    /// `warning` or `error`.
    pub severity: Arc<str>,
    /// What happened.
    pub what: Arc<str>,
    /// Why, as far as known.
    pub why: Arc<str>,
    /// What was done about it.
    pub action: Arc<str>,
    /// The run concerned.
    pub run: Option<RunId>,
}
