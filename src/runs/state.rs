//! A run's state: the fold of its facts. Pure; the same fold serves recovery, views, and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::approval::{Ask, Given};
use crate::domain::check::{Check, CheckReport, check_of_call};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::{FailureClass, NextAttempt};
use crate::domain::handoff::{Finding, Handoff, Lesson};
use crate::domain::id::{BootId, RunId};
use crate::domain::limits::REPLANS_MAX;
use crate::domain::name::{SkillName, StepId};
use crate::domain::plan::{Input, Join, NeedState, OnFailure, Plan, Step, Work};
use crate::domain::plan_admission::{PLANNING_STEP, Ranks, ranks};
use crate::domain::resolution::Resolution;
use crate::domain::run::{Outcome, RunSpec, RunStatus};
use crate::domain::time::UtcMillis;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepPhase {
    /// Not started: needs are open, or no slot was free.
    Waiting,
    /// An attempt failed; the next one may start at this time.
    Retrying(UtcMillis),
    /// Leased to a life of the process.
    Running,
    /// Its attempt waits for a model without a slot; the same attempt goes on at this time.
    Resting(UtcMillis),
    /// Its checks passed.
    Done,
    /// It failed for good.
    Failed,
    /// It will not be done.
    Skipped,
    /// It was stopped.
    Cancelled,
    /// It waits for a person to say whether a call happened.
    Unknown,
    /// It waits for a person to agree to a call. It holds no slot meanwhile.
    Asking,
}

/// A question about a call that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAsk {
    /// What is asked.
    pub ask: Ask,
    /// When no answer becomes a no.
    pub until: UtcMillis,
    /// The answer.
    pub given: Option<Given>,
}

/// The state of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub phase: StepPhase,
    /// The last attempt begun; 0 before the first. Never goes back, so that effect keys stay unique.
    pub attempt: u32,
    /// Attempts that failed since the step was planned (a replan starts the count anew).
    pub failures: u32,
    /// What they taught: failures that said something about the work.
    pub lessons: Vec<Lesson>,
    /// The order of the present attempt.
    pub handoff: Option<Arc<Handoff>>,
    /// Its output, once done.
    pub output: Option<Arc<Value>>,
    /// When the present attempt began.
    pub started_at: Option<UtcMillis>,
    /// When it ended.
    pub ended_at: Option<UtcMillis>,
    /// Why it stands there, for people.
    pub reason: Option<Arc<str>>,
    /// The class of its last failure.
    pub failed_as: Option<FailureClass>,
    /// The checks of the present attempt.
    pub checks: Vec<CheckReport>,
    /// Whose lease it is.
    pub leased_by: Option<BootId>,
    /// Whether a model was asked and has not answered yet: all that the attempt does is wait.
    pub waits_for_model: bool,
    /// Whether its order was refused by the sender or the receiver: the planner must change the plan.
    pub handoff_refused: bool,
    /// What the present attempt asks or asked of a person, the last question about each call.
    pub asks: BTreeMap<u32, OpenAsk>,
    /// What a person last said of its unknown calls, by call.
    pub resolved: BTreeMap<u32, Resolution>,
    /// Since when it waits for a person.
    pub waits_since: Option<UtcMillis>,
    /// How long the present attempt has waited for persons, in milliseconds: its deadline moves by as much.
    pub waited_ms: u64,
}

/// A call that undoes an effect of a run that ends without success.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensation {
    /// As a step: one call of a skill.
    pub step: Step,
    /// Whose effect is undone.
    pub undoes: Attempt,
    /// Which call of it; none when the step as a whole is undone.
    pub ordinal: Option<u32>,
}

/// The state of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// What was accepted; none before the first fact.
    pub spec: Option<Arc<RunSpec>>,
    /// When.
    pub accepted_at: UtcMillis,
    /// The plan in force.
    pub plan: Option<Arc<Plan>>,
    /// The longest remaining path of each of its steps.
    pub ranks: Ranks,
    /// Proposals so far.
    pub rounds: u32,
    /// Proposals refused since the last plan was accepted. (Refused orders are bounded by [`Self::replans`].)
    pub refusals: u32,
    /// Plans amended after failures.
    pub replans: u32,
    /// Why the last proposal was refused.
    pub findings: Arc<[Finding]>,
    /// The planning step.
    pub planning: StepState,
    /// The steps of the plan in force.
    pub steps: BTreeMap<StepId, StepState>,
    /// The end that was asked for.
    pub cancel: Option<(Outcome, Arc<str>)>,
    /// How it ended, with result or reason as JSON text.
    pub done: Option<(Outcome, Arc<str>)>,
    /// When it ended or was parked.
    pub ended_at: Option<UtcMillis>,
    /// When it expires: as accepted, or later when it had ended unknown or was parked and was reopened.
    pub deadline: UtcMillis,
    /// Why it is parked.
    pub parked: Option<Arc<str>>,
    /// Lives since the last fact that got the run further that ended by the run's own doing, or while it worked.
    pub recoveries: u32,
    /// The last life of the process that had the run in hand.
    pub last_boot: Option<BootId>,
    /// The place of the last fact.
    pub last_seq: u64,
    /// What is undone, in the order in which it is undone; each is a step beside the plan.
    pub compensations: Vec<Compensation>,
    proposed: Option<Arc<Plan>>,
    /// The last attempts of steps that no longer are in the plan: should they come back, they go on counting.
    retired: BTreeMap<StepId, u32>,
}

impl Default for StepState {
    fn default() -> Self {
        Self {
            phase: StepPhase::Waiting,
            attempt: 0,
            failures: 0,
            lessons: Vec::new(),
            handoff: None,
            output: None,
            started_at: None,
            ended_at: None,
            reason: None,
            failed_as: None,
            checks: Vec::new(),
            leased_by: None,
            waits_for_model: false,
            handoff_refused: false,
            asks: BTreeMap::new(),
            resolved: BTreeMap::new(),
            waits_since: None,
            waited_ms: 0,
        }
    }
}

impl StepState {
    /// Whether nothing more will happen to it.
    pub fn has_ended(&self) -> bool {
        !matches!(
            self.phase,
            StepPhase::Waiting
                | StepPhase::Retrying(_)
                | StepPhase::Running
                | StepPhase::Resting(_)
                | StepPhase::Asking
        )
    }

    /// Questions that have no answer yet.
    pub fn open_asks(&self) -> impl Iterator<Item = &OpenAsk> {
        let asks = self.asks.values().filter(|_| self.phase == StepPhase::Asking);
        asks.filter(|open| open.given.is_none())
    }

    /// Whether a person gave up one of the calls that it waits for.
    pub fn is_abandoned(&self) -> bool {
        self.phase == StepPhase::Unknown && self.resolved.values().any(|said| *said == Resolution::Abandoned)
    }

    fn begin_wait(&mut self, at: UtcMillis) {
        self.waits_since = self.waits_since.or(Some(at));
    }

    /// The attempt goes on: its session is to be resumed.
    fn end_wait(&mut self, at: UtcMillis) {
        self.phase = StepPhase::Running;
        self.leased_by = None;
        self.waits_for_model = false;
        self.reason = None;
        self.ended_at = None;
        self.waited_ms += self.waits_since.take().map_or(0, |since| at.since(since));
    }
}

/// Attempts after a failed one of a call that undoes something.
const UNDO_RETRIES: u32 = 2;

impl Compensation {
    fn of(step: &StepId, undoes: &Attempt, ordinal: Option<u32>, skill: &SkillName, arguments: &str) -> Self {
        let arguments = serde_json::from_str(arguments).unwrap_or_default();
        let inputs: Map<String, Value> = match arguments {
            Value::Object(inputs) => inputs,
            _ => Map::new(),
        };
        let inputs = inputs.into_iter();
        let step = Step {
            inputs: inputs
                .map(|(name, value)| (name.into(), Input::Literal(value)))
                .collect(),
            retries: Some(UNDO_RETRIES),
            ..Step::new(
                step.clone(),
                Work::Skill(skill.clone()),
                format!("undo step {}", undoes.step),
            )
        };
        Self {
            step,
            undoes: undoes.clone(),
            ordinal,
        }
    }
}

/// What the needs of a step say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may start.
    Ready,
    /// It has to wait.
    Open,
    /// It can never start.
    Impossible,
}

impl RunState {
    /// The state before any fact.
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            spec: None,
            accepted_at: UtcMillis(0),
            plan: None,
            ranks: Ranks::new(),
            rounds: 0,
            refusals: 0,
            replans: 0,
            findings: Arc::new([]),
            planning: StepState::default(),
            steps: BTreeMap::new(),
            cancel: None,
            done: None,
            ended_at: None,
            deadline: UtcMillis(u64::MAX),
            parked: None,
            recoveries: 0,
            last_boot: None,
            last_seq: 0,
            compensations: Vec::new(),
            proposed: None,
            retired: BTreeMap::new(),
        }
    }

    /// The state after these facts.
    pub fn load<'facts>(run: RunId, facts: impl IntoIterator<Item = &'facts Stamped>) -> Self {
        let mut state = Self::new(run);
        for stamped in facts {
            state.fold(&stamped.fact, stamped.at);
            state.last_seq = stamped.seq;
        }
        state
    }

    /// Where the run stands.
    pub fn status(&self) -> RunStatus {
        match (&self.done, &self.parked) {
            (Some((outcome, _)), _) => RunStatus::Ended(*outcome),
            (None, Some(_)) => RunStatus::Parked,
            (None, None) => RunStatus::Active,
        }
    }

    /// The id of the planning step.
    pub fn planning_step() -> StepId {
        StepId::new(PLANNING_STEP).expect("the planning step has a valid id")
    }

    /// The state of a step, the planning step included.
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        if id.as_str() == PLANNING_STEP {
            Some(&self.planning)
        } else {
            self.steps.get(id)
        }
    }

    fn step_mut(&mut self, id: &StepId) -> Option<&mut StepState> {
        if id.as_str() == PLANNING_STEP {
            Some(&mut self.planning)
        } else {
            self.steps.get_mut(id)
        }
    }

    /// What a step is: of the plan in force, or one that undoes another.
    pub fn definition(&self, id: &StepId) -> Option<&Step> {
        let planned = self.plan.as_ref().and_then(|plan| plan.step(id));
        planned.or_else(|| self.compensation(id).map(|undo| &undo.step))
    }

    /// What undoes an effect, by its step.
    pub fn compensation(&self, id: &StepId) -> Option<&Compensation> {
        self.compensations.iter().find(|undo| undo.step.id == *id)
    }

    /// Whether effects are being undone: all other work of the run has ended.
    pub fn is_undoing(&self) -> bool {
        !self.compensations.is_empty() && self.done.is_none()
    }

    /// The steps of the plan in force with their states, in the plan's order.
    pub fn planned(&self) -> impl Iterator<Item = (&Step, &StepState)> {
        let steps = self.plan.iter().flat_map(|plan| plan.steps.iter());
        steps.filter_map(|step| Some((step, self.steps.get(&step.id)?)))
    }

    /// Takes one fact in.
    pub fn fold(&mut self, fact: &Fact, at: UtcMillis) {
        match fact {
            Fact::RunRecovered { boot } if self.is_blamed(*boot) => self.recoveries += 1,
            fact if self.is_progress(fact) => self.recoveries = 0,
            _ => {}
        }
        self.fold_wait(fact);
        match fact {
            Fact::RunAccepted(spec) => {
                self.spec = Some(spec.clone());
                self.deadline = spec.deadline;
                self.accepted_at = at;
            }
            Fact::PlanProposed { round, plan } => {
                self.rounds = *round;
                self.proposed = Some(plan.clone());
            }
            Fact::PlanRejected { round, findings } => {
                self.rounds = *round;
                self.refusals += 1;
                self.findings = findings.clone();
                self.proposed = None;
            }
            Fact::PlanAccepted { .. } => self.fold_plan(),
            Fact::StepLeased { attempt, boot } => {
                if let Some(step) = self.step_mut(&attempt.step) {
                    if attempt.number != step.attempt {
                        *step = StepState {
                            attempt: attempt.number,
                            failures: step.failures,
                            lessons: std::mem::take(&mut step.lessons),
                            started_at: Some(at),
                            ..StepState::default()
                        };
                    }
                    if step.leased_by != Some(*boot) {
                        // No session of another life waits for anything any more.
                        step.waits_for_model = false;
                    }
                    if step.phase == StepPhase::Asking {
                        // Earlier builds took an attempt up after the first of several answers.
                        step.end_wait(at);
                    }
                    step.phase = StepPhase::Running;
                    step.reason = None;
                    step.leased_by = Some(*boot);
                }
                self.last_boot = Some(*boot);
            }
            Fact::RunRecovered { boot } => self.last_boot = Some(*boot),
            Fact::HandoffSent { attempt, handoff } => {
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.handoff = Some(handoff.clone());
                }
            }
            Fact::HandoffRejected { attempt, findings } => {
                self.findings = findings.clone();
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.handoff_refused = true;
                }
            }
            Fact::CheckMade { attempt, report } => {
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.checks.push(report.clone());
                }
            }
            Fact::StepDone { attempt, output } => {
                let output = serde_json::from_str(output).unwrap_or_else(|_| Value::String(output.to_string()));
                self.end_step(&attempt.step, StepPhase::Done, None, at);
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.output = Some(Arc::new(output));
                }
            }
            Fact::StepFailed {
                attempt,
                class,
                reason,
                tried,
                retry_at,
            } => {
                let phase = retry_at.map_or(StepPhase::Failed, StepPhase::Retrying);
                self.end_step(&attempt.step, phase, Some(reason.clone()), at);
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.failures += 1;
                    step.failed_as = Some(*class);
                    // A failure on the way to the work teaches the agent nothing: the next attempt is unchanged.
                    if class.next_attempt() != NextAttempt::Unchanged {
                        let tried = tried.to_vec();
                        step.lessons.push(Lesson {
                            attempt: attempt.number,
                            class: *class,
                            reason: reason.clone(),
                            tried,
                        });
                    }
                }
            }
            Fact::StepRested { attempt, reason, until } => {
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.phase = StepPhase::Resting(*until);
                    step.reason = Some(reason.clone());
                }
            }
            Fact::StepSkipped { step, reason } => self.end_step(step, StepPhase::Skipped, Some(reason.clone()), at),
            Fact::StepCancelled { step } => self.end_step(step, StepPhase::Cancelled, None, at),
            Fact::StepUnknown { attempt, evidence } => {
                self.end_step(&attempt.step, StepPhase::Unknown, Some(evidence.clone()), at);
                if let Some(step) = self.step_mut(&attempt.step) {
                    step.begin_wait(at);
                }
            }
            Fact::CallResolved {
                attempt,
                ordinal,
                resolution,
                ..
            } => {
                if let Some(step) = self.step_of_mut(attempt) {
                    step.resolved.insert(*ordinal, resolution.clone());
                    // One that was given up stays where it is, for the run to fail it.
                    if step.phase == StepPhase::Unknown && !step.is_abandoned() {
                        step.end_wait(at);
                    }
                }
            }
            Fact::ApprovalAsked { attempt, ask, until } => {
                if let Some(step) = self.step_of_mut(attempt) {
                    let open = OpenAsk {
                        ask: ask.clone(),
                        until: *until,
                        given: None,
                    };
                    step.asks.insert(ask.ordinal, open);
                    step.phase = StepPhase::Asking;
                    step.leased_by = None;
                    step.begin_wait(at);
                }
            }
            Fact::ApprovalGiven {
                attempt,
                ordinal,
                given,
            } => {
                if let Some(step) = self.step_of_mut(attempt) {
                    if let Some(open) = step.asks.get_mut(ordinal) {
                        open.given = Some(given.clone());
                    }
                    // While another question is open, its session would only ask that one again, with the same time to run.
                    if step.phase == StepPhase::Asking && step.open_asks().next().is_none() {
                        step.end_wait(at);
                    }
                }
            }
            Fact::RunReopened { deadline } => {
                self.done = None;
                self.parked = None;
                self.ended_at = None;
                self.deadline = *deadline;
            }
            Fact::CompensationQueued {
                step,
                undoes,
                ordinal,
                skill,
                arguments,
            } => {
                let compensation = Compensation::of(step, undoes, *ordinal, skill, arguments);
                self.compensations.push(compensation);
                // A step of an earlier plan may have had this name: its keys are used up.
                let attempt = self.retired.remove(step).unwrap_or(0);
                let state = StepState {
                    attempt,
                    ..StepState::default()
                };
                self.steps.insert(step.clone(), state);
            }
            Fact::CancelRequested { outcome, reason } => {
                if self.cancel.is_none() {
                    self.cancel = Some((*outcome, reason.clone()));
                }
            }
            Fact::RunDone { outcome, result } => {
                self.done = Some((*outcome, result.clone()));
                self.ended_at = Some(at);
            }
            Fact::RunParked { reason } => {
                self.parked = Some(reason.clone());
                self.ended_at = Some(at);
            }
            // The conversation of a session is folded by the turn loop.
            Fact::HandoffAccepted { .. }
            | Fact::TurnIntended { .. }
            | Fact::TurnFinished { .. }
            | Fact::TurnFailed { .. }
            | Fact::MemoryRecalled { .. }
            | Fact::TurnDeferred { .. }
            | Fact::CompactionBegun { .. }
            | Fact::HistoryCompacted { .. }
            | Fact::AnswerRejected { .. }
            | Fact::CallIntended { .. }
            | Fact::CallFinished { .. }
            | Fact::CallUnknown { .. }
            | Fact::CallDeadLettered { .. } => {}
        }
    }

    /// Whether the end of the last life may be the run's own doing. In the same life of the process it is taken up
    /// again only after a crash of its own actor. With another life the whole process ended: then it counts when one of
    /// its steps was at work in the life that ended, and not when all of them waited for a model, a person, a slot or a
    /// time.
    fn is_blamed(&self, boot: BootId) -> bool {
        let was_at_work = |step: &StepState| {
            step.phase == StepPhase::Running && step.leased_by == self.last_boot && !step.waits_for_model
        };
        self.last_boot == Some(boot) || self.all_steps().any(was_at_work)
    }

    /// A session's own facts say when it begins to wait for a model and when it no longer does.
    fn fold_wait(&mut self, fact: &Fact) {
        let waits = matches!(fact, Fact::TurnIntended { .. } | Fact::TurnDeferred { .. });
        let of = fact.attempt().filter(|_| fact.is_of_session());
        if let Some(step) = of.and_then(|attempt| self.step_of_mut(attempt)) {
            step.waits_for_model = waits && step.phase == StepPhase::Running;
        }
    }

    /// Whether the fact gets the run further. What each life does again before it comes to the work itself does
    /// not: a run that kills the process at its work would otherwise never be found out.
    fn is_progress(&self, fact: &Fact) -> bool {
        match fact {
            Fact::StepLeased { attempt, .. } => {
                let known = self.step(&attempt.step);
                known.is_none_or(|step| step.attempt != attempt.number)
            }
            Fact::TurnFailed { class, .. } => *class != FailureClass::Crash,
            // The command of a check that kills the process is begun in each life anew.
            Fact::CallIntended { ordinal, .. } => check_of_call(*ordinal).is_none(),
            Fact::RunRecovered { .. } | Fact::HandoffAccepted { .. } | Fact::TurnIntended { .. } => false,
            _ => true,
        }
    }

    /// The proposal becomes the plan. Steps that are done stay as they are; the others start anew, but their
    /// attempts go on counting.
    fn fold_plan(&mut self) {
        let Some(plan) = self.proposed.take() else { return };
        if self.plan.is_some() {
            self.replans += 1;
        }
        self.refusals = 0;
        self.findings = Arc::new([]);
        self.planning.failures = 0;
        self.planning.lessons.clear();
        let mut old = std::mem::take(&mut self.steps);
        for step in &plan.steps {
            let retired = self.retired.remove(&step.id);
            let state = match old.remove(&step.id) {
                Some(known) if known.phase == StepPhase::Done => known,
                Some(known) => StepState {
                    attempt: known.attempt,
                    lessons: known.lessons,
                    ..StepState::default()
                },
                None => StepState {
                    attempt: retired.unwrap_or(0),
                    ..StepState::default()
                },
            };
            self.steps.insert(step.id.clone(), state);
        }
        let retired = old.into_iter().filter(|(_, step)| step.attempt > 0);
        self.retired.extend(retired.map(|(id, step)| (id, step.attempt)));
        self.ranks = ranks(&plan);
        self.plan = Some(plan);
    }

    fn step_of_mut(&mut self, attempt: &Attempt) -> Option<&mut StepState> {
        self.step_mut(&attempt.step)
            .filter(|step| step.attempt == attempt.number)
    }

    fn end_step(&mut self, id: &StepId, phase: StepPhase, reason: Option<Arc<str>>, at: UtcMillis) {
        if let Some(step) = self.step_mut(id) {
            if phase != StepPhase::Unknown {
                // Nothing more is asked about an attempt that has ended, and its snapshot keeps none of it.
                step.asks.clear();
                step.resolved.clear();
                step.waits_since = None;
                step.waited_ms = 0;
            }
            step.phase = phase;
            step.reason = reason;
            step.ended_at = Some(at);
            step.leased_by = None;
            step.waits_for_model = false;
        }
    }

    /// Whether a need is met, still open, or can never be met.
    fn need(&self, step: &StepId, on: NeedState) -> Readiness {
        let Some(state) = self.steps.get(step) else {
            return Readiness::Impossible;
        };
        if !state.has_ended() {
            return Readiness::Open;
        }
        let is_waved_through = || {
            let definition = self.plan.as_ref().and_then(|plan| plan.step(step));
            state.phase == StepPhase::Failed && definition.is_some_and(|step| step.on_failure == OnFailure::Continue)
        };
        let met = match on {
            NeedState::Ok => state.phase == StepPhase::Done || is_waved_through(),
            // A person may still say how an unknown step ended.
            NeedState::Done => state.phase != StepPhase::Unknown,
            NeedState::Failed => state.phase == StepPhase::Failed,
            NeedState::Skipped => state.phase == StepPhase::Skipped,
        };
        match (met, &state.phase) {
            (true, _) => Readiness::Ready,
            (false, StepPhase::Unknown) => Readiness::Open,
            (false, _) => Readiness::Impossible,
        }
    }

    /// Whether the needs of a step let it start.
    pub fn readiness(&self, step: &Step) -> Readiness {
        let total = step.needs.len();
        let wanted = match step.join {
            Join::All => total,
            Join::Any => 1.min(total),
            Join::AtLeast(count) => (count as usize).min(total),
        };
        let needs: Vec<Readiness> = step.needs.iter().map(|need| self.need(&need.step, need.on)).collect();
        let count = |wanted: Readiness| needs.iter().filter(|need| **need == wanted).count();
        let (met, open) = (count(Readiness::Ready), count(Readiness::Open));
        if met >= wanted {
            Readiness::Ready
        } else if met + open < wanted {
            Readiness::Impossible
        } else {
            Readiness::Open
        }
    }

    /// The first step that failed for good in a way that ends the run, if any.
    pub fn fatal_failure(&self) -> Option<(&Step, &StepState)> {
        self.planned().find(|(step, state)| {
            state.phase == StepPhase::Failed && matches!(step.on_failure, OnFailure::FailFast | OnFailure::Replan)
        })
    }

    /// Whether the planner must make or mend a plan before anything else starts.
    ///
    /// A plan is not mended when a step waits for a person (what it did could be done again) or when a failure
    /// was declared to end the run.
    pub fn needs_planning(&self) -> bool {
        if self.plan.is_none() {
            return true;
        }
        if !self.planned_by_agent() || self.replans >= REPLANS_MAX {
            return false;
        }
        let mut wants = false;
        for (step, state) in self.planned() {
            match state.phase {
                StepPhase::Unknown => return false,
                StepPhase::Failed if state.handoff_refused || step.on_failure == OnFailure::Replan => wants = true,
                StepPhase::Failed if step.on_failure == OnFailure::FailFast => return false,
                _ => {}
            }
        }
        wants
    }

    /// The steps of the plan in force and the planning step.
    pub fn all_steps(&self) -> impl Iterator<Item = &StepState> {
        self.steps.values().chain([&self.planning])
    }

    /// Whether a person is asked to agree to a call.
    pub fn asks(&self) -> bool {
        self.status() == RunStatus::Active && self.all_steps().any(|step| step.phase == StepPhase::Asking)
    }

    /// Whether the plan comes from the planner rather than from the submission.
    pub fn planned_by_agent(&self) -> bool {
        self.spec
            .as_ref()
            .is_some_and(|spec| spec.agent.is_none() && spec.plan.is_none())
    }

    /// The inputs of a step as values; an output that does not exist is null.
    pub fn inputs(&self, step: &Step) -> Map<String, Value> {
        let inputs = step.inputs.iter().map(|(name, input)| {
            let value = match input {
                Input::Literal(value) => value.clone(),
                Input::Output { step, pointer } => self.output(step, pointer).cloned().unwrap_or(Value::Null),
            };
            (name.to_string(), value)
        });
        inputs.collect()
    }

    /// The output of a step at a JSON Pointer.
    pub fn output(&self, step: &StepId, pointer: &str) -> Option<&Value> {
        crate::domain::json::resolve(self.steps.get(step)?.output.as_deref()?, pointer)
    }

    /// The checks of a step, each with the time from which a file counts as fresh: the beginning of the attempt. The
    /// run's own checks belong to the step whose output is the result, but any of its steps may have written the
    /// file, so they count from the beginning of the run.
    pub fn checks(&self, step: &Step) -> Vec<(Check, UtcMillis)> {
        let since = self
            .step(&step.id)
            .and_then(|known| known.started_at)
            .unwrap_or(self.accepted_at);
        let mut checks: Vec<(Check, UtcMillis)> = step.checks.iter().map(|check| (check.clone(), since)).collect();
        let is_result = self.plan.as_ref().and_then(|plan| plan.result_step()) == Some(&step.id);
        if is_result && let Some(spec) = &self.spec {
            checks.extend(spec.checks.iter().map(|check| (check.clone(), self.accepted_at)));
        }
        checks
    }

    /// The attempt that a step is in.
    pub fn attempt(&self, id: &StepId) -> Option<Attempt> {
        Some(Attempt {
            step: id.clone(),
            number: self.step(id)?.attempt,
        })
    }
}
