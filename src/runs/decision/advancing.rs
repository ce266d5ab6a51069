//! Going on until something outside has to answer: planning, wishes for slots, waking, the end.

use serde_json::Value;

use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::limits::POISON_RECOVERIES_MAX;
use crate::domain::plan::{OnFailure, Plan, Step};
use crate::domain::run::Outcome;
use crate::domain::time::UtcMillis;
use crate::runs::state::{Readiness, RunState, StepPhase};

use super::terms::{After, Effect, SlotWish};
use super::turn::Turn;

impl Turn<'_> {
    pub(super) fn taken(&mut self, after: After) {
        let boot = self.around.boot();
        let is_recovered = match after {
            After::Acceptance => false,
            After::OwnCrash => true,
            // The layer alone was started anew: the run did nothing to that, and its leases still hold.
            After::OthersEnd => self.run.state.last_boot != Some(boot),
        };
        if is_recovered {
            self.take(Fact::RunRecovered { boot });
            if self.run.state.recoveries >= POISON_RECOVERIES_MAX {
                let reason = format!("{} recoveries brought no new fact", self.run.state.recoveries);
                self.take(Fact::RunParked { reason: reason.into() });
            }
        }
    }

    /// Goes on until something outside has to answer.
    pub(super) fn advance(&mut self) {
        if self.run.state.parked.is_some() {
            for attempt in self.orphans() {
                let step = attempt.step.clone();
                self.effect(Effect::Stop { attempt });
                self.effect(Effect::Release { step });
            }
            self.effect(Effect::Leave);
            return;
        }
        self.settle_waits();
        if self.run.state.is_undoing() && !self.advance_undoing() {
            return;
        }
        if self.now >= self.run_deadline() && self.run.state.cancel.is_none() && !self.run.state.is_undoing() {
            let reason = "the deadline of the run has passed".into();
            self.take(Fact::CancelRequested {
                outcome: Outcome::Expired,
                reason,
            });
        }
        if self.run.state.cancel.is_some() {
            self.advance_cancel();
            return;
        }
        if self.run.state.needs_planning() {
            self.advance_planning();
        } else {
            self.advance_plan();
        }
        self.wake();
    }

    pub(super) fn advance_planning(&mut self) {
        let planning = RunState::planning_step();
        if self.run.wanted.contains(&planning) || self.run.live.contains_key(&planning) {
            return;
        }
        // An amended plan must know how the running steps end, also those that another life began; nothing
        // else starts before.
        self.take_back(|state| !matches!(state.phase, StepPhase::Running | StepPhase::Resting(_)));
        let mut rests = false;
        if let Some(plan) = self.run.state.plan.clone() {
            for step in &plan.steps {
                match self.run.state.steps[&step.id].phase {
                    StepPhase::Running => self.want(step),
                    StepPhase::Resting(at) if at <= self.now => self.want(step),
                    StepPhase::Resting(_) => rests = true,
                    _ => {}
                }
            }
        }
        let asks = self
            .run
            .state
            .steps
            .values()
            .any(|step| step.phase == StepPhase::Asking);
        if rests || asks || !self.run.live.is_empty() || !self.run.wanted.is_empty() {
            return;
        }
        let reason = self.run.state.planning.reason.as_deref().unwrap_or("");
        match self.run.state.planning.phase {
            StepPhase::Failed => {
                let reason = format!("no plan could be made: {reason}");
                self.skip_open(&reason);
                self.finish(Outcome::Failed, Value::String(reason));
            }
            StepPhase::Unknown => {
                let reason = format!("the planner waits for a person: {reason}");
                self.skip_open(&reason);
                self.finish(Outcome::Unknown, Value::String(reason));
            }
            StepPhase::Retrying(at) | StepPhase::Resting(at) if at > self.now => {}
            StepPhase::Asking => {}
            _ => {
                let wish = SlotWish {
                    step: planning.clone(),
                    agent: Some(self.around.planner()),
                    resources: Vec::new(),
                    rank: u64::MAX,
                    deadline: self.run_deadline(),
                };
                self.run.wanted.insert(planning);
                self.effect(Effect::Want(wish));
            }
        }
    }

    /// Asks for a slot, once.
    pub(super) fn want(&mut self, step: &Step) {
        if self.run.live.contains_key(&step.id) || !self.run.wanted.insert(step.id.clone()) {
            return;
        }
        let wish = SlotWish {
            step: step.id.clone(),
            agent: self.agent_of(Some(step)),
            resources: step.resources.clone(),
            rank: self.run.state.ranks.get(&step.id).copied().unwrap_or(0),
            deadline: self.run_deadline(),
        };
        self.effect(Effect::Want(wish));
    }

    pub(super) fn advance_plan(&mut self) {
        let plan = self
            .run
            .state
            .plan
            .clone()
            .expect("a run that needs no planning has a plan");
        self.skip_what_cannot_start(&plan);
        self.stop_losers(&plan);
        for step in &plan.steps {
            let state = &self.run.state.steps[&step.id];
            let wants = match state.phase {
                StepPhase::Running => true,
                StepPhase::Retrying(at) | StepPhase::Resting(at) => at <= self.now,
                StepPhase::Waiting => self.run.state.readiness(step) == Readiness::Ready,
                _ => false,
            };
            if wants {
                self.want(step);
            }
        }
        let is_over = self.run.live.is_empty()
            && self.run.wanted.is_empty()
            && !self.run.state.steps.values().any(|step| {
                matches!(
                    step.phase,
                    StepPhase::Retrying(_) | StepPhase::Resting(_) | StepPhase::Asking
                )
            });
        if is_over {
            self.conclude(&plan);
        }
    }

    pub(super) fn skip_what_cannot_start(&mut self, plan: &Plan) {
        loop {
            let failing = self.run.state.fatal_failure().map(|(step, _)| step.id.clone());
            let mut skipped = Vec::new();
            for step in &plan.steps {
                let state = &self.run.state.steps[&step.id];
                let waits = matches!(
                    state.phase,
                    StepPhase::Waiting | StepPhase::Retrying(_) | StepPhase::Resting(_) | StepPhase::Asking
                );
                if !waits || self.run.live.contains_key(&step.id) {
                    continue;
                }
                if let Some(failed) = &failing {
                    skipped.push((
                        step.id.clone(),
                        format!("step {failed} failed, so nothing new is started"),
                    ));
                } else if state.phase != StepPhase::Asking && self.run.state.readiness(step) == Readiness::Impossible {
                    let needs: Vec<&str> = step.needs.iter().map(|need| need.step.as_str()).collect();
                    skipped.push((
                        step.id.clone(),
                        format!("what it needs will not come: {}", needs.join(", ")),
                    ));
                }
            }
            if skipped.is_empty() {
                return;
            }
            for (step, reason) in skipped {
                if self.run.wanted.remove(&step) {
                    self.effect(Effect::Release { step: step.clone() });
                }
                self.take(Fact::StepSkipped {
                    step,
                    reason: reason.into(),
                });
            }
        }
    }

    pub(super) fn conclude(&mut self, plan: &Plan) {
        let state = &self.run.state;
        let unknown = state.planned().find(|(_, step)| step.phase == StepPhase::Unknown);
        if let Some((step, known)) = unknown {
            let evidence = known.reason.as_deref().unwrap_or("");
            let reason = format!("step {} waits for a person: {evidence}", step.id);
            self.finish(Outcome::Unknown, Value::String(reason));
            return;
        }
        let failed = state
            .planned()
            .find(|(step, known)| known.phase == StepPhase::Failed && step.on_failure != OnFailure::Continue);
        if let Some((step, known)) = failed {
            let class = known.failed_as.map_or("", FailureClass::as_str);
            let reason = format!(
                "step {} failed ({class}): {}",
                step.id,
                known.reason.as_deref().unwrap_or("")
            );
            self.finish(Outcome::Failed, Value::String(reason));
            return;
        }
        let result = plan
            .result_step()
            .and_then(|id| Some((id, self.run.state.steps.get(id)?)));
        match result {
            Some((_, step)) if step.phase == StepPhase::Done => {
                let output = step.output.as_deref().cloned().unwrap_or(Value::Null);
                self.finish(Outcome::Succeeded, output);
            }
            Some((id, step)) => {
                let reason = step.reason.as_deref().unwrap_or("it was not done");
                let reason = format!("step {id}, whose output is the result, has none: {reason}");
                self.finish(Outcome::Failed, Value::String(reason));
            }
            None => self.finish(Outcome::Failed, Value::String("the plan has no step".into())),
        }
    }

    /// Ends the run; one that ends without success first undoes what can be undone.
    pub(super) fn finish(&mut self, outcome: Outcome, result: Value) {
        let Some((outcome, result)) = self.undone(outcome, result) else {
            return;
        };
        self.take(Fact::RunDone {
            outcome,
            result: result.to_string().into(),
        });
        self.effect(Effect::Leave);
    }

    /// Asks to be woken for the next due time, once for each.
    pub(super) fn wake(&mut self) {
        if self.run.state.done.is_some() {
            return;
        }
        let retries = self.all_steps().filter_map(|(_, step)| match step.phase {
            StepPhase::Retrying(at) | StepPhase::Resting(at) if at > self.now => Some(at),
            _ => None,
        });
        let next = retries
            .chain(self.next_overdue())
            .chain([self.run_deadline()])
            .min()
            .unwrap_or(UtcMillis(u64::MAX));
        if next != UtcMillis(u64::MAX) && self.run.woken_for.is_none_or(|at| next < at) {
            self.run.woken_for = Some(next);
            self.effect(Effect::Wake { at: next });
        }
    }
}
