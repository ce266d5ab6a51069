//! The parts of the gateway's answers that people see. `--json` prints the answers as they came, so nothing that
//! is not here is lost.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::client::Client;
use super::duration::show_ms;
use super::error::CliError;
use super::output::{Output, Tone, harmless, one_line, show_value, table};

/// One run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// What is to be done.
    pub task: String,
    /// The agent named at submission.
    pub agent: Option<String>,
    /// The folder that its file skills may touch.
    pub workspace: Option<String>,
    /// RFC 3339.
    pub accepted_at: Option<String>,
    /// RFC 3339.
    pub ended_at: Option<String>,
    /// RFC 3339.
    pub deadline: Option<String>,
    /// Tokens used.
    pub tokens: u64,
    /// What came out.
    pub result: Value,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// The run that it repeats.
    pub retry_of: Option<String>,
    /// What it waits for a person to say.
    pub waiting: Vec<QuestionView>,
    /// Its steps.
    pub steps: Vec<StepView>,
}

/// One thing that a run waits for a person to say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct QuestionView {
    /// `approval` or `unknown`.
    pub kind: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The call of the step.
    pub call: u32,
    /// The skill.
    pub skill: String,
    /// What it was or would be called with.
    pub arguments: Value,
    /// What would be done.
    pub shown: Option<String>,
    /// Names what would be done.
    pub hash: String,
    /// RFC 3339; no answer by then is a no.
    pub until: Option<String>,
    /// What is known of an unknown call.
    pub evidence: Option<String>,
    /// The effect's key.
    pub key: Option<String>,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// Place of the question in the journal.
    pub seq: u64,
}

/// One step of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// Its id within the plan.
    pub id: String,
    /// Who does it.
    pub work: WorkView,
    /// What is to be done.
    pub task: Option<String>,
    /// Where it stands.
    pub status: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Why it failed.
    pub reason: Option<String>,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

/// Who does a step.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WorkView {
    /// An agent.
    pub agent: Option<String>,
    /// A skill.
    pub skill: Option<String>,
}

impl WorkView {
    /// The name of the agent or skill.
    pub fn name(&self) -> &str {
        self.agent.as_deref().or(self.skill.as_deref()).unwrap_or("-")
    }
}

/// Reads a part of an answer.
pub fn read<T: for<'value> Deserialize<'value>>(client: &Client, path: &str, value: &Value) -> Result<T, CliError> {
    T::deserialize(value).map_err(|error| client.protocol(path, error.to_string()))
}

/// Milliseconds between two RFC 3339 times.
pub fn between(from: Option<&str>, to: Option<&str>) -> Option<u64> {
    let parse = |text: Option<&str>| {
        text?
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond)
    };
    u64::try_from(parse(to)? - parse(from)?).ok()
}

/// How long ago a time was.
pub fn age(at: Option<&str>) -> String {
    let now = jiff::Timestamp::now().to_string();
    between(at, Some(&now)).map_or("-".into(), |ms| format!("{} ago", show_ms(ms)))
}

/// A run with its steps and result, for people.
pub fn show_run(output: &Output, run: &RunView) -> String {
    let mut text = format!(
        "{}  {}\n",
        output.paint(Tone::Strong, &one_line(&run.id, 64)),
        output.status(&run.status)
    );
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {}", one_line(value, 200));
        }
    };
    field("task", &run.task);
    field("agent", run.agent.as_deref().unwrap_or_default());
    field("workspace", run.workspace.as_deref().unwrap_or_default());
    field("accepted", run.accepted_at.as_deref().unwrap_or_default());
    if let Some(ms) = between(run.accepted_at.as_deref(), run.ended_at.as_deref()) {
        field("took", &show_ms(ms));
    } else {
        field("deadline", run.deadline.as_deref().unwrap_or_default());
    }
    field("tokens", &run.tokens.to_string());
    field("retry of", run.retry_of.as_deref().unwrap_or_default());
    field("reason", run.reason.as_deref().unwrap_or_default());
    if !run.steps.is_empty() {
        text.push('\n');
        text.push_str(&show_steps(output, &run.steps));
    }
    for question in &run.waiting {
        text.push('\n');
        text.push_str(&show_question(question));
        text.push('\n');
    }
    if !run.result.is_null() {
        text.push('\n');
        text.push_str(harmless(&show_value(&run.result)).trim_end());
        text.push('\n');
    }
    text
}

/// What is asked, with how to answer it.
pub fn show_question(question: &QuestionView) -> String {
    let (run, step) = (one_line(&question.run, 64), one_line(&question.step, 64));
    let call = format!("{run} --step {step} --call {}", question.call);
    let mut text = String::new();
    if question.kind == "approval" {
        let _ = writeln!(
            text,
            "waits for a person: {} in step {step}, until {}",
            one_line(&question.skill, 64),
            one_line(question.until.as_deref().unwrap_or("-"), 40)
        );
        for line in question.shown.as_deref().unwrap_or_default().lines() {
            let _ = writeln!(text, "  {}", harmless(line));
        }
        let hash = one_line(&question.hash, 64);
        let _ = write!(text, "answer: openclaw runs approve {run} --hash {hash} [--deny]");
        return text;
    }
    let _ = writeln!(
        text,
        "waits for a person: whether {} in step {step} happened",
        one_line(&question.skill, 64)
    );
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<10} {}", one_line(value, 400));
        }
    };
    field("arguments", &question.arguments.to_string());
    field("started", question.started_at.as_deref().unwrap_or_default());
    field("key", question.key.as_deref().unwrap_or_default());
    for (index, line) in question.evidence.as_deref().unwrap_or_default().lines().enumerate() {
        field(if index == 0 { "evidence" } else { "" }, line);
    }
    let _ = write!(
        text,
        "answer: openclaw runs resolve {call} --happened | --not-happened | --abandon"
    );
    text
}

/// The steps of a run as a table.
pub fn show_steps(output: &Output, steps: &[StepView]) -> String {
    let rows = steps.iter().map(|step| {
        let took = between(step.started_at.as_deref(), step.ended_at.as_deref());
        let about = step.reason.as_deref().or(step.task.as_deref()).unwrap_or_default();
        vec![
            one_line(&step.id, 64),
            output.status(&step.status),
            one_line(step.work.name(), 64),
            step.attempts.to_string(),
            took.map_or("-".into(), show_ms),
            one_line(about, 80),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["STEP", "STATUS", "BY", "ATTEMPTS", "TOOK", "ABOUT"], &rows)
}

/// The time line of a run, as the gateway tells it.
pub fn show_timeline(value: &Value) -> String {
    let entries = value["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for entry in entries {
        let word = |name: &str| one_line(entry[name].as_str().unwrap_or_default(), 120);
        let offset = entry["offset_ms"].as_u64().unwrap_or_default();
        let line = format!(
            "{:>9}  {:<18} {:<20} {}",
            show_offset(offset),
            word("kind"),
            word("step"),
            word("text")
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn show_offset(ms: u64) -> String {
    format!("+{}.{:03}s", ms / 1000, ms % 1000)
}

/// Runs as they are listed.
pub fn runs_table(output: &Output, runs: &[Value]) -> String {
    let rows = runs.iter().map(|run| {
        let text = |name: &str| run[name].as_str();
        let took = between(text("accepted_at"), text("ended_at"));
        vec![
            one_line(text("id").unwrap_or("-"), 64),
            output.status(text("status").unwrap_or("-")),
            age(text("accepted_at")),
            took.map_or("-".into(), show_ms),
            run["tokens"].as_u64().unwrap_or_default().to_string(),
            one_line(text("agent").unwrap_or("-"), 64),
            one_line(text("task").unwrap_or("-"), 60),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["RUN", "STATUS", "ACCEPTED", "TOOK", "TOKENS", "AGENT", "TASK"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::output::capture;
    use super::*;

    #[test]
    fn a_run_is_shown_with_steps_and_result() {
        let value = json!({
            "id": "run_1", "status": "failed", "task": "review\nthis", "agent": null, "tokens": 12,
            "accepted_at": "2026-01-02T03:04:05.000Z", "ended_at": "2026-01-02T03:04:07.500Z",
            "reason": "step `b` failed", "result": "a\u{1b}[2Jb",
            "steps": [
                { "id": "a", "work": { "skill": "fs.list" }, "task": "list", "status": "done", "attempts": 1,
                  "started_at": "2026-01-02T03:04:05.000Z", "ended_at": "2026-01-02T03:04:05.040Z" },
                { "id": "b", "work": { "agent": "reviewer" }, "task": "judge", "status": "failed", "attempts": 4,
                  "reason": "too short" },
            ],
            "something_new": true,
        });
        let run: RunView = serde_json::from_value(value).expect("reads");
        let (output, _, _) = capture::output(false);
        insta::assert_snapshot!(show_run(&output, &run), @r"
        run_1  failed
        task       review this
        accepted   2026-01-02T03:04:05.000Z
        took       2.5s
        tokens     12
        reason     step `b` failed

        STEP  STATUS  BY        ATTEMPTS  TOOK  ABOUT
        a     done    fs.list   1         40ms  list
        b     failed  reviewer  4         -     too short

        a\u{1b}[2Jb
        ");
    }

    #[test]
    fn a_time_line_has_offsets() {
        let value = json!({ "entries": [
            { "at": "x", "offset_ms": 0, "kind": "run.accepted", "step": null, "text": "review" },
            { "at": "x", "offset_ms": 1042, "kind": "step.done", "step": "a", "text": "" },
        ]});
        insta::assert_snapshot!(show_timeline(&value), @r"
          +0.000s  run.accepted                            review
          +1.042s  step.done          a
        ");
    }
}
