//! The plan of a review: four surveys at once, a draft from them, and a judgement of the draft.
//!
//! Refuses to know: how a survey works. Invariant: success is decided by checks on the file and on the judgement.

use serde_json::{Value, json};

use super::cast::Cast;
use super::draft_text::{SECTIONS, SURVEYS};
use super::intent::Review;

/// Method, task, the members that its output has.
const STEPS: &[(&str, &str, &[&str])] = &[
    (
        "inventory",
        "Take an inventory: count and measure the files, by language and place.",
        &["files", "bytes", "languages", "listed"],
    ),
    (
        "code",
        "Survey the code: functions, types, tests, unfinished places, entry points.",
        &["code_files", "files_read", "markers"],
    ),
    (
        "documents",
        "Survey the documentation: what there is, its headings, what it says in short, broken links.",
        &["documents", "files", "words"],
    ),
    (
        "health",
        "Survey the project's health: build files, tests, CI, licence, dependencies, things that should not be there.",
        &["build", "tests", "missing"],
    ),
];

/// Writes the plan.
pub(super) fn plan(task: &str, review: &Review, cast: &Cast) -> Value {
    let mut steps = Vec::new();
    for (method, words, members) in STEPS {
        let shape = json!({ "type": "object", "required": members });
        let mut schema = shape.clone();
        if *method == "inventory" {
            schema["properties"] = json!({ "listed": { "const": true } });
        }
        steps.push(json!({
            "id": method,
            "agent": cast.executor,
            "task": format!("{words} The folder is {}.", review.folder),
            "inputs": { "method": method, "folder": review.folder, "file": review.file },
            "constraints": ["only read; change nothing", "answer with one JSON object"],
            "output_schema": shape,
            "checks": [{ "type": "schema", "schema": schema }],
            "retries": 1,
            "on_failure": "continue",
            "est_ms": 500,
            "est_tokens": 2000,
        }));
    }
    // A survey that failed is missing in the context; the draft says so in its place.
    let needs: Vec<Value> = SURVEYS
        .iter()
        .map(|survey| json!({ "step": survey, "on": "done" }))
        .collect();
    let mut inputs = json!({ "method": "draft", "folder": review.folder, "file": review.file, "sections": SECTIONS });
    for survey in SURVEYS {
        inputs[*survey] = json!({ "from": format!("steps.{survey}.out") });
    }
    let mut checks = vec![json!({ "type": "file", "path": review.file, "fresh": true, "min_bytes": 400 })];
    for section in SECTIONS {
        let pattern = format!("(?m)^## {section}\\s*$");
        checks.push(json!({ "type": "regex", "path": review.file, "pattern": pattern }));
    }
    checks.push(json!({ "type": "regex", "path": review.file, "pattern": r"(?m)^- (Files|Code files|Documents|Test files): \d+" }));
    steps.push(json!({
        "id": "draft",
        "agent": cast.coder,
        "task": format!("Write the review to {} from the surveys. The task was: {task}", review.file),
        "needs": needs,
        "inputs": inputs,
        "constraints": ["state only figures that the surveys give", "one section for each name in `sections`"],
        "checks": checks,
        "retries": 2,
        "est_ms": 500,
        "est_tokens": 3000,
    }));
    inputs = json!({ "method": "judge", "folder": review.folder, "file": review.file, "sections": SECTIONS });
    for survey in SURVEYS {
        inputs[*survey] = json!({ "from": format!("steps.{survey}.out") });
    }
    steps.push(json!({
        "id": "review",
        "agent": cast.reviewer,
        "task": format!("Read {} and judge it: are all sections there, and are its figures those of the surveys?", review.file),
        "needs": ["draft"],
        "inputs": inputs,
        "output_schema": {
            "type": "object",
            "required": ["approved", "findings"],
            "properties": {
                "approved": { "type": "boolean" },
                "findings": { "type": "array", "items": { "type": "string" } }
            }
        },
        "checks": [{ "type": "schema", "schema": {
            "type": "object", "required": ["approved"], "properties": { "approved": { "const": true } }
        } }],
        "retries": 1,
        "est_ms": 500,
        "est_tokens": 2000,
    }));
    json!({ "version": 1, "goal": format!("Review {} into {}", review.folder, review.file), "steps": steps, "result": "review" })
}
