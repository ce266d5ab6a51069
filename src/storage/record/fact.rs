//! Facts on disk. Plans, checks and schemas are kept as their documents (JSON text), because those documents
//! carry a version of their own; everything else is plain fields.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::domain::approval::{Ask, Given};
use crate::domain::check::CheckReport;
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::id::BootId;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, SkillName, StepId};
use crate::domain::plan_document::write_plan;
use crate::domain::resolution::Resolution;
use crate::domain::run::Outcome;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

use super::answer::{AnswerExtras, AnswerRecord};
use super::handoff::HandoffRecord;
use super::reading::{Reason, arcs, named, plan, texts, word};
use super::spec::SpecRecord;

/// All facts of one batch.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct EntryRecord {
    at: u64,
    facts: Vec<FactRecord>,
}

/// A snapshot: facts with their own places and times.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SnapshotRecord {
    /// The place of the last fact that is included.
    pub through: u64,
    facts: Vec<(u64, u64, FactRecord)>,
}

type AttemptRecord = (String, u32);
type FindingsRecord = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum FactRecord {
    RunAccepted(SpecRecord),
    RunRecovered {
        boot: [u8; 16],
    },
    PlanProposed {
        round: u32,
        plan: String,
    },
    PlanRejected {
        round: u32,
        findings: FindingsRecord,
    },
    PlanAccepted {
        round: u32,
    },
    StepLeased {
        attempt: AttemptRecord,
        boot: [u8; 16],
    },
    HandoffSent {
        attempt: AttemptRecord,
        handoff: HandoffRecord,
    },
    HandoffAccepted {
        attempt: AttemptRecord,
    },
    HandoffRejected {
        attempt: AttemptRecord,
        findings: FindingsRecord,
    },
    TurnIntended {
        attempt: AttemptRecord,
        turn: u32,
        agent: String,
        model: String,
        reserved: u64,
        day: u32,
    },
    TurnFinished {
        attempt: AttemptRecord,
        turn: u32,
        answer: AnswerRecord,
    },
    TurnFailed {
        attempt: AttemptRecord,
        turn: u32,
        class: String,
        reason: String,
        charged: u64,
        retry_at: Option<u64>,
    },
    AnswerRejected {
        attempt: AttemptRecord,
        turn: u32,
        findings: FindingsRecord,
    },
    CallIntended {
        attempt: AttemptRecord,
        ordinal: u32,
        skill: String,
        class: String,
        key: [u8; 16],
    },
    CallFinished {
        attempt: AttemptRecord,
        ordinal: u32,
        content: String,
        is_error: bool,
        exit_code: Option<i32>,
    },
    CallUnknown {
        attempt: AttemptRecord,
        ordinal: u32,
        evidence: String,
    },
    CheckMade {
        attempt: AttemptRecord,
        index: u32,
        passed: bool,
        evidence: String,
    },
    StepDone {
        attempt: AttemptRecord,
        output: String,
    },
    StepFailed {
        attempt: AttemptRecord,
        class: String,
        reason: String,
        tried: Vec<String>,
        retry_at: Option<u64>,
    },
    StepSkipped {
        step: String,
        reason: String,
    },
    StepCancelled {
        step: String,
    },
    StepUnknown {
        attempt: AttemptRecord,
        evidence: String,
    },
    CancelRequested {
        outcome: String,
        reason: String,
    },
    RunDone {
        outcome: String,
        result: String,
    },
    RunParked {
        reason: String,
    },
    // From here on: what later versions added. The variants above that have a successor are read and never written.
    TurnIntendedCost {
        attempt: AttemptRecord,
        turn: u32,
        agent: String,
        model: String,
        reserved: u64,
        reserved_cost: u64,
        day: u32,
    },
    TurnFinishedCost {
        attempt: AttemptRecord,
        turn: u32,
        answer: AnswerRecord,
        extras: AnswerExtras,
        cost: u64,
    },
    TurnFailedCost {
        attempt: AttemptRecord,
        turn: u32,
        class: String,
        reason: String,
        charged: u64,
        cost: u64,
        retry_at: Option<u64>,
    },
    TurnDeferred {
        attempt: AttemptRecord,
        turn: u32,
        model: String,
        reason: String,
        until: u64,
    },
    HistoryCompacted {
        attempt: AttemptRecord,
        through: u32,
        summary: String,
    },
    StepRested {
        attempt: AttemptRecord,
        reason: String,
        until: u64,
    },
    RunAcceptedCost {
        spec: SpecRecord,
        cost_max: Option<u64>,
    },
    TurnIntendedPrompt {
        attempt: AttemptRecord,
        turn: u32,
        agent: String,
        model: String,
        reserved: u64,
        reserved_cost: u64,
        day: u32,
        prompt: String,
    },
    CompactionBegun {
        attempt: AttemptRecord,
        through: u32,
    },
    CallResolved {
        attempt: AttemptRecord,
        ordinal: u32,
        resolution: String,
        output: String,
        by: String,
    },
    RunReopened {
        deadline: u64,
    },
    ApprovalAsked {
        attempt: AttemptRecord,
        ordinal: u32,
        skill: String,
        hash: String,
        shown: String,
        timeout_ms: u64,
        until: u64,
    },
    ApprovalGiven {
        attempt: AttemptRecord,
        ordinal: u32,
        hash: String,
        granted: bool,
        by: String,
        reason: String,
    },
    RunAcceptedGrant {
        spec: SpecRecord,
        cost_max: Option<u64>,
        grant: Option<Vec<String>>,
    },
    CallDeadLettered {
        attempt: AttemptRecord,
        ordinal: u32,
        skill: String,
        call: String,
        text: String,
    },
    CompensationQueued {
        step: String,
        undoes: AttemptRecord,
        ordinal: Option<u32>,
        skill: String,
        arguments: String,
    },
    MemoryRecalled {
        attempt: AttemptRecord,
        entries: Vec<String>,
        lines: Vec<String>,
    },
}

fn attempt_record(attempt: &Attempt) -> AttemptRecord {
    (attempt.step.to_string(), attempt.number)
}

fn attempt_domain((step, number): AttemptRecord) -> Result<Attempt, Reason> {
    Ok(Attempt {
        step: named::<StepId>(&step)?,
        number,
    })
}

fn findings_record(findings: &[Finding]) -> FindingsRecord {
    findings
        .iter()
        .map(|finding| (finding.pointer.clone(), finding.message.clone()))
        .collect()
}

fn findings_domain(findings: FindingsRecord) -> Arc<[Finding]> {
    findings
        .into_iter()
        .map(|(pointer, message)| Finding { pointer, message })
        .collect()
}

impl EntryRecord {
    /// The record of one batch.
    pub fn from_domain(at: UtcMillis, facts: &[Fact]) -> Self {
        Self {
            at: at.0,
            facts: facts.iter().map(FactRecord::from).collect(),
        }
    }

    /// The facts, the first of which stands at `first_seq`.
    pub fn into_domain(self, first_seq: u64) -> Result<Vec<Stamped>, Reason> {
        let at = UtcMillis(self.at);
        let facts = self.facts.into_iter().zip(first_seq..);
        facts
            .map(|(record, seq)| {
                Ok(Stamped {
                    seq,
                    at,
                    fact: record.into_domain()?,
                })
            })
            .collect()
    }
}

impl SnapshotRecord {
    /// The record of a snapshot.
    pub fn from_domain(through: u64, facts: &[Stamped]) -> Self {
        let facts = facts
            .iter()
            .map(|stamped| (stamped.seq, stamped.at.0, FactRecord::from(&stamped.fact)));
        Self {
            through,
            facts: facts.collect(),
        }
    }

    /// The facts.
    pub fn into_domain(self) -> Result<Vec<Stamped>, Reason> {
        let facts = self.facts.into_iter();
        facts
            .map(|(seq, at, record)| {
                Ok(Stamped {
                    seq,
                    at: UtcMillis(at),
                    fact: record.into_domain()?,
                })
            })
            .collect()
    }
}

impl From<&Fact> for FactRecord {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::RunAccepted(spec) => Self::RunAcceptedGrant {
                spec: SpecRecord::from(&**spec),
                cost_max: spec.cost_max.map(|cost| cost.0),
                grant: spec
                    .grant
                    .as_ref()
                    .map(|grant| grant.iter().map(ToString::to_string).collect()),
            },
            Fact::RunRecovered { boot } => Self::RunRecovered { boot: boot.to_bytes() },
            Fact::PlanProposed { round, plan } => Self::PlanProposed {
                round: *round,
                plan: write_plan(plan).to_string(),
            },
            Fact::PlanRejected { round, findings } => Self::PlanRejected {
                round: *round,
                findings: findings_record(findings),
            },
            Fact::PlanAccepted { round } => Self::PlanAccepted { round: *round },
            Fact::StepLeased { attempt, boot } => Self::StepLeased {
                attempt: attempt_record(attempt),
                boot: boot.to_bytes(),
            },
            Fact::HandoffSent { attempt, handoff } => Self::HandoffSent {
                attempt: attempt_record(attempt),
                handoff: HandoffRecord::from(&**handoff),
            },
            Fact::HandoffAccepted { attempt } => Self::HandoffAccepted {
                attempt: attempt_record(attempt),
            },
            Fact::HandoffRejected { attempt, findings } => Self::HandoffRejected {
                attempt: attempt_record(attempt),
                findings: findings_record(findings),
            },
            Fact::TurnIntended {
                attempt,
                turn,
                agent,
                model,
                reserved,
                reserved_cost,
                day,
                prompt,
            } => Self::TurnIntendedPrompt {
                attempt: attempt_record(attempt),
                turn: *turn,
                agent: agent.to_string(),
                model: model.to_string(),
                reserved: *reserved,
                reserved_cost: reserved_cost.0,
                day: *day,
                prompt: prompt.to_string(),
            },
            Fact::TurnFinished {
                attempt,
                turn,
                answer,
                cost,
            } => Self::TurnFinishedCost {
                attempt: attempt_record(attempt),
                turn: *turn,
                answer: AnswerRecord::from(&**answer),
                extras: AnswerExtras::from(&**answer),
                cost: cost.0,
            },
            Fact::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged,
                cost,
                retry_at,
            } => Self::TurnFailedCost {
                attempt: attempt_record(attempt),
                turn: *turn,
                class: class.as_str().to_owned(),
                reason: reason.to_string(),
                charged: *charged,
                cost: cost.0,
                retry_at: retry_at.map(|at| at.0),
            },
            Fact::TurnDeferred {
                attempt,
                turn,
                model,
                reason,
                until,
            } => Self::TurnDeferred {
                attempt: attempt_record(attempt),
                turn: *turn,
                model: model.to_string(),
                reason: reason.to_string(),
                until: until.0,
            },
            Fact::CompactionBegun { attempt, through } => Self::CompactionBegun {
                attempt: attempt_record(attempt),
                through: *through,
            },
            Fact::HistoryCompacted {
                attempt,
                through,
                summary,
            } => Self::HistoryCompacted {
                attempt: attempt_record(attempt),
                through: *through,
                summary: summary.to_string(),
            },
            Fact::StepRested { attempt, reason, until } => Self::StepRested {
                attempt: attempt_record(attempt),
                reason: reason.to_string(),
                until: until.0,
            },
            Fact::AnswerRejected {
                attempt,
                turn,
                findings,
            } => Self::AnswerRejected {
                attempt: attempt_record(attempt),
                turn: *turn,
                findings: findings_record(findings),
            },
            Fact::CallIntended {
                attempt,
                ordinal,
                skill,
                class,
                key,
            } => Self::CallIntended {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                skill: skill.to_string(),
                class: class.as_str().to_owned(),
                key: key.0.into_bytes(),
            },
            Fact::CallFinished {
                attempt,
                ordinal,
                outcome,
            } => Self::CallFinished {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                content: outcome.content.to_string(),
                is_error: outcome.is_error,
                exit_code: outcome.exit_code,
            },
            Fact::CallUnknown {
                attempt,
                ordinal,
                evidence,
            } => Self::CallUnknown {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                evidence: evidence.to_string(),
            },
            Fact::CheckMade { attempt, report } => Self::CheckMade {
                attempt: attempt_record(attempt),
                index: report.index,
                passed: report.passed,
                evidence: report.evidence.to_string(),
            },
            Fact::StepDone { attempt, output } => Self::StepDone {
                attempt: attempt_record(attempt),
                output: output.to_string(),
            },
            Fact::StepFailed {
                attempt,
                class,
                reason,
                tried,
                retry_at,
            } => Self::StepFailed {
                attempt: attempt_record(attempt),
                class: class.as_str().to_owned(),
                reason: reason.to_string(),
                tried: texts(tried),
                retry_at: retry_at.map(|at| at.0),
            },
            Fact::StepSkipped { step, reason } => Self::StepSkipped {
                step: step.to_string(),
                reason: reason.to_string(),
            },
            Fact::StepCancelled { step } => Self::StepCancelled { step: step.to_string() },
            Fact::StepUnknown { attempt, evidence } => Self::StepUnknown {
                attempt: attempt_record(attempt),
                evidence: evidence.to_string(),
            },
            Fact::CancelRequested { outcome, reason } => Self::CancelRequested {
                outcome: outcome.as_str().to_owned(),
                reason: reason.to_string(),
            },
            Fact::RunDone { outcome, result } => Self::RunDone {
                outcome: outcome.as_str().to_owned(),
                result: result.to_string(),
            },
            Fact::RunParked { reason } => Self::RunParked {
                reason: reason.to_string(),
            },
            Fact::CallResolved {
                attempt,
                ordinal,
                resolution,
                by,
            } => Self::CallResolved {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                resolution: resolution.as_str().to_owned(),
                output: match resolution {
                    Resolution::Happened { output } => output.to_string(),
                    Resolution::NotHappened | Resolution::Abandoned => String::new(),
                },
                by: by.to_string(),
            },
            Fact::RunReopened { deadline } => Self::RunReopened { deadline: deadline.0 },
            Fact::ApprovalAsked { attempt, ask, until } => Self::ApprovalAsked {
                attempt: attempt_record(attempt),
                ordinal: ask.ordinal,
                skill: ask.skill.to_string(),
                hash: ask.hash.to_string(),
                shown: ask.shown.to_string(),
                timeout_ms: ask.timeout_ms,
                until: until.0,
            },
            Fact::ApprovalGiven {
                attempt,
                ordinal,
                given,
            } => Self::ApprovalGiven {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                hash: given.hash.to_string(),
                granted: given.granted,
                by: given.by.to_string(),
                reason: given.reason.to_string(),
            },
            Fact::CallDeadLettered {
                attempt,
                ordinal,
                skill,
                call,
                text,
            } => Self::CallDeadLettered {
                attempt: attempt_record(attempt),
                ordinal: *ordinal,
                skill: skill.to_string(),
                call: call.to_string(),
                text: text.to_string(),
            },
            Fact::CompensationQueued {
                step,
                undoes,
                ordinal,
                skill,
                arguments,
            } => Self::CompensationQueued {
                step: step.to_string(),
                undoes: attempt_record(undoes),
                ordinal: *ordinal,
                skill: skill.to_string(),
                arguments: arguments.to_string(),
            },
            Fact::MemoryRecalled {
                attempt,
                entries,
                lines,
            } => Self::MemoryRecalled {
                attempt: attempt_record(attempt),
                entries: entries.iter().map(ToString::to_string).collect(),
                lines: lines.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

impl FactRecord {
    fn into_domain(self) -> Result<Fact, Reason> {
        Ok(match self {
            Self::RunAccepted(spec) => Fact::RunAccepted(Arc::new(spec.into_domain(None, None)?)),
            Self::RunAcceptedCost { spec, cost_max } => Fact::RunAccepted(Arc::new(spec.into_domain(cost_max, None)?)),
            Self::RunAcceptedGrant { spec, cost_max, grant } => {
                Fact::RunAccepted(Arc::new(spec.into_domain(cost_max, grant)?))
            }
            Self::RunRecovered { boot } => Fact::RunRecovered {
                boot: BootId::from_bytes(boot),
            },
            Self::PlanProposed { round, plan: text } => Fact::PlanProposed {
                round,
                plan: plan(&text)?,
            },
            Self::PlanRejected { round, findings } => Fact::PlanRejected {
                round,
                findings: findings_domain(findings),
            },
            Self::PlanAccepted { round } => Fact::PlanAccepted { round },
            Self::StepLeased { attempt, boot } => Fact::StepLeased {
                attempt: attempt_domain(attempt)?,
                boot: BootId::from_bytes(boot),
            },
            Self::HandoffSent { attempt, handoff } => Fact::HandoffSent {
                attempt: attempt_domain(attempt)?,
                handoff: Arc::new(handoff.into_domain()?),
            },
            Self::HandoffAccepted { attempt } => Fact::HandoffAccepted {
                attempt: attempt_domain(attempt)?,
            },
            Self::HandoffRejected { attempt, findings } => Fact::HandoffRejected {
                attempt: attempt_domain(attempt)?,
                findings: findings_domain(findings),
            },
            Self::TurnIntended {
                attempt,
                turn,
                agent,
                model,
                reserved,
                day,
            } => turn_intended(attempt, turn, [&agent, &model, ""], (reserved, 0), day)?,
            Self::TurnIntendedCost {
                attempt,
                turn,
                agent,
                model,
                reserved,
                reserved_cost,
                day,
            } => turn_intended(attempt, turn, [&agent, &model, ""], (reserved, reserved_cost), day)?,
            Self::TurnIntendedPrompt {
                attempt,
                turn,
                agent,
                model,
                reserved,
                reserved_cost,
                day,
                prompt,
            } => turn_intended(attempt, turn, [&agent, &model, &prompt], (reserved, reserved_cost), day)?,
            Self::TurnFinished { attempt, turn, answer } => {
                turn_finished(attempt, turn, answer, AnswerExtras::default(), 0)?
            }
            Self::TurnFinishedCost {
                attempt,
                turn,
                answer,
                extras,
                cost,
            } => turn_finished(attempt, turn, answer, extras, cost)?,
            Self::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged,
                retry_at,
            } => turn_failed(attempt, turn, &class, reason, (charged, 0), retry_at)?,
            Self::TurnFailedCost {
                attempt,
                turn,
                class,
                reason,
                charged,
                cost,
                retry_at,
            } => turn_failed(attempt, turn, &class, reason, (charged, cost), retry_at)?,
            Self::TurnDeferred {
                attempt,
                turn,
                model,
                reason,
                until,
            } => Fact::TurnDeferred {
                attempt: attempt_domain(attempt)?,
                turn,
                model: named::<ModelAlias>(&model)?,
                reason: reason.into(),
                until: UtcMillis(until),
            },
            Self::HistoryCompacted {
                attempt,
                through,
                summary,
            } => Fact::HistoryCompacted {
                attempt: attempt_domain(attempt)?,
                through,
                summary: summary.into(),
            },
            Self::CompactionBegun { attempt, through } => Fact::CompactionBegun {
                attempt: attempt_domain(attempt)?,
                through,
            },
            Self::StepRested { attempt, reason, until } => Fact::StepRested {
                attempt: attempt_domain(attempt)?,
                reason: reason.into(),
                until: UtcMillis(until),
            },
            Self::AnswerRejected {
                attempt,
                turn,
                findings,
            } => Fact::AnswerRejected {
                attempt: attempt_domain(attempt)?,
                turn,
                findings: findings_domain(findings),
            },
            Self::CallIntended {
                attempt,
                ordinal,
                skill,
                class,
                key,
            } => Fact::CallIntended {
                attempt: attempt_domain(attempt)?,
                ordinal,
                skill: named::<SkillName>(&skill)?,
                class: word(&class, EffectClass::from_word)?,
                key: EffectKey(uuid::Uuid::from_bytes(key)),
            },
            Self::CallFinished {
                attempt,
                ordinal,
                content,
                is_error,
                exit_code,
            } => Fact::CallFinished {
                attempt: attempt_domain(attempt)?,
                ordinal,
                outcome: Arc::new(CallOutcome {
                    content: content.into(),
                    is_error,
                    exit_code,
                }),
            },
            Self::CallUnknown {
                attempt,
                ordinal,
                evidence,
            } => Fact::CallUnknown {
                attempt: attempt_domain(attempt)?,
                ordinal,
                evidence: evidence.into(),
            },
            Self::CheckMade {
                attempt,
                index,
                passed,
                evidence,
            } => Fact::CheckMade {
                attempt: attempt_domain(attempt)?,
                report: CheckReport {
                    index,
                    passed,
                    evidence: evidence.into(),
                },
            },
            Self::StepDone { attempt, output } => Fact::StepDone {
                attempt: attempt_domain(attempt)?,
                output: output.into(),
            },
            Self::StepFailed {
                attempt,
                class,
                reason,
                tried,
                retry_at,
            } => Fact::StepFailed {
                attempt: attempt_domain(attempt)?,
                class: word(&class, FailureClass::from_word)?,
                reason: reason.into(),
                tried: arcs(tried).into(),
                retry_at: retry_at.map(UtcMillis),
            },
            Self::StepSkipped { step, reason } => Fact::StepSkipped {
                step: named::<StepId>(&step)?,
                reason: reason.into(),
            },
            Self::StepCancelled { step } => Fact::StepCancelled {
                step: named::<StepId>(&step)?,
            },
            Self::StepUnknown { attempt, evidence } => Fact::StepUnknown {
                attempt: attempt_domain(attempt)?,
                evidence: evidence.into(),
            },
            Self::CancelRequested { outcome, reason } => Fact::CancelRequested {
                outcome: word(&outcome, Outcome::from_word)?,
                reason: reason.into(),
            },
            Self::RunDone { outcome, result } => Fact::RunDone {
                outcome: word(&outcome, Outcome::from_word)?,
                result: result.into(),
            },
            Self::RunParked { reason } => Fact::RunParked { reason: reason.into() },
            Self::CallResolved {
                attempt,
                ordinal,
                resolution,
                output,
                by,
            } => Fact::CallResolved {
                attempt: attempt_domain(attempt)?,
                ordinal,
                resolution: Resolution::from_word(&resolution, &output)
                    .ok_or_else(|| format!("the word `{resolution}` is not known"))?,
                by: by.into(),
            },
            Self::RunReopened { deadline } => Fact::RunReopened {
                deadline: UtcMillis(deadline),
            },
            Self::ApprovalAsked {
                attempt,
                ordinal,
                skill,
                hash,
                shown,
                timeout_ms,
                until,
            } => Fact::ApprovalAsked {
                attempt: attempt_domain(attempt)?,
                ask: Ask {
                    ordinal,
                    skill: named::<SkillName>(&skill)?,
                    hash: hash.into(),
                    shown: shown.into(),
                    timeout_ms,
                },
                until: UtcMillis(until),
            },
            Self::ApprovalGiven {
                attempt,
                ordinal,
                hash,
                granted,
                by,
                reason,
            } => Fact::ApprovalGiven {
                attempt: attempt_domain(attempt)?,
                ordinal,
                given: Given {
                    hash: hash.into(),
                    granted,
                    by: by.into(),
                    reason: reason.into(),
                },
            },
            Self::CallDeadLettered {
                attempt,
                ordinal,
                skill,
                call,
                text,
            } => Fact::CallDeadLettered {
                attempt: attempt_domain(attempt)?,
                ordinal,
                skill: named::<SkillName>(&skill)?,
                call: call.into(),
                text: text.into(),
            },
            Self::CompensationQueued {
                step,
                undoes,
                ordinal,
                skill,
                arguments,
            } => Fact::CompensationQueued {
                step: named::<StepId>(&step)?,
                undoes: attempt_domain(undoes)?,
                ordinal,
                skill: named::<SkillName>(&skill)?,
                arguments: arguments.into(),
            },
            Self::MemoryRecalled {
                attempt,
                entries,
                lines,
            } => Fact::MemoryRecalled {
                attempt: attempt_domain(attempt)?,
                entries: entries.into_iter().map(Arc::from).collect(),
                lines: lines.into_iter().map(Arc::from).collect(),
            },
        })
    }
}

fn turn_intended(
    attempt: AttemptRecord,
    turn: u32,
    [agent, model, prompt]: [&str; 3],
    (reserved, reserved_cost): (u64, u64),
    day: u32,
) -> Result<Fact, Reason> {
    Ok(Fact::TurnIntended {
        attempt: attempt_domain(attempt)?,
        turn,
        agent: named::<AgentName>(agent)?,
        model: named::<ModelAlias>(model)?,
        reserved,
        reserved_cost: MicroUsd(reserved_cost),
        day,
        prompt: prompt.into(),
    })
}

fn turn_finished(
    attempt: AttemptRecord,
    turn: u32,
    answer: AnswerRecord,
    extras: AnswerExtras,
    cost: u64,
) -> Result<Fact, Reason> {
    Ok(Fact::TurnFinished {
        attempt: attempt_domain(attempt)?,
        turn,
        answer: Arc::new(answer.into_domain(extras)?),
        cost: MicroUsd(cost),
    })
}

fn turn_failed(
    attempt: AttemptRecord,
    turn: u32,
    class: &str,
    reason: String,
    (charged, cost): (u64, u64),
    retry_at: Option<u64>,
) -> Result<Fact, Reason> {
    Ok(Fact::TurnFailed {
        attempt: attempt_domain(attempt)?,
        turn,
        class: word(class, FailureClass::from_word)?,
        reason: reason.into(),
        charged,
        cost: MicroUsd(cost),
        retry_at: retry_at.map(UtcMillis),
    })
}
