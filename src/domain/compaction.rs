//! The shortest list of facts that folds to the same state: what a snapshot keeps.
//!
//! The conversation of an attempt is only folded while the attempt lives (or waits for a person); once its end is
//! a fact, its turns and calls decide nothing any more and are left out. Everything else stays.

use std::collections::BTreeSet;

use super::fact::{Attempt, Fact, Stamped};

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
    let decides_nothing =
        |fact: &Fact| fact.is_of_session() && fact.attempt().is_some_and(|attempt| ended.contains(attempt));
    facts
        .into_iter()
        .filter(|stamped| !decides_nothing(&stamped.fact))
        .collect()
}
