//! What a run does next: a pure function of its state, the time and what the surroundings say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::check::{Check, CheckReport};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::{FailureClass, NextAttempt};
use crate::domain::handoff::{ContextEntry, ContextSource, Finding, HANDOFF_VERSION, Handoff, Lesson};
use crate::domain::id::BootId;
use crate::domain::limits::{PLAN_REPAIRS_MAX, POISON_RECOVERIES_MAX};
use crate::domain::name::{AgentName, StepId};
use crate::domain::plan::{Input, Join, OnFailure, Plan, Step, Work};
use crate::domain::plan_admission::PLANNING_STEP;
use crate::domain::plan_document::{plan_schema, read_plan, write_plan};
use crate::domain::run::Outcome;
use crate::domain::time::UtcMillis;

use super::state::{Readiness, RunState, StepPhase, StepState};

/// First wait before an attempt is repeated unchanged, in milliseconds; doubles up to [`BACKOFF_MAX_MS`].
const BACKOFF_BASE_MS: u64 = 500;
/// Longest wait before an attempt is repeated, in milliseconds.
const BACKOFF_MAX_MS: u64 = 30_000;

/// What a run has to know of the world, asked without changing it.
pub trait Surroundings {
    /// This life of the process.
    fn boot(&self) -> BootId;
    /// The agent that makes plans.
    fn planner(&self) -> AgentName;
    /// Further attempts that an agent gets after a failed one; `None` is for steps done by a skill.
    fn retries(&self, agent: Option<&AgentName>) -> u32;
    /// How long a step of an agent may take when the plan does not say, in milliseconds.
    fn timeout_ms(&self, agent: Option<&AgentName>) -> u64;
    /// What is wrong with a proposed plan.
    fn judge_plan(&self, plan: &Plan, state: &RunState, now: UtcMillis) -> Result<(), Vec<Finding>>;
    /// What is wrong with an order, before it is sent.
    fn judge_handoff(&self, handoff: &Handoff, now: UtcMillis) -> Vec<Finding>;
    /// What a planner is told of agents, skills and pipelines.
    fn planning_context(&self) -> Vec<ContextEntry>;
}

/// Something that happened around the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run's actor starts. `recovered`: another life of the process had the run before.
    Taken {
        /// Whether to count this as a recovery.
        recovered: bool,
    },
    /// A slot was granted to a step.
    Granted {
        /// Which.
        step: StepId,
    },
    /// The receiver refused the order.
    Refused {
        /// Which attempt.
        attempt: Attempt,
        /// What is wrong.
        findings: Arc<[Finding]>,
    },
    /// The session ended.
    Ended {
        /// Which attempt.
        attempt: Attempt,
        /// How.
        end: AttemptEnd,
    },
    /// The checks of an attempt were made.
    Checked {
        /// Which attempt.
        attempt: Attempt,
        /// The output that was checked.
        output: Arc<Value>,
        /// What they found.
        reports: Vec<CheckReport>,
        /// What was tried.
        tried: Vec<Arc<str>>,
    },
    /// Somebody wants the run to end.
    CancelWanted {
        /// In words.
        reason: Arc<str>,
    },
    /// A time that was asked for has come.
    Woken,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// There is an output.
    Answered {
        /// The output.
        output: Arc<Value>,
        /// What was tried, should a check say no.
        tried: Vec<Arc<str>>,
    },
    /// There is none.
    Failed {
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
        /// What was tried.
        tried: Vec<Arc<str>>,
    },
    /// A call may or may not have happened.
    Unknown {
        /// What is known.
        evidence: Arc<str>,
    },
    /// It was stopped, and nothing of it runs any more.
    Stopped,
}

/// What the shell has to do, in order, after the facts are submitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask for a slot.
    Want(SlotWish),
    /// Give a slot back, or take a wish back. Once for each [`Effect::Want`]; a grant that was on its way when the
    /// wish was taken back is ignored, so this release has to free that slot as well. A
    /// slot that is left from another life of the run is given back without a wish.
    Release {
        /// Of which step.
        step: StepId,
    },
    /// Start or resume a session.
    Start {
        /// Which attempt.
        attempt: Attempt,
        /// The order; none for a step done by a skill.
        handoff: Option<Arc<Handoff>>,
        /// When it must be done.
        deadline: UtcMillis,
        /// Whether facts of this attempt may be in the journal.
        resume: bool,
    },
    /// Stop a session; its end comes back as an event, also when there is no such session any more.
    Stop {
        /// Which attempt.
        attempt: Attempt,
    },
    /// Make the checks of an attempt.
    Check {
        /// Which attempt.
        attempt: Attempt,
        /// The output.
        output: Arc<Value>,
        /// The checks, each with the time from which a file counts as fresh.
        checks: Vec<(Check, UtcMillis)>,
        /// Handed back with the reports.
        tried: Vec<Arc<str>>,
    },
    /// Wake the run at this time. A run needs one timer: each wish replaces the one before.
    Wake {
        /// When.
        at: UtcMillis,
    },
    /// The run has ended or is parked: the actor may go once the facts are durable.
    Leave,
}

/// What a step needs to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWish {
    /// The step.
    pub step: StepId,
    /// Whose sessions are counted; none for skills.
    pub agent: Option<AgentName>,
    /// Things that only one step at a time may use.
    pub resources: Vec<Arc<str>>,
    /// The longest remaining path; longer goes first.
    pub rank: u64,
    /// Breaks ties: earlier goes first.
    pub deadline: UtcMillis,
}

/// Facts to journal, then effects to carry out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reaction {
    /// In order, in one transaction.
    pub facts: Vec<Fact>,
    /// In order, after the facts are submitted.
    pub effects: Vec<Effect>,
}

/// A run in one life of its actor: the state that facts add up to, and what this life has under way.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLoop {
    /// The state.
    pub state: RunState,
    /// Steps for which a slot is wanted.
    pub wanted: BTreeSet<StepId>,
    /// Sessions under way.
    pub live: BTreeMap<StepId, Live>,
    /// Those of them whose session has ended and whose checks are out, wanted or not.
    checking: BTreeSet<StepId>,
    woken_for: Option<UtcMillis>,
}

/// What a step with a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// The session works.
    Working,
    /// The session was told to stop.
    Stopping,
    /// The session has ended; its checks are being made.
    Checking,
}

impl RunLoop {
    /// A life that has nothing under way yet.
    pub fn new(state: RunState) -> Self {
        Self {
            state,
            wanted: BTreeSet::new(),
            live: BTreeMap::new(),
            checking: BTreeSet::new(),
            woken_for: None,
        }
    }
}

/// Takes an event in and decides what follows.
pub fn react(run: &mut RunLoop, event: Event, now: UtcMillis, around: &dyn Surroundings) -> Reaction {
    let mut reaction = Reaction::default();
    if run.state.done.is_some() || run.state.parked.is_some() {
        reaction.effects.push(Effect::Leave);
        return reaction;
    }
    let mut turn = Turn {
        run,
        reaction: &mut reaction,
        now,
        around,
    };
    match event {
        Event::Taken { recovered } => turn.taken(recovered),
        Event::Granted { step } => turn.granted(&step),
        Event::Refused { attempt, findings } => turn.refused(attempt, findings),
        Event::Ended { attempt, end } => turn.ended(attempt, end),
        Event::Checked {
            attempt,
            output,
            reports,
            tried,
        } => turn.checked(attempt, &output, reports, &tried),
        Event::CancelWanted { reason } => {
            if turn.run.state.cancel.is_none() {
                turn.take(Fact::CancelRequested {
                    outcome: Outcome::Cancelled,
                    reason,
                });
            }
        }
        Event::Woken => turn.run.woken_for = None,
    }
    turn.advance();
    reaction
}

/// One reaction in the making.
struct Turn<'a> {
    run: &'a mut RunLoop,
    reaction: &'a mut Reaction,
    now: UtcMillis,
    around: &'a dyn Surroundings,
}

impl Turn<'_> {
    fn take(&mut self, fact: Fact) {
        self.run.state.fold(&fact, self.now);
        self.reaction.facts.push(fact);
    }

    fn effect(&mut self, effect: Effect) {
        self.reaction.effects.push(effect);
    }

    fn definition(&self, id: &StepId) -> Option<Step> {
        self.run.state.plan.as_ref().and_then(|plan| plan.step(id)).cloned()
    }

    /// Whether this life has the attempt under way, with its checks out or not: words about another attempt, or
    /// second words about the same, come too late.
    fn is_live(&self, attempt: &Attempt, checking: bool) -> bool {
        self.run.live.contains_key(&attempt.step)
            && self.run.checking.contains(&attempt.step) == checking
            && self.run.state.attempt(&attempt.step).as_ref() == Some(attempt)
    }

    fn leave_slot(&mut self, step: &StepId) {
        self.run.live.remove(step);
        self.run.checking.remove(step);
        self.effect(Effect::Release { step: step.clone() });
    }

    fn taken(&mut self, recovered: bool) {
        if recovered {
            self.take(Fact::RunRecovered {
                boot: self.around.boot(),
            });
            if self.run.state.recoveries >= POISON_RECOVERIES_MAX {
                let reason = format!("{} recoveries brought no new fact", self.run.state.recoveries);
                self.take(Fact::RunParked { reason: reason.into() });
            }
        }
    }

    fn granted(&mut self, id: &StepId) {
        // The wish was taken back while the grant was on its way: that release gave the slot back as well.
        if !self.run.wanted.remove(id) {
            return;
        }
        if self.run.state.cancel.is_some() || self.now >= self.run_deadline() || !self.may_start(id) {
            self.effect(Effect::Release { step: id.clone() });
            return;
        }
        let state = self.run.state.step(id).expect("a step that may start is known");
        let resume = state.phase == StepPhase::Running;
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
            Some(handoff) => handoff.deadline,
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

    fn may_start(&self, id: &StepId) -> bool {
        let Some(state) = self.run.state.step(id) else {
            return false;
        };
        if self.run.live.contains_key(id) {
            return false;
        }
        match state.phase {
            StepPhase::Running => true,
            StepPhase::Retrying(at) => at <= self.now,
            StepPhase::Waiting => {
                id.as_str() == PLANNING_STEP
                    || self
                        .definition(id)
                        .is_some_and(|step| self.run.state.readiness(&step) == Readiness::Ready)
            }
            _ => id.as_str() == PLANNING_STEP && self.run.state.needs_planning(),
        }
    }

    fn deadline_of(&self, id: &StepId) -> UtcMillis {
        let started_at = self
            .run
            .state
            .step(id)
            .and_then(|step| step.started_at)
            .unwrap_or(self.now);
        let definition = self.definition(id);
        let agent = self.agent_of(definition.as_ref());
        let own = definition
            .and_then(|step| step.timeout_ms)
            .unwrap_or_else(|| self.around.timeout_ms(agent.as_ref()));
        started_at.plus_ms(own).min(self.run_deadline())
    }

    fn run_deadline(&self) -> UtcMillis {
        self.run
            .state
            .spec
            .as_ref()
            .map_or(UtcMillis(u64::MAX), |spec| spec.deadline)
    }

    /// The agent of a step; the planner for the planning step.
    fn agent_of(&self, definition: Option<&Step>) -> Option<AgentName> {
        match definition.map(|step| &step.work) {
            Some(Work::Agent(agent)) => Some(agent.clone()),
            Some(Work::Skill(_)) => None,
            None => Some(self.around.planner()),
        }
    }

    /// The order for the next attempt of a step; none for a step done by a skill.
    fn order(&self, id: &StepId) -> Option<Handoff> {
        let state = &self.run.state;
        let spec = state.spec.as_ref()?;
        let lessons: Vec<Lesson> = state.step(id)?.lessons.clone();
        if id.as_str() == PLANNING_STEP {
            return Some(self.planning_order(&spec.task, lessons));
        }
        let step = self.definition(id)?;
        let Work::Agent(agent) = &step.work else { return None };
        let context = step.inputs.iter().map(|(name, input)| ContextEntry {
            name: name.clone(),
            source: match input {
                Input::Literal(value) => ContextSource::Literal(value.clone()),
                Input::Output { step, pointer } => ContextSource::Output {
                    step: step.clone(),
                    pointer: pointer.clone(),
                },
            },
        });
        let own_ms = step.timeout_ms.unwrap_or_else(|| self.around.timeout_ms(Some(agent)));
        Some(Handoff {
            version: HANDOFF_VERSION,
            from: state.planned_by_agent().then(|| self.around.planner()),
            to: agent.clone(),
            task: step.task.clone(),
            context: context.collect(),
            constraints: step.constraints.clone(),
            deadline: self.now.plus_ms(own_ms).min(spec.deadline),
            output_schema: step.output_schema.clone(),
            lessons,
        })
    }

    fn planning_order(&self, task: &Arc<str>, lessons: Vec<Lesson>) -> Handoff {
        let state = &self.run.state;
        let planner = self.around.planner();
        let literal = |name: &str, value: Value| ContextEntry {
            name: name.into(),
            source: ContextSource::Literal(value),
        };
        let mut context = self.around.planning_context();
        if !state.findings.is_empty() {
            let findings: Vec<String> = state.findings.iter().map(ToString::to_string).collect();
            context.push(literal("findings", json!(findings)));
        }
        if state.plan.is_some() {
            let of = |phase: &StepPhase| -> Value {
                let steps = state.planned().filter(|(_, step)| step.phase == *phase);
                let digest = steps.map(|(step, state)| {
                    json!({ "id": step.id.as_str(), "task": &*step.task, "reason": state.reason.as_deref() })
                });
                digest.collect()
            };
            let plan = state.plan.as_deref().map(write_plan).unwrap_or_default();
            context.push(literal("plan", plan));
            context.push(literal("failed", of(&StepPhase::Failed)));
            context.push(literal("finished", of(&StepPhase::Done)));
        }
        Handoff {
            version: HANDOFF_VERSION,
            from: None,
            deadline: self
                .now
                .plus_ms(self.around.timeout_ms(Some(&planner)))
                .min(self.run_deadline()),
            to: planner,
            task: task.clone(),
            context,
            constraints: Vec::new(),
            output_schema: Some(Arc::new(plan_schema())),
            lessons,
        }
    }

    fn refused(&mut self, attempt: Attempt, findings: Arc<[Finding]>) {
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
    fn refuse(&mut self, attempt: Attempt, findings: Arc<[Finding]>) {
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

    fn ended(&mut self, attempt: Attempt, end: AttemptEnd) {
        // While the checks are out, a failure says that they could not be made; anything else is an old word.
        let checks_failed = matches!(end, AttemptEnd::Failed { .. }) && self.is_live(&attempt, true);
        if !checks_failed && !self.is_live(&attempt, false) {
            return;
        }
        let step = attempt.step.clone();
        let stopping = self.run.live.get(&step) == Some(&Live::Stopping);
        match end {
            AttemptEnd::Unknown { evidence } => {
                self.take(Fact::StepUnknown { attempt, evidence });
            }
            // It was told to stop, or came to an end by itself just before: the end that was asked for stands.
            _ if stopping => self.take(Fact::StepCancelled { step: step.clone() }),
            // Nobody here asked for it: whatever did the work is gone.
            AttemptEnd::Stopped => {
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
        }
        self.leave_slot(&step);
    }

    fn checked(&mut self, attempt: Attempt, output: &Value, reports: Vec<CheckReport>, tried: &[Arc<str>]) {
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
    fn proposed(&mut self, attempt: Attempt, output: &Value) {
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
    fn with_finished_steps(&self, mut plan: Plan) -> Plan {
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

    fn failed(&mut self, attempt: Attempt, class: FailureClass, reason: Arc<str>, tried: &[Arc<str>]) {
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
        let retry_at = retry_at.filter(|at| *at < self.run_deadline());
        self.take(Fact::StepFailed {
            attempt,
            class,
            reason,
            tried: tried.into(),
            retry_at,
        });
    }

    /// Goes on until something outside has to answer.
    fn advance(&mut self) {
        if self.run.state.parked.is_some() {
            for attempt in self.orphans() {
                let step = attempt.step.clone();
                self.effect(Effect::Stop { attempt });
                self.effect(Effect::Release { step });
            }
            self.effect(Effect::Leave);
            return;
        }
        if self.now >= self.run_deadline() && self.run.state.cancel.is_none() {
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

    fn advance_cancel(&mut self) {
        self.stop_orphans(|_| true);
        self.take_back(|_| true);
        self.stop_live(|_| true);
        if !self.run.live.is_empty() {
            return;
        }
        let open: Vec<StepId> = self
            .all_steps()
            .filter(|(_, step)| matches!(step.phase, StepPhase::Running | StepPhase::Retrying(_)))
            .map(|(id, _)| id.clone())
            .collect();
        for step in open {
            self.take(Fact::StepCancelled { step });
        }
        let (outcome, reason) = self.run.state.cancel.clone().expect("a cancelled run has a reason");
        self.finish(outcome, Value::String(reason.to_string()));
    }

    /// What another life began and this one has not taken up may still work (only this run's actor may have
    /// died) and may still hold its slot: it is stopped and waited for like the rest.
    fn stop_orphans(&mut self, which: impl Fn(&StepId) -> bool) {
        for attempt in self.orphans() {
            if which(&attempt.step) {
                self.run.wanted.remove(&attempt.step);
                self.run.live.insert(attempt.step.clone(), Live::Stopping);
                self.effect(Effect::Stop { attempt });
            }
        }
    }

    fn orphans(&self) -> Vec<Attempt> {
        let running = self.all_steps().filter(|(_, step)| step.phase == StepPhase::Running);
        let orphans = running.filter(|(id, _)| !self.run.live.contains_key(*id));
        orphans.filter_map(|(id, _)| self.run.state.attempt(id)).collect()
    }

    fn stop_live(&mut self, which: impl Fn(&StepId) -> bool) {
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

    fn all_steps(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        let planning = self.run.state.planning.attempt > 0;
        let planning = planning.then_some((&*PLANNING, &self.run.state.planning));
        planning.into_iter().chain(self.run.state.steps.iter())
    }

    fn advance_planning(&mut self) {
        let planning = RunState::planning_step();
        if self.run.wanted.contains(&planning) || self.run.live.contains_key(&planning) {
            return;
        }
        // An amended plan must know how the running steps end, also those that another life began; nothing
        // else starts before.
        self.take_back(|state| state.phase != StepPhase::Running);
        if let Some(plan) = self.run.state.plan.clone() {
            for step in &plan.steps {
                if self.run.state.steps[&step.id].phase == StepPhase::Running {
                    self.want(step);
                }
            }
        }
        if !self.run.live.is_empty() || !self.run.wanted.is_empty() {
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
            StepPhase::Retrying(at) if at > self.now => {}
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

    /// Nothing that is left of the plan will be done.
    fn skip_open(&mut self, reason: &str) {
        let open = self.run.state.planned();
        let open = open.filter(|(_, step)| matches!(step.phase, StepPhase::Waiting | StepPhase::Retrying(_)));
        let open: Vec<StepId> = open.map(|(step, _)| step.id.clone()).collect();
        for step in open {
            let reason = reason.into();
            self.take(Fact::StepSkipped { step, reason });
        }
    }

    /// Takes wishes back; a grant that is on its way is ignored when it comes.
    fn take_back(&mut self, which: impl Fn(&StepState) -> bool) {
        let state = &self.run.state;
        let back = self.run.wanted.iter();
        let back: Vec<StepId> = back.filter(|id| state.step(id).is_none_or(&which)).cloned().collect();
        for step in back {
            self.run.wanted.remove(&step);
            self.effect(Effect::Release { step });
        }
    }

    /// Asks for a slot, once.
    fn want(&mut self, step: &Step) {
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

    fn advance_plan(&mut self) {
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
                StepPhase::Retrying(at) => at <= self.now,
                StepPhase::Waiting => self.run.state.readiness(step) == Readiness::Ready,
                _ => false,
            };
            if wants {
                self.want(step);
            }
        }
        let is_over = self.run.live.is_empty()
            && self.run.wanted.is_empty()
            && !self
                .run
                .state
                .steps
                .values()
                .any(|step| matches!(step.phase, StepPhase::Retrying(_)));
        if is_over {
            self.conclude(&plan);
        }
    }

    fn skip_what_cannot_start(&mut self, plan: &Plan) {
        loop {
            let failing = self.run.state.fatal_failure().map(|(step, _)| step.id.clone());
            let mut skipped = Vec::new();
            for step in &plan.steps {
                let state = &self.run.state.steps[&step.id];
                let waits = matches!(state.phase, StepPhase::Waiting | StepPhase::Retrying(_));
                if !waits || self.run.live.contains_key(&step.id) {
                    continue;
                }
                if let Some(failed) = &failing {
                    skipped.push((
                        step.id.clone(),
                        format!("step {failed} failed, so nothing new is started"),
                    ));
                } else if self.run.state.readiness(step) == Readiness::Impossible {
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

    /// A join that needs only some of its steps cancels the others once it has started, unless somebody else
    /// still wants them.
    fn stop_losers(&mut self, plan: &Plan) {
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

    fn conclude(&mut self, plan: &Plan) {
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

    fn finish(&mut self, outcome: Outcome, result: Value) {
        self.take(Fact::RunDone {
            outcome,
            result: result.to_string().into(),
        });
        self.effect(Effect::Leave);
    }

    /// Asks to be woken for the next due time, once for each.
    fn wake(&mut self) {
        if self.run.state.done.is_some() {
            return;
        }
        let retries = self.all_steps().filter_map(|(_, step)| match step.phase {
            StepPhase::Retrying(at) if at > self.now => Some(at),
            _ => None,
        });
        let next = retries
            .chain([self.run_deadline()])
            .min()
            .unwrap_or(UtcMillis(u64::MAX));
        if next != UtcMillis(u64::MAX) && self.run.woken_for.is_none_or(|at| next < at) {
            self.run.woken_for = Some(next);
            self.effect(Effect::Wake { at: next });
        }
    }
}

static PLANNING: std::sync::LazyLock<StepId> = std::sync::LazyLock::new(RunState::planning_step);
