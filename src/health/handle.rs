//! What everybody else holds of health.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use supervisors::ChildRef;

use crate::domain::id::IncidentId;
use crate::domain::incident::IncidentChange;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::storage::batch::{Batch, Op};

use super::check::Verdict;
use super::checker::CheckerMessage;

/// Longest wait for a round that somebody asked for.
const ROUND_MAX: Duration = Duration::from_secs(120);

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

/// Why no round was made.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The checker did not answer.
    #[error("make a round of checks: the checker did not answer")]
    Unanswered,
}

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct HealthHandle {
    pub(super) last: LastRound,
    pub(super) checker: ChildRef<CheckerMessage>,
    pub(super) committer: Committer,
    pub(super) clock: Clock,
}

impl HealthHandle {
    /// What the last round said.
    pub fn last(&self) -> RoundView {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a round now and says what it came to.
    pub async fn round(&self) -> Result<RoundView, HealthError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let checker = self.checker.get().ok_or(HealthError::Unanswered)?;
        let asked = checker.cast(CheckerMessage::RoundAsked { reply });
        asked.map_err(|_| HealthError::Unanswered)?;
        match tokio::time::timeout(ROUND_MAX, answer).await {
            Ok(Ok(round)) => Ok(round),
            _ => Err(HealthError::Unanswered),
        }
    }

    /// Keeps that a person has seen an incident.
    pub async fn acknowledge(&self, incidents: &[IncidentId], by: Arc<str>) -> Result<(), CommitError> {
        let at = self.clock.now();
        let change = |id: &IncidentId| Op::IncidentChange(*id, IncidentChange::Acknowledged { at, by: by.clone() });
        let ops = incidents.iter().map(change).collect();
        self.committer.commit(Batch::ops(ops)).await.map(drop)
    }
}
