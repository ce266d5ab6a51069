//! Facts: things that have happened and are committed. A run's state is what its facts add up to.
//!
//! Who writes which: `runs` writes the facts of the run and its steps; `agents` writes the turns and calls of a
//! session. Both go through the committer, which gives every fact its place in the journal.

use std::sync::Arc;

use super::approval::{Ask, Given};
use super::check::CheckReport;
use super::conversation::ModelAnswer;
use super::effect::{EffectClass, EffectKey};
use super::failure::FailureClass;
use super::handoff::{Finding, Handoff};
use super::id::BootId;
use super::money::MicroUsd;
use super::name::{AgentName, ModelAlias, SkillName, StepId};
use super::plan::Plan;
use super::resolution::Resolution;
use super::run::{Outcome, RunSpec};
use super::skill::CallOutcome;
use super::time::UtcMillis;

/// One fact with its place and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped {
    /// Place in the journal of the whole store; rises within a run, with gaps.
    pub seq: u64,
    /// When it was decided, by the clock of the process that decided it.
    pub at: UtcMillis,
    /// What happened.
    pub fact: Fact,
}

/// Which attempt of which step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// The step.
    pub step: StepId,
    /// Counts from 1.
    pub number: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The run exists; from here on it cannot be lost.
    RunAccepted(Arc<RunSpec>),
    /// A new process took the run up.
    RunRecovered {
        /// The new life.
        boot: BootId,
    },
    /// A plan was proposed.
    PlanProposed {
        /// Counts from 1; each proposal is a round.
        round: u32,
        /// The plan.
        plan: Arc<Plan>,
    },
    /// The proposal is not acceptable.
    PlanRejected {
        /// The round.
        round: u32,
        /// What is wrong, where.
        findings: Arc<[Finding]>,
    },
    /// The proposal is the plan. After a replan, steps that have ended stay as they are.
    PlanAccepted {
        /// The round.
        round: u32,
    },
    /// A step was given to this life of the process; leases of other lives are void.
    StepLeased {
        /// Which attempt.
        attempt: Attempt,
        /// Whose lease.
        boot: BootId,
    },
    /// The order went to the agent.
    HandoffSent {
        /// Which attempt.
        attempt: Attempt,
        /// The order.
        handoff: Arc<Handoff>,
    },
    /// The agent took it.
    HandoffAccepted {
        /// Which attempt.
        attempt: Attempt,
    },
    /// The agent cannot work with it.
    HandoffRejected {
        /// Which attempt.
        attempt: Attempt,
        /// What is wrong, where.
        findings: Arc<[Finding]>,
    },
    /// Memory was asked before the first turn; what it told is part of the first message.
    MemoryRecalled {
        /// Which attempt.
        attempt: Attempt,
        /// The entries, as `scope#number@version`.
        entries: Arc<[Arc<str>]>,
        /// What the model is told, one line an entry.
        lines: Arc<[Arc<str>]>,
    },
    /// A model request goes out; its ceiling is booked.
    TurnIntended {
        /// Which attempt.
        attempt: Attempt,
        /// Counts from 1 within the attempt; repeated when the request is repeated.
        turn: u32,
        /// Which agent's accounts.
        agent: AgentName,
        /// Which model is asked.
        model: ModelAlias,
        /// Tokens booked.
        reserved: u64,
        /// Money booked: the most that the request can cost.
        reserved_cost: MicroUsd,
        /// The UTC day of the booking.
        day: u32,
        /// The version of the agent's prompt; empty in journals that did not keep it.
        prompt: Arc<str>,
    },
    /// The model answered; what it used is settled.
    TurnFinished {
        /// Which attempt.
        attempt: Attempt,
        /// The turn.
        turn: u32,
        /// The answer, complete.
        answer: Arc<ModelAnswer>,
        /// What it cost, by the price of the day; nothing when the model has no price.
        cost: MicroUsd,
    },
    /// The model did not answer.
    TurnFailed {
        /// Which attempt.
        attempt: Attempt,
        /// The turn.
        turn: u32,
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
        /// Tokens charged: 0 only when the provider surely did nothing, else the ceiling.
        charged: u64,
        /// Money charged, by the same rule.
        cost: MicroUsd,
        /// When the request is repeated; none means that the attempt fails.
        retry_at: Option<UtcMillis>,
    },
    /// The request was not sent: the model's rate limit, cool-down or breaker says when it may be. This is no failure
    /// and counts as none.
    TurnDeferred {
        /// Which attempt.
        attempt: Attempt,
        /// The turn that waits.
        turn: u32,
        /// Which model.
        model: ModelAlias,
        /// In words.
        reason: Arc<str>,
        /// When the request may be sent.
        until: UtcMillis,
    },
    /// The next turns of the attempt ask for a summary of the older part of the conversation, until one is made or given
    /// up.
    CompactionBegun {
        /// Which attempt.
        attempt: Attempt,
        /// The messages from the second up to and without this one are to be replaced, in the conversation as it is
        /// sent.
        through: u32,
    },
    /// The older part of the conversation was replaced by a summary; the facts keep the original.
    HistoryCompacted {
        /// Which attempt.
        attempt: Attempt,
        /// How many messages of the conversation, as it was sent, the summary stands for; the first of them, the task,
        /// stays.
        through: u32,
        /// The summary.
        summary: Arc<str>,
    },
    /// The model's final answer did not match what was asked; it is told so and goes on.
    AnswerRejected {
        /// Which attempt.
        attempt: Attempt,
        /// The turn of the answer.
        turn: u32,
        /// What is wrong, where.
        findings: Arc<[Finding]>,
    },
    /// A call that changes the world is about to start.
    CallIntended {
        /// Which attempt.
        attempt: Attempt,
        /// Counts from 0 over the attempt.
        ordinal: u32,
        /// The skill.
        skill: SkillName,
        /// Its class, as it was then.
        class: EffectClass,
        /// The name of the effect.
        key: EffectKey,
    },
    /// A call ended.
    CallFinished {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// What it gave back.
        outcome: Arc<CallOutcome>,
    },
    /// Whether a call happened cannot be known by the machine.
    CallUnknown {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// What is known.
        evidence: Arc<str>,
    },
    /// A check was made.
    CheckMade {
        /// Which attempt.
        attempt: Attempt,
        /// What it found.
        report: CheckReport,
    },
    /// A step succeeded: its checks passed.
    StepDone {
        /// Which attempt.
        attempt: Attempt,
        /// Its output as JSON text (a JSON string for plain text).
        output: Arc<str>,
    },
    /// An attempt failed.
    StepFailed {
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
        /// What was tried, in one line each.
        tried: Arc<[Arc<str>]>,
        /// When the next attempt may start; none means that the step has failed for good.
        retry_at: Option<UtcMillis>,
    },
    /// An attempt waits so long that it gives its slot back; the same attempt goes on at that time.
    StepRested {
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        reason: Arc<str>,
        /// When it goes on.
        until: UtcMillis,
    },
    /// A step will not be done.
    StepSkipped {
        /// The step.
        step: StepId,
        /// Why.
        reason: Arc<str>,
    },
    /// A step's work was stopped and has ended.
    StepCancelled {
        /// The step.
        step: StepId,
    },
    /// A step waits for a person, because a call is unknown.
    StepUnknown {
        /// Which attempt.
        attempt: Attempt,
        /// What is known.
        evidence: Arc<str>,
    },
    /// The run shall end as soon as its work has.
    CancelRequested {
        /// `Cancelled` or `Expired`.
        outcome: Outcome,
        /// In words.
        reason: Arc<str>,
    },
    /// The run ended; no fact follows.
    RunDone {
        /// How.
        outcome: Outcome,
        /// The result as JSON text, or the reason.
        result: Arc<str>,
    },
    /// The run is taken out of work until a person looks.
    RunParked {
        /// Why.
        reason: Arc<str>,
    },
    /// A person said what became of an unknown call.
    CallResolved {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// What became of it.
        resolution: Resolution,
        /// Who said so.
        by: Arc<str>,
    },
    /// A run that had ended unknown or was parked goes on: a person could say what nobody knew, or wants it to end.
    RunReopened {
        /// When it expires now: the time that it waited does not count.
        deadline: UtcMillis,
    },
    /// A person is asked whether a call may be made; its session has ended and goes on with the answer.
    ApprovalAsked {
        /// Which attempt.
        attempt: Attempt,
        /// What is asked, of which call.
        ask: Ask,
        /// Until when; no answer by then is a no.
        until: UtcMillis,
    },
    /// A question was answered, or its time has passed.
    ApprovalGiven {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// The answer.
        given: Given,
    },
    /// A call crashed its worker again and again: it is not tried any more, neither by this attempt nor by another one
    /// of its run.
    CallDeadLettered {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// The skill.
        skill: SkillName,
        /// Names skill and arguments, so that the same call is known again.
        call: Arc<str>,
        /// What the worker said when it crashed.
        text: Arc<str>,
    },
    /// The run ends without success, and one of its effects is to be undone; the call that does it is a step of its own.
    CompensationQueued {
        /// The step that undoes it; not in the plan.
        step: StepId,
        /// Whose effect is undone.
        undoes: Attempt,
        /// Which call of it; none when the step as a whole is undone.
        ordinal: Option<u32>,
        /// The skill that undoes it.
        skill: SkillName,
        /// Its arguments, an object as JSON text.
        arguments: Arc<str>,
    },
}

impl Fact {
    /// The stable word for events and the time line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunAccepted(_) => "run.accepted",
            Self::RunRecovered { .. } => "run.recovered",
            Self::PlanProposed { .. } => "plan.proposed",
            Self::PlanRejected { .. } => "plan.rejected",
            Self::PlanAccepted { .. } => "plan.accepted",
            Self::StepLeased { .. } => "step.leased",
            Self::HandoffSent { .. } => "handoff.sent",
            Self::HandoffAccepted { .. } => "handoff.accepted",
            Self::HandoffRejected { .. } => "handoff.rejected",
            Self::MemoryRecalled { .. } => "memory.recalled",
            Self::TurnIntended { .. } => "turn.intended",
            Self::TurnFinished { .. } => "turn.finished",
            Self::TurnFailed { .. } => "turn.failed",
            Self::TurnDeferred { .. } => "turn.deferred",
            Self::CompactionBegun { .. } => "compaction.begun",
            Self::HistoryCompacted { .. } => "history.compacted",
            Self::AnswerRejected { .. } => "answer.rejected",
            Self::CallIntended { .. } => "call.intended",
            Self::CallFinished { .. } => "call.finished",
            Self::CallUnknown { .. } => "call.unknown",
            Self::CheckMade { report, .. } => {
                if report.passed {
                    "check.passed"
                } else {
                    "check.failed"
                }
            }
            Self::StepDone { .. } => "step.done",
            Self::StepFailed { .. } => "step.failed",
            Self::StepRested { .. } => "step.rested",
            Self::StepSkipped { .. } => "step.skipped",
            Self::StepCancelled { .. } => "step.cancelled",
            Self::StepUnknown { .. } => "step.unknown",
            Self::CancelRequested { .. } => "run.cancel_requested",
            Self::RunDone { .. } => "run.done",
            Self::RunParked { .. } => "run.parked",
            Self::CallResolved { .. } => "call.resolved",
            Self::RunReopened { .. } => "run.reopened",
            Self::ApprovalAsked { .. } => "approval.asked",
            Self::ApprovalGiven { .. } => "approval.given",
            Self::CallDeadLettered { .. } => "call.dead_lettered",
            Self::CompensationQueued { .. } => "compensation.queued",
        }
    }

    /// The attempt that the fact belongs to, for facts of a session or step attempt.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::StepLeased { attempt, .. }
            | Self::HandoffSent { attempt, .. }
            | Self::HandoffAccepted { attempt }
            | Self::HandoffRejected { attempt, .. }
            | Self::MemoryRecalled { attempt, .. }
            | Self::TurnIntended { attempt, .. }
            | Self::TurnFinished { attempt, .. }
            | Self::TurnFailed { attempt, .. }
            | Self::TurnDeferred { attempt, .. }
            | Self::CompactionBegun { attempt, .. }
            | Self::HistoryCompacted { attempt, .. }
            | Self::AnswerRejected { attempt, .. }
            | Self::CallIntended { attempt, .. }
            | Self::CallFinished { attempt, .. }
            | Self::CallUnknown { attempt, .. }
            | Self::CheckMade { attempt, .. }
            | Self::StepDone { attempt, .. }
            | Self::StepFailed { attempt, .. }
            | Self::StepRested { attempt, .. }
            | Self::StepUnknown { attempt, .. }
            | Self::CallResolved { attempt, .. }
            | Self::ApprovalAsked { attempt, .. }
            | Self::ApprovalGiven { attempt, .. }
            | Self::CallDeadLettered { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// Whether the fact belongs to the conversation of a session: only the turn loop folds it.
    pub fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::MemoryRecalled { .. }
                | Self::TurnIntended { .. }
                | Self::TurnFinished { .. }
                | Self::TurnFailed { .. }
                | Self::TurnDeferred { .. }
                | Self::CompactionBegun { .. }
                | Self::HistoryCompacted { .. }
                | Self::AnswerRejected { .. }
                | Self::CallIntended { .. }
                | Self::CallFinished { .. }
                | Self::CallUnknown { .. }
        )
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.step, self.number)
    }
}
