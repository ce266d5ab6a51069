//! A workspace in memory, and what drives the offline model to its end against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::answer;
use crate::domain::approval::Approval;
use crate::domain::brief::{self, Brief};
use crate::domain::conversation::{
    Arguments, CallRequest, CallResult, Message, ModelAnswer, ModelRequest, check_history,
};
use crate::domain::effect::EffectClass;
use crate::domain::name::{AgentName, ModelAlias, SkillName, StepId};
use crate::domain::plan::{Input, Plan, Work};
use crate::domain::plan_admission::{Surroundings, admit};
use crate::domain::plan_document::{plan_schema, read_plan};
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::llm::dialect::gathered::Heard;
use crate::llm::dialect::kind::Dialect;
use crate::llm::dialect::serve;
use crate::llm::model::Nobody;
use crate::llm::wire::memo::{Hand, Memo};
use crate::llm::wire::sse::SseFramer;

pub(super) const SKILLS: &[&str] = &["fs.list", "fs.read", "fs.search", "fs.write", "exec.run", "web.fetch"];

/// Files in memory and how the skills behave.
#[derive(Default, Clone)]
pub(super) struct Workspace {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) broken: bool,
    pub(super) result_bytes_max: usize,
    calls: usize,
}

impl Workspace {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        Self {
            files: files.collect(),
            result_bytes_max: 96 * 1024,
            ..Self::default()
        }
    }

    pub(super) fn text(&self, path: &str) -> String {
        String::from_utf8(self.files[path].clone()).expect("text")
    }

    fn call(&mut self, call: &CallRequest) -> CallResult {
        self.calls += 1;
        let Arguments::Object(arguments) = &call.arguments else {
            panic!("arguments are an object")
        };
        let outcome = if self.broken {
            Err("the disk said no 💥".to_owned())
        } else {
            self.perform(&call.skill, arguments)
        };
        let (content, is_error) = match outcome {
            Ok(text) => (text, false),
            Err(text) => (text, true),
        };
        CallResult {
            id: call.id.clone(),
            content: text::cut(&content, self.result_bytes_max).into(),
            is_error,
        }
    }

    fn perform(&mut self, skill: &str, arguments: &Value) -> Result<String, String> {
        let path = arguments["path"].as_str().unwrap_or(".").to_owned();
        let inside = |file: &str| path == "." || file.starts_with(&format!("{path}/"));
        match skill {
            "fs.list" => {
                let depth = arguments["depth"].as_u64().unwrap_or(1) as usize;
                let limit = arguments["limit"].as_u64().unwrap_or(1000) as usize;
                let skipped = if path == "." { 0 } else { path.matches('/').count() + 1 };
                let mut entries: BTreeMap<String, Value> = BTreeMap::new();
                for (file, bytes) in self.files.iter().filter(|(file, _)| inside(file)) {
                    let parts: Vec<&str> = file.split('/').collect();
                    for end in skipped + 1..parts.len() {
                        if end - skipped <= depth {
                            let folder = parts[..end].join("/");
                            entries.insert(folder.clone(), json!({ "path": folder, "kind": "dir", "bytes": 0 }));
                        }
                    }
                    if parts.len() - skipped <= depth {
                        let mut entry = json!({ "path": file, "kind": "file", "bytes": bytes.len() });
                        if let Ok(text) = std::str::from_utf8(bytes) {
                            entry["lines"] = text.lines().count().into();
                        }
                        entries.insert(file.clone(), entry);
                    }
                }
                if entries.is_empty() && path != "." {
                    return Err(format!("{path}: no such folder"));
                }
                let truncated = entries.len() > limit;
                let entries: Vec<Value> = entries.into_values().take(limit).collect();
                Ok(json!({ "path": path, "entries": entries, "truncated": truncated }).to_string())
            }
            "fs.read" => {
                let bytes = self.files.get(&path).ok_or(format!("{path}: no such file"))?;
                let text = String::from_utf8(bytes.clone());
                Ok(text.unwrap_or_else(|_| format!("binary file, {} bytes", bytes.len())))
            }
            "fs.search" => {
                let pattern =
                    regex::Regex::new(arguments["pattern"].as_str().unwrap_or("")).map_err(|e| e.to_string())?;
                let mut matches = Vec::new();
                for (file, bytes) in self.files.iter().filter(|(file, _)| inside(file)) {
                    for (index, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
                        if pattern.is_match(line) {
                            matches.push(json!({ "path": file, "line": index + 1, "text": line }));
                        }
                    }
                }
                Ok(json!({ "matches": matches, "truncated": false }).to_string())
            }
            "fs.write" => {
                let content = arguments["content"].as_str().ok_or("no content")?;
                self.files.insert(path.clone(), content.as_bytes().to_vec());
                Ok(format!("wrote {path}"))
            }
            "exec.run" => {
                let failed = arguments["argv"][0] != "true";
                let code = i32::from(arguments["argv"][0] != "true");
                let told = json!({ "exit_code": code, "stdout": "out\n", "stderr": "" }).to_string();
                if failed { Err(told) } else { Ok(told) }
            }
            "web.fetch" => {
                Ok("url: https://example.org\nstatus: 200\n\n<html><script>evil()</script><p>The page tells about many useful things.</p></html>".into())
            }
            other => Err(format!("no skill {other}")),
        }
    }
}

pub(super) fn manifest(name: &str) -> SkillManifest {
    SkillManifest {
        name: SkillName::new(name).expect("valid"),
        description: "d".into(),
        input_schema: Arc::new(json!({ "type": "object" })),
        class: EffectClass::Read,
        timeout_ms: 1000,
        output_bytes_max: 96 * 1024,
        concurrency: 1,
        approval: Approval::Auto,
        resources: Arc::new([]),
        undo: None,
        examples: Arc::new([]),
    }
}

pub(super) fn request(role: &str, first: String, schema: Option<Value>, skills: &[&str]) -> ModelRequest {
    ModelRequest {
        model: ModelAlias::new("offline").expect("valid"),
        system: format!("You are {role}-1, the {role} agent.\nBe exact.").into(),
        messages: vec![Message::User(first.into())].into(),
        skills: skills.iter().map(|name| manifest(name)).collect(),
        output_schema: schema.map(Arc::new),
        output_tokens_max: 8192,
        options: None,
    }
}

/// Asks as if the model stood behind a server that speaks this dialect and streams.
pub(super) fn over(dialect: Dialect, request: &ModelRequest) -> ModelAnswer {
    let hand = Hand {
        dialect: dialect.as_str(),
        model_id: "offline".into(),
        stream: true,
        vendor: false,
    };
    let asked = dialect.write_request(request, &hand, &Memo::default());
    let asked = serde_json::from_slice(&asked).expect("JSON");
    let asked = match dialect {
        Dialect::Anthropic => serve::read_anthropic(&asked),
        Dialect::OpenAiChat => serve::read_openai_chat(&asked),
        Dialect::OpenAiResponses => serve::read_openai_responses(&asked),
    };
    let mut events = serve::Events::new(dialect, "id", "offline", 0);
    let stream = events.begin() + &events.end(&answer(&asked.expect("readable")));
    let (mut framer, mut reader) = (SseFramer::new(), dialect.reader(request));
    framer.push(stream.as_bytes());
    while let Some(event) = framer.next() {
        let event = event.expect("small");
        reader.event(&event, &mut Heard::new(&Nobody)).expect("readable");
    }
    reader.finish(request).expect("an answer")
}

/// Asks until there is text; every history on the way is valid and every answer is the same when asked again.
pub(super) fn drive(mut request: ModelRequest, workspace: &mut Workspace) -> String {
    for _ in 0..24 {
        check_history(&request.messages).expect("valid history");
        let said = answer(&request);
        assert_eq!(said, answer(&request), "the same request has the same answer");
        assert_eq!(&*said.answered_by, "offline");
        for dialect in Dialect::ALL {
            assert_eq!(said, over(dialect, &request), "the same over the wire");
        }
        if said.calls.is_empty() {
            return said.text.to_string();
        }
        assert!(said.calls.len() <= crate::domain::limits::CALLS_PER_TURN_MAX);
        let ids: BTreeSet<&str> = said.calls.iter().map(|call| &*call.id).collect();
        assert_eq!(ids.len(), said.calls.len(), "ids are unique");
        for call in &said.calls {
            assert!(
                request.skills.iter().any(|skill| skill.name.as_str() == &*call.skill),
                "{call:?}"
            );
        }
        let results = said.calls.iter().map(|call| workspace.call(call)).collect();
        let mut messages = request.messages.to_vec();
        messages.push(Message::Assistant {
            text: said.text,
            calls: said.calls,
            kept: Arc::new([]),
        });
        messages.push(Message::Results(results));
        request.messages = messages.into();
    }
    panic!("the conversation does not end: {:?}", request.messages.last());
}

pub(super) fn context() -> Value {
    json!({
        "agents": [
            { "name": "planner", "role": "planner" }, { "name": "hand", "role": "executor" },
            { "name": "pen", "role": "coder" }, { "name": "eye", "role": "reviewer" },
            { "name": "nose", "role": "debugger" }
        ],
        "skills": SKILLS,
    })
}

pub(super) fn proposed(task: &str, context: &Value) -> (Value, Plan) {
    let brief = Brief {
        task: task.into(),
        context: context.as_object().expect("object").clone(),
        ..Brief::default()
    };
    let text = drive(
        request("planner", brief::render(&brief), Some(plan_schema()), &[]),
        &mut Workspace::default(),
    );
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let plan = read_plan(&document).unwrap_or_else(|findings| panic!("{findings:?} in {document:#}"));
    let agents = ["planner", "hand", "pen", "eye", "nose"].map(|name| AgentName::new(name).expect("valid"));
    let skills = SKILLS.iter().map(|name| SkillName::new(name).expect("valid"));
    let around = Surroundings {
        agents: &agents.into_iter().collect(),
        skills: &skills.collect(),
        remaining_ms: 60_000,
        remaining_tokens: Some(100_000),
    };
    admit(&plan, &around).unwrap_or_else(|findings| panic!("{findings:?} in {document:#}"));
    (document, plan)
}

/// Runs a plan's steps in their order, which is topological in the plans of this model.
pub(super) fn perform(plan: &Plan, workspace: &mut Workspace, lessons: &[&str]) -> BTreeMap<StepId, Value> {
    let mut outputs: BTreeMap<StepId, Value> = BTreeMap::new();
    for step in &plan.steps {
        let Work::Agent(agent) = &step.work else {
            panic!("agents alone")
        };
        let role = match agent.as_str() {
            "hand" => "executor",
            "pen" => "coder",
            "eye" => "reviewer",
            _ => "debugger",
        };
        let inputs = step.inputs.iter().map(|(name, input)| {
            let value = match input {
                Input::Literal(value) => value.clone(),
                Input::Output { step, pointer } => outputs[step].pointer(pointer).cloned().unwrap_or(Value::Null),
            };
            (name.to_string(), value)
        });
        let brief = Brief {
            task: step.task.clone(),
            context: inputs.collect(),
            constraints: step.constraints.clone(),
            lessons: lessons.iter().map(|lesson| Arc::from(*lesson)).collect(),
            ..Brief::default()
        };
        let schema = step.output_schema.as_deref().cloned();
        let text = drive(request(role, brief::render(&brief), schema, SKILLS), workspace);
        outputs.insert(step.id.clone(), serde_json::from_str(&text).expect("JSON"));
    }
    outputs
}

pub(super) fn project() -> Workspace {
    Workspace::of(&[
        (
            "README.md",
            "# Clock\n\nThe clock tells the time to every actor in the house. See [the plan](docs/plan.md) and [gone](docs/gone.md).\n",
        ),
        (
            "docs/plan.md",
            "# Plan\n\n## First part\n\nWe will build the clock first and then everything that needs it.\n",
        ),
        (
            "src/main.rs",
            "//! main\nfn main() {\n    run().unwrap(); // TODO: say why\n}\n\nstruct Clock;\n",
        ),
        (
            "src/time.rs",
            "pub fn now() -> u64 { 0 }\n\n#[test]\nfn it_ticks() {}\n",
        ),
        (
            "Cargo.toml",
            "[package]\nname = \"clock\"\nversion = \"1.2.3\"\n\n[dependencies]\nserde = \"1\"\n",
        ),
        ("LICENSE", "do what you want\n"),
        ("target/debug/x", "generated\n"),
    ])
}

pub(super) const REVIEW: &str = "review this folder and write REVIEW.md";

pub(super) fn reviewed(workspace: &mut Workspace) -> BTreeMap<StepId, Value> {
    let (_, plan) = proposed(REVIEW, &context());
    perform(&plan, workspace, &[])
}

pub(super) fn out<'o>(outputs: &'o BTreeMap<StepId, Value>, step: &str) -> &'o Value {
    &outputs[&StepId::new(step).expect("valid")]
}

/// The declared checks of the draft step, on the file.
pub(super) fn passes(plan: &Plan, workspace: &Workspace) -> Vec<String> {
    use crate::domain::check::{Check, CheckTarget};
    let draft = plan.step(&StepId::new("draft").expect("valid")).expect("draft");
    let mut refused = Vec::new();
    for check in &draft.checks {
        let holds = match check {
            Check::File { path, bytes_min, .. } => workspace.text(path).len() as u64 >= *bytes_min,
            Check::Regex {
                target: CheckTarget::File(path),
                pattern,
                ..
            } => regex::Regex::new(pattern)
                .expect("valid")
                .is_match(&workspace.text(path)),
            other => panic!("{other:?}"),
        };
        if !holds {
            refused.push(check.describe());
        }
    }
    refused
}
