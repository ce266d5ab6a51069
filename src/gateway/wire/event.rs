//! Facts as clients see them: the data of server-sent events and the entries of time lines.

use serde_json::{Map, Value, json};

use crate::domain::conversation::Arguments;
use crate::domain::fact::{Fact, Stamped};
use crate::domain::handoff::Lesson;
use crate::domain::resolution::Resolution;
use crate::domain::text::preview;
use crate::runtime::live::{LivePiece, PieceKind};

use super::run::time;

/// Bytes of a text that an event carries; the whole is in the run's result or journal export.
const TEXT_BYTES_MAX: usize = 4096;

/// One fact with its place, time and kind.
pub fn event(stamped: &Stamped) -> Value {
    let mut fields = Map::new();
    fields.insert("seq".into(), stamped.seq.into());
    fields.insert("at".into(), time(stamped.at));
    fields.insert("kind".into(), stamped.fact.kind().into());
    if let Some(attempt) = stamped.fact.attempt() {
        fields.insert("step".into(), attempt.step.as_str().into());
        fields.insert("attempt".into(), attempt.number.into());
    }
    if let Value::Object(own) = own(&stamped.fact) {
        fields.extend(own);
    }
    Value::Object(fields)
}

/// A piece of an answer that is not a fact yet: the name and the data of its event.
pub fn delta(piece: &LivePiece) -> (&'static str, Value) {
    let mut data = json!({ "step": piece.step.as_str(), "attempt": piece.attempt, "turn": piece.turn });
    if piece.kind == PieceKind::Restart {
        return ("restart", data);
    }
    data["type"] = piece.kind.as_str().into();
    match piece.kind {
        PieceKind::Call { index } => {
            data["call"] = index.into();
            data["skill"] = (&*piece.text).into();
        }
        PieceKind::Arguments { index } => {
            data["call"] = index.into();
            data["json"] = (&*piece.text).into();
        }
        _ => data["text"] = (&*piece.text).into(),
    }
    ("delta", data)
}

fn short(text: &str) -> Value {
    crate::domain::text::cut(text, TEXT_BYTES_MAX).into()
}

/// What an earlier attempt taught, as the next one gets it.
fn lesson(lesson: &Lesson) -> Value {
    let tried = lesson.tried.iter().map(|line| short(line));
    json!({
        "attempt": lesson.attempt,
        "class": lesson.class.as_str(),
        "reason": short(&lesson.reason),
        "tried": tried.collect::<Vec<_>>(),
    })
}

fn own(fact: &Fact) -> Value {
    let findings = |findings: &[crate::domain::handoff::Finding]| -> Value {
        findings
            .iter()
            .map(|finding| json!({ "pointer": finding.pointer, "message": finding.message }))
            .collect()
    };
    match fact {
        Fact::RunAccepted(spec) => json!({
            "task": short(&spec.task),
            "agent": spec.agent.as_ref().map(AsRef::<str>::as_ref),
            "origin": &*spec.origin,
        }),
        Fact::RunRecovered { boot } => json!({ "boot": boot.to_string() }),
        Fact::PlanProposed { round, plan } => json!({ "round": round, "goal": &*plan.goal, "steps": plan.steps.len() }),
        Fact::PlanRejected { round, findings: wrong } => json!({ "round": round, "findings": findings(wrong) }),
        Fact::PlanAccepted { round } => json!({ "round": round }),
        Fact::StepLeased { .. } | Fact::HandoffAccepted { .. } => Value::Null,
        Fact::HandoffSent { handoff, .. } => json!({
            "agent": handoff.to.as_str(),
            "task": short(&handoff.task),
            "lessons": handoff.lessons.iter().map(lesson).collect::<Vec<_>>(),
        }),
        Fact::HandoffRejected { findings: wrong, .. } | Fact::AnswerRejected { findings: wrong, .. } => {
            json!({ "findings": findings(wrong) })
        }
        Fact::TurnIntended {
            turn,
            model,
            reserved,
            reserved_cost,
            ..
        } => {
            json!({
                "turn": turn, "model": model.as_str(), "reserved": reserved, "reserved_micro_usd": reserved_cost.0,
            })
        }
        Fact::TurnFinished { turn, answer, cost, .. } => {
            let calls = answer.calls.iter().map(|call| {
                let arguments = match &call.arguments {
                    Arguments::Object(value) => short(&value.to_string()),
                    Arguments::Malformed { preview, .. } => short(preview),
                };
                json!({ "skill": short(&call.skill), "arguments": arguments })
            });
            json!({
                "turn": turn,
                "text": short(&answer.text),
                "calls": calls.collect::<Vec<_>>(),
                "model": &*answer.answered_by,
                "tokens": answer.usage.total(),
                "estimated": answer.usage.estimated,
                "cost_micro_usd": cost.0,
            })
        }
        Fact::TurnFailed {
            turn,
            class,
            reason,
            charged,
            cost,
            retry_at,
            ..
        } => json!({
            "turn": turn, "class": class.as_str(), "reason": short(reason), "charged": charged,
            "cost_micro_usd": cost.0, "retry_at": retry_at.map(time),
        }),
        Fact::TurnDeferred {
            turn,
            model,
            reason,
            until,
            ..
        } => json!({ "turn": turn, "model": model.as_str(), "reason": short(reason), "until": time(*until) }),
        Fact::CompactionBegun { through, .. } => json!({ "messages": through }),
        Fact::HistoryCompacted { through, summary, .. } => json!({ "messages": through, "summary": short(summary) }),
        Fact::StepRested { reason, until, .. } => json!({ "reason": short(reason), "until": time(*until) }),
        Fact::CallIntended {
            ordinal,
            skill,
            class,
            key,
            ..
        } => {
            json!({ "call": ordinal, "skill": skill.as_str(), "class": class.as_str(), "key": key.to_string() })
        }
        Fact::CallFinished { ordinal, outcome, .. } => {
            json!({ "call": ordinal, "error": outcome.is_error, "content": short(&outcome.content), "exit_code": outcome.exit_code })
        }
        Fact::CallUnknown { ordinal, evidence, .. } => json!({ "call": ordinal, "evidence": short(evidence) }),
        Fact::CheckMade { report, .. } => {
            json!({ "check": report.index, "passed": report.passed, "evidence": &*report.evidence })
        }
        Fact::StepDone { output, .. } => json!({ "output": short(output) }),
        Fact::StepFailed {
            class,
            reason,
            retry_at,
            ..
        } => {
            json!({ "class": class.as_str(), "reason": short(reason), "retry_at": retry_at.map(time) })
        }
        Fact::StepSkipped { step, reason } => json!({ "step": step.as_str(), "reason": short(reason) }),
        Fact::StepCancelled { step } => json!({ "step": step.as_str() }),
        Fact::StepUnknown { evidence, .. } => json!({ "evidence": short(evidence) }),
        Fact::CancelRequested { outcome, reason } => json!({ "outcome": outcome.as_str(), "reason": short(reason) }),
        Fact::RunDone { outcome, result } => json!({ "outcome": outcome.as_str(), "result": short(result) }),
        Fact::RunParked { reason } => json!({ "reason": short(reason) }),
        Fact::CallResolved {
            ordinal,
            resolution,
            by,
            ..
        } => {
            let output = match resolution {
                Resolution::Happened { output } => short(output),
                Resolution::NotHappened | Resolution::Abandoned => Value::Null,
            };
            json!({ "call": ordinal, "resolution": resolution.as_str(), "output": output, "by": &**by })
        }
        Fact::RunReopened { deadline } => json!({ "deadline": time(*deadline) }),
        Fact::ApprovalAsked { ask, until, .. } => json!({
            "call": ask.ordinal, "skill": ask.skill.as_str(), "hash": &*ask.hash, "shown": short(&ask.shown),
            "until": time(*until),
        }),
        Fact::MemoryRecalled { entries, lines, .. } => {
            let lines: Vec<Value> = lines.iter().map(|line| short(line)).collect();
            json!({ "entries": entries.iter().map(|entry| &**entry).collect::<Vec<_>>(), "lines": lines })
        }
        Fact::ApprovalGiven { ordinal, given, .. } => json!({
            "call": ordinal, "hash": &*given.hash, "granted": given.granted, "by": &*given.by,
            "reason": short(&given.reason),
        }),
        Fact::CallDeadLettered {
            ordinal, skill, text, ..
        } => json!({ "call": ordinal, "skill": skill.as_str(), "text": short(text) }),
        Fact::CompensationQueued {
            step,
            undoes,
            ordinal,
            skill,
            arguments,
        } => json!({
            "step": step.as_str(), "undoes": undoes.step.as_str(), "call": ordinal, "skill": skill.as_str(),
            "arguments": short(arguments),
        }),
    }
}

/// One line for people.
pub fn line(fact: &Fact) -> String {
    let short = |text: &str| preview(text, 120);
    match fact {
        Fact::RunAccepted(spec) => format!("accepted: {}", short(&spec.task)),
        Fact::RunRecovered { .. } => "taken up again".into(),
        Fact::PlanProposed { plan, .. } => format!("plan with {} steps: {}", plan.steps.len(), short(&plan.goal)),
        Fact::PlanRejected { findings, .. } => format!("plan refused in {} places", findings.len()),
        Fact::PlanAccepted { .. } => "plan accepted".into(),
        Fact::StepLeased { .. } => "started".into(),
        Fact::HandoffSent { handoff, .. } => format!("order to {}: {}", handoff.to, short(&handoff.task)),
        Fact::HandoffAccepted { .. } => "order accepted".into(),
        Fact::HandoffRejected { findings, .. } => format!("order refused in {} places", findings.len()),
        Fact::TurnIntended { turn, model, .. } => format!("turn {turn}: asks {model}"),
        Fact::TurnFinished { turn, answer, .. } if answer.calls.is_empty() => format!("turn {turn}: answers"),
        Fact::TurnFinished { turn, answer, .. } => {
            let skills: Vec<&str> = answer.calls.iter().map(|call| &*call.skill).collect();
            format!("turn {turn}: calls {}", short(&skills.join(", ")))
        }
        Fact::TurnFailed {
            turn, class, reason, ..
        } => format!("turn {turn}: {}: {}", class.as_str(), short(reason)),
        Fact::TurnDeferred {
            turn, model, reason, ..
        } => format!("turn {turn}: waits for {model}: {}", short(reason)),
        Fact::CompactionBegun { through, .. } => format!("{through} messages are to be replaced by a summary"),
        Fact::HistoryCompacted { through, .. } => format!("{through} messages replaced by a summary"),
        Fact::StepRested { reason, .. } => format!("rests: {}", short(reason)),
        Fact::AnswerRejected { findings, .. } => format!("answer sent back: {} places", findings.len()),
        Fact::CallIntended { skill, class, .. } => format!("{skill} ({}) begins", class.as_str()),
        Fact::CallFinished { ordinal, outcome, .. } => {
            let word = if outcome.is_error { "failed" } else { "done" };
            format!("call {ordinal} {word}: {}", short(&outcome.content))
        }
        Fact::CallUnknown { ordinal, evidence, .. } => format!("call {ordinal} unknown: {}", short(evidence)),
        Fact::CheckMade { report, .. } => {
            let word = if report.passed { "holds" } else { "does not hold" };
            format!("check {} {word}: {}", report.index, short(&report.evidence))
        }
        Fact::StepDone { .. } => "done".into(),
        Fact::StepFailed {
            class,
            reason,
            retry_at,
            ..
        } => {
            let next = if retry_at.is_some() { ", tried again" } else { "" };
            format!("failed ({}){next}: {}", class.as_str(), short(reason))
        }
        Fact::StepSkipped { reason, .. } => format!("skipped: {}", short(reason)),
        Fact::StepCancelled { .. } => "stopped".into(),
        Fact::StepUnknown { evidence, .. } => format!("waits for a person: {}", short(evidence)),
        Fact::CancelRequested { reason, .. } => format!("end requested: {}", short(reason)),
        Fact::RunDone { outcome, .. } => outcome.as_str().into(),
        Fact::RunParked { reason } => format!("parked: {}", short(reason)),
        Fact::CallResolved {
            ordinal,
            resolution,
            by,
            ..
        } => format!("call {ordinal} {}, says {}", resolution.as_str(), short(by)),
        Fact::RunReopened { .. } => "reopened".into(),
        Fact::ApprovalAsked { ask, .. } => format!("asks to call {}: {}", ask.skill, short(&ask.shown)),
        Fact::MemoryRecalled { entries, .. } => format!("memory told {} entries", entries.len()),
        Fact::ApprovalGiven { ordinal, given, .. } => {
            let word = if given.granted { "agreed to" } else { "refused" };
            format!(
                "call {ordinal} {word} by {}: {}",
                short(&given.by),
                short(&given.reason)
            )
        }
        Fact::CallDeadLettered {
            ordinal, skill, text, ..
        } => {
            format!(
                "call {ordinal} of {skill} crashed again and again and is not tried any more: {}",
                short(text)
            )
        }
        Fact::CompensationQueued { undoes, skill, .. } => format!("{skill} is to undo step {}", undoes.step),
    }
}

/// The step that a fact belongs to.
pub fn step_of(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::StepSkipped { step, .. } | Fact::StepCancelled { step } | Fact::CompensationQueued { step, .. } => {
            Some(step.as_str())
        }
        other => other.attempt().map(|attempt| attempt.step.as_str()),
    }
}
