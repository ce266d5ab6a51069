//! Taking things back: a run that ends, joins that need some of their steps no more.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::fact::{Attempt, Fact};
use crate::domain::name::StepId;
use crate::domain::plan::{Join, Plan};
use crate::domain::run::Outcome;
use crate::runs::state::{StepPhase, StepState};

use super::terms::{Effect, Live};
use super::turn::Turn;

impl Turn<'_> {
    pub(super) fn advance_cancel(&mut self) {
        self.stop_orphans(|_| true);
        self.take_back(|_| true);
        self.stop_live(|_| true);
        if !self.run.live.is_empty() {
            return;
        }
        let open: Vec<StepId> = self
            .all_steps()
            .filter(|(_, step)| {
                let phase = &step.phase;
                matches!(
                    phase,
                    StepPhase::Running | StepPhase::Retrying(_) | StepPhase::Resting(_) | StepPhase::Asking
                )
            })
            .map(|(id, _)| id.clone())
            .collect();
        for step in open {
            self.take(Fact::StepCancelled { step });
        }
        let (outcome, reason) = self.run.state.cancel.clone().expect("a cancelled run has a reason");
        // An effect of which nobody knows is neither undone nor let go: a person says first what became of it, and then
        // the run ends as it was asked to. (Whether something was undone is asked with the others that undo.)
        let unknown = self
            .all_steps()
            .find(|(id, step)| step.phase == StepPhase::Unknown && self.run.state.compensation(id).is_none());
        if let Some((id, step)) = unknown {
            let evidence = step.reason.as_deref().unwrap_or("");
            let reason = format!("{reason}; step {id} waits for a person: {evidence}");
            self.finish(Outcome::Unknown, Value::String(reason));
            return;
        }
        self.finish(outcome, Value::String(reason.to_string()));
    }

    /// What another life began and this one has not taken up may still work (only this run's actor may have
    /// died) and may still hold its slot: it is stopped and waited for like the rest.
    pub(super) fn stop_orphans(&mut self, which: impl Fn(&StepId) -> bool) {
        for attempt in self.orphans() {
            if which(&attempt.step) {
                self.run.wanted.remove(&attempt.step);
                self.run.live.insert(attempt.step.clone(), Live::Stopping);
                self.effect(Effect::Stop { attempt });
            }
        }
    }

    pub(super) fn orphans(&self) -> Vec<Attempt> {
        let running = self.all_steps().filter(|(_, step)| step.phase == StepPhase::Running);
        let orphans = running.filter(|(id, _)| !self.run.live.contains_key(*id));
        orphans.filter_map(|(id, _)| self.run.state.attempt(id)).collect()
    }

    pub(super) fn stop_live(&mut self, which: impl Fn(&StepId) -> bool) {
        let working: Vec<StepId> = self
            .run
            .live
            .iter()
            .filter(|(id, live)| **live != Live::Stopping && which(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in working {
            let was = self.run.live.insert(id.clone(), Live::Stopping);
            if was == Some(Live::Working) {
                let attempt = self.run.state.attempt(&id).expect("a live step is known");
                self.effect(Effect::Stop { attempt });
            }
            // Checks end by themselves within their own bounds; their report closes the step.
        }
    }

    /// Nothing that is left of the plan will be done.
    pub(super) fn skip_open(&mut self, reason: &str) {
        let open = self.run.state.planned();
        let open = open.filter(|(_, step)| {
            let phase = &step.phase;
            matches!(
                phase,
                StepPhase::Waiting | StepPhase::Retrying(_) | StepPhase::Resting(_) | StepPhase::Asking
            )
        });
        let open: Vec<StepId> = open.map(|(step, _)| step.id.clone()).collect();
        for step in open {
            let reason = reason.into();
            self.take(Fact::StepSkipped { step, reason });
        }
    }

    /// Takes wishes back; a grant that is on its way is ignored when it comes.
    pub(super) fn take_back(&mut self, which: impl Fn(&StepState) -> bool) {
        let state = &self.run.state;
        let back = self.run.wanted.iter();
        let back: Vec<StepId> = back.filter(|id| state.step(id).is_none_or(&which)).cloned().collect();
        for step in back {
            self.run.wanted.remove(&step);
            self.effect(Effect::Release { step });
        }
    }

    /// A join that needs only some of its steps cancels the others once it has started, unless somebody else
    /// still wants them.
    pub(super) fn stop_losers(&mut self, plan: &Plan) {
        let mut losers = BTreeSet::new();
        for step in &plan.steps {
            let started = self.run.state.steps[&step.id].started_at.is_some();
            if step.join == Join::All || !started {
                continue;
            }
            for need in &step.needs {
                let wanted_elsewhere = plan.result_step() == Some(&need.step)
                    || plan.steps.iter().any(|other| {
                        other.id != step.id
                            && other.needs.iter().any(|of_other| of_other.step == need.step)
                            && self.run.state.steps[&other.id].phase == StepPhase::Waiting
                    });
                if !self.run.state.steps[&need.step].has_ended() && !wanted_elsewhere {
                    losers.insert(need.step.clone());
                }
            }
        }
        self.stop_orphans(|id| losers.contains(id));
        for loser in &losers {
            if self.run.live.contains_key(loser) {
                continue;
            }
            if self.run.wanted.remove(loser) {
                self.effect(Effect::Release { step: loser.clone() });
            }
            self.take(Fact::StepCancelled { step: loser.clone() });
        }
        self.stop_live(|id| losers.contains(id));
    }
}
