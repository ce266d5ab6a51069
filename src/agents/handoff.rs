//! What is wrong with an order: asked by the sender before it is journaled and by the receiver before it starts.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::handoff::{Finding, HANDOFF_VERSION, Handoff};
use crate::domain::limits::TASK_BYTES_MAX;
use crate::domain::time::UtcMillis;

/// Judges the form of an order. The receiver also knows whether it is the one that is meant.
pub fn judge(handoff: &Handoff, now: UtcMillis) -> Vec<Finding> {
    let mut findings = Vec::new();
    if handoff.version != HANDOFF_VERSION {
        let message = format!("version {} is not known, only {HANDOFF_VERSION}", handoff.version);
        findings.push(Finding::new("/version", message));
    }
    if handoff.task.trim().is_empty() {
        findings.push(Finding::new("/task", "is empty"));
    }
    if handoff.task.len() > TASK_BYTES_MAX {
        findings.push(Finding::new(
            "/task",
            format!("has {} bytes, at most {TASK_BYTES_MAX}", handoff.task.len()),
        ));
    }
    if handoff.deadline <= now {
        findings.push(Finding::new("/deadline", "has passed"));
    }
    if let Some(schema) = &handoff.output_schema
        && let Err(error) = compile(schema)
    {
        findings.push(Finding::new("/output_schema", error));
    }
    findings
}

/// Compiles a JSON Schema (draft 2020-12 unless it names another). Remote references are not followed.
pub fn compile(schema: &Arc<Value>) -> Result<jsonschema::Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| format!("is not a usable JSON Schema: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::name::AgentName;

    #[test]
    fn every_wrong_place_of_an_order_is_named() {
        let good = Handoff {
            version: HANDOFF_VERSION,
            from: None,
            to: AgentName::new("a").expect("valid"),
            task: "t".into(),
            context: Vec::new(),
            constraints: Vec::new(),
            deadline: UtcMillis(10),
            output_schema: Some(Arc::new(json!({ "type": "object" }))),
            lessons: Vec::new(),
        };
        let check = |handoff: Handoff, pointers: &[&str]| {
            let found: Vec<String> = judge(&handoff, UtcMillis(5))
                .into_iter()
                .map(|finding| finding.pointer)
                .collect();
            assert_eq!(found, pointers);
        };
        check(good.clone(), &[]);
        check(
            Handoff {
                version: 2,
                ..good.clone()
            },
            &["/version"],
        );
        check(
            Handoff {
                task: " ".into(),
                deadline: UtcMillis(5),
                ..good.clone()
            },
            &["/task", "/deadline"],
        );
        let bad = Some(Arc::new(json!({ "type": "no such type" })));
        check(
            Handoff {
                output_schema: bad,
                ..good.clone()
            },
            &["/output_schema"],
        );
        check(
            Handoff {
                task: "x".repeat(TASK_BYTES_MAX + 1).into(),
                ..good
            },
            &["/task"],
        );
    }
}
