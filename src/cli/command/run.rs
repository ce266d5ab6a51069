//! `openclaw run`: gives the daemon a task.

use std::fmt::Write as _;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::arguments::RunArguments;
use crate::cli::cassette;
use crate::cli::client::{Client, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::follow::follow_and_print;
use crate::cli::output::harmless;
use crate::cli::view::{RunView, read, show_run};
use crate::domain::limits::{PLAN_BYTES_MAX, TASK_BYTES_MAX};
use crate::domain::plan_document::read_plan;

/// Submits, then follows or waits as asked.
pub async fn run(context: &mut Context, arguments: RunArguments) -> Result<Exit, CliError> {
    let body = body(&arguments)?;
    if let Some(file) = &arguments.record {
        cassette::prepare(file)?;
    }
    let client = context.client()?;
    let key = match &arguments.idempotency_key {
        Some(key) => key.clone(),
        None => fresh_key()?,
    };
    let wait_ms = arguments.wait.unwrap_or_default();
    let path = match arguments.wait {
        Some(ms) => format!("/v1/runs?wait={ms}"),
        None => "/v1/runs".into(),
    };
    let request = Request {
        idempotency_key: Some(&key),
        wait_ms,
        ..Request::post(&path, &body)
    };
    let value = client.send(&request).await?;
    let view: RunView = read(&client, &path, &value)?;
    if arguments.follow || arguments.record.is_some() {
        context.output.note(&format!("{} accepted", view.id));
        let exit = follow_and_print(&client, &mut context.output, &view.id).await?;
        if let Some(file) = &arguments.record {
            cassette::save(&client, &view.id, file).await?;
            context.output.note(&format!("recorded in {}", file.display()));
        }
        return Ok(exit);
    }
    let ended = !matches!(view.status.as_str(), "active" | "parked");
    context.output.result(&json!({ "run": value }), |output| {
        if ended {
            show_run(output, &view)
        } else {
            // The id alone on the first line, so that a script can take it.
            format!("{}\n{}", view.id, next_step(&client, &view))
        }
    });
    Ok(if ended {
        Exit::of_status(&view.status)
    } else {
        Exit::Done
    })
}

fn next_step(client: &Client, view: &RunView) -> String {
    harmless(&format!(
        "accepted by {}; `openclaw runs watch {}` follows it\n",
        client.url(),
        view.id
    ))
}

/// A key of this submission alone, so that it can be sent again when the connection breaks.
fn fresh_key() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CliError::Io {
        verb: "get",
        what: "random bytes".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(bytes
        .iter()
        .fold(String::from("cli-"), |text, byte| format!("{text}{byte:02x}")))
}

fn body(arguments: &RunArguments) -> Result<Value, CliError> {
    let workspace = workspace(arguments.workspace.as_deref())?;
    let mut task = task(&arguments.text)?;
    if !arguments.file.is_empty() {
        task.push_str("\n\nFiles:\n");
        for file in &arguments.file {
            let _ = writeln!(task, "- {}", file_within(&workspace, file)?);
        }
    }
    if task.len() > TASK_BYTES_MAX {
        return Err(CliError::usage(
            format!(
                "the task has {} bytes, at most {TASK_BYTES_MAX} are accepted",
                task.len()
            ),
            "put long material into a file of the workspace and name it with --file",
        ));
    }
    let mut body = Map::new();
    body.insert("task".into(), task.into());
    body.insert("workspace".into(), workspace.to_string_lossy().into());
    body.insert("origin".into(), "cli".into());
    if !arguments.capability.is_empty() {
        body.insert("capabilities".into(), arguments.capability.clone().into());
    }
    if !arguments.check.is_empty() {
        body.insert("checks".into(), arguments.check.clone().into());
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.into(), value);
        }
    };
    put("agent", arguments.agent.as_ref().map(|agent| agent.as_str().into()));
    put("model", arguments.model.as_ref().map(|model| model.as_str().into()));
    put("deadline_ms", arguments.deadline.map(Value::from));
    put("tokens_max", arguments.tokens_max.map(Value::from));
    put("max_cost_usd", arguments.max_cost.map(|cost| cost.to_decimal().into()));
    put("record", arguments.record.as_ref().map(|_| true.into()));
    put("replay", arguments.replay.as_deref().map(cassette::load).transpose()?);
    put("plan", arguments.plan.as_deref().map(plan).transpose()?);
    Ok(Value::Object(body))
}

fn task(words: &[String]) -> Result<String, CliError> {
    let text = if words == ["-"] {
        let mut text = String::new();
        let mut input = std::io::stdin().lock().take(TASK_BYTES_MAX as u64 + 1);
        input.read_to_string(&mut text).map_err(|source| CliError::Io {
            verb: "read",
            what: "the task from the standard input".into(),
            source,
        })?;
        text
    } else {
        words.join(" ")
    };
    match text.trim() {
        "" => Err(CliError::usage("the task is empty", "say in words what is to be done")),
        task => Ok(task.to_owned()),
    }
}

fn workspace(given: Option<&Path>) -> Result<PathBuf, CliError> {
    let folder = given.unwrap_or(Path::new("."));
    let found = folder.canonicalize().map_err(|source| CliError::Io {
        verb: "find the workspace",
        what: folder.display().to_string(),
        source,
    })?;
    if !found.is_dir() || found.to_str().is_none() {
        return Err(CliError::usage(
            format!("{} is not a folder with a name in UTF-8", found.display()),
            "name another one with --workspace",
        ));
    }
    Ok(found)
}

/// A file as the run's skills will name it: relative to the workspace.
fn file_within(workspace: &Path, file: &Path) -> Result<String, CliError> {
    let outside = || {
        CliError::usage(
            format!("{} is not in the workspace {}", file.display(), workspace.display()),
            "a run sees its workspace alone: copy the file there, or name another --workspace",
        )
    };
    let found = file.canonicalize().or_else(|_| workspace.join(file).canonicalize());
    let found = found.map_err(|source| CliError::Io {
        verb: "find",
        what: file.display().to_string(),
        source,
    })?;
    let inner = found.strip_prefix(workspace).map_err(|_| outside())?;
    inner.to_str().map(str::to_owned).ok_or_else(outside)
}

fn plan(path: &Path) -> Result<Value, CliError> {
    let failed = |source| CliError::Io {
        verb: "read the plan",
        what: path.display().to_string(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PLAN_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let refused = |reason: String| CliError::Refused {
        code: crate::domain::code::PLAN_REJECTED,
        message: format!("{} is not a plan: {reason}", path.display()),
        hint: None,
    };
    if text.len() > PLAN_BYTES_MAX {
        return Err(refused(format!("more than {PLAN_BYTES_MAX} bytes")));
    }
    let value: Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    match read_plan(&value) {
        Ok(_) => Ok(value),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Err(refused(lines.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::arguments::{Arguments, Command};

    fn arguments(line: &[&str]) -> RunArguments {
        let words = ["openclaw", "run"].iter().chain(line);
        let Command::Run(arguments) = Arguments::try_parse_from(words).expect("parses").command else {
            panic!("another command");
        };
        *arguments
    }

    #[test]
    fn a_submission_has_what_was_said_and_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().canonicalize().expect("there");
        std::fs::write(root.join("a.rs"), "x").expect("written");
        let workspace = root.to_str().expect("UTF-8");
        let line = [
            "review",
            "it",
            "--workspace",
            workspace,
            "--file",
            "a.rs",
            "--check",
            "exit:0",
            "--deadline",
            "10m",
        ];
        assert_eq!(
            body(&arguments(&line)).expect("a body"),
            json!({
                "task": "review it\n\nFiles:\n- a.rs\n", "workspace": workspace, "origin": "cli",
                "checks": [{ "type": "exit_code", "equals": 0 }], "deadline_ms": 600_000,
            })
        );
        let line = [
            "x",
            "--workspace",
            workspace,
            "--agent",
            "coder",
            "--model",
            "gpt",
            "--tokens-max",
            "5",
        ];
        assert_eq!(
            body(&arguments(&line)).expect("a body"),
            json!({ "task": "x", "workspace": workspace, "origin": "cli", "agent": "coder", "model": "gpt", "tokens_max": 5 })
        );
    }

    #[test]
    fn a_file_outside_of_the_workspace_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let workspace = folder.path().to_str().expect("UTF-8");
        let refused = body(&arguments(&["x", "--workspace", workspace, "--file", "/etc/hostname"]));
        assert!(
            matches!(refused, Err(CliError::Usage { .. } | CliError::Io { .. })),
            "{refused:?}"
        );
        let empty = body(&arguments(&["  ", "--workspace", workspace]));
        assert!(matches!(empty, Err(CliError::Usage { .. })), "{empty:?}");
    }
}
