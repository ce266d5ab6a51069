//! Runs as clients see them.

use serde_json::{Value, json};

use crate::domain::plan::Work;
use crate::domain::run::{Outcome, RunHeader};
use crate::domain::time::UtcMillis;
use crate::health::export::wire::trace_id;
use crate::runs::question::Question;
use crate::runs::state::{Readiness, RunState, StepPhase, StepState};
use crate::runtime::clock::rfc3339;

use super::question;

/// RFC 3339 with milliseconds.
pub fn time(at: UtcMillis) -> Value {
    rfc3339(at).into()
}

fn optional(at: Option<UtcMillis>) -> Value {
    at.map_or(Value::Null, time)
}

/// A row of the list.
pub fn header(header: &RunHeader) -> Value {
    json!({
        "id": header.run.to_string(),
        "status": header.status.as_str(),
        "task": &*header.task,
        "agent": header.agent.as_ref().map(AsRef::<str>::as_ref),
        "accepted_at": time(header.accepted_at),
        "ended_at": optional(header.ended_at),
        "tokens": header.tokens,
        "url": format!("/v1/runs/{}", header.run),
    })
}

/// A run, whole, with what it waits for persons to say.
pub fn view(state: &RunState, tokens: u64, waiting: &[Question]) -> Value {
    let spec = state.spec.as_ref();
    let (result, reason) = match &state.done {
        Some((Outcome::Succeeded, text)) => (parse(text), Value::Null),
        Some((_, text)) => (Value::Null, parse(text)),
        None => (Value::Null, state.parked.as_deref().map_or(Value::Null, Value::from)),
    };
    let planning = (state.planning.attempt > 0).then(|| {
        let work = json!({ "agent": state.planning.handoff.as_ref().map_or("planner", |order| order.to.as_str()) });
        step(
            "plan",
            &work,
            "split the task into steps",
            phase(&state.planning, false),
            &state.planning,
        )
    });
    let planned = state.planned().map(|(definition, known)| {
        let work = match &definition.work {
            Work::Agent(agent) => json!({ "agent": agent.as_str() }),
            Work::Skill(skill) => json!({ "skill": skill.as_str() }),
        };
        let ready = state.readiness(definition) == Readiness::Ready;
        step(
            definition.id.as_str(),
            &work,
            &definition.task,
            phase(known, ready),
            known,
        )
    });
    let undoing = state.compensations.iter().filter_map(|undo| {
        let known = state.step(&undo.step.id)?;
        let work = match &undo.step.work {
            Work::Agent(agent) => json!({ "agent": agent.as_str() }),
            Work::Skill(skill) => json!({ "skill": skill.as_str() }),
        };
        let mut view = step(undo.step.id.as_str(), &work, &undo.step.task, phase(known, true), known);
        view["undoes"] = undo.undoes.step.as_str().into();
        view["undoes_call"] = undo.ordinal.into();
        Some(view)
    });
    json!({
        "id": state.run.to_string(),
        "status": state.status().as_str(),
        "task": spec.map(|spec| &*spec.task),
        "agent": spec.and_then(|spec| spec.agent.as_ref()).map(AsRef::<str>::as_ref),
        "workspace": spec.map(|spec| &*spec.workspace),
        "origin": spec.map(|spec| &*spec.origin),
        "accepted_at": time(state.accepted_at),
        "ended_at": optional(state.ended_at),
        "deadline": optional(spec.map(|_| state.deadline)),
        "tokens": tokens,
        "result": result,
        "reason": reason,
        "retry_of": spec.and_then(|spec| spec.retry_of).map(|run| run.to_string()),
        "waiting": waiting.iter().map(|question| question::view(state.run, question)).collect::<Vec<_>>(),
        "steps": planning.into_iter().chain(planned).chain(undoing).collect::<Vec<_>>(),
        // As a collector of traces knows it.
        "trace_id": trace_id(state.run),
        "url": format!("/v1/runs/{}", state.run),
    })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn step(id: &str, work: &Value, task: &str, status: &str, state: &StepState) -> Value {
    let checks = state
        .checks
        .iter()
        .map(|check| json!({ "index": check.index, "passed": check.passed, "evidence": &*check.evidence }));
    json!({
        "id": id,
        "work": work,
        "task": task,
        "status": status,
        "attempts": state.attempt,
        "reason": state.reason.as_deref(),
        "started_at": optional(state.started_at),
        "ended_at": optional(state.ended_at),
        "checks": checks.collect::<Vec<_>>(),
    })
}

fn phase(state: &StepState, ready: bool) -> &'static str {
    match state.phase {
        StepPhase::Waiting if ready => "ready",
        StepPhase::Waiting => "waiting",
        StepPhase::Retrying(_) => "retrying",
        StepPhase::Running => "running",
        StepPhase::Resting(_) => "resting",
        StepPhase::Done => "done",
        StepPhase::Failed => "failed",
        StepPhase::Skipped => "skipped",
        StepPhase::Cancelled => "cancelled",
        StepPhase::Unknown => "unknown",
        StepPhase::Asking => "asking",
    }
}
