//! Undoing: a run that ends without success calls back what took effect, the last effect first.
//!
//! **Invariants**: nothing is undone while other work of the run goes on or a call of it is unknown; each effect is
//! undone by one step of its own, with attempts, keys and a journal like any other; one that cannot be undone keeps
//! none of the others from being undone.

use std::fmt::Write as _;

use serde_json::Value;

use crate::domain::fact::Fact;
use crate::domain::name::StepId;
use crate::domain::run::Outcome;
use crate::domain::time::UtcMillis;
use crate::runs::state::StepPhase;
use crate::runs::undo::Undo;

use super::terms::Effect;
use super::turn::Turn;

impl Turn<'_> {
    /// How the run ends once its effects are undone; none while that has still to be found out or done.
    pub(super) fn undone(&mut self, outcome: Outcome, result: Value) -> Option<(Outcome, Value)> {
        if !matches!(outcome, Outcome::Failed | Outcome::Cancelled | Outcome::Expired) {
            return Some((outcome, result));
        }
        if self.run.state.compensations.is_empty() {
            if self.run.looked_back || !self.around.may_undo(&self.run.state) {
                return Some((outcome, result));
            }
            if !self.run.looks_back {
                self.run.looks_back = true;
                self.effect(Effect::LookBack);
            }
            return None;
        }
        let phases = |phase: StepPhase| -> Vec<&str> {
            let all = self.run.state.compensations.iter();
            let with = all.filter(|undo| self.run.state.steps[&undo.step.id].phase == phase);
            with.map(|undo| undo.undoes.step.as_str()).collect()
        };
        let unknown = phases(StepPhase::Unknown);
        if !unknown.is_empty() {
            let reason = format!("whether it was undone waits for a person: {}", unknown.join(", "));
            return Some((Outcome::Unknown, Value::String(reason)));
        }
        let (undone, left) = (phases(StepPhase::Done), phases(StepPhase::Failed));
        let mut reason = match &result {
            Value::String(reason) => reason.clone(),
            other => other.to_string(),
        };
        for (word, steps) in [("undone", undone), ("not undone", left)] {
            if !steps.is_empty() {
                let _ = write!(reason, "; {word}: {}", steps.join(", "));
            }
        }
        Some((outcome, Value::String(reason)))
    }

    /// What can be undone was read from the journal.
    pub(super) fn looked_back(&mut self, undo: Vec<Undo>) {
        self.run.looks_back = false;
        if std::mem::replace(&mut self.run.looked_back, true) || self.run.state.is_undoing() {
            return;
        }
        let mut number = 0;
        for undo in undo {
            let step = loop {
                number += 1;
                let id = StepId::new(&format!("undo-{number}")).expect("a valid id");
                // A plan may have a step of this name.
                if self.run.state.step(&id).is_none() {
                    break id;
                }
            };
            self.take(Fact::CompensationQueued {
                step,
                undoes: undo.undoes,
                ordinal: undo.ordinal,
                skill: undo.skill,
                arguments: undo.arguments.to_string().into(),
            });
        }
    }

    /// Goes on undoing, one after the other; true when all of it has ended.
    pub(super) fn advance_undoing(&mut self) -> bool {
        let next = self.run.state.compensations.iter().find(|undo| {
            let phase = &self.run.state.steps[&undo.step.id].phase;
            matches!(
                phase,
                StepPhase::Waiting
                    | StepPhase::Running
                    | StepPhase::Retrying(_)
                    | StepPhase::Resting(_)
                    | StepPhase::Asking
            )
        });
        let Some(step) = next.map(|undo| undo.step.clone()) else {
            return self.run.live.is_empty() && self.run.wanted.is_empty();
        };
        let due: Option<UtcMillis> = match self.run.state.steps[&step.id].phase {
            StepPhase::Retrying(at) | StepPhase::Resting(at) if at > self.now => Some(at),
            StepPhase::Asking => self.next_overdue(),
            _ => {
                self.want(&step);
                None
            }
        };
        if let Some(at) = due
            && self.run.woken_for.is_none_or(|known| at < known)
        {
            self.run.woken_for = Some(at);
            self.effect(Effect::Wake { at });
        }
        false
    }
}
