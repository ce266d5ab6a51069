//! What a round of checks came to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::domain::id::IncidentId;
use crate::domain::time::UtcMillis;

use super::check::Verdict;

/// What the last round said of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckView {
    /// What it came to.
    pub verdict: Verdict,
    /// `warning` or `error`, when it fails.
    pub severity: &'static str,
    /// Since when it has been so, as far as this life of the process knows.
    pub since: Option<UtcMillis>,
    /// When it was last made.
    pub at: UtcMillis,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Its open incident.
    pub incident: Option<IncidentId>,
}

/// The last round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoundView {
    /// When it ended; none before the first.
    pub at: Option<UtcMillis>,
    /// Its checks, by name.
    pub checks: BTreeMap<Arc<str>, CheckView>,
}

impl RoundView {
    /// Whether no check fails that is an error.
    pub fn is_good(&self) -> bool {
        let bad = |check: &CheckView| check.severity == "error" && matches!(check.verdict, Verdict::Failed(_));
        !self.checks.values().any(bad)
    }
}

/// What the last round said, shared between the checker and those who ask.
pub type LastRound = Arc<Mutex<RoundView>>;
