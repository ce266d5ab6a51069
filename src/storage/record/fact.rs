//! Facts on disk. Plans, checks and schemas are kept as their documents (JSON text), because those documents
//! carry a version of their own; everything else is plain fields.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde_json::Value;

use crate::domain::check::CheckReport;
use crate::domain::conversation::{Arguments, CallRequest, ModelAnswer, Stop, Usage};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextEntry, ContextSource, Finding, Handoff, Lesson};
use crate::domain::id::{BootId, RunId};
use crate::domain::name::{AgentName, ModelAlias, SkillName, StepId};
use crate::domain::plan::Plan;
use crate::domain::plan_document::{read_checks, read_plan, write_check, write_plan};
use crate::domain::run::{Outcome, RunSpec};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

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
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct SpecRecord {
    task: String,
    agent: Option<String>,
    plan: Option<String>,
    workspace: String,
    checks: String,
    output_schema: Option<String>,
    deadline: u64,
    tokens_max: Option<u64>,
    model: Option<String>,
    origin: String,
    retry_of: Option<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct HandoffRecord {
    version: u32,
    from: Option<String>,
    to: String,
    task: String,
    context: Vec<(String, ContextRecord)>,
    constraints: Vec<String>,
    deadline: u64,
    output_schema: Option<String>,
    lessons: Vec<LessonRecord>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum ContextRecord {
    Literal(String),
    Output { step: String, pointer: String },
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct LessonRecord {
    attempt: u32,
    class: String,
    reason: String,
    tried: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct AnswerRecord {
    text: String,
    calls: Vec<CallRecord>,
    stop: u8,
    input: u64,
    output: u64,
    estimated: bool,
    answered_by: String,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct CallRecord {
    id: String,
    skill: String,
    arguments: ArgumentsRecord,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum ArgumentsRecord {
    Object(String),
    Malformed { reason: String, preview: String },
}

/// Why a record is not a fact; the caller adds which record.
type Reason = String;

fn named<N: std::str::FromStr>(text: &str) -> Result<N, Reason>
where
    N::Err: std::fmt::Display,
{
    text.parse().map_err(|error: N::Err| error.to_string())
}

fn word<T>(text: &str, of: fn(&str) -> Option<T>) -> Result<T, Reason> {
    of(text).ok_or_else(|| format!("the word `{text}` is not known"))
}

fn json(text: &str) -> Result<Value, Reason> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn schema(text: Option<String>) -> Result<Option<Arc<Value>>, Reason> {
    text.map(|text| json(&text).map(Arc::new)).transpose()
}

fn findings_text(findings: Vec<Finding>) -> Reason {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn plan(text: &str) -> Result<Arc<Plan>, Reason> {
    read_plan(&json(text)?).map(Arc::new).map_err(findings_text)
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

fn texts(items: &[Arc<str>]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn arcs(items: Vec<String>) -> Vec<Arc<str>> {
    items.into_iter().map(Arc::from).collect()
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
            Fact::RunAccepted(spec) => Self::RunAccepted(SpecRecord::from(&**spec)),
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
                day,
            } => Self::TurnIntended {
                attempt: attempt_record(attempt),
                turn: *turn,
                agent: agent.to_string(),
                model: model.to_string(),
                reserved: *reserved,
                day: *day,
            },
            Fact::TurnFinished { attempt, turn, answer } => Self::TurnFinished {
                attempt: attempt_record(attempt),
                turn: *turn,
                answer: AnswerRecord::from(&**answer),
            },
            Fact::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged,
                retry_at,
            } => Self::TurnFailed {
                attempt: attempt_record(attempt),
                turn: *turn,
                class: class.as_str().to_owned(),
                reason: reason.to_string(),
                charged: *charged,
                retry_at: retry_at.map(|at| at.0),
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
        }
    }
}

impl FactRecord {
    fn into_domain(self) -> Result<Fact, Reason> {
        Ok(match self {
            Self::RunAccepted(spec) => Fact::RunAccepted(Arc::new(spec.into_domain()?)),
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
            } => Fact::TurnIntended {
                attempt: attempt_domain(attempt)?,
                turn,
                agent: named::<AgentName>(&agent)?,
                model: named::<ModelAlias>(&model)?,
                reserved,
                day,
            },
            Self::TurnFinished { attempt, turn, answer } => Fact::TurnFinished {
                attempt: attempt_domain(attempt)?,
                turn,
                answer: Arc::new(answer.into_domain()?),
            },
            Self::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged,
                retry_at,
            } => Fact::TurnFailed {
                attempt: attempt_domain(attempt)?,
                turn,
                class: word(&class, FailureClass::from_word)?,
                reason: reason.into(),
                charged,
                retry_at: retry_at.map(UtcMillis),
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
        })
    }
}

impl From<&RunSpec> for SpecRecord {
    fn from(spec: &RunSpec) -> Self {
        Self {
            task: spec.task.to_string(),
            agent: spec.agent.as_ref().map(ToString::to_string),
            plan: spec.plan.as_ref().map(|plan| write_plan(plan).to_string()),
            workspace: spec.workspace.to_string(),
            checks: Value::Array(spec.checks.iter().map(write_check).collect()).to_string(),
            output_schema: spec.output_schema.as_ref().map(ToString::to_string),
            deadline: spec.deadline.0,
            tokens_max: spec.tokens_max,
            model: spec.model.as_ref().map(ToString::to_string),
            origin: spec.origin.to_string(),
            retry_of: spec.retry_of.map(RunId::to_bytes),
        }
    }
}

impl SpecRecord {
    fn into_domain(self) -> Result<RunSpec, Reason> {
        let checks = match json(&self.checks)? {
            Value::Array(items) => read_checks("", &items).map_err(findings_text)?,
            other => return Err(format!("checks are not a list: {other}")),
        };
        Ok(RunSpec {
            task: self.task.into(),
            agent: self.agent.map(|name| named(&name)).transpose()?,
            plan: self.plan.map(|text| plan(&text)).transpose()?,
            workspace: self.workspace.into(),
            checks,
            output_schema: schema(self.output_schema)?,
            deadline: UtcMillis(self.deadline),
            tokens_max: self.tokens_max,
            model: self.model.map(|name| named(&name)).transpose()?,
            origin: self.origin.into(),
            retry_of: self.retry_of.map(RunId::from_bytes),
        })
    }
}

impl From<&Handoff> for HandoffRecord {
    fn from(handoff: &Handoff) -> Self {
        let context = handoff.context.iter().map(|entry| {
            let source = match &entry.source {
                ContextSource::Literal(value) => ContextRecord::Literal(value.to_string()),
                ContextSource::Output { step, pointer } => ContextRecord::Output {
                    step: step.to_string(),
                    pointer: pointer.to_string(),
                },
            };
            (entry.name.to_string(), source)
        });
        let lessons = handoff.lessons.iter().map(|lesson| LessonRecord {
            attempt: lesson.attempt,
            class: lesson.class.as_str().to_owned(),
            reason: lesson.reason.to_string(),
            tried: texts(&lesson.tried),
        });
        Self {
            version: handoff.version,
            from: handoff.from.as_ref().map(ToString::to_string),
            to: handoff.to.to_string(),
            task: handoff.task.to_string(),
            context: context.collect(),
            constraints: texts(&handoff.constraints),
            deadline: handoff.deadline.0,
            output_schema: handoff.output_schema.as_ref().map(ToString::to_string),
            lessons: lessons.collect(),
        }
    }
}

impl HandoffRecord {
    fn into_domain(self) -> Result<Handoff, Reason> {
        let context = self.context.into_iter().map(|(name, source)| {
            let source = match source {
                ContextRecord::Literal(text) => ContextSource::Literal(json(&text)?),
                ContextRecord::Output { step, pointer } => ContextSource::Output {
                    step: named(&step)?,
                    pointer: pointer.into(),
                },
            };
            Ok(ContextEntry {
                name: name.into(),
                source,
            })
        });
        let lessons = self.lessons.into_iter().map(|lesson| {
            Ok(Lesson {
                attempt: lesson.attempt,
                class: word(&lesson.class, FailureClass::from_word)?,
                reason: lesson.reason.into(),
                tried: arcs(lesson.tried),
            })
        });
        Ok(Handoff {
            version: self.version,
            from: self.from.map(|name| named(&name)).transpose()?,
            to: named(&self.to)?,
            task: self.task.into(),
            context: context.collect::<Result<_, Reason>>()?,
            constraints: arcs(self.constraints),
            deadline: UtcMillis(self.deadline),
            output_schema: schema(self.output_schema)?,
            lessons: lessons.collect::<Result<_, Reason>>()?,
        })
    }
}

impl From<&ModelAnswer> for AnswerRecord {
    fn from(answer: &ModelAnswer) -> Self {
        let calls = answer.calls.iter().map(|call| CallRecord {
            id: call.id.to_string(),
            skill: call.skill.to_string(),
            arguments: match &call.arguments {
                Arguments::Object(value) => ArgumentsRecord::Object(value.to_string()),
                Arguments::Malformed { reason, preview } => ArgumentsRecord::Malformed {
                    reason: reason.to_string(),
                    preview: preview.to_string(),
                },
            },
        });
        Self {
            text: answer.text.to_string(),
            calls: calls.collect(),
            stop: match answer.stop {
                Stop::End => 0,
                Stop::Length => 1,
                Stop::Refused => 2,
            },
            input: answer.usage.input,
            output: answer.usage.output,
            estimated: answer.usage.estimated,
            answered_by: answer.answered_by.to_string(),
        }
    }
}

impl AnswerRecord {
    fn into_domain(self) -> Result<ModelAnswer, Reason> {
        let calls = self.calls.into_iter().map(|call| {
            let arguments = match call.arguments {
                ArgumentsRecord::Object(text) => Arguments::Object(Arc::new(json(&text)?)),
                ArgumentsRecord::Malformed { reason, preview } => Arguments::Malformed {
                    reason: reason.into(),
                    preview: preview.into(),
                },
            };
            Ok(CallRequest {
                id: call.id.into(),
                skill: call.skill.into(),
                arguments,
            })
        });
        Ok(ModelAnswer {
            text: self.text.into(),
            calls: calls.collect::<Result<_, Reason>>()?,
            stop: match self.stop {
                0 => Stop::End,
                1 => Stop::Length,
                2 => Stop::Refused,
                other => return Err(format!("stop {other} is not known")),
            },
            usage: Usage {
                input: self.input,
                output: self.output,
                estimated: self.estimated,
            },
            answered_by: self.answered_by.into(),
        })
    }
}
