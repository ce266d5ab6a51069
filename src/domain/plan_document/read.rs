//! Reading: every place that is wrong is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::check::{Check, CheckTarget};
use crate::domain::handoff::Finding;
use crate::domain::json::escape;
use crate::domain::name::StepId;
use crate::domain::plan::{Input, Join, Need, NeedState, OnFailure, PLAN_VERSION, Plan, Step, StepUndo, Work};

use super::reader::{Reader, kind};
use super::words::{NEED_STATE, ON_FAILURE};

impl Reader {
    fn plan(&mut self, value: &Value) -> Option<Plan> {
        let fields = self.object("", value, &["version", "goal", "steps", "result"])?;
        if let Some(version) = self.number("", fields, "version")
            && version != PLAN_VERSION
        {
            self.wrong(
                "/version",
                format!("version {version} is not known; this program reads {PLAN_VERSION}"),
            );
        }
        let goal = self.text("", fields, "goal").unwrap_or_default();
        if !fields.contains_key("steps") {
            self.wrong("/steps", "is missing");
        }
        let mut steps = Vec::new();
        for (index, item) in self.list("", fields, "steps").iter().enumerate() {
            steps.extend(self.step(&format!("/steps/{index}"), item));
        }
        let result = self
            .text("", fields, "result")
            .and_then(|text| self.name("/result", &text));
        Some(Plan { goal, steps, result })
    }

    fn step(&mut self, at: &str, value: &Value) -> Option<Step> {
        const KNOWN: &[&str] = &[
            "id",
            "agent",
            "skill",
            "task",
            "needs",
            "join",
            "inputs",
            "constraints",
            "timeout_ms",
            "est_ms",
            "est_tokens",
            "on_failure",
            "retries",
            "checks",
            "output_schema",
            "resources",
            "skills",
            "undo",
        ];
        let fields = self.object(at, value, KNOWN)?;
        let id = self
            .needed_text(at, fields, "id")
            .and_then(|text| self.name::<StepId>(&format!("{at}/id"), &text));
        let agent = self
            .text(at, fields, "agent")
            .and_then(|text| self.name(&format!("{at}/agent"), &text));
        let skill = self
            .text(at, fields, "skill")
            .and_then(|text| self.name(&format!("{at}/skill"), &text));
        let work = match (agent, skill) {
            (Some(agent), None) => Some(Work::Agent(agent)),
            (None, Some(skill)) => Some(Work::Skill(skill)),
            (Some(_), Some(_)) => {
                self.wrong(at, "has both `agent` and `skill`; a step is done by one of them");
                None
            }
            (None, None) => {
                if !fields.contains_key("agent") && !fields.contains_key("skill") {
                    self.wrong(at, "has neither `agent` nor `skill`");
                }
                None
            }
        };
        let task = match (&work, self.text(at, fields, "task")) {
            (_, Some(task)) => task,
            (Some(Work::Skill(skill)), None) => format!("call {skill}").into(),
            _ => {
                self.wrong(&format!("{at}/task"), "is missing");
                "".into()
            }
        };
        let mut needs = Vec::new();
        for (index, item) in self.list(at, fields, "needs").iter().enumerate() {
            needs.extend(self.need(&format!("{at}/needs/{index}"), item));
        }
        let join = self.join(at, fields);
        let inputs = self.inputs(at, fields);
        let mut checks = Vec::new();
        for (index, item) in self.list(at, fields, "checks").iter().enumerate() {
            checks.extend(self.check(&format!("{at}/checks/{index}"), item));
        }
        let on_failure = self
            .word(at, fields, "on_failure", ON_FAILURE)
            .unwrap_or(OnFailure::FailFast);
        let output_schema = self.schema(&format!("{at}/output_schema"), fields.get("output_schema"));
        let skills = fields.contains_key("skills").then(|| {
            let names = self.texts(at, fields, "skills");
            names
                .iter()
                .filter_map(|text| self.name(&format!("{at}/skills"), text))
                .collect()
        });
        let undo = fields
            .get("undo")
            .and_then(|value| self.undo(&format!("{at}/undo"), value));
        let step = Step {
            id: id?,
            work: work?,
            task,
            needs,
            join,
            inputs,
            constraints: self.texts(at, fields, "constraints"),
            timeout_ms: self.number(at, fields, "timeout_ms"),
            estimated_ms: self.number(at, fields, "est_ms").unwrap_or(0),
            estimated_tokens: self.number(at, fields, "est_tokens").unwrap_or(0),
            on_failure,
            retries: self.number(at, fields, "retries").map(|number| number.min(100) as u32),
            checks,
            output_schema,
            resources: self.texts(at, fields, "resources"),
            skills,
            undo,
        };
        Some(step)
    }

    fn undo(&mut self, at: &str, value: &Value) -> Option<StepUndo> {
        let fields = self.object(at, value, &["skill", "inputs"])?;
        let skill = self
            .needed_text(at, fields, "skill")
            .and_then(|text| self.name(&format!("{at}/skill"), &text));
        let inputs = self.inputs(at, fields);
        Some(StepUndo { skill: skill?, inputs })
    }

    fn schema(&mut self, at: &str, value: Option<&Value>) -> Option<Arc<Value>> {
        match value? {
            schema @ (Value::Object(_) | Value::Bool(_)) => Some(Arc::new(schema.clone())),
            other => {
                self.wrong(at, format!("expected a JSON Schema (an object), found {}", kind(other)));
                None
            }
        }
    }

    fn need(&mut self, at: &str, value: &Value) -> Option<Need> {
        if let Value::String(text) = value {
            return Some(Need {
                step: self.name(at, text)?,
                on: NeedState::Ok,
            });
        }
        let fields = self.object(at, value, &["step", "on"])?;
        let step = self
            .needed_text(at, fields, "step")
            .and_then(|text| self.name(&format!("{at}/step"), &text));
        let on = self.word(at, fields, "on", NEED_STATE).unwrap_or(NeedState::Ok);
        Some(Need { step: step?, on })
    }

    fn join(&mut self, at: &str, fields: &Map<String, Value>) -> Join {
        match fields.get("join") {
            None => Join::All,
            Some(Value::String(word)) if word == "all" => Join::All,
            Some(Value::String(word)) if word == "any" => Join::Any,
            Some(Value::Number(number)) if number.as_u64().is_some_and(|k| (1..=256).contains(&k)) => {
                Join::AtLeast(number.as_u64().unwrap_or(1) as u32)
            }
            Some(other) => {
                self.wrong(
                    &format!("{at}/join"),
                    format!("expected `all`, `any` or a number from 1, found {other}"),
                );
                Join::All
            }
        }
    }

    fn inputs(&mut self, at: &str, fields: &Map<String, Value>) -> BTreeMap<Arc<str>, Input> {
        let mut inputs = BTreeMap::new();
        let Some(value) = fields.get("inputs") else {
            return inputs;
        };
        let Some(members) = value.as_object() else {
            self.wrong(
                &format!("{at}/inputs"),
                format!("expected an object, found {}", kind(value)),
            );
            return inputs;
        };
        for (name, member) in members {
            let place = format!("{at}/inputs/{}", escape(name));
            let input = match member.as_object() {
                Some(object) if object.len() == 1 && object.contains_key("from") => {
                    let Some(input) = self.reference(&place, &object["from"]) else {
                        continue;
                    };
                    input
                }
                _ => Input::Literal(member.clone()),
            };
            inputs.insert(name.as_str().into(), input);
        }
        inputs
    }

    /// Reads `steps.<id>.out` with an optional `#<JSON Pointer>`.
    fn reference(&mut self, at: &str, value: &Value) -> Option<Input> {
        const FORM: &str = "expected `steps.<id>.out` or `steps.<id>.out#/json/pointer`";
        let parsed = value.as_str().and_then(|text| {
            let (path, pointer) = text.split_once('#').unwrap_or((text, ""));
            let id = path.strip_prefix("steps.")?.strip_suffix(".out")?;
            (pointer.is_empty() || pointer.starts_with('/')).then_some((id, pointer))
        });
        let Some((id, pointer)) = parsed else {
            self.wrong(&format!("{at}/from"), format!("{FORM}, found {value}"));
            return None;
        };
        Some(Input::Output {
            step: self.name(&format!("{at}/from"), id)?,
            pointer: pointer.into(),
        })
    }

    fn check(&mut self, at: &str, value: &Value) -> Option<Check> {
        let Some(fields) = value.as_object() else {
            self.wrong(at, format!("expected an object, found {}", kind(value)));
            return None;
        };
        let word = self.needed_text(at, fields, "type")?;
        match &*word {
            "exit_code" => {
                self.object(at, value, &["type", "equals"])?;
                Some(Check::ExitCode {
                    equals: self.code(at, fields),
                })
            }
            "file" => {
                self.object(at, value, &["type", "path", "fresh", "min_bytes"])?;
                Some(Check::File {
                    path: self.needed_text(at, fields, "path")?,
                    fresh: self.flag(at, fields, "fresh"),
                    bytes_min: self.number(at, fields, "min_bytes").unwrap_or(0),
                })
            }
            "regex" => {
                self.object(at, value, &["type", "path", "pointer", "pattern", "absent"])?;
                let pattern = self.needed_text(at, fields, "pattern")?;
                let target = match self.text(at, fields, "path") {
                    Some(path) => CheckTarget::File(path),
                    None => CheckTarget::Output(self.pointer(at, fields)),
                };
                Some(Check::Regex {
                    target,
                    pattern,
                    absent: self.flag(at, fields, "absent"),
                })
            }
            "schema" => {
                self.object(at, value, &["type", "pointer", "schema"])?;
                let pointer = self.pointer(at, fields);
                if !fields.contains_key("schema") {
                    self.wrong(&format!("{at}/schema"), "is missing");
                }
                let schema = self.schema(&format!("{at}/schema"), fields.get("schema"))?;
                Some(Check::Schema { pointer, schema })
            }
            "command" => {
                self.object(at, value, &["type", "argv", "equals", "timeout_ms", "repeatable"])?;
                let argv = self.texts(at, fields, "argv");
                if argv.is_empty() {
                    self.wrong(&format!("{at}/argv"), "expected a program and its arguments");
                }
                Some(Check::Command {
                    argv,
                    equals: self.code(at, fields),
                    timeout_ms: self.number(at, fields, "timeout_ms").unwrap_or(60_000),
                    repeatable: self.flag(at, fields, "repeatable"),
                })
            }
            other => {
                let known = "exit_code, file, regex, schema, command";
                self.wrong(&format!("{at}/type"), format!("`{other}` is not one of {known}"));
                None
            }
        }
    }

    fn pointer(&mut self, at: &str, fields: &Map<String, Value>) -> Arc<str> {
        let pointer = self.text(at, fields, "pointer").unwrap_or_default();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            self.wrong(&format!("{at}/pointer"), "a JSON Pointer is empty or starts with `/`");
        }
        pointer
    }

    fn code(&mut self, at: &str, fields: &Map<String, Value>) -> i32 {
        self.number(at, fields, "equals").unwrap_or(0).min(255) as i32
    }
}

/// Reads a plan; every place that is wrong is named.
pub fn read_plan(value: &Value) -> Result<Plan, Vec<Finding>> {
    let mut reader = Reader { findings: Vec::new() };
    let plan = reader.plan(value);
    match plan {
        Some(plan) if reader.findings.is_empty() => Ok(plan),
        _ => Err(reader.findings),
    }
}

/// Reads a list of checks, as they are given with a run; `at` is the pointer of the list.
pub fn read_checks(at: &str, values: &[Value]) -> Result<Vec<Check>, Vec<Finding>> {
    let mut reader = Reader { findings: Vec::new() };
    let checks = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| reader.check(&format!("{at}/{index}"), value));
    let checks: Vec<Check> = checks.collect();
    if reader.findings.is_empty() {
        Ok(checks)
    } else {
        Err(reader.findings)
    }
}
