//! Plans as documents, there and back, and what is wrong with others.

use serde_json::{Value, json};

use super::{read_plan, write_plan};

fn pointers(document: &Value) -> Vec<String> {
    let findings = read_plan(document).expect_err("wrong plan");
    findings.into_iter().map(|finding| finding.pointer).collect()
}

#[test]
fn a_plan_survives_writing_and_reading() {
    let document = json!({
        "version": 1, "goal": "g", "result": "b",
        "steps": [
            { "id": "a", "skill": "fs.list", "task": "list", "inputs": { "path": "." } },
            { "id": "b", "agent": "coder", "task": "write", "needs": ["a", { "step": "a", "on": "done" }],
              "join": 1, "inputs": { "files": { "from": "steps.a.out#/files" }, "depth": 3 },
              "constraints": ["short"], "timeout_ms": 5000, "est_ms": 10, "est_tokens": 20,
              "on_failure": "replan", "retries": 2, "resources": ["git"], "skills": ["fs.read"],
              "output_schema": { "type": "object" },
              "checks": [
                { "type": "exit_code", "equals": 0 },
                { "type": "file", "path": "x.md", "fresh": true, "min_bytes": 3 },
                { "type": "regex", "path": "x.md", "pattern": "a+", "absent": false },
                { "type": "regex", "pointer": "/a", "pattern": "b", "absent": true },
                { "type": "schema", "pointer": "", "schema": { "type": "object" } },
                { "type": "command", "argv": ["true"], "equals": 0, "timeout_ms": 100, "repeatable": true }
              ] }
        ]
    });
    let plan = read_plan(&document).expect("good plan");
    assert_eq!(write_plan(&plan), document);
    assert_eq!(read_plan(&write_plan(&plan)), Ok(plan));
}

#[test]
fn every_wrong_place_is_named() {
    let check = |document: Value, expected: &[&str]| assert_eq!(pointers(&document), expected, "{document}");
    check(json!(3), &[""]);
    check(json!({ "goal": "g" }), &["/steps"]);
    check(json!({ "goal": 1, "steps": 2 }), &["/goal", "/steps"]);
    check(
        json!({ "version": 9, "steps": [], "extra": 1 }),
        &["/extra", "/version"],
    );
    check(
        json!({ "steps": [{ "id": "A b", "agent": "x", "task": "t" }] }),
        &["/steps/0/id"],
    );
    check(json!({ "steps": [{ "id": "a", "task": "t" }] }), &["/steps/0"]);
    check(
        json!({ "steps": [{ "id": "a", "agent": "x", "skill": "fs.read", "task": "t" }] }),
        &["/steps/0"],
    );
    check(
        json!({ "steps": [{ "id": "a", "agent": "x", "task": "t", "inputs": { "f/1": { "from": "b" } } }] }),
        &["/steps/0/inputs/f~11/from"],
    );
    check(
        json!({ "steps": [{ "id": "a", "agent": "x", "task": "t", "checks": [{ "type": "magic" }, 3] }] }),
        &["/steps/0/checks/0/type", "/steps/0/checks/1"],
    );
}
