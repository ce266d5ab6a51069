//! The JSON Schema that planners answer to.

use serde_json::{Value, json};

use crate::domain::limits::PLAN_STEPS_MAX;
use crate::domain::plan::PLAN_VERSION;

/// The JSON Schema that planners answer to. Its `title` is how a planner's task is told from others.
pub fn plan_schema() -> Value {
    let mut schema = json!({
        "title": "plan",
        "type": "object",
        "required": ["goal", "steps"],
        "properties": {
            "version": { "const": PLAN_VERSION },
            "goal": { "type": "string" },
            "result": { "type": "string", "description": "id of the step whose output is the result; default: the last" },
            "steps": {
                "type": "array",
                "minItems": 1,
                "maxItems": PLAN_STEPS_MAX,
                "items": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" },
                        "agent": { "type": "string", "description": "who does it; either agent or skill" },
                        "skill": { "type": "string", "description": "a skill called directly with `inputs` as arguments" },
                        "task": { "type": "string" },
                        "needs": { "type": "array", "items": { "anyOf": [
                            { "type": "string" },
                            { "type": "object", "required": ["step"], "properties": {
                                "step": { "type": "string" }, "on": { "enum": ["ok", "done", "failed", "skipped"] } } }
                        ] } },
                        "join": { "anyOf": [{ "enum": ["all", "any"] }, { "type": "integer", "minimum": 1 }] },
                        "inputs": { "type": "object", "description":
                            "named values; {\"from\": \"steps.<id>.out#/json/pointer\"} takes the output of a step" },
                        "constraints": { "type": "array", "items": { "type": "string" } },
                        "timeout_ms": { "type": "integer", "minimum": 1 },
                        "est_ms": { "type": "integer", "minimum": 0 },
                        "est_tokens": { "type": "integer", "minimum": 0 },
                        "on_failure": { "enum": ["fail_fast", "skip_subtree", "continue", "replan"] },
                        "retries": { "type": "integer", "minimum": 0, "maximum": 100 },
                        "checks": { "type": "array", "items": { "type": "object", "required": ["type"], "properties": {
                            "type": { "enum": ["exit_code", "file", "regex", "schema", "command"] },
                            "repeatable": { "type": "boolean", "description":
                                "of a command: it changes nothing, so one that a crash cut off is run again; else a \
                                 person is asked" } } } },
                        "output_schema": { "type": "object" },
                        "resources": { "type": "array", "items": { "type": "string" } },
                        "skills": { "type": "array", "items": { "type": "string" } }
                    }
                }
            }
        }
    });
    schema["properties"]["steps"]["items"]["properties"]["undo"] = json!({
        "type": "object",
        "required": ["skill"],
        "description": "the call that undoes this step when the run ends without success after it took effect",
        "properties": { "skill": { "type": "string" }, "inputs": { "type": "object" } }
    });
    schema
}
