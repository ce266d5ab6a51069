//! An attempt ends: its checks decide, a failure decides what comes next, a plan is judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::check::CheckReport;
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::{FailureClass, NextAttempt};
use crate::domain::limits::PLAN_REPAIRS_MAX;
use crate::domain::name::StepId;
use crate::domain::plan::{Input, Join, Plan, Step};
use crate::domain::plan_admission::PLANNING_STEP;
use crate::domain::plan_document::read_plan;
use crate::runs::state::StepPhase;

use super::terms::{AttemptEnd, Effect, Live};
use super::turn::Turn;

/// First wait before an attempt is repeated unchanged, in milliseconds; doubles up to [`BACKOFF_MAX_MS`].
const BACKOFF_BASE_MS: u64 = 500;
/// Longest wait before an attempt is repeated, in milliseconds.
const BACKOFF_MAX_MS: u64 = 30_000;

impl Turn<'_> {
    pub(super) fn ended(&mut self, attempt: Attempt, end: AttemptEnd) {
        // While the checks are out, a failure says that they could not be made, and the unknown that nobody saw the end
        // of one of their commands; anything else is an old word.
        let of_checks = matches!(end, AttemptEnd::Failed { .. } | AttemptEnd::Unknown { .. });
        let checks_failed = of_checks && self.is_live(&attempt, true);
        if !checks_failed && !self.is_live(&attempt, false) {
            return;
        }
        let step = attempt.step.clone();
        let stopping = self.run.live.get(&step) == Some(&Live::Stopping);
        match end {
            AttemptEnd::Unknown { evidence } => {
                self.take(Fact::StepUnknown { attempt, evidence });
            }
            AttemptEnd::Asks { asks } if !stopping => self.asks(&attempt, asks),
            // It was told to stop, or came to an end by itself just before: the end that was asked for stands.
            _ if stopping => self.take(Fact::StepCancelled { step: step.clone() }),
            // Nobody here asked for it: whatever did the work is gone.
            AttemptEnd::Stopped | AttemptEnd::Asks { .. } => {
                let reason = "the session was stopped from outside".into();
                self.failed(attempt, FailureClass::Crash, reason, &[]);
            }
            AttemptEnd::Answered { output, .. } if step.as_str() == PLANNING_STEP => self.proposed(attempt, &output),
            AttemptEnd::Answered { output, tried } => {
                let definition = self.definition(&step).expect("a live step is planned");
                let checks = self.run.state.checks(&definition);
                if checks.is_empty() {
                    self.take(Fact::StepDone {
                        attempt,
                        output: output.to_string().into(),
                    });
                } else {
                    self.run.live.insert(step.clone(), Live::Checking);
                    self.run.checking.insert(step);
                    self.effect(Effect::Check {
                        attempt,
                        output,
                        checks,
                        tried,
                    });
                    return;
                }
            }
            AttemptEnd::Failed { class, reason, tried } => self.failed(attempt, class, reason, &tried),
            AttemptEnd::Rested { reason, until } => self.take(Fact::StepRested { attempt, reason, until }),
        }
        self.leave_slot(&step);
    }

    pub(super) fn checked(&mut self, attempt: Attempt, output: &Value, reports: Vec<CheckReport>, tried: &[Arc<str>]) {
        if !self.is_live(&attempt, true) {
            return;
        }
        let step = attempt.step.clone();
        if self.run.live.get(&step) == Some(&Live::Stopping) {
            self.take(Fact::StepCancelled { step: step.clone() });
            self.leave_slot(&step);
            return;
        }
        let definition = self.definition(&step).expect("a live step is planned");
        let checks = self.run.state.checks(&definition);
        let mut failures = Vec::new();
        // No word is no yes. (After one no, the others need not be made.)
        let mut missing = (0..checks.len()).filter(|at| reports.iter().all(|report| report.index as usize != *at));
        if let Some(at) = missing.next()
            && reports.iter().all(|report| report.passed)
        {
            failures.push(format!("check {at}: {}: it was not made", checks[at].0.describe()));
        }
        for report in reports {
            if !report.passed {
                let what = checks
                    .get(report.index as usize)
                    .map_or_else(String::new, |(check, _)| check.describe());
                failures.push(format!("check {}: {what}: {}", report.index, report.evidence));
            }
            self.take(Fact::CheckMade {
                attempt: attempt.clone(),
                report,
            });
        }
        if failures.is_empty() {
            self.take(Fact::StepDone {
                attempt,
                output: output.to_string().into(),
            });
        } else {
            self.failed(attempt, FailureClass::Check, failures.join("; ").into(), tried);
        }
        self.leave_slot(&step);
    }

    /// A planner's answer: a plan that is admitted becomes the plan, any other goes back with what is wrong.
    pub(super) fn proposed(&mut self, attempt: Attempt, output: &Value) {
        let round = self.run.state.rounds + 1;
        let judged = read_plan(output).and_then(|plan| {
            let plan = self.with_finished_steps(plan);
            self.around.judge_plan(&plan, &self.run.state, self.now).map(|()| plan)
        });
        match judged {
            Ok(plan) => {
                self.take(Fact::PlanProposed {
                    round,
                    plan: Arc::new(plan),
                });
                self.take(Fact::StepDone {
                    attempt,
                    output: "null".into(),
                });
                self.take(Fact::PlanAccepted { round });
            }
            Err(findings) => {
                let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
                self.take(Fact::PlanRejected {
                    round,
                    findings: findings.into(),
                });
                let again = self.run.state.refusals <= PLAN_REPAIRS_MAX;
                self.take(Fact::StepFailed {
                    attempt,
                    class: FailureClass::Schema,
                    reason: format!("the plan was refused: {}", words.join("; ")).into(),
                    tried: Arc::new([]),
                    retry_at: again.then_some(self.now),
                });
            }
        }
    }

    /// What is done stays done: an amended plan keeps the finished steps. They wait for nothing and cost nothing
    /// any more, so what they needed may go from the plan.
    pub(super) fn with_finished_steps(&self, mut plan: Plan) -> Plan {
        let finished = self
            .run
            .state
            .planned()
            .filter(|(_, state)| state.phase == StepPhase::Done);
        let mut finished: Vec<Step> = finished.map(|(step, _)| step.clone()).collect();
        let ids: BTreeSet<StepId> = finished.iter().map(|step| step.id.clone()).collect();
        if plan.result.is_none() {
            plan.result = plan.result_step().cloned();
        }
        for step in &mut finished {
            step.needs.retain(|need| ids.contains(&need.step));
            step.join = Join::All;
            step.estimated_ms = 0;
            step.estimated_tokens = 0;
            let needs = &step.needs;
            step.inputs.retain(|_, input| match input {
                Input::Literal(_) => true,
                Input::Output { step, .. } => needs.iter().any(|need| need.step == *step),
            });
        }
        plan.steps.retain(|step| finished.iter().all(|done| done.id != step.id));
        plan.steps.splice(0..0, finished);
        plan
    }

    pub(super) fn failed(&mut self, attempt: Attempt, class: FailureClass, reason: Arc<str>, tried: &[Arc<str>]) {
        let state = self.run.state.step(&attempt.step);
        let failures = state.map_or(0, |step| step.failures);
        let definition = self.definition(&attempt.step);
        let agent = self.agent_of(definition.as_ref());
        let retries = definition
            .and_then(|step| step.retries)
            .unwrap_or_else(|| self.around.retries(agent.as_ref()));
        let retry_at = match class.next_attempt() {
            _ if failures >= retries => None,
            NextAttempt::None => None,
            NextAttempt::WithLesson => Some(self.now),
            NextAttempt::Unchanged => {
                let wait = BACKOFF_BASE_MS
                    .saturating_mul(1 << failures.min(16))
                    .min(BACKOFF_MAX_MS);
                Some(self.now.plus_ms(wait))
            }
        };
        let undoes = self.run.state.compensation(&attempt.step).is_some();
        let retry_at = retry_at.filter(|at| undoes || *at < self.run_deadline());
        self.take(Fact::StepFailed {
            attempt,
            class,
            reason,
            tried: tried.into(),
            retry_at,
        });
    }
}
