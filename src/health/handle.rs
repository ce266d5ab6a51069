//! What everybody else holds of health.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::ChildRef;

use crate::domain::id::IncidentId;
use crate::domain::incident::IncidentChange;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::storage::batch::{Batch, Op};

use super::checker::CheckerMessage;
use super::parts::Checking;
use super::round::{LastRound, RoundView};

/// Longest wait for a round that somebody asked for.
const ROUND_MAX: Duration = Duration::from_secs(120);

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
    pub(super) checking: Arc<ArcSwap<Checking>>,
}

impl HealthHandle {
    /// Checks this from now on, and makes a round at once.
    pub fn configure(&self, checking: Checking) {
        self.checking.store(Arc::new(checking));
        // A checker that is just being started reads it by itself.
        self.checker.cast(CheckerMessage::CheckingChanged).ok();
    }

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
