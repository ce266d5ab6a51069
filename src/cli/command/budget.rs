//! `openclaw budget …`: limits in tokens and in US dollars.

use serde_json::{Value, json};

use crate::cli::arguments::{BudgetCommand, BudgetSetArguments};
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::daemon::config::key::{AGENT_KEYS, KEYS};
use crate::daemon::config::{DaemonFile, edit};
use crate::domain::code;
use crate::domain::money::MicroUsd;
use crate::domain::name::AgentName;

/// Does one of them.
pub async fn run(context: &mut Context, command: BudgetCommand) -> Result<Exit, CliError> {
    match command {
        BudgetCommand::Show { agent } => show(context, agent.as_ref()).await,
        BudgetCommand::Set(arguments) => set(context, &arguments),
    }
}

async fn show(context: &mut Context, agent: Option<&AgentName>) -> Result<Exit, CliError> {
    let mut value = context.client()?.send(&Request::get("/v1/budgets")).await?;
    if let Some(agent) = agent {
        let all = value["budgets"].as_array().cloned().unwrap_or_default();
        let own: Vec<Value> = all
            .into_iter()
            .filter(|budget| budget["agent"] == agent.as_str())
            .collect();
        if own.is_empty() {
            return Err(CliError::refused(
                code::AGENT_NOT_FOUND,
                format!("no agent is named `{agent}`"),
                "`openclaw agent list` shows the agents",
            ));
        }
        value["budgets"] = own.into();
    }
    let budgets = value["budgets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        other => one_line(&other.to_string(), 32),
    };
    let rows = budgets.iter().map(|budget| {
        let (daily, per_run) = (&budget["daily"], &budget["per_run"]);
        vec![
            one_line(budget["agent"].as_str().unwrap_or("-"), 64),
            number(&daily["tokens"]["used"]),
            number(&daily["tokens"]["limit"]),
            number(&per_run["tokens"]["limit"]),
            number(&daily["cost_usd"]["used"]),
            number(&daily["cost_usd"]["limit"]),
            number(&per_run["cost_usd"]["limit"]),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = [
        "AGENT",
        "TOKENS TODAY",
        "DAILY",
        "PER RUN",
        "USD TODAY",
        "DAILY",
        "PER RUN",
    ];
    context.output.result(&value, |_| table(&headings, &rows));
    Ok(Exit::Done)
}

fn set(context: &mut Context, arguments: &BudgetSetArguments) -> Result<Exit, CliError> {
    context.require_home()?;
    let tokens = |value: Option<u64>| value.map(|tokens| tokens.to_string());
    let cost = |value: Option<MicroUsd>| value.map(MicroUsd::to_decimal);
    let wanted = [
        ("tokenBudget.daily", tokens(arguments.daily_tokens)),
        ("tokenBudget.perRun", tokens(arguments.per_run_tokens)),
        ("costBudget.daily", cost(arguments.daily_cost)),
        ("costBudget.perRun", cost(arguments.per_run_cost)),
    ];
    if let Some(agent) = &arguments.agent {
        // A file for a name that is no agent would make one.
        let agents = context.load()?.config.agents;
        if !agents.iter().any(|known| known.name == *agent) {
            return Err(CliError::refused(
                code::AGENT_NOT_FOUND,
                format!("no agent is named `{agent}`"),
                format!("`openclaw agent create {agent} --model offline` makes one"),
            ));
        }
    }
    let path = match &arguments.agent {
        Some(agent) => context.home.agents_dir().join(format!("{agent}.toml")),
        None => context.home.config_file(),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| CliError::Io {
            verb: "make",
            what: folder.display().to_string(),
            source,
        })?;
    }
    let before = std::fs::read(&path).ok();
    let mut changes = Vec::new();
    for (key, text) in wanted {
        let Some(text) = text else { continue };
        changes.push(match &arguments.agent {
            Some(_) => edit::set_in(AGENT_KEYS, &path, key, &text)?,
            None => edit::set_in(KEYS, &path, &format!("agent.{key}"), &text)?,
        });
    }
    // The agent may be defined in a file of another name; then there would be two of it and no start.
    if let Err(error) = context.load() {
        let _ = match before {
            Some(text) => std::fs::write(&path, text),
            None => std::fs::remove_file(&path),
        };
        return Err(error);
    }
    let running = matches!(DaemonFile::read(&context.home), Ok(Some(_)));
    let each = changes
        .iter()
        .map(|change| json!({ "key": change.key, "old": change.old, "new": change.new, "file": change.file }));
    let value = json!({ "changes": each.collect::<Vec<_>>(), "restart_needed": running });
    context.output.result(&value, |_| {
        let lines = changes.iter().map(|change| {
            let old = change.old.as_deref().unwrap_or("default");
            format!("{}: {}: {old} → {}\n", change.file.display(), change.key, change.new)
        });
        let mut text: String = lines.collect();
        if running {
            text.push_str("a running daemon picks it up on reload or restart\n");
        }
        text
    });
    Ok(Exit::Done)
}
