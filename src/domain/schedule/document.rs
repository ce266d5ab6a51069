//! A schedule as JSON, and so as TOML: reading names every place that is wrong; writing is what reading takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::domain::handoff::Finding;
use crate::domain::json::escape;
use crate::domain::limits::{ARGUMENTS_BYTES_MAX, TASK_BYTES_MAX};
use crate::domain::name::ScheduleName;
use crate::domain::plan_document::reader::{Reader, kind};

use super::definition::{
    COMMAND_TIMEOUT_MS, CatchUp, Command, DEADLINE_MS, ExpectedOutput, JITTER_MS_MAX, LATE_AFTER_MS, LATE_AFTER_MS_MIN,
    OUTPUTS_MAX, Overlap, Schedule, Target,
};
use super::expression::{When, span_ms};

const SPAN_FORM: &str = "a time such as 90s, 15m or 1h30m";
const TARGETS: [&str; 4] = ["task", "skill", "pipeline", "command"];

/// What the configuration says for all schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The zone.
    pub zone: Arc<str>,
    /// The catch-up policy.
    pub catch_up: CatchUp,
}

/// Reads a schedule. `is_zone` says whether a zone exists.
pub fn read_schedule(
    name: ScheduleName,
    value: &Value,
    defaults: &Defaults,
    is_zone: &dyn Fn(&str) -> bool,
) -> Result<Schedule, Vec<Finding>> {
    let mut reader = Reader { findings: Vec::new() };
    let read = schedule(&mut reader, name, value, defaults, is_zone);
    match read {
        Some(schedule) if reader.findings.is_empty() => Ok(schedule),
        _ => Err(reader.findings),
    }
}

fn schedule(
    reader: &mut Reader,
    name: ScheduleName,
    value: &Value,
    defaults: &Defaults,
    is_zone: &dyn Fn(&str) -> bool,
) -> Option<Schedule> {
    const KNOWN: &[&str] = &[
        "cron",
        "timezone",
        "overlap",
        "catch_up",
        "jitter",
        "late_after",
        "deadline",
        "workspace",
        "agent",
        "task",
        "skill",
        "arguments",
        "pipeline",
        "command",
        "path",
        "env",
        "profile",
        "cwd",
        "timeout",
        "outputs",
    ];
    let fields = reader.object("", value, KNOWN)?;
    let expression = reader.needed_text("", fields, "cron").unwrap_or_default();
    let when = match When::read(&expression) {
        Ok(when) => Some(when),
        Err(error) if fields.get("cron").is_some_and(Value::is_string) => {
            reader.wrong("/cron", error.to_string());
            None
        }
        Err(_) => None,
    };
    let zone = reader
        .text("", fields, "timezone")
        .unwrap_or_else(|| defaults.zone.clone());
    if !is_zone(&zone) {
        let message = format!("`{zone}` is no zone of the IANA data base, such as Europe/Berlin or UTC");
        reader.wrong("/timezone", message);
    }
    let workspace = reader.text("", fields, "workspace");
    if workspace.as_ref().is_some_and(|folder| !folder.starts_with('/')) {
        reader.wrong("/workspace", "expected an absolute path");
    }
    let overlap = word(reader, fields, "overlap", Overlap::ALL, Overlap::as_str, Overlap::Skip);
    let catch_up = word(
        reader,
        fields,
        "catch_up",
        CatchUp::ALL,
        CatchUp::as_str,
        defaults.catch_up,
    );
    let jitter_ms = span(reader, "", fields, "jitter", 0);
    if jitter_ms > JITTER_MS_MAX {
        reader.wrong("/jitter", "expected at most 24h");
    }
    let late_after_ms = span(reader, "", fields, "late_after", LATE_AFTER_MS);
    if late_after_ms < LATE_AFTER_MS_MIN {
        reader.wrong(
            "/late_after",
            "expected at least 1s: no program starts at the very moment",
        );
    }
    let deadline_ms = span(reader, "", fields, "deadline", DEADLINE_MS);
    if deadline_ms == 0 {
        reader.wrong("/deadline", "expected at least 1s");
    }
    let target = target(reader, fields);
    let outputs = outputs(reader, fields);
    Some(Schedule {
        name,
        expression,
        when: when?,
        zone,
        target: target?,
        workspace,
        overlap,
        catch_up,
        jitter_ms,
        late_after_ms,
        deadline_ms,
        outputs,
    })
}

fn word<T: Copy>(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    all: &[T],
    as_str: fn(T) -> &'static str,
    default: T,
) -> T {
    let Some(text) = reader.text("", fields, name) else {
        return default;
    };
    let found = all.iter().copied().find(|one| as_str(*one) == &*text);
    found.unwrap_or_else(|| {
        let known: Vec<&str> = all.iter().map(|one| as_str(*one)).collect();
        reader.wrong(&format!("/{name}"), format!("expected one of {}", known.join(", ")));
        default
    })
}

fn span(reader: &mut Reader, at: &str, fields: &Map<String, Value>, name: &str, default: u64) -> u64 {
    let Some(text) = reader.text(at, fields, name) else {
        return default;
    };
    let read = span_ms(&text).filter(|ms| *ms <= 366 * 86_400_000);
    read.unwrap_or_else(|| {
        reader.wrong(&format!("{at}/{name}"), format!("expected {SPAN_FORM}, at most 366d"));
        default
    })
}

fn target(reader: &mut Reader, fields: &Map<String, Value>) -> Option<Target> {
    let given: Vec<&str> = TARGETS.into_iter().filter(|name| fields.contains_key(*name)).collect();
    let kind = match given[..] {
        [one] => one,
        // A pipeline's run may be called something.
        ["task", "pipeline"] => "pipeline",
        _ => {
            let message = "expected exactly one of task (with or without agent), skill, pipeline or command";
            reader.wrong("", message);
            return None;
        }
    };
    let members: &[&str] = match kind {
        "task" => &["agent"],
        "skill" => &["arguments"],
        "command" => &["path", "env", "profile", "cwd", "timeout"],
        _ => &[],
    };
    for member in ["agent", "arguments", "path", "env", "profile", "cwd", "timeout"] {
        if fields.contains_key(member) && !members.contains(&member) {
            reader.wrong(&format!("/{member}"), format!("does not go with {kind}"));
        }
    }
    match kind {
        "task" => {
            let task = reader.text("", fields, "task")?;
            if task.trim().is_empty() || task.len() > TASK_BYTES_MAX {
                reader.wrong("/task", format!("expected 1 to {TASK_BYTES_MAX} bytes"));
            }
            let agent = match reader.text("", fields, "agent") {
                Some(name) => Some(reader.name("/agent", &name)?),
                None => None,
            };
            Some(Target::Agent { agent, task })
        }
        "skill" => {
            let name = reader.text("", fields, "skill")?;
            let skill = reader.name("/skill", &name)?;
            let arguments = fields.get("arguments").cloned().unwrap_or_else(|| json!({}));
            if !arguments.is_object() || arguments.to_string().len() > ARGUMENTS_BYTES_MAX {
                let message = format!("expected an object of at most {ARGUMENTS_BYTES_MAX} bytes");
                reader.wrong("/arguments", message);
            }
            Some(Target::Skill { skill, arguments })
        }
        "pipeline" => Some(Target::Pipeline {
            pipeline: reader.text("", fields, "pipeline")?,
            task: reader.text("", fields, "task"),
        }),
        _ => command(reader, fields).map(Target::Command),
    }
}

fn command(reader: &mut Reader, fields: &Map<String, Value>) -> Option<Command> {
    let argv = reader.texts("", fields, "command");
    if argv.is_empty() || argv.len() > 256 || argv.iter().any(|part| part.contains('\0')) || argv[0].is_empty() {
        reader.wrong("/command", "expected a program and at most 255 arguments, without NUL");
        return None;
    }
    let path = reader.text("", fields, "path");
    if path
        .as_ref()
        .is_some_and(|path| !path.split(':').all(|folder| folder.starts_with('/')))
    {
        reader.wrong("/path", "expected absolute folders parted by `:`");
    }
    let profile = reader.text("", fields, "profile");
    if profile.as_ref().is_some_and(|file| !file.starts_with('/')) {
        reader.wrong("/profile", "expected an absolute path");
    }
    let mut env = BTreeMap::new();
    match fields.get("env") {
        None => {}
        Some(Value::Object(variables)) => {
            for (name, value) in variables {
                let at = format!("/env/{}", escape(name));
                let sound = !name.is_empty() && !name.contains(['=', '\0']) && !name.starts_with("OPENCLAW_");
                match value.as_str() {
                    Some(text) if sound && name != "PATH" && !text.contains('\0') => {
                        env.insert(name.as_str().into(), text.into());
                    }
                    _ if name == "PATH" => reader.wrong(&at, "the search path is `path`"),
                    _ => reader.wrong(
                        &at,
                        "expected a name without `=` that does not begin with OPENCLAW_, and a text",
                    ),
                }
            }
        }
        Some(other) => reader.wrong("/env", format!("expected an object, found {}", kind(other))),
    }
    let timeout_ms = span(reader, "", fields, "timeout", COMMAND_TIMEOUT_MS);
    if timeout_ms > COMMAND_TIMEOUT_MS || timeout_ms == 0 {
        reader.wrong("/timeout", "expected 1s to 30m");
    }
    Some(Command {
        argv,
        path,
        env,
        profile,
        cwd: reader.text("", fields, "cwd"),
        timeout_ms,
    })
}

fn outputs(reader: &mut Reader, fields: &Map<String, Value>) -> Vec<ExpectedOutput> {
    const KNOWN: &[&str] = &["path", "max_age", "bytes_min", "bytes_max", "matches", "schema"];
    let items = reader.list("", fields, "outputs");
    if items.len() > OUTPUTS_MAX {
        reader.wrong("/outputs", format!("expected at most {OUTPUTS_MAX}"));
    }
    let mut outputs = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("/outputs/{index}");
        let Some(fields) = reader.object(&at, item, KNOWN) else {
            continue;
        };
        let path = reader.needed_text(&at, fields, "path").unwrap_or_default();
        let leaves = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if fields.contains_key("path") && (path.is_empty() || leaves) {
            reader.wrong(&format!("{at}/path"), "expected a path or pattern within the workspace");
        }
        let has_age = fields.contains_key("max_age");
        let max_age_ms = has_age.then(|| span(reader, &at, fields, "max_age", 0));
        let schema = fields.get("schema").map(|schema| Arc::new(schema.clone()));
        if schema.as_ref().is_some_and(|schema| !schema.is_object()) {
            reader.wrong(&format!("{at}/schema"), "expected a JSON Schema as an object");
        }
        outputs.push(ExpectedOutput {
            path,
            max_age_ms,
            bytes_min: reader.number(&at, fields, "bytes_min").unwrap_or(1),
            bytes_max: reader.number(&at, fields, "bytes_max"),
            matches: reader.text(&at, fields, "matches"),
            schema,
        });
    }
    outputs
}

fn span_text(ms: u64) -> String {
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ => format!("{}s", ms / 1_000),
    }
}

/// Writes a schedule as [`read_schedule`] takes it, defaults included.
pub fn write_schedule(schedule: &Schedule) -> Value {
    let mut value = json!({
        "cron": &*schedule.expression,
        "timezone": &*schedule.zone,
        "overlap": schedule.overlap.as_str(),
        "catch_up": schedule.catch_up.as_str(),
        "jitter": span_text(schedule.jitter_ms),
        "late_after": span_text(schedule.late_after_ms),
        "deadline": span_text(schedule.deadline_ms),
    });
    let mut put = |name: &str, text: Option<&Arc<str>>| {
        if let Some(text) = text {
            value[name] = (&**text).into();
        }
    };
    put("workspace", schedule.workspace.as_ref());
    match &schedule.target {
        Target::Agent { agent, task } => {
            put("task", Some(task));
            if let Some(agent) = agent {
                value["agent"] = agent.as_str().into();
            }
        }
        Target::Skill { skill, arguments } => {
            value["skill"] = skill.as_str().into();
            value["arguments"] = arguments.clone();
        }
        Target::Pipeline { pipeline, task } => {
            put("pipeline", Some(pipeline));
            put("task", task.as_ref());
        }
        Target::Command(command) => {
            put("path", command.path.as_ref());
            put("profile", command.profile.as_ref());
            put("cwd", command.cwd.as_ref());
            value["command"] = command.argv.iter().map(|part| &**part).collect();
            value["timeout"] = span_text(command.timeout_ms).into();
            if !command.env.is_empty() {
                let env = command.env.iter();
                value["env"] = env
                    .map(|(name, text)| (name.to_string(), Value::from(&**text)))
                    .collect();
            }
        }
    }
    if !schedule.outputs.is_empty() {
        value["outputs"] = schedule.outputs.iter().map(write_output).collect();
    }
    value
}

fn write_output(output: &ExpectedOutput) -> Value {
    let mut value = json!({ "path": &*output.path, "bytes_min": output.bytes_min });
    if let Some(ms) = output.max_age_ms {
        value["max_age"] = span_text(ms).into();
    }
    if let Some(bytes) = output.bytes_max {
        value["bytes_max"] = bytes.into();
    }
    if let Some(expression) = &output.matches {
        value["matches"] = (&**expression).into();
    }
    if let Some(schema) = &output.schema {
        value["schema"] = (**schema).clone();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Schedule, Vec<Finding>> {
        let defaults = Defaults {
            zone: "UTC".into(),
            catch_up: CatchUp::Last,
        };
        let name = ScheduleName::new("nightly").expect("a name");
        read_schedule(name, value, &defaults, &|zone| zone == "UTC" || zone == "Europe/Berlin")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let check = |value: Value| {
            let schedule = read(&value).unwrap_or_else(|findings| panic!("{value}: {findings:?}"));
            assert_eq!(read(&write_schedule(&schedule)), Ok(schedule));
        };
        check(json!({ "cron": "@daily", "task": "tidy up" }));
        check(
            json!({ "cron": "@every 90s", "agent": "coder", "task": "tidy up", "jitter": "1h30m", "catch_up": "all" }),
        );
        check(json!({ "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "pipeline": "release", "overlap": "queue" }));
        check(json!({ "cron": "@daily", "skill": "fs.read", "arguments": { "path": "a" }, "workspace": "/srv" }));
        check(json!({
            "cron": "@daily", "command": ["backup", "--all"], "path": "/opt/bin:/usr/bin", "env": { "A": "b" },
            "profile": "/etc/profile", "cwd": "x", "timeout": "5m", "outputs": [
                { "path": "out/*.tar", "max_age": "1h", "bytes_min": 100, "bytes_max": 1000 },
                { "path": "report.json", "schema": { "type": "object" }, "matches": "done" },
            ],
        }));
    }

    #[test]
    fn every_wrong_place_is_named() {
        let check = |value: Value, expected: &[&str]| {
            let findings = read(&value).expect_err("wrong");
            let found: Vec<String> = findings
                .iter()
                .map(|f| format!("{}: {}", f.pointer, f.message))
                .collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found}");
            }
        };
        check(json!({}), &["/cron: is missing", ": expected exactly one of"]);
        check(
            json!({ "cron": "61 * * * *", "task": "x", "timezone": "Mars/Base", "overlap": "maybe", "jitter": "2d" }),
            &[
                "/cron: character 1",
                "/timezone: `Mars/Base`",
                "/overlap: expected one of skip",
                "/jitter: expected",
            ],
        );
        check(
            json!({ "cron": "@daily", "task": "x", "skill": "y" }),
            &[": expected exactly one of"],
        );
        check(
            json!({ "cron": "@daily", "task": "x", "path": "/bin" }),
            &["/path: does not go with task"],
        );
        check(json!({ "cron": "@daily", "task": " " }), &["/task: expected 1 to"]);
        check(
            json!({ "cron": "@daily", "command": ["x"], "path": "bin", "env": { "PATH": "/x", "OPENCLAW_RUN": "y" } }),
            &[
                "/path: expected absolute",
                "/env/OPENCLAW_RUN: expected a name",
                "/env/PATH: the search path",
            ],
        );
        check(
            json!({ "cron": "@daily", "task": "x", "outputs": [{ "path": "../x" }, { "schema": 1 }] }),
            &[
                "/outputs/0/path: expected a path",
                "/outputs/1/path: is missing",
                "/outputs/1/schema: expected",
            ],
        );
        check(
            json!({ "cron": "@daily", "task": "x", "nothing": 1 }),
            &["/nothing: unknown member"],
        );
    }
}
