//! The cassette of a run: its kept requests beside the answers that its journal has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::conversation::ModelAnswer;
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::NextAttempt;
use crate::domain::run::RunSpec;
use crate::domain::traffic::Traffic;
use crate::llm::cassette::canon::Canon;
use crate::llm::cassette::format::{write_header, write_line};

/// Writes it.
pub(super) fn write(canon: &Canon, spec: &RunSpec, facts: &[Stamped], traffic: &[Traffic]) -> String {
    let mut answers: BTreeMap<(&Attempt, u32), &Arc<ModelAnswer>> = BTreeMap::new();
    let mut abandoned: BTreeSet<&Attempt> = BTreeSet::new();
    for stamped in facts {
        match &stamped.fact {
            Fact::TurnFinished {
                attempt, turn, answer, ..
            } => {
                answers.insert((attempt, *turn), answer);
            }
            // The way to the model failed, not the work, and the same work was begun anew: a replay has no such
            // failures and needs the answers of the later attempt alone.
            Fact::StepFailed {
                attempt,
                class,
                retry_at: Some(_),
                ..
            } if class.next_attempt() == NextAttempt::Unchanged => {
                abandoned.insert(attempt);
            }
            _ => {}
        }
    }
    let mut text = write_header(canon, &spec.task);
    for line in traffic.iter().filter(|line| !abandoned.contains(&line.attempt)) {
        if let Some(answer) = answers.get(&(&line.attempt, line.turn)) {
            text.push_str(&write_line(canon, line, answer));
        }
    }
    text
}
