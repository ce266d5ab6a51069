//! Plans, steps and checks as JSON documents: reading names every place that is wrong, writing is canonical.
//!
//! Written by hand rather than derived, because a model or a person repairs a plan by JSON Pointers, and because
//! this layer carries no serialisation of its own. The schema given to planners is [`plan_schema`].

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::check::{Check, CheckTarget};
use super::handoff::Finding;
use super::json::escape;
use super::name::StepId;
use super::plan::{Input, Join, Need, NeedState, OnFailure, PLAN_VERSION, Plan, Step, Work};

/// Collects findings while a document is read.
struct Reader {
    findings: Vec<Finding>,
}

impl Reader {
    fn wrong(&mut self, pointer: &str, message: impl Into<String>) {
        self.findings.push(Finding::new(pointer, message));
    }

    fn object<'value>(&mut self, at: &str, value: &'value Value, known: &[&str]) -> Option<&'value Map<String, Value>> {
        let Some(fields) = value.as_object() else {
            self.wrong(at, format!("expected an object, found {}", kind(value)));
            return None;
        };
        for name in fields.keys() {
            if !known.contains(&name.as_str()) {
                self.wrong(
                    &format!("{at}/{}", escape(name)),
                    format!("unknown member; known are {}", known.join(", ")),
                );
            }
        }
        Some(fields)
    }

    fn text(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<Arc<str>> {
        match fields.get(name)? {
            Value::String(text) => Some(text.as_str().into()),
            other => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected a string, found {}", kind(other)),
                );
                None
            }
        }
    }

    fn needed_text(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<Arc<str>> {
        if !fields.contains_key(name) {
            self.wrong(&format!("{at}/{name}"), "is missing");
        }
        self.text(at, fields, name)
    }

    fn name<N: FromStr>(&mut self, at: &str, text: &str) -> Option<N>
    where
        N::Err: std::fmt::Display,
    {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.wrong(at, error.to_string());
                None
            }
        }
    }

    fn number(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Option<u64> {
        let value = fields.get(name)?;
        let number = value.as_u64();
        if number.is_none() {
            self.wrong(
                &format!("{at}/{name}"),
                format!("expected a whole number from 0, found {}", kind(value)),
            );
        }
        number
    }

    fn flag(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> bool {
        match fields.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected true or false, found {}", kind(other)),
                );
                false
            }
        }
    }

    fn list<'value>(&mut self, at: &str, fields: &'value Map<String, Value>, name: &str) -> &'value [Value] {
        match fields.get(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(
                    &format!("{at}/{name}"),
                    format!("expected a list, found {}", kind(other)),
                );
                &[]
            }
        }
    }

    fn texts(&mut self, at: &str, fields: &Map<String, Value>, name: &str) -> Vec<Arc<str>> {
        let mut texts = Vec::new();
        for (index, item) in self.list(at, fields, name).iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.as_str().into()),
                other => self.wrong(
                    &format!("{at}/{name}/{index}"),
                    format!("expected a string, found {}", kind(other)),
                ),
            }
        }
        texts
    }

    fn word<T: Copy>(&mut self, at: &str, fields: &Map<String, Value>, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at, fields, name)?;
        let found = words.iter().find(|(word, _)| *word == &*text).map(|(_, value)| *value);
        if found.is_none() {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(
                &format!("{at}/{name}"),
                format!("`{text}` is not one of {}", allowed.join(", ")),
            );
        }
        found
    }

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
        };
        Some(step)
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
                self.object(at, value, &["type", "argv", "equals", "timeout_ms"])?;
                let argv = self.texts(at, fields, "argv");
                if argv.is_empty() {
                    self.wrong(&format!("{at}/argv"), "expected a program and its arguments");
                }
                Some(Check::Command {
                    argv,
                    equals: self.code(at, fields),
                    timeout_ms: self.number(at, fields, "timeout_ms").unwrap_or(60_000),
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

const ON_FAILURE: &[(&str, OnFailure)] = &[
    ("fail_fast", OnFailure::FailFast),
    ("skip_subtree", OnFailure::SkipSubtree),
    ("continue", OnFailure::Continue),
    ("replan", OnFailure::Replan),
];

const NEED_STATE: &[(&str, NeedState)] = &[
    ("ok", NeedState::Ok),
    ("done", NeedState::Done),
    ("failed", NeedState::Failed),
    ("skipped", NeedState::Skipped),
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map_or("", |(word, _)| word)
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
        let inputs = step.inputs.iter().map(|(name, input)| {
            let value = match input {
                Input::Literal(value) => value.clone(),
                Input::Output { step, pointer } if pointer.is_empty() => json!({ "from": format!("steps.{step}.out") }),
                Input::Output { step, pointer } => json!({ "from": format!("steps.{step}.out#{pointer}") }),
            };
            (name.to_string(), value)
        });
        fields.insert("inputs".into(), Value::Object(inputs.collect()));
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
    Value::Object(fields)
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
        } => json!({
            "type": "command",
            "argv": argv.iter().map(|text| &**text).collect::<Vec<_>>(),
            "equals": equals,
            "timeout_ms": timeout_ms,
        }),
    }
}

/// The JSON Schema that planners answer to. Its `title` is how a planner's task is told from others.
pub fn plan_schema() -> Value {
    json!({
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
                "maxItems": super::limits::PLAN_STEPS_MAX,
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
                            "type": { "enum": ["exit_code", "file", "regex", "schema", "command"] } } } },
                        "output_schema": { "type": "object" },
                        "resources": { "type": "array", "items": { "type": "string" } },
                        "skills": { "type": "array", "items": { "type": "string" } }
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
                    { "type": "command", "argv": ["true"], "equals": 0, "timeout_ms": 100 }
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
}
