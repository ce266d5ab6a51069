//! A world for one run: scripted ends, a slot granter, a clock that jumps from event to event, and a journal.
//!
//! **Invariants**: everything that happens is a function of the [`Case`], so a run that is cut and taken up again
//! meets the same ends. What the reducer may never do to the world (a session without a slot, a slot given back
//! twice, an end with sessions alive, a wait for nothing) is asserted here at the moment it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::approval::{Ask, Given};
use crate::domain::check::{Check, CheckReport};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextEntry, Finding, Handoff};
use crate::domain::id::{BootId, RunId};
use crate::domain::name::{AgentName, SkillName, StepId};
use crate::domain::plan::{Plan, Step, Work};
use crate::domain::plan_admission::{self, PLANNING_STEP, admit};
use crate::domain::plan_document::write_plan;
use crate::domain::resolution::Resolution;
use crate::domain::run::{Outcome, RunSpec};
use crate::domain::time::UtcMillis;
use crate::runs::decision::{
    After, AttemptEnd, Effect, Event, Judged, Reaction, RunLoop, SlotWish, Surroundings, judge_approval,
    judge_resolution, react,
};
use crate::runs::state::{RunState, StepPhase, StepState};
use crate::runs::undo::undo;

/// When every run is accepted.
pub(super) const START: u64 = 1_000;
/// A constraint that makes the sender find fault with an order.
pub(super) const UNSENDABLE: &str = "cannot be sent";
/// Reactions after which a run is said to go round in circles.
const REACTIONS_MAX: usize = 5_000;

/// How one attempt of a step ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum StepEnd {
    Answers,
    /// Answers, and its checks say no (a step without checks is done).
    ChecksFail,
    Fails(FailureClass),
    Unknown,
    Refuses,
    /// Asks a person, who says yes or no after this many milliseconds, or never; with an answer it answers.
    Asks(Option<(bool, u64)>),
    /// Asks two things at once, each answered like that.
    AsksBoth([Option<(bool, u64)>; 2]),
    /// A call is unknown, and while the run still goes on a person says after this many milliseconds what became of
    /// it.
    Lost(Says, u64),
}

/// What a person says of an unknown call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Says {
    Happened,
    NotHappened,
    Abandoned,
}

impl Says {
    pub(super) fn resolution(self) -> Resolution {
        match self {
            Self::Happened => Resolution::Happened { output: "seen".into() },
            Self::NotHappened => Resolution::NotHappened,
            Self::Abandoned => Resolution::Abandoned,
        }
    }
}

/// How long a question waits, in milliseconds.
pub(super) const ASK_MS: u64 = 70;

/// How one attempt of the planner ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PlannerEnd {
    Plans(Arc<Plan>),
    /// Answers with something that is no acceptable plan.
    PlansBadly,
    Fails(FailureClass),
    Unknown,
}

/// All that decides the course of a run.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// A plan that came with the submission.
    pub given: Option<Arc<Plan>>,
    /// The planner's attempts; the last is repeated.
    pub planner: Vec<PlannerEnd>,
    /// Attempts of steps with how long they take; others answer after [`Self::usual_ms`].
    pub ends: BTreeMap<(StepId, u32), (StepEnd, u64)>,
    pub usual_ms: u64,
    /// Attempts that rest until this time whenever they are begun before it.
    pub rests: BTreeMap<(StepId, u32), u64>,
    pub slots: usize,
    /// Retries where the plan does not say.
    pub retries: u32,
    pub cancel_at: Option<u64>,
    pub deadline: u64,
    /// Checks on the result.
    pub checks: Vec<Check>,
    /// Whether every word from outside is said twice.
    pub echo: bool,
    /// The life of the process.
    pub boot: u128,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            given: None,
            planner: Vec::new(),
            ends: BTreeMap::new(),
            usual_ms: 10,
            rests: BTreeMap::new(),
            slots: 2,
            retries: 1,
            cancel_at: None,
            deadline: START + 10_000_000,
            checks: Vec::new(),
            echo: false,
            boot: 1,
        }
    }
}

/// Batches as they became durable, the acceptance first.
pub(super) type Journal = Vec<Vec<Stamped>>;

pub(super) fn run_id() -> RunId {
    RunId::new(UtcMillis(START), 7)
}

pub(super) fn id(name: &str) -> StepId {
    StepId::new(name).expect("valid")
}

pub(super) fn agent() -> AgentName {
    AgentName::new("worker").expect("valid")
}

fn planner() -> AgentName {
    AgentName::new("planner").expect("valid")
}

/// A step of an agent with defaults.
pub(super) fn step(name: &str) -> Step {
    Step::new(id(name), Work::Agent(agent()), format!("do {name}"))
}

pub(super) fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        goal: "goal".into(),
        steps,
        result: None,
    }
}

/// A check that only scripts decide.
pub(super) fn some_check() -> Check {
    Check::ExitCode { equals: 0 }
}

/// What a question of an attempt goes by.
pub(super) fn hash(attempt: &Attempt, ordinal: u32) -> Arc<str> {
    format!("{attempt} {ordinal}").into()
}

/// Facts of a journal, in order.
pub(super) fn facts(journal: &Journal) -> impl Iterator<Item = &Stamped> {
    journal.iter().flatten()
}

/// The state that a journal adds up to.
pub(super) fn load(journal: &Journal) -> RunState {
    RunState::load(run_id(), facts(journal))
}

impl Case {
    pub(super) fn end(mut self, name: &str, attempt: u32, end: StepEnd) -> Self {
        let ms = self.usual_ms;
        self.ends.insert((id(name), attempt), (end, ms));
        self
    }

    pub(super) fn takes(mut self, name: &str, attempt: u32, ms: u64) -> Self {
        self.ends.insert((id(name), attempt), (StepEnd::Answers, ms));
        self
    }

    pub(super) fn rests(mut self, name: &str, attempt: u32, until: u64) -> Self {
        self.rests.insert((id(name), attempt), until);
        self
    }

    fn end_of(&self, attempt: &Attempt) -> (StepEnd, u64) {
        let key = (attempt.step.clone(), attempt.number);
        self.ends
            .get(&key)
            .copied()
            .unwrap_or((StepEnd::Answers, self.usual_ms))
    }

    /// The journal of the run when it has just been accepted.
    pub(super) fn accepted(&self) -> Journal {
        let spec = RunSpec {
            plan: self.given.clone(),
            checks: self.checks.clone(),
            deadline: UtcMillis(self.deadline),
            ..RunSpec::plain()
        };
        let mut facts = vec![Fact::RunAccepted(Arc::new(spec))];
        if let Some(plan) = &self.given {
            facts.push(Fact::PlanProposed {
                round: 1,
                plan: plan.clone(),
            });
            facts.push(Fact::PlanAccepted { round: 1 });
        }
        vec![stamp(facts, 0, START)]
    }
}

fn stamp(facts: Vec<Fact>, after: u64, at: u64) -> Vec<Stamped> {
    let stamped = facts.into_iter().zip(after + 1..);
    stamped
        .map(|(fact, seq)| Stamped {
            seq,
            at: UtcMillis(at),
            fact,
        })
        .collect()
}

impl Surroundings for Case {
    fn boot(&self) -> BootId {
        BootId::new(UtcMillis(START), self.boot)
    }

    fn planner(&self) -> AgentName {
        planner()
    }

    fn retries(&self, _agent: Option<&AgentName>) -> u32 {
        self.retries
    }

    fn timeout_ms(&self, _agent: Option<&AgentName>) -> u64 {
        60_000
    }

    fn judge_plan(&self, plan: &Plan, _state: &RunState, now: UtcMillis) -> Result<(), Vec<Finding>> {
        let around = plan_admission::Surroundings {
            agents: &BTreeSet::from([agent(), planner()]),
            skills: &BTreeSet::from([SkillName::new("fs.read").expect("valid")]),
            remaining_ms: UtcMillis(self.deadline).since(now),
            remaining_tokens: None,
        };
        admit(plan, &around)
    }

    fn judge_handoff(&self, handoff: &Handoff, _now: UtcMillis) -> Vec<Finding> {
        let is_bad = handoff.constraints.iter().any(|text| &**text == UNSENDABLE);
        is_bad
            .then(|| Finding::new("/constraints", UNSENDABLE))
            .into_iter()
            .collect()
    }

    fn planning_context(&self) -> Vec<ContextEntry> {
        Vec::new()
    }

    fn may_undo(&self, state: &RunState) -> bool {
        state.replans > 0 || state.planned().any(|(step, _)| step.undo.is_some())
    }
}

/// One life of the process.
pub(super) struct Life<'c> {
    case: &'c Case,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    tick: u64,
    /// Wishes without a slot.
    queue: Vec<SlotWish>,
    /// Slots, and whether their run knows of them yet.
    slots: BTreeMap<StepId, bool>,
    sessions: BTreeSet<Attempt>,
    checking: BTreeSet<Attempt>,
    /// The one timer of the run: the last wish counts.
    timer: Option<(u64, u64)>,
    /// Attempts that another life began and this one has not taken up.
    orphans: BTreeSet<Attempt>,
    /// Steps of stopped orphans, whose slots are given back without a wish.
    released: BTreeSet<StepId>,
    /// Events that have been echoed or are echoes.
    heard: BTreeSet<u64>,
    /// What the reducer asked for, for scenarios.
    pub effects: Vec<Effect>,
    /// The run.
    pub run: RunLoop,
}

impl<'c> Life<'c> {
    /// A life that begins with this journal.
    pub(super) fn new(case: &'c Case, journal: &Journal, recovered: bool) -> Self {
        let now = facts(journal).last().map_or(START, |stamped| stamped.at.0) + 7;
        let mut life = Self {
            case,
            now,
            events: BTreeMap::new(),
            tick: 0,
            queue: Vec::new(),
            slots: BTreeMap::new(),
            sessions: BTreeSet::new(),
            checking: BTreeSet::new(),
            timer: None,
            orphans: BTreeSet::new(),
            released: BTreeSet::new(),
            heard: BTreeSet::new(),
            effects: Vec::new(),
            run: RunLoop::new(load(journal)),
        };
        // What a simulated life ends with is its own doing: only then its lives are counted whatever it did.
        let after = if recovered { After::OwnCrash } else { After::Acceptance };
        life.at(now, Event::Taken { after });
        let state = &life.run.state;
        let steps = state.steps.iter().map(|(id, step)| (id.clone(), step));
        let steps = steps.chain([(RunState::planning_step(), &state.planning)]);
        let running = steps.filter(|(_, step)| step.phase == StepPhase::Running);
        life.orphans = running.filter_map(|(id, _)| state.attempt(&id)).collect();
        let waits: Vec<Attempt> = life
            .run
            .state
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.phase, StepPhase::Asking | StepPhase::Unknown))
            .filter_map(|(id, _)| life.run.state.attempt(id))
            .collect();
        for attempt in waits {
            life.hear(&attempt);
        }
        if let Some(at) = case.cancel_at
            && life.run.state.cancel.is_none()
        {
            let reason = "enough".into();
            life.at(at.max(now), Event::CancelWanted { reason });
        }
        life
    }

    /// A person thinks about what an attempt waits for.
    fn hear(&mut self, attempt: &Attempt) {
        match self.case.end_of(attempt).0 {
            StepEnd::Asks(answer) => self.hear_one(attempt, 0, answer),
            StepEnd::AsksBoth(answers) => {
                for (ordinal, answer) in (0..).zip(answers) {
                    self.hear_one(attempt, ordinal, answer);
                }
            }
            StepEnd::Lost(says, ms) => {
                let event = Event::Resolved {
                    attempt: attempt.clone(),
                    ordinal: 0,
                    resolution: says.resolution(),
                    by: "a person".into(),
                };
                self.at(self.now + ms, event);
            }
            _ => {}
        }
    }

    fn hear_one(&mut self, attempt: &Attempt, ordinal: u32, answer: Option<(bool, u64)>) {
        let Some((granted, ms)) = answer else { return };
        let given = Given {
            hash: hash(attempt, ordinal),
            granted,
            by: "a person".into(),
            reason: "".into(),
        };
        let event = Event::Agreed {
            attempt: attempt.clone(),
            ordinal,
            given,
        };
        self.at(self.now + ms, event);
    }

    /// Whether an answer counts, as the run's actor judges it.
    fn counts(&self, event: &Event) -> bool {
        let state = &self.run.state;
        let judged = match event {
            Event::Agreed { given, .. } => judge_approval(state, given),
            Event::Resolved {
                attempt,
                ordinal,
                resolution,
                by,
            } => judge_resolution(state, attempt, *ordinal, resolution.clone(), by.clone()),
            _ => return true,
        };
        matches!(judged, Ok(Judged::Take(_)))
    }

    fn at(&mut self, at: u64, event: Event) -> (u64, u64) {
        self.tick += 1;
        let key = (at, self.tick);
        self.events.insert(key, event);
        key
    }

    /// Goes on until the run leaves (true), or the journal has `batches_max` batches (false: the process died).
    pub(super) fn go(&mut self, journal: &mut Journal, batches_max: usize) -> bool {
        for _ in 0..REACTIONS_MAX {
            let Some(((at, at_tick), event)) = self.events.pop_first() else {
                panic!("the run waits for nothing: {:#?}", self.run);
            };
            self.now = self.now.max(at);
            if !self.counts(&event) {
                continue;
            }
            self.deliver(&event);
            let has_echo = matches!(
                event,
                Event::Ended { .. } | Event::Refused { .. } | Event::Checked { .. }
            );
            if self.case.echo && has_echo && self.heard.insert(at_tick) {
                let tick = self.at(self.now + self.tick % 5, event.clone());
                self.heard.insert(tick.1);
            }
            let reaction = react(&mut self.run, event, UtcMillis(self.now), self.case);
            if let Some(left) = self.carry_out(reaction, journal, batches_max) {
                return left;
            }
        }
        panic!("the run goes round in circles: {:#?}", journal.last());
    }

    /// What is true of the world when the event reaches the run.
    fn deliver(&mut self, event: &Event) {
        match event {
            Event::Granted { step } => {
                if let Some(known) = self.slots.get_mut(step) {
                    *known = true;
                }
            }
            Event::Ended { attempt, .. } | Event::Refused { attempt, .. } => {
                self.sessions.remove(attempt);
            }
            Event::Checked { attempt, .. } => {
                self.checking.remove(attempt);
            }
            Event::Woken => self.timer = None,
            Event::LookedBack { .. }
            | Event::Taken { .. }
            | Event::CancelWanted { .. }
            | Event::Agreed { .. }
            | Event::Resolved { .. } => {}
        }
    }

    fn carry_out(&mut self, reaction: Reaction, journal: &mut Journal, batches_max: usize) -> Option<bool> {
        for fact in &reaction.facts {
            match fact {
                Fact::StepLeased { attempt, .. } => {
                    let slot = self.slots.get(&attempt.step);
                    assert_eq!(slot, Some(&true), "{attempt} is leased without a slot");
                }
                Fact::RunDone { .. } => {
                    assert!(self.orphans.is_empty(), "it ends and leaves {:?} alone", self.orphans);
                    assert!(self.sessions.is_empty(), "it ends while {:?} work", self.sessions);
                    assert!(
                        self.checking.is_empty(),
                        "it ends while {:?} are checked",
                        self.checking
                    );
                }
                _ => {}
            }
        }
        let mut waits = Vec::new();
        let mut answered = Vec::new();
        for fact in &reaction.facts {
            match fact {
                Fact::ApprovalAsked { attempt, .. } | Fact::StepUnknown { attempt, .. } => waits.push(attempt.clone()),
                Fact::ApprovalGiven { attempt, .. } | Fact::CallResolved { attempt, .. } => {
                    answered.push(attempt.clone());
                }
                _ => {}
            }
        }
        if !reaction.facts.is_empty() {
            let seq = facts(journal).last().map_or(0, |stamped| stamped.seq);
            journal.push(stamp(reaction.facts, seq, self.now));
            if journal.len() >= batches_max {
                return Some(false);
            }
        }
        for attempt in waits {
            self.hear(&attempt);
        }
        for attempt in answered {
            // Its session is gone: it works again when it is started again.
            let is_waited_for = self
                .run
                .state
                .step(&attempt.step)
                .is_some_and(|step| step.phase == StepPhase::Running);
            if is_waited_for && !self.sessions.contains(&attempt) {
                self.orphans.insert(attempt);
            }
        }
        let mut leaves = false;
        for effect in reaction.effects {
            self.effects.push(effect.clone());
            if effect == Effect::LookBack {
                let seen: Vec<Stamped> = facts(journal).cloned().collect();
                let undo = undo(&seen, |_| None);
                self.at(self.now + 3, Event::LookedBack { undo });
                continue;
            }
            leaves |= self.carry_out_one(effect);
        }
        if leaves {
            assert!(
                self.queue.is_empty() && self.slots.is_empty(),
                "it leaves wishes {:?} and slots {:?} behind",
                self.queue,
                self.slots
            );
            return Some(true);
        }
        self.grant();
        self.check_timer();
        None
    }

    fn carry_out_one(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Want(wish) => {
                let again = self.slots.contains_key(&wish.step) || self.queue.iter().any(|old| old.step == wish.step);
                assert!(!again, "{} is wanted twice", wish.step);
                self.queue.push(wish);
            }
            Effect::Release { step } => {
                let wishes = self.queue.len();
                self.queue.retain(|wish| wish.step != step);
                let was_there =
                    self.slots.remove(&step).is_some() || self.queue.len() < wishes || self.released.remove(&step);
                assert!(was_there, "{step} is released twice");
                assert!(
                    self.sessions.iter().all(|attempt| attempt.step != step),
                    "{step} gives its slot back while it works"
                );
            }
            Effect::Start { attempt, .. } => {
                self.orphans.remove(&attempt);
                assert_eq!(
                    self.slots.get(&attempt.step),
                    Some(&true),
                    "{attempt} starts without a slot"
                );
                assert!(self.sessions.insert(attempt.clone()), "{attempt} starts twice");
                self.start(attempt);
            }
            Effect::Stop { attempt } => {
                let is_orphan = self.orphans.remove(&attempt);
                assert!(
                    is_orphan || self.sessions.contains(&attempt),
                    "{attempt} does not work and is stopped"
                );
                if is_orphan {
                    // Whether it wished for its slot again or not: it holds one of another life.
                    self.queue.retain(|wish| wish.step != attempt.step);
                    self.slots.remove(&attempt.step);
                    self.released.insert(attempt.step.clone());
                }
                let at = self.now + self.tick % 4;
                let is_lost = matches!(self.case.end_of(&attempt).0, StepEnd::Unknown | StepEnd::Lost(..));
                // The process died in its call: whoever looks for what is left of it finds that nobody knows.
                let end = if is_orphan && is_lost && !self.is_resolved(&attempt) {
                    AttemptEnd::Unknown {
                        evidence: "a call was cut off".into(),
                    }
                } else {
                    AttemptEnd::Stopped
                };
                self.at(at, Event::Ended { attempt, end });
            }
            Effect::Check {
                attempt,
                output,
                checks,
                tried,
                ..
            } => {
                assert!(!self.sessions.contains(&attempt), "{attempt} is checked while it works");
                assert!(self.checking.insert(attempt.clone()), "{attempt} is checked twice");
                let fails = self.case.end_of(&attempt).0 == StepEnd::ChecksFail;
                let reports = (0..).zip(&checks).map(|(index, _)| CheckReport {
                    index,
                    passed: !(fails && index == 0),
                    evidence: "seen".into(),
                });
                let event = Event::Checked {
                    attempt,
                    output,
                    reports: reports.collect(),
                    tried,
                };
                self.at(self.now + 2, event);
            }
            Effect::Wake { at } => {
                if let Some(old) = self.timer.take() {
                    self.events.remove(&old);
                }
                self.timer = Some(self.at(at.0, Event::Woken));
            }
            Effect::LookBack => unreachable!("it needs the journal"),
            Effect::Leave => return true,
        }
        false
    }

    fn start(&mut self, attempt: Attempt) {
        let tried: Vec<Arc<str>> = vec![format!("tried {attempt}").into()];
        let failed = |class: FailureClass, tried: Vec<Arc<str>>| AttemptEnd::Failed {
            class,
            reason: format!("it met {}", class.as_str()).into(),
            tried,
        };
        let unknown = || AttemptEnd::Unknown {
            evidence: "a call was cut off".into(),
        };
        let answered = |output: Value, tried| AttemptEnd::Answered {
            output: Arc::new(output),
            tried,
        };
        let until = self.case.rests.get(&(attempt.step.clone(), attempt.number));
        if let Some(until) = until.filter(|until| **until > self.now) {
            let end = AttemptEnd::Rested {
                reason: "the model cools down".into(),
                until: UtcMillis(*until),
            };
            self.at(self.now + 1, Event::Ended { attempt, end });
            return;
        }
        let (end, ms) = if attempt.step.as_str() == PLANNING_STEP {
            let scripted = self.case.planner.get(attempt.number as usize - 1);
            let end = match scripted.or(self.case.planner.last()).expect("the planner has a script") {
                PlannerEnd::Plans(plan) => answered(write_plan(plan), tried),
                PlannerEnd::PlansBadly => answered(json!({ "goal": 1, "steps": [] }), tried),
                PlannerEnd::Fails(class) => failed(*class, tried),
                PlannerEnd::Unknown => unknown(),
            };
            (end, self.case.usual_ms)
        } else {
            let (end, ms) = self.case.end_of(&attempt);
            let end = match end {
                StepEnd::Answers | StepEnd::ChecksFail => answered(
                    json!({ "step": attempt.step.as_str(), "attempt": attempt.number }),
                    tried,
                ),
                StepEnd::Fails(class) => failed(class, tried),
                StepEnd::Unknown | StepEnd::Lost(..) if self.is_resolved(&attempt) => {
                    answered(json!({ "step": attempt.step.as_str() }), tried)
                }
                StepEnd::Unknown | StepEnd::Lost(..) => unknown(),
                StepEnd::Asks(_) | StepEnd::AsksBoth(_) => {
                    let count = if matches!(end, StepEnd::Asks(_)) { 1 } else { 2 };
                    let asks = (0..count).filter(|ordinal| self.given(&attempt, *ordinal).is_none());
                    let asks = asks.map(|ordinal| Ask {
                        ordinal,
                        skill: SkillName::new("exec.run").expect("valid"),
                        hash: hash(&attempt, ordinal),
                        shown: "$ make".into(),
                        timeout_ms: ASK_MS,
                    });
                    let asks: Vec<Ask> = asks.collect();
                    if asks.is_empty() {
                        // The same whatever was said: when a process dies, the person may be too late.
                        answered(json!({ "step": attempt.step.as_str() }), tried)
                    } else {
                        AttemptEnd::Asks { asks }
                    }
                }
                StepEnd::Refuses => {
                    let findings = Arc::new([Finding::new("/task", "not understood")]);
                    self.at(self.now + ms, Event::Refused { attempt, findings });
                    return;
                }
            };
            (end, ms)
        };
        self.at(self.now + ms, Event::Ended { attempt, end });
    }

    /// What the journal has of an answer, as the resumed session finds it.
    fn given(&self, attempt: &Attempt, ordinal: u32) -> Option<bool> {
        let step = self.run.state.step(&attempt.step)?;
        Some(step.asks.get(&ordinal)?.given.as_ref()?.granted)
    }

    fn is_resolved(&self, attempt: &Attempt) -> bool {
        let step = self.run.state.step(&attempt.step);
        step.is_some_and(|step| step.resolved.contains_key(&0))
    }

    /// Grants by rank; the grant may still be on its way when the run changes its mind.
    fn grant(&mut self) {
        while self.slots.len() < self.case.slots && !self.queue.is_empty() {
            let first = (0..self.queue.len()).max_by_key(|at| (self.queue[*at].rank, usize::MAX - at));
            let wish = self.queue.remove(first.expect("the queue is not empty"));
            self.slots.insert(wish.step.clone(), false);
            let at = self.now + self.tick % 3;
            self.at(at, Event::Granted { step: wish.step });
        }
    }

    /// The timer is never later than the next time at which the run has something to do by itself.
    fn check_timer(&self) {
        let state = &self.run.state;
        // What undoes has times of its own.
        if state.cancel.is_some() || state.is_undoing() {
            return;
        }
        let steps = state.steps.values().chain([&state.planning]);
        let retries = steps.filter_map(|step| match step.phase {
            StepPhase::Retrying(at) | StepPhase::Resting(at) if at.0 > self.now => Some(at.0),
            _ => None,
        });
        let asks = self.run.state.steps.values().flat_map(StepState::open_asks);
        let retries = retries.chain(asks.map(|open| open.until.0));
        let due = retries
            .chain([self.run.state.deadline.0])
            .min()
            .expect("there is a deadline");
        let timer = self.timer.expect("a run that goes on has a timer").0;
        assert!(timer <= due, "the timer is set to {timer}, due is {due}");
    }
}

/// Runs a case to its end, without a cut.
pub(super) fn play(case: &Case) -> Journal {
    let mut journal = case.accepted();
    assert!(Life::new(case, &journal, false).go(&mut journal, usize::MAX));
    journal
}

/// Another life of the process takes the run up from a prefix of its journal.
pub(super) fn go_on(case: &Case, prefix: &[Vec<Stamped>]) -> Journal {
    let mut journal = prefix.to_vec();
    assert!(Life::new(case, &journal, true).go(&mut journal, usize::MAX));
    journal
}

/// A person says what became of the unknown call of a step, after the run has ended or was parked; it goes on.
pub(super) fn reopen(case: &Case, ended: &Journal, name: &str, says: Says, after_ms: u64) -> Journal {
    let resolved = Fact::CallResolved {
        attempt: load(ended).attempt(&id(name)).expect("known"),
        ordinal: 0,
        resolution: says.resolution(),
        by: "a person".into(),
    };
    reopen_with(case, ended, resolved, after_ms)
}

/// A person says this of a run that has ended or was parked; it goes on.
pub(super) fn reopen_with(case: &Case, ended: &Journal, said: Fact, after_ms: u64) -> Journal {
    let reopened = Fact::RunReopened {
        deadline: load(ended).deadline.plus_ms(after_ms),
    };
    go_on(case, &more(ended, vec![reopened, said], after_ms))
}

/// The journal with one more batch, so much later.
pub(super) fn more(journal: &[Vec<Stamped>], said: Vec<Fact>, after_ms: u64) -> Journal {
    let mut journal = journal.to_vec();
    let last = facts(&journal).last().expect("a journal has facts");
    let (seq, at) = (last.seq, last.at.0 + after_ms);
    journal.push(stamp(said, seq, at));
    journal
}

/// How the run ended.
pub(super) fn outcome(journal: &Journal) -> (Outcome, String) {
    let (outcome, text) = load(journal).done.expect("the run has ended");
    (outcome, text.to_string())
}
