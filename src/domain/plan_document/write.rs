//! Writing: canonical; reading it again gives an equal plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::domain::check::{Check, CheckTarget};
use crate::domain::plan::{Input, Join, NeedState, OnFailure, PLAN_VERSION, Plan, Step, Work};

use super::words::{NEED_STATE, ON_FAILURE, word_of};

/// Writes a plan as its document; reading it again gives an equal plan.
pub fn write_plan(plan: &Plan) -> Value {
    let mut document = json!({
        "version": PLAN_VERSION,
        "goal": &*plan.goal,
        "steps": plan.steps.iter().map(write_step).collect::<Vec<_>>(),
    });
    if let Some(result) = &plan.result {
        document["result"] = result.as_str().into();
    }
    document
}

fn write_step(step: &Step) -> Value {
    let mut fields = Map::new();
    fields.insert("id".into(), step.id.as_str().into());
    match &step.work {
        Work::Agent(agent) => fields.insert("agent".into(), agent.as_str().into()),
        Work::Skill(skill) => fields.insert("skill".into(), skill.as_str().into()),
    };
    fields.insert("task".into(), (&*step.task).into());
    let needs = step.needs.iter().map(|need| match need.on {
        NeedState::Ok => Value::from(need.step.as_str()),
        on => json!({ "step": need.step.as_str(), "on": word_of(NEED_STATE, &on) }),
    });
    insert_list(&mut fields, "needs", needs.collect());
    match step.join {
        Join::All => None,
        Join::Any => fields.insert("join".into(), "any".into()),
        Join::AtLeast(count) => fields.insert("join".into(), count.into()),
    };
    if !step.inputs.is_empty() {
        fields.insert("inputs".into(), write_inputs(&step.inputs));
    }
    insert_list(
        &mut fields,
        "constraints",
        step.constraints.iter().map(|text| (&**text).into()).collect(),
    );
    let numbers = [
        ("timeout_ms", step.timeout_ms),
        ("est_ms", Some(step.estimated_ms).filter(|ms| *ms > 0)),
        ("est_tokens", Some(step.estimated_tokens).filter(|tokens| *tokens > 0)),
        ("retries", step.retries.map(u64::from)),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            fields.insert(name.into(), number.into());
        }
    }
    if step.on_failure != OnFailure::FailFast {
        fields.insert("on_failure".into(), word_of(ON_FAILURE, &step.on_failure).into());
    }
    insert_list(&mut fields, "checks", step.checks.iter().map(write_check).collect());
    if let Some(schema) = &step.output_schema {
        fields.insert("output_schema".into(), (**schema).clone());
    }
    insert_list(
        &mut fields,
        "resources",
        step.resources.iter().map(|text| (&**text).into()).collect(),
    );
    if let Some(skills) = &step.skills {
        fields.insert(
            "skills".into(),
            skills.iter().map(|name| Value::from(name.as_str())).collect(),
        );
    }
    if let Some(undo) = &step.undo {
        let mut written = json!({ "skill": undo.skill.as_str() });
        if !undo.inputs.is_empty() {
            written["inputs"] = write_inputs(&undo.inputs);
        }
        fields.insert("undo".into(), written);
    }
    Value::Object(fields)
}

fn write_inputs(inputs: &BTreeMap<Arc<str>, Input>) -> Value {
    let inputs = inputs.iter().map(|(name, input)| {
        let value = match input {
            Input::Literal(value) => value.clone(),
            Input::Output { step, pointer } if pointer.is_empty() => json!({ "from": format!("steps.{step}.out") }),
            Input::Output { step, pointer } => json!({ "from": format!("steps.{step}.out#{pointer}") }),
        };
        (name.to_string(), value)
    });
    Value::Object(inputs.collect())
}

fn insert_list(fields: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    if !items.is_empty() {
        fields.insert(name.into(), Value::Array(items));
    }
}

/// Writes one check as its document.
pub fn write_check(check: &Check) -> Value {
    match check {
        Check::ExitCode { equals } => json!({ "type": "exit_code", "equals": equals }),
        Check::File { path, fresh, bytes_min } => {
            json!({ "type": "file", "path": &**path, "fresh": fresh, "min_bytes": bytes_min })
        }
        Check::Regex {
            target,
            pattern,
            absent,
        } => match target {
            CheckTarget::File(path) => {
                json!({ "type": "regex", "path": &**path, "pattern": &**pattern, "absent": absent })
            }
            CheckTarget::Output(pointer) => {
                json!({ "type": "regex", "pointer": &**pointer, "pattern": &**pattern, "absent": absent })
            }
        },
        Check::Schema { pointer, schema } => json!({ "type": "schema", "pointer": &**pointer, "schema": &**schema }),
        Check::Command {
            argv,
            equals,
            timeout_ms,
            repeatable,
        } => json!({
            "type": "command",
            "argv": argv.iter().map(|text| &**text).collect::<Vec<_>>(),
            "equals": equals,
            "timeout_ms": timeout_ms,
            "repeatable": repeatable,
        }),
    }
}
