//! The words between a run's decision and its shell: what happens to a run, and what it wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::domain::approval::{Ask, Given};
use crate::domain::check::{Check, CheckReport};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextEntry, Finding, Handoff};
use crate::domain::id::BootId;
use crate::domain::name::{AgentName, StepId};
use crate::domain::plan::Plan;
use crate::domain::resolution::Resolution;
use crate::domain::time::UtcMillis;
use crate::runs::state::RunState;
use crate::runs::undo::Undo;

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
    /// Whether the run may have had effects that can be undone: then its journal is looked through.
    fn may_undo(&self, state: &RunState) -> bool;
}

/// Something that happened around the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run's actor starts.
    Taken {
        /// After what.
        after: After,
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
    /// A person answered a question that is open.
    Agreed {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// The answer.
        given: Given,
    },
    /// A person said what became of an unknown call of a step that waits for that.
    Resolved {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        by: Arc<str>,
    },
    /// The journal was looked through for effects that can be undone.
    LookedBack {
        /// What undoes them, in the order in which it is done.
        undo: Vec<Undo>,
    },
    /// Somebody wants the run to end.
    CancelWanted {
        /// In words.
        reason: Arc<str>,
    },
    /// A time that was asked for has come.
    Woken,
}

/// What the actor of a run starts after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The run was accepted a moment ago.
    Acceptance,
    /// The run's own actor crashed.
    OwnCrash,
    /// The actor ended with what it stands on: its layer was started anew, or the whole process.
    OthersEnd,
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
    /// Calls wait for a person's yes.
    Asks {
        /// The questions.
        asks: Vec<Ask>,
    },
    /// It waits so long that it gives its slot back.
    Rested {
        /// Why.
        reason: Arc<str>,
        /// When the same attempt goes on.
        until: UtcMillis,
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
    /// Look through the journal for effects that can be undone.
    LookBack,
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
    pub(super) checking: BTreeSet<StepId>,
    pub(super) woken_for: Option<UtcMillis>,
    /// Whether the journal is being looked through for what can be undone.
    pub(super) looks_back: bool,
    /// Whether it was.
    pub(super) looked_back: bool,
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
            looks_back: false,
            looked_back: false,
        }
    }
}
