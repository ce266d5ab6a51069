//! The shortest list of facts that folds to the same state: what a snapshot keeps.
//!
//! The conversation of an attempt is only folded while the attempt lives (or waits for a person); once its end is
//! a fact, its turns and calls decide nothing any more and are left out. Everything else stays.

use std::collections::BTreeSet;

use super::fact::{Attempt, Fact, Stamped};
use super::limits::{SNAPSHOT_BYTES, SNAPSHOT_FACTS};

/// Leaves out what decides nothing any more.
pub fn compact(facts: Vec<Stamped>) -> Vec<Stamped> {
    let mut ended: BTreeSet<Attempt> = BTreeSet::new();
    let mut running: BTreeSet<Attempt> = BTreeSet::new();
    for stamped in &facts {
        match &stamped.fact {
            Fact::StepLeased { attempt, .. } => {
                running.insert(attempt.clone());
            }
            Fact::StepDone { attempt, .. } | Fact::StepFailed { attempt, .. } => {
                ended.insert(attempt.clone());
            }
            Fact::StepCancelled { step } => {
                ended.extend(running.iter().filter(|attempt| attempt.step == *step).cloned());
            }
            _ => {}
        }
    }
    let decides_nothing = |fact: &Fact| {
        let is_of_attempt = fact.is_of_session()
            || matches!(
                fact,
                Fact::ApprovalAsked { .. } | Fact::ApprovalGiven { .. } | Fact::CallResolved { .. }
            );
        is_of_attempt && fact.attempt().is_some_and(|attempt| ended.contains(attempt))
    };
    facts
        .into_iter()
        .filter(|stamped| !decides_nothing(&stamped.fact))
        .collect()
}

/// Counts what one writer has added to a run's journal since its last snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinceSnapshot {
    facts: usize,
    bytes: usize,
    facts_before: usize,
    bytes_before: usize,
}

impl SinceSnapshot {
    /// Adds one batch; true when a snapshot is due, and then the count starts anew.
    ///
    /// A snapshot may be as long as everything before it, so the next one is due when at least half as much again has
    /// come: then the cost of each fact stays the same, however many there are.
    pub fn add(&mut self, facts: usize, bytes: usize) -> bool {
        self.facts += facts;
        self.bytes += bytes;
        let is_due = self.facts >= SNAPSHOT_FACTS.max(self.facts_before / 2)
            || self.bytes >= SNAPSHOT_BYTES.max(self.bytes_before / 2);
        if is_due {
            *self = Self {
                facts: 0,
                bytes: 0,
                facts_before: self.facts_before + self.facts,
                bytes_before: self.bytes_before + self.bytes,
            };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_by_facts_or_by_bytes() {
        let mut since = SinceSnapshot::default();
        assert!(!since.add(SNAPSHOT_FACTS - 1, 10));
        assert!(since.add(1, 10));
        assert!(!since.add(1, SNAPSHOT_BYTES - 1), "the count started anew");
        assert!(since.add(1, 1));
    }

    #[test]
    fn snapshots_of_a_long_run_together_cost_a_fixed_share_of_each_fact() {
        let (mut since, mut kept, mut written) = (SinceSnapshot::default(), 0, 0);
        for _ in 0..100_000 {
            kept += 1;
            if since.add(1, 10) {
                written += kept;
            }
        }
        assert!(written <= 4 * kept, "{written} for {kept}");
    }
}
