//! A slot is granted: the attempt begins, or the slot goes back.

use std::sync::Arc;

use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::name::StepId;
use crate::domain::plan_admission::PLANNING_STEP;
use crate::runs::state::{Readiness, StepPhase};

use super::terms::{Effect, Live};
use super::turn::Turn;

impl Turn<'_> {
    pub(super) fn granted(&mut self, id: &StepId) {
        // The wish was taken back while the grant was on its way: that release gave the slot back as well.
        if !self.run.wanted.remove(id) {
            return;
        }
        let undoes = self.run.state.compensation(id).is_some();
        let is_over = self.run.state.cancel.is_some() || self.now >= self.run_deadline();
        if (is_over && !undoes) || !self.may_start(id) {
            self.effect(Effect::Release { step: id.clone() });
            return;
        }
        let state = self.run.state.step(id).expect("a step that may start is known");
        let resume = matches!(state.phase, StepPhase::Running | StepPhase::Resting(_));
        let number = if resume { state.attempt } else { state.attempt + 1 };
        let attempt = Attempt {
            step: id.clone(),
            number,
        };
        let handoff = if resume {
            state.handoff.clone()
        } else {
            self.order(id).map(Arc::new)
        };
        if !resume && let Some(handoff) = &handoff {
            let findings = self.around.judge_handoff(handoff, self.now);
            if !findings.is_empty() {
                self.take(Fact::StepLeased {
                    attempt: attempt.clone(),
                    boot: self.around.boot(),
                });
                self.refuse(attempt, findings.into());
                self.effect(Effect::Release { step: id.clone() });
                return;
            }
        }
        self.take(Fact::StepLeased {
            attempt: attempt.clone(),
            boot: self.around.boot(),
        });
        if !resume && let Some(handoff) = &handoff {
            self.take(Fact::HandoffSent {
                attempt: attempt.clone(),
                handoff: handoff.clone(),
            });
        }
        let deadline = match &handoff {
            // What it waited for persons is not its own time.
            Some(handoff) => handoff.deadline.plus_ms(self.waited_ms(id)).min(self.run_deadline()),
            None => self.deadline_of(id),
        };
        self.run.live.insert(id.clone(), Live::Working);
        self.effect(Effect::Start {
            attempt,
            handoff,
            deadline,
            resume,
        });
    }

    pub(super) fn may_start(&self, id: &StepId) -> bool {
        let Some(state) = self.run.state.step(id) else {
            return false;
        };
        if self.run.live.contains_key(id) {
            return false;
        }
        match state.phase {
            StepPhase::Running => true,
            StepPhase::Retrying(at) | StepPhase::Resting(at) => at <= self.now,
            StepPhase::Waiting => {
                id.as_str() == PLANNING_STEP
                    || self
                        .definition(id)
                        .is_some_and(|step| self.run.state.readiness(&step) == Readiness::Ready)
            }
            _ => id.as_str() == PLANNING_STEP && self.run.state.needs_planning(),
        }
    }

    pub(super) fn refused(&mut self, attempt: Attempt, findings: Arc<[Finding]>) {
        if !self.is_live(&attempt, false) {
            return;
        }
        let step = attempt.step.clone();
        if self.run.live.get(&step) == Some(&Live::Stopping) {
            self.take(Fact::StepCancelled { step: step.clone() });
        } else {
            self.refuse(attempt, findings);
        }
        self.leave_slot(&step);
    }

    /// An order that one side refuses fails its step; the planner has to change the plan.
    pub(super) fn refuse(&mut self, attempt: Attempt, findings: Arc<[Finding]>) {
        let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let reason = format!("the order was refused: {}", words.join("; "));
        self.take(Fact::HandoffRejected {
            attempt: attempt.clone(),
            findings,
        });
        self.take(Fact::StepFailed {
            attempt,
            class: FailureClass::Schema,
            reason: reason.into(),
            tried: Arc::new([]),
            retry_at: None,
        });
    }
}
