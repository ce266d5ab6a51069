//! `openclaw incident`: faults and repairs, and who has seen them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::arguments::IncidentCommand;
use crate::cli::client::Request;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{one_line, table};
use crate::domain::id::IncidentId;

/// Runs the command.
pub async fn run(context: &mut Context, command: IncidentCommand) -> Result<Exit, CliError> {
    match command {
        IncidentCommand::List { open, limit } => list(context, open, limit).await,
        IncidentCommand::Show { id } => show(context, id).await,
        IncidentCommand::Ack { ids, all } => acknowledge(context, &ids, all).await,
    }
}

fn word(value: &Value, bytes: usize) -> String {
    one_line(value.as_str().unwrap_or("-"), bytes)
}

async fn list(context: &mut Context, open: bool, limit: u32) -> Result<Exit, CliError> {
    let only = if open { "&open=true" } else { "" };
    let path = format!("/v1/incidents?limit={limit}{only}");
    let value = context.client()?.send(&Request::get(&path)).await?;
    let rows = value["incidents"].as_array().into_iter().flatten().map(|incident| {
        let state = match (incident["open"] == true, incident["acknowledged"].is_null()) {
            (true, true) => "open",
            (true, false) => "seen",
            (false, _) => "ended",
        };
        let mut row = vec![
            word(&incident["id"], 40),
            word(&incident["at"], 30),
            word(&incident["severity"], 10),
        ];
        row.extend([
            state.to_owned(),
            incident["times"].to_string(),
            word(&incident["what"], 80),
        ]);
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let headings = ["INCIDENT", "AT", "SEVERITY", "STATE", "TIMES", "WHAT"];
    context.output.result(&value, |_| table(&headings, &rows));
    Ok(Exit::Done)
}

async fn show(context: &mut Context, id: IncidentId) -> Result<Exit, CliError> {
    let path = format!("/v1/incidents/{id}");
    let value = context.client()?.send(&Request::get(&path)).await?;
    context.output.result(&value, |_| {
        let mut text = String::new();
        for name in [
            "id", "severity", "what", "why", "action", "evidence", "run", "at", "seen_at", "of",
        ] {
            if let Some(shown) = value[name].as_str().filter(|shown| !shown.is_empty()) {
                let _ = writeln!(text, "{name:<10} {}", one_line(shown, 400));
            }
        }
        let _ = writeln!(text, "{:<10} {}", "times", value["times"]);
        for (name, how) in [("resolved", "how"), ("acknowledged", "by")] {
            if let Some(at) = value[name]["at"].as_str() {
                let _ = writeln!(text, "{name:<10} {at}: {}", word(&value[name][how], 200));
            }
        }
        text
    });
    Ok(Exit::Done)
}

async fn acknowledge(context: &mut Context, ids: &[IncidentId], all: bool) -> Result<Exit, CliError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let body = if all { json!({}) } else { json!({ "ids": ids }) };
    let value = context
        .client()?
        .send(&Request::post("/v1/incidents/ack", &body))
        .await?;
    let count = value["acknowledged"].as_array().map_or(0, Vec::len);
    context.output.result(&value, |_| format!("{count} acknowledged"));
    Ok(Exit::Done)
}
