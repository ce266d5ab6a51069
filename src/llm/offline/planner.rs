//! The planner's work: a plan document for a task, from pipelines or by rules.
//!
//! Refuses to know: how steps are done. Invariants: what it writes can be read by `domain::plan_document` and is
//! admitted when the agents that it was given exist; a plan for the same request is the same plan.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use serde_json::{Map, Value, json};

use crate::domain::limits::TASK_BYTES_MAX;
use crate::domain::text;

use super::cast::Cast;
use super::intent::{self, Action};
use super::plan_review;
use super::session::Session;

/// Writes the plan.
pub(super) fn plan(session: &Session<'_>) -> Value {
    let context = &session.brief.context;
    let cast = Cast::read(context);
    let task = &*session.brief.task;
    let rejected = context
        .get("findings")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let mut plan = match (context.get("plan"), pipeline(task, context)) {
        (Some(present), _) if present["steps"].is_array() => present.clone(),
        // A pipeline that was rejected would be rejected again.
        (_, Some(pipeline)) if !rejected => pipeline,
        _ => by_rules(task, &cast),
    };
    let failed = failed_steps(context);
    if !failed.is_empty() {
        amend(&mut plan, &failed, context, &cast);
    }
    if rejected {
        // What a rejection of these plans can be about is time and tokens: the estimates are guesses, so they go.
        let steps = plan.get_mut("steps").and_then(Value::as_array_mut);
        for step in steps.into_iter().flatten().filter_map(Value::as_object_mut) {
            step.remove("est_ms");
            step.remove("est_tokens");
        }
    }
    plan
}

/// The plan of the first pipeline that is for this task.
fn pipeline(task: &str, context: &Map<String, Value>) -> Option<Value> {
    let pipelines = context.get("pipelines")?.as_array()?;
    let found = pipelines.iter().find(|pipeline| {
        let pattern = pipeline["match"].as_str().unwrap_or("");
        // An empty pattern would take every task; a wrong one takes none.
        !pattern.is_empty()
            && RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build()
                .is_ok_and(|regex| regex.is_match(task))
    })?;
    let mut plan = found["plan"].clone();
    fill(&mut plan, &text::cut(task, TASK_BYTES_MAX / 4));
    Some(plan)
}

fn fill(value: &mut Value, task: &str) {
    match value {
        Value::String(text) if text.contains("{{task}}") => *text = text.replace("{{task}}", task),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, task)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, task)),
        _ => {}
    }
}

fn by_rules(task: &str, cast: &Cast) -> Value {
    let intent = intent::parse(task);
    let short = text::preview(task, 200);
    if let Some(review) = &intent.review {
        return plan_review::plan(&text::cut(task, 4000), review, cast);
    }
    let gathered = json!({ "type": "object", "not": { "required": ["problem"] } });
    let mut steps: Vec<Value> = Vec::new();
    let mut changing: Option<String> = None;
    for (index, action) in intent.actions.iter().enumerate() {
        let id = format!("{}-{}", word(action), index + 1);
        let agent = if matches!(action, Action::Write { .. }) {
            &cast.coder
        } else {
            &cast.executor
        };
        let mut checks = Vec::new();
        match action {
            Action::Run(_) => checks.push(json!({ "type": "exit_code", "equals": 0 })),
            Action::Write { path, content } => {
                let bytes = content.len();
                checks.push(json!({ "type": "file", "path": path, "fresh": true, "min_bytes": bytes }));
            }
            _ => {}
        }
        checks.push(json!({ "type": "schema", "schema": gathered }));
        let mut step = json!({
            "id": id,
            "agent": agent,
            "task": action.describe(),
            "inputs": { "method": "gather", "action": action.to_json(), "question": text::cut(task, 4000) },
            "checks": checks,
            "est_ms": 200,
            "est_tokens": 500,
        });
        // A command may end with another code for good reasons that a second try does not change.
        step["retries"] = if matches!(action, Action::Run(_)) {
            0.into()
        } else {
            1.into()
        };
        if matches!(action, Action::Run(_) | Action::Write { .. }) {
            // What changes something happens in the order of the task.
            if let Some(before) = changing.replace(id) {
                step["needs"] = json!([before]);
            }
        }
        steps.push(step);
    }
    let mut inputs = json!({ "method": "answer" });
    let mut needs = Vec::new();
    for step in &steps {
        let id = step["id"].as_str().unwrap_or("");
        inputs[id] = json!({ "from": format!("steps.{id}.out") });
        needs.push(Value::from(id));
    }
    if needs.is_empty() {
        inputs = json!({});
    }
    let mut answer = json!({
        "id": "answer",
        "agent": cast.executor,
        "task": task,
        "inputs": inputs,
        "needs": needs,
        "retries": 1,
        "est_ms": 200,
        "est_tokens": 500,
    });
    if let Some(fields) = answer.as_object_mut() {
        fields.retain(|_, value| *value != json!([]) && *value != json!({}));
    }
    steps.push(answer);
    json!({ "version": 1, "goal": short, "steps": steps, "result": "answer" })
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Read(_) => "read",
        Action::List(_) => "list",
        Action::Search { .. } => "search",
        Action::Run(_) => "run",
        Action::Fetch(_) => "fetch",
        Action::Write { .. } => "write",
    }
}

/// The ids of the steps that failed, however the digest spells them.
fn failed_steps(context: &Map<String, Value>) -> Vec<String> {
    let id = |value: &Value| {
        let text = value
            .as_str()
            .or_else(|| value["step"].as_str())
            .or_else(|| value["id"].as_str());
        text.map(|text| text.split([' ', ':']).next().unwrap_or("").to_owned())
    };
    match context.get("failed") {
        Some(Value::Array(items)) => items.iter().filter_map(id).collect(),
        Some(Value::Object(fields)) => fields.keys().cloned().collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Puts a new step in the place of each failed one, under a new id, with what is known of the failure; whoever
/// needed the old one needs the new one. All other steps stay as they are.
fn amend(plan: &mut Value, failed: &[String], context: &Map<String, Value>, cast: &Cast) {
    let Some(steps) = plan["steps"].as_array().cloned() else {
        return;
    };
    let ids: BTreeSet<String> = steps
        .iter()
        .filter_map(|step| step["id"].as_str().map(str::to_owned))
        .collect();
    let renamed = |id: &str| {
        let stem: String = id.chars().take(58).collect();
        (2..100).map(|n| format!("{stem}-{n}")).find(|new| !ids.contains(new))
    };
    let mut amended = Vec::new();
    let mut names: Vec<(String, String)> = Vec::new();
    for step in &steps {
        let id = step["id"].as_str().unwrap_or("").to_owned();
        let new = if !id.is_empty() && failed.contains(&id) {
            renamed(&id)
        } else {
            None
        };
        let Some(new) = new else {
            amended.push(step.clone());
            continue;
        };
        let mut again = step.clone();
        again["id"] = new.as_str().into();
        let digest = context.get("failed").cloned().unwrap_or(Value::Null);
        let digest = json!({ "failed": text::cut(&digest.to_string(), 4000) });
        if let Some(debugger) = &cast.debugger {
            let cause: String = format!("cause-{}", new.chars().take(57).collect::<String>());
            amended.push(json!({
                "id": cause, "agent": debugger, "task": format!("Say why the step `{id}` failed."),
                "inputs": { "method": "cause", "failed": digest["failed"] }, "on_failure": "continue", "retries": 0,
            }));
            let needs = again
                .as_object_mut()
                .map(|fields| fields.entry("needs").or_insert_with(|| json!([])));
            if let Some(Value::Array(needs)) = needs {
                needs.push(json!({ "step": cause, "on": "done" }));
            }
        }
        if again["skill"].is_null() {
            let task = again["task"].as_str().unwrap_or("").to_owned();
            again["task"] = format!("{task}\nAn earlier step `{id}` with this task failed; do it another way.").into();
        }
        amended.push(again);
        names.push((id, new));
    }
    for step in &mut amended {
        for (old, new) in &names {
            point_to(step, old, new);
        }
    }
    if let Some((_, new)) = names.iter().find(|(old, _)| plan["result"] == old.as_str()) {
        plan["result"] = new.as_str().into();
    }
    plan["steps"] = amended.into();
}

fn point_to(step: &mut Value, old: &str, new: &str) {
    let needs = step.get_mut("needs").and_then(Value::as_array_mut);
    for need in needs.into_iter().flatten() {
        if need == old {
            *need = new.into();
        } else if need["step"] == old {
            need["step"] = new.into();
        }
    }
    if let Some(inputs) = step.get_mut("inputs").and_then(Value::as_object_mut) {
        for input in inputs.values_mut() {
            let Some(from) = input["from"].as_str() else { continue };
            let whole = format!("steps.{old}.out");
            if let Some(pointer) = from.strip_prefix(&whole)
                && (pointer.is_empty() || pointer.starts_with('#'))
            {
                *input = json!({ "from": format!("steps.{new}.out{pointer}") });
            }
        }
    }
}
